"""Measure passes and restores of many tasks, and compare them with copying the rows alone."""

import io
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import redis

from bench import seed
from bench.progress import say
from bench.sites import ROOT, Site, Stage
from bench.sizes import Sizes
from bench.table import Row
from bench.wrk import Sample
from taskapi.store.keys import Keys, Kind
from taskapi.sync import restore, sync_pass

CHANGED_LEAST, NEW_LEAST, RESTORED_LEAST = 45_000, 37_000, 35_000
RAW_LEAST = 0.5
NOTHING_MOST_MS = 10
NOTHING_PASSES = 50
FLAT_MOST = 1.15
"""Largest permitted ratio of peak memory for ten times as many rows."""
BYTES_MOST = 1000
_COLUMNS = (
    "id, title, status, priority, deadline, information, user_id, group_id,"
    " created_at, updated_at, version, folded"
)
_UPSERT = f"""
INSERT INTO tasks AS old SELECT * FROM raw
    ON CONFLICT (id) DO UPDATE SET ({_COLUMNS}) = ROW(excluded.*)
 WHERE excluded.version > old.version
"""


def sync(stage: Stage, sizes: Sizes) -> Iterator[Row]:
    """Measure passes; compare each with a raw COPY and upsert of the same rows."""
    site = stage.site(sizes.middle, "sync")
    drop_search(site)
    rates: dict[str, list[float]] = {"new": [], "raw new": [], "changed": [], "raw changed": []}
    for number in range(sizes.copies):
        say(f"sync: round {number + 1} of {sizes.copies}")
        site.sql("TRUNCATE tasks")
        seed.mark(site.store)
        rates["new"].append(_pass(site))
        rows = _export(site, "version")
        site.sql("TRUNCATE tasks")
        rates["raw new"].append(_raw(site, rows))
        seed.change_tasks(site.store, site.population)
        rates["changed"].append(_pass(site))
        rates["raw changed"].append(_raw(site, _export(site, "version + 1")))
    yield from _beside_raw("changed", rates, CHANGED_LEAST)
    yield from _beside_raw("new", rates, NEW_LEAST)
    yield _nothing(site)


def restored(stage: Stage, sizes: Sizes) -> Iterator[Row]:
    """Measure restores; compare them with a pipeline of the same commands."""
    site = stage.site(sizes.middle, "restore")
    drop_search(site)
    seed.mark(site.store)
    sync_pass.run(site.settings, site.store)
    rates: dict[str, list[float]] = {"restore": [], "raw": []}
    for number in range(sizes.copies):
        say(f"restore: round {number + 1} of {sizes.copies}")
        rows = sizes.middle + seed.OWN
        rates["restore"].append(_rate(rows, lambda: restore.force(site.settings, site.store)))
        rates["raw"].append(_pipelined(stage, site))
    rate, raw = (statistics.median(rates[name]) for name in rates)
    yield Row("a plain pipeline of the restore's commands", raw, "tasks/s")
    row = Row(f"restore of {sizes.middle} tasks", rate, "tasks/s")
    yield row.with_target(f">= {RESTORED_LEAST} tasks/s", rate >= RESTORED_LEAST, rate / raw)


def memory(stage: Stage, sizes: Sizes) -> Iterator[Row]:
    """Measure the memory of a task in Redis, and the peak memory of the worker at two sizes."""
    sites = [stage.site(tasks) for tasks in (sizes.middle, sizes.large)]
    for site in sites:
        taken = site.bytes_per_task
        row = Row(
            f"memory in Redis of a task of 100 characters, {site.population.tasks} tasks",
            taken,
            "bytes",
        )
        yield row.with_target(f"<= {BYTES_MOST} bytes", taken <= BYTES_MOST)
    for action in ("sync", "restore"):
        few, many = (in_child(site, action) for site in sites)
        yield Row(f"worker's peak memory, {action} of {few['rows']} rows", few["peak_mib"], "MiB")
        row = Row(f"worker's peak memory, {action} of {many['rows']} rows", many["peak_mib"], "MiB")
        ratio = many["peak_mib"] / few["peak_mib"]
        yield row.with_target(f"<= {FLAT_MOST} of {few['rows']} rows", ratio <= FLAT_MOST, ratio)


