"""Measure searches with and without PostgreSQL's index, while a thousand tasks are dirty."""

import statistics
import time
from collections.abc import Iterator

import psycopg2

from bench import copies, seed
from bench.progress import say
from bench.sites import OWNER, Site, Stage
from bench.sizes import Sizes
from bench.table import Row
from bench.wrk import Operation, Sample, Tasks
from taskapi.sync import bootstrap, sync_pass

DIRTY = 1000
INDEXED_MOST_MS = 5
SCAN_MOST = 1.2
BLOCKED_MOST_MS = 10
SLOW_US = 500
PATH = f"/tasks/search?q={seed.NEEDLE}&limit=50"
_SCAN = "SELECT id FROM tasks WHERE folded LIKE %s ORDER BY id LIMIT 50"


def search(stage: Stage, sizes: Sizes) -> Iterator[Row]:
    """Measure searches for a rare word, one at a time."""
    blocked: list[float] = []
    for tasks in (sizes.middle, sizes.large):
        site = stage.site(tasks)
        fill_database(site)
        if stage.has_trigrams:
            yield _indexed(stage, site, sizes, blocked)
            copies.drop_search(site)
        yield _scanned(stage, site, sizes, blocked)
    if not stage.has_trigrams:
        yield Row("search with pg_trgm: not measured, Debian's postgresql-15 is missing", 0, "")
    yield longest_command("searches", blocked)


def longest_command(what: str, blocked: list[float]) -> Row:
    """Return a row for the longest of these times, in ms."""
    row = Row(f"Redis' longest command during {what}", max(blocked), "ms")
    return row.with_target(f"<= {BLOCKED_MOST_MS} ms", max(blocked) <= BLOCKED_MOST_MS)


def fill_database(site: Site) -> None:
    """Copy everything to PostgreSQL, then create its search index."""
    (count,) = site.sql("SELECT count(*) FROM tasks")
    if count == (0,):
        copies.in_child(site, "sync")
    sync_pass.run(site.settings, site.store)
    say(f"indexing {site.population.tasks} tasks")
    bootstrap.prepare(site.settings)
    site.sql("VACUUM ANALYZE tasks")


def _indexed(stage: Stage, site: Site, sizes: Sizes, blocked: list[float]) -> Row:
    sample = _measure(stage, site, sizes.rounds, blocked)
    row = Row.of(f"GET /tasks/search with pg_trgm, {site.population.tasks} tasks", sample)
    return row.with_target(f"p50 <= {INDEXED_MOST_MS} ms", sample.p50_ms <= INDEXED_MOST_MS)


def _scanned(stage: Stage, site: Site, sizes: Sizes, blocked: list[float]) -> Row:
    samples, ratios = [], []
    for _ in range(sizes.copies):
        samples.append(_measure(stage, site, 4, blocked))
        ratios.append(samples[-1].p50_ms / _scan_ms(site))
    ratio = statistics.median(ratios)
    sample = Sample(*map(statistics.median, zip(*samples, strict=True)))
    row = Row.of(f"GET /tasks/search without pg_trgm, {site.population.tasks} tasks", sample)
    return row.with_target(f"p50 <= {SCAN_MOST} of PostgreSQL's scan", ratio <= SCAN_MOST, ratio)


def _measure(stage: Stage, site: Site, seconds: int, blocked: list[float]) -> Sample:
    """Search for `seconds`; append the time of Redis' longest command, in ms, to `blocked`."""
    say(f"searching {site.population.tasks} tasks")
    make_dirty(stage, site)
    operation = Operation(stage.url(site), PATH, OWNER, connections=1)
    operation.measure()
    return watched(site, operation, seconds, blocked)


def watched(site: Site, operation: Operation, seconds: int, blocked: list[float]) -> Sample:
    """Measure an operation; append the time of Redis' longest command, in ms, to `blocked`."""
    connection = site.store.connection
    connection.execute(("CONFIG", "SET", "slowlog-log-slower-than", SLOW_US), ("SLOWLOG", "RESET"))
    sample = operation.measure(seconds)
    (slow,) = connection.execute(("SLOWLOG", "GET", 128))
    blocked.append(max((entry[2] for entry in slow), default=SLOW_US) / 1000)
    return sample


def make_dirty(stage: Stage, site: Site, most: int = DIRTY) -> None:
    """Change tasks through the API until `most` are dirty."""
    body = '{"task_ids":[{tasks}],"updates":{"title":"Dirty {n}"}}'
    spread = Tasks(step=site.population.tasks // most, count=most)
    skip = time.time_ns() // 1_000_000  # so that each title is new
    batch = Operation(
        *(stage.url(site), "/tasks/batch", OWNER, "POST", body, spread, DIRTY),
        connections=1,
        skip=skip - skip % most,
    )
    while site.store.connection.execute(("ZCARD", site.store.keys.dirty))[0] < most:
        batch.measure()


def _scan_ms(site: Site, times: int = 5) -> float:
    """Return the ms that PostgreSQL alone needs for the same search."""
    connection = psycopg2.connect(site.settings.database_url)
    taken = []
    with connection.cursor() as cursor:
        for _ in range(times):
            begin = time.perf_counter()
            cursor.execute(_SCAN, (f"%{seed.NEEDLE}%",))
            cursor.fetchall()
            taken.append(1000 * (time.perf_counter() - begin))
    connection.close()
    return statistics.median(taken)
