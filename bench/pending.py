"""Measure searches while many changes wait for the next pass, and an admin of many groups."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from urllib.parse import urlsplit

from bench import search, seed
from bench.sites import OWNER, Site, Stage
from bench.sizes import Sizes
from bench.table import Row
from bench.wrk import Operation, Sample, basic

PENDING = 50_000
MEDIAN_MOST_MS, WORST_MOST_MS = 5, 50
SECONDS = 10
CHANGES_A_SECOND, CHANGES_AT_ONCE = 500, 10
WIDE_PATHS = {
    f"/tasks/search?q={seed.NEEDLE}&limit=50": MEDIAN_MOST_MS,
    "/tasks/search?q=ba&limit=50": MEDIAN_MOST_MS,
    "/tasks/filter?limit=50": 15,
    "/groups/{group}/tasks?limit=50": 10,
    "/tasks/stats": 30,
}
"""Path of a wide admin -> its highest median, in ms."""


def pending(stage: Stage, sizes: Sizes) -> Iterator[Row]:
    """Measure requests one at a time: searches alone and during changes, then a wide admin's."""
    for tasks in (sizes.middle, sizes.large):
        site, number = stage.site(tasks), min(PENDING, tasks // 2)
        search.fill_database(site)
        search.make_dirty(stage, site, number)
        operation = Operation(stage.url(site), search.PATH, OWNER, connections=1)
        yield _first(operation, f"{number} changes wait, {tasks} tasks")
        yield from _measured(site, operation, f"search, {number} changes wait, {tasks} tasks")
        with _changing(stage.url(site)):
            name = f"the same during {CHANGES_A_SECOND} changes a second"
            yield from _measured(site, operation, name)
    yield from _wide(stage, sizes)


def _first(operation: Operation, what: str) -> Row:
    """Return the longest of the first searches, in which each web process reads all changes."""
    worst_ms = max(operation.measure(3).worst_ms for _ in range(4))
    return Row(f"first search of a process, {what}", worst_ms, "ms")


def _measured(
    site: Site, operation: Operation, name: str, median_most_ms: int = MEDIAN_MOST_MS
) -> Iterator[Row]:
    blocked: list[float] = []
    sample = search.watched(site, operation, SECONDS, blocked)
    row = Row.of(f"{name}: worst {sample.worst_ms:.1f} ms", sample)
    target = f"p50 <= {median_most_ms} ms, worst <= {WORST_MOST_MS} ms"
    yield row.with_target(target, _is_met(sample, median_most_ms))
    yield search.longest_command("this", blocked)


def _is_met(sample: Sample, median_most_ms: int) -> bool:
    return sample.p50_ms <= median_most_ms and sample.worst_ms <= WORST_MOST_MS


def _wide(stage: Stage, sizes: Sizes) -> Iterator[Row]:
    """Measure requests of an admin of many groups, whose tasks all wait for the next pass."""
    site = stage.site(sizes.middle, "wide")
    search.fill_database(site)
    by = seed.add_wide_admin(site.store, site.population), seed.PASSWORD
    group = str(site.population.groups + 1)
    for path, median_most_ms in WIDE_PATHS.items():
        operation = Operation(stage.url(site), path.replace("{group}", group), by, connections=1)
        for _ in range(3):
            operation.measure()
        yield from _measured(site, operation, f"GET {path}, wide admin", median_most_ms)


@contextmanager
def _changing(url: str) -> Iterator[None]:
    """Change tasks in small batches inside the block."""
    stop = threading.Event()
    thread = threading.Thread(target=_change, args=(url, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _change(url: str, stop: threading.Event) -> None:
    connection = HTTPConnection(urlsplit(url).netloc, timeout=30)
    headers = {"Authorization": basic(*OWNER), "Content-Type": "application/json"}
    first, due = 1, time.monotonic()
    while not stop.wait(max(0.0, due - time.monotonic())):
        ids = list(range(first, first + CHANGES_AT_ONCE))
        body = f'{{"task_ids":{ids},"updates":{{"title":"{time.time_ns()}"}}}}'
        connection.request("POST", "/tasks/batch", body, headers)
        response = connection.getresponse()
        if response.status != 200:
            sys.exit(f"POST /tasks/batch: {response.read()!r}")
        response.read()
        first, due = first + CHANGES_AT_ONCE, due + CHANGES_AT_ONCE / CHANGES_A_SECOND
    connection.close()
