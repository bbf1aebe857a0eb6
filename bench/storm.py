"""Measure many first log-ins at once, and requests of other users meanwhile."""

import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from threading import Barrier
from typing import NamedTuple
from urllib.parse import urlsplit

from bench import seed
from bench.progress import say
from bench.sites import Stage
from bench.sizes import Sizes
from bench.table import Row
from bench.wrk import Operation, basic

FEW, MANY = 20, 100
LONGEST_SECONDS = 3
OTHERS_MS = 100
FIRST_LOGIN_MS = 500
OTHERS_SECONDS = 5
OTHERS = 2
"""Connections of a user whose password has been checked before."""


class Answer(NamedTuple):
    """What a request got, and when, in seconds after the storm began."""

    status: int
    retry_after: str | None
    seconds: float


def storm(stage: Stage, sizes: Sizes) -> Iterator[Row]:
    """Measure twenty and a hundred log-ins at once, each with a service that has just started."""
    site = stage.site(sizes.middle)
    for number in (FEW, MANY):
        say(f"{number} first log-ins at once")
        with stage.serve(site) as url, ThreadPoolExecutor(number + 1) as pool:
            known = Operation(
                url, f"/users/{site.population.reader}", site.reader, connections=OTHERS
            )
            before = known.measure()
            others = pool.submit(known.measure, OTHERS_SECONDS)
            answers = _all_at_once(pool, url, range(2, 2 + number))
            during = others.result()
            later = _log_in(url, 2 + number, time.perf_counter())
        yield _row(number, answers, later)
        yield Row.of(f"other users before {number} log-ins", before)
        row = Row.of(f"other users during {number} log-ins, {OTHERS_SECONDS} s", during)
        yield row.with_target(f"p99 {OTHERS_MS} ms", during.p99_ms <= OTHERS_MS)


def _all_at_once(pool: ThreadPoolExecutor, url: str, user_ids: range) -> list[Answer]:
    start = Barrier(len(user_ids))
    begin = time.perf_counter()

    def log_in(user_id: int) -> Answer:
        start.wait()
        return _log_in(url, user_id, begin)

    return list(pool.map(log_in, user_ids))


def _log_in(url: str, user_id: int, begin: float) -> Answer:
    connection = HTTPConnection(urlsplit(url).netloc, timeout=30)
    headers = {"Authorization": basic(user_id, seed.PASSWORD)}
    connection.request("GET", f"/users/{user_id}", headers=headers)
    response = connection.getresponse()
    response.read()
    connection.close()
    seconds = time.perf_counter() - begin
    return Answer(response.status, response.headers["Retry-After"], seconds)


def _row(number: int, answers: list[Answer], later: Answer) -> Row:
    admitted = sum(answer.status == 200 for answer in answers)
    refused = sum(answer.status == 503 and bool(answer.retry_after) for answer in answers)
    times = sorted(1000 * answer.seconds for answer in answers)
    row = Row(
        f"{number} first log-ins at once: {admitted} logged in, {refused} got Retry-After",
        number / times[-1] * 1000,
        "requests/s",
        statistics.median(times),
        times[-1],
    )
    is_normal = later.status == 200 and later.seconds <= FIRST_LOGIN_MS / 1000
    is_met = admitted + refused == number and times[-1] <= 1000 * LONGEST_SECONDS and is_normal
    return row.with_target(f"200 or 503, normal again within {LONGEST_SECONDS} s", is_met)
