"""Measure questions about tasks while many changes wait, and what moves many tasks at once."""

import statistics
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Final
from urllib.parse import urlsplit

from bench import callers, cpu, search, seed
from bench.pending import PENDING
from bench.sites import OWNER, Site, Stage
from bench.sizes import Sizes
from bench.table import Row
from bench.wrk import Operation, basic

PATH: Final = "/tasks/filter?overdue=true&sort=deadline&limit=50"
MEDIAN_MOST_MS: Final = 6
ALIKE: Final = 1.2
"""The median at the larger size divided by that at the smaller one is at most this."""
CALLERS: Final = {"owner": OWNER, "group admin": (2, seed.PASSWORD), "user": (3, seed.PASSWORD)}
BATCH, BATCHES, BATCH_LEAST = 1000, 40, 10_000
PAGE_MOST_MS: Final = 30
CSV_MOST_MIB: Final = 30
SECONDS: Final = 5


def questions(stage: Stage, sizes: Sizes) -> Iterator[Row]:
    """Measure what is overdue at two sizes, then creating, following and exporting."""
    medians: dict[str, list[float]] = {name: [] for name in CALLERS}
    for tasks in (sizes.middle, sizes.large):
        site, number = stage.site(tasks), min(PENDING, tasks // 2)
        search.fill_database(site)
        search.make_dirty(stage, site, number)
        for name, by in CALLERS.items():
            operation = Operation(stage.url(site), PATH, by, connections=1)
            for _ in range(8):  # each web process reads all changes once
                callers.send(stage.url(site), "GET", PATH, basic(*by))
            sample = operation.measure(SECONDS)
            medians[name].append(sample.p50_ms)
            row = Row.of(f"overdue, by deadline: {name}, {tasks} tasks, {number} wait", sample)
            yield row.with_target(f"p50 <= {MEDIAN_MOST_MS} ms", sample.p50_ms <= MEDIAN_MOST_MS)
        yield _page(stage, site)
    for name, (one, other) in medians.items():
        row = Row(f"overdue, by deadline, larger / smaller size: {name}", other / one, "times")
        yield row.with_target(f"<= {ALIKE}", other / one <= ALIKE)
    yield _created(stage, sizes)
    yield _exported(stage, sizes)


def _page(stage: Stage, site: Site) -> Row:
    path = f"/tasks/changes?since=0&limit={BATCH}"
    sample = Operation(stage.url(site), path, OWNER, connections=1).measure(SECONDS)
    row = Row.of(f"/tasks/changes, {BATCH} of {site.population.tasks} tasks", sample)
    return row.with_target(f"p50 <= {PAGE_MOST_MS} ms", sample.p50_ms <= PAGE_MOST_MS)


def _created(stage: Stage, sizes: Sizes) -> Row:
    """Measure one batch after the other; its body is too long for an argument of wrk."""
    task = {"title": "Created in a batch", "group_id": 1, "information": "x" * 80}
    body = {"action": "create", "tasks": [task] * BATCH}
    url = stage.url(stage.site(sizes.middle))
    times = []
    for _ in range(BATCHES):
        began = time.perf_counter()
        callers.send(url, "POST", "/tasks/batch", callers.OWNER_LOGIN, body)
        times.append(time.perf_counter() - began)
    rate = BATCH / statistics.median(times)
    row = Row(f"POST /tasks/batch that creates {BATCH}", rate, "tasks/s")
    return row.with_target(f">= {BATCH_LEAST} tasks/s", rate >= BATCH_LEAST)


def _exported(stage: Stage, sizes: Sizes) -> Row:
    """Measure the memory that a web process takes to send all tasks as CSV."""
    site, others = stage.site(2 * sizes.middle), cpu.web_processes()
    with stage.serve(site) as url:
        for _ in range(4):  # over both web processes
            callers.send(url, "GET", "/tasks/filter?limit=1000", callers.OWNER_LOGIN)
        serving = cpu.web_processes() - others
        before, after = cpu.largest(serving), 0
        for _ in range(4):
            connection = HTTPConnection(urlsplit(url).netloc, timeout=60)
            headers = {"Authorization": callers.OWNER_LOGIN}
            connection.request("GET", "/tasks/filter?format=csv", headers=headers)
            response = connection.getresponse()
            while response.read(1 << 20):
                after = max(after, cpu.largest(serving))
            connection.close()
    taken = (after - before) / 2**20
    row = Row(f"{site.population.tasks} tasks as CSV: memory of the web process", taken, "MiB")
    return row.with_target(f"<= {CSV_MOST_MIB} MiB", taken <= CSV_MOST_MIB)
