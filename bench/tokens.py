"""Compare requests with a token with the same requests with a remembered password."""

import json
from collections.abc import Iterator
from urllib.request import Request, urlopen

from bench.sites import Stage
from bench.sizes import Sizes
from bench.table import Row
from bench.wrk import Operation, Rounds, basic

LEAST = 0.95


def tokens(stage: Stage, sizes: Sizes) -> Iterator[Row]:
    """Measure reads of a user with a token and with Basic, in the same rounds."""
    site = stage.site(sizes.middle)
    url, path = stage.url(site), f"/users/{site.population.reader}"
    by = {"Basic": site.reader, "a token": _new_token(f"{url}{path}/tokens", basic(*site.reader))}
    names = {how: f"GET /users/{{id}} with {how}" for how in by}
    operations = {names[how]: Operation(url, path, each) for how, each in by.items()}
    done = Rounds(operations).run("tokens", sizes.rounds)
    yield Row.of(names["Basic"], done.median(names["Basic"]))
    ratio = done.ratio(names["a token"], names["Basic"])
    row = Row.of(names["a token"], done.median(names["a token"]))
    yield row.with_target(f">= {LEAST:.2f} of Basic", ratio >= LEAST, ratio)


def _new_token(url: str, authorization: str) -> str:
    """Return the secret of a new token."""
    headers = {"Authorization": authorization, "Content-Type": "application/json"}
    request = Request(url, b'{"name": "bench"}', headers)
    with urlopen(request, timeout=10) as answer:
        secret: str = json.load(answer)["data"]["secret"]
    return secret
