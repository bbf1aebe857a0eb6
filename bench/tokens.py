"""Compare requests with a token with the same requests with a remembered password."""

from collections.abc import Iterator

from bench.callers import send
from bench.sites import Stage
from bench.sizes import Sizes
from bench.table import Row
from bench.wrk import Operation, Rounds, basic

LEAST = 0.95


def tokens(stage: Stage, sizes: Sizes) -> Iterator[Row]:
    """Measure reads of a user with a token and with Basic, in the same rounds."""
    site = stage.site(sizes.middle)
    url, path = stage.url(site), f"/users/{site.population.reader}"
    made = send(url, "POST", f"{path}/tokens", basic(*site.reader), {"name": "bench"})
    by = {"Basic": site.reader, "a token": made["secret"]}
    names = {how: f"GET /users/{{id}} with {how}" for how in by}
    operations = {names[how]: Operation(url, path, each) for how, each in by.items()}
    done = Rounds(operations).run("tokens", sizes.rounds)
    yield Row.of(names["Basic"], done.median(names["Basic"]))
    ratio = done.ratio(names["a token"], names["Basic"])
    row = Row.of(names["a token"], done.median(names["a token"]))
    yield row.with_target(f">= {LEAST:.2f} of Basic", ratio >= LEAST, ratio)