def in_child(site: Site, action: str) -> dict[str, Any]:
    """Run a pass that writes everything, or a restore, in its own process; return its report."""
    say(f"{action} of {site.population.tasks} tasks in its own process")
    if action == "sync":
        drop_search(site)
        site.sql("TRUNCATE tasks")
        seed.mark(site.store)
    command = [sys.executable, "-m", "bench.child", action]
    done = subprocess.run(command, cwd=ROOT, env=site.env, capture_output=True, check=False)
    if done.returncode:
        sys.exit(f"{action} failed: {done.stderr.decode()}")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def drop_search(site: Site) -> None:
    """Drop the search index, so that the table is as without pg_trgm."""
    site.sql("DROP INDEX IF EXISTS tasks_search")


def _beside_raw(what: str, rates: dict[str, list[float]], least: float) -> Iterator[Row]:
    rate, raw = statistics.median(rates[what]), statistics.median(rates[f"raw {what}"])
    pairs = zip(rates[what], rates[f"raw {what}"], strict=True)
    ratio = statistics.median(one / other for one, other in pairs)
    yield Row(f"raw COPY and upsert of {what} tasks", raw, "rows/s")
    row = Row(f"sync of {what} tasks", rate, "rows/s")
    is_met = rate >= least and ratio >= RAW_LEAST
    yield row.with_target(f">= {least} rows/s, >= {RAW_LEAST} raw", is_met, ratio)


def _nothing(site: Site) -> Row:
    sync_pass.run(site.settings, site.store)
    times = sorted(
        1000 / _rate(1, lambda: sync_pass.run(site.settings, site.store))
        for _ in range(NOTHING_PASSES)
    )
    sample = Sample(1000 / statistics.mean(times), statistics.median(times), times[-1])
    row = Row.of("a pass with nothing to do", sample, "passes/s")
    return row.with_target(f"p50 <= {NOTHING_MOST_MS} ms", sample.p50_ms <= NOTHING_MOST_MS)


def _pass(site: Site) -> float:
    site.sql("VACUUM ANALYZE tasks")
    rows = site.population.tasks + seed.OWN
    return _rate(rows, lambda: sync_pass.run(site.settings, site.store))


def _rate(rows: int, work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return rows / (time.perf_counter() - begin)


def _export(site: Site, version: str) -> bytes:
    """Return all rows as COPY writes them."""
    data, columns = io.BytesIO(), _COLUMNS.replace("version", version)
    with psycopg2.connect(site.settings.database_url) as connection:
        cursor = connection.cursor()
        cursor.copy_expert(f"COPY (SELECT {columns} FROM tasks ORDER BY id) TO STDOUT", data)
    connection.close()
    return data.getvalue()


def _raw(site: Site, rows: bytes) -> float:
    """Return the rate, in rows/s, of one COPY and one upsert of rows in COPY format."""
    site.sql("VACUUM ANALYZE tasks")
    connection = psycopg2.connect(site.settings.database_url)

    def copy() -> None:
        with connection, connection.cursor() as cursor:
            cursor.execute("CREATE TEMP TABLE raw (LIKE tasks) ON COMMIT DROP")
            cursor.copy_expert(f"COPY raw ({_COLUMNS}) FROM STDIN", io.BytesIO(rows))
            cursor.execute(_UPSERT)

    try:
        return _rate(rows.count(b"\n"), copy)
    finally:
        connection.close()


def _pipelined(stage: Stage, site: Site) -> float:
    """Return the rate at which redis-py's pipeline writes the tasks and their indexes."""
    keys = Keys("raw")
    commands = [
        command
        for task in seed.all_tasks(site.population)
        for command in seed.writes(keys, Kind.TASK, None, task)
    ]
    client = redis.Redis.from_url(stage.valkey.url)

    def send() -> None:
        for batch in seed.batches(commands):
            pipeline: Any = client.pipeline(transaction=False)
            for command in batch:
                pipeline.execute_command(*command)
            pipeline.execute()

    with client:
        rate = _rate(site.population.tasks + seed.OWN, send)
        for names in seed.batches(client.scan_iter(keys.root + "*", count=seed.BATCH)):
            client.unlink(*names)
    return rate
