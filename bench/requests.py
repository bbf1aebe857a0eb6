"""Compare single requests with the limits R and W, measured in turn."""

from collections.abc import Iterator
from typing import NamedTuple

from bench import seed
from bench.sites import OWNER, Site, Stage
from bench.sizes import Sizes
from bench.table import Row
from bench.wrk import Operation, Rounds, Tasks

BATCH = 1000
BATCH_LEAST = 10_000
INFORMATION = "x" * 80


class Aim(NamedTuple):
    """An operation, and the smallest ratio to the limit that it must reach."""

    operation: Operation
    least: float


def read(stage: Stage, sizes: Sizes) -> Iterator[Row]:
    """Measure reads and compare them with R."""
    site = stage.site(sizes.middle)
    url, user_id = stage.url(site), site.population.reader
    own = Tasks(first=site.population.tasks + 1, count=seed.OWN)
    limit = Operation(stage.limit_url(), "/r")
    aims = {
        "GET /users/{id}/tasks/{tid}": Aim(
            Operation(url, f"/users/{user_id}/tasks/{{task}}", site.reader, tasks=own), 0.85
        ),
        "GET /users/{id}": Aim(Operation(url, f"/users/{user_id}", site.reader), 0.85),
        "GET /health": Aim(Operation(url, "/health"), 0.90),
        "GET /users/{id}/tasks, 50 tasks": Aim(
            Operation(url, f"/users/{user_id}/tasks?limit=50", site.reader), 0.45
        ),
        "GET /tasks/filter?limit=50, owner": Aim(
            Operation(url, "/tasks/filter?limit=50", OWNER), 0.40
        ),
    }
    yield from _beside(limit, "R", aims, sizes.rounds)


def write(stage: Stage, sizes: Sizes) -> Iterator[Row]:
    """Measure changes and compare them with W; concurrent requests change different tasks."""
    site = stage.site(sizes.middle)
    url, user_id = stage.url(site), site.population.reader
    own = Tasks(first=site.population.tasks + 1, count=seed.OWN)
    task = f"/users/{user_id}/tasks/{{task}}"
    limit = Operation(stage.limit_url(), "/w", method="POST")
    fields = f'{{"title":"Task number {{n}}","group_id":1,"information":"{INFORMATION}"}}'
    aims = {
        "POST /users/{id}/tasks": Aim(
            Operation(url, f"/users/{user_id}/tasks", site.reader, "POST", fields), 0.65
        ),
        "PUT /users/{id}/tasks/{tid}": Aim(
            Operation(url, task, site.reader, "PUT", '{"title":"Title number {n}"}', own), 0.70
        ),
        "PUT /users/{id}/tasks/{tid}/done": Aim(_finish(url, site), 0.70),
    }
    yield from _beside(limit, "W", aims, sizes.rounds)
    yield _batch(url, site, sizes.rounds)


def _finish(url: str, site: Site) -> Operation:
    """Return requests that finish the tasks with odd ids, which are pending, each only once."""
    population = site.population
    pending = Tasks(first=1, step=2, count=population.tasks // 2, users=population.users)
    path = "/users/{user}/tasks/{task}/done"
    return Operation(url, path, OWNER, "PUT", tasks=pending, is_once=True)


def _batch(url: str, site: Site, rounds: int) -> Row:
    body = '{"task_ids":[{tasks}],"updates":{"title":"Batch {n}"}}'
    spread = Tasks(count=site.population.tasks)
    operation = Operation(url, "/tasks/batch", OWNER, "POST", body, spread, BATCH, connections=1)
    sample = Rounds({"batch": operation}).run("batch", rounds, seconds=2).median("batch")
    row = Row.of(f"POST /tasks/batch of {BATCH}", sample, "tasks/s", BATCH)
    return row.with_target(f">= {BATCH_LEAST} tasks/s", row.value >= BATCH_LEAST)


def _beside(limit: Operation, name: str, aims: dict[str, Aim], rounds: int) -> Iterator[Row]:
    operations = {name: limit} | {what: aim.operation for what, aim in aims.items()}
    done = Rounds(operations).run(f"beside {name}", rounds)
    yield Row.of(name, done.median(name))
    for what, aim in aims.items():
        ratio = done.ratio(what, name)
        row = Row.of(what, done.median(what))
        yield row.with_target(f">= {aim.least:.2f} {name}", ratio >= aim.least, ratio)
