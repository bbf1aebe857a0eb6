"""Compare requests of many callers with the limits R and W, measured in turn."""

import statistics
from collections.abc import Callable, Iterator
from typing import NamedTuple

from bench import callers
from bench.progress import say
from bench.sites import OWNER, Stage
from bench.sizes import Sizes
from bench.table import Row
from bench.wrk import Callers, Operation, Rounds, Sample, Tasks, median

BATCH = 1000
BATCH_LEAST = 10_000
INFORMATION = "x" * 80
TASK, SAME = "/users/{caller}/tasks/{own}", "/users/{caller}/tasks/{same}"
APART = 15_000 * 10**5
"""From the first {n} of an operation to that of the next: more than one sends, and a multiple of
the callers' tasks."""


class Aim(NamedTuple):
    """A kind of request, and the smallest ratio to the limit that it must reach.

    Attributes:
        is_public: nobody logs in.
        prepare: called before each measurement.
    """

    method: str
    path: str
    least: float
    body: str = ""
    is_public: bool = False
    prepare: Callable[[], object] = lambda: None


def read(stage: Stage, sizes: Sizes) -> Iterator[Row]:
    """Measure reads and compare them with R."""
    aims = {
        "GET /health": Aim("GET", "/health", 0.95, is_public=True),
        "GET /users/{id}/tasks/{tid}": Aim("GET", TASK, 0.85),
        "GET /users/{id}": Aim("GET", "/users/{caller}", 0.85),
        "GET /users/{id}/tasks, 50 tasks": Aim("GET", "/users/{caller}/tasks?limit=50", 0.55),
        "GET /tasks/filter, 50 tasks": Aim("GET", "/tasks/filter?limit=50", 0.55),
        "GET /tasks/stats": Aim("GET", "/tasks/stats", 0.75),
    }
    url, everyone = many_callers(stage, sizes)
    yield from _beside(Operation(stage.limit_url(), "/r"), "R", url, everyone, aims, sizes)


def write(stage: Stage, sizes: Sizes) -> Iterator[Row]:
    """Measure changes and compare them with W; concurrent requests change different tasks."""
    url, everyone = many_callers(stage, sizes)
    fields = f'{{"title":"Task number {{n}}","group_id":{{group}},"information":"{INFORMATION}"}}'
    title, some = '{"title":"Title number {n}"}', everyone[", Basic"]
    aims = {
        "POST /users/{id}/tasks": Aim("POST", "/users/{caller}/tasks", 0.65, fields),
        "PUT /users/{id}/tasks/{tid}": Aim("PUT", TASK, 0.75, title),
        "PUT the same task again": Aim("PUT", SAME, 0.75, title),
        "PUT /users/{id}/tasks/{tid}/done": Aim(
            "PUT", f"{TASK}/done", 0.75, prepare=lambda: callers.reopen_tasks(url, some)
        ),
    }
    limit = Operation(stage.limit_url(), "/w", method="POST")
    yield from _beside(limit, "W", url, everyone, aims, sizes)
    yield _batch(stage, sizes)


def many_callers(stage: Stage, sizes: Sizes) -> tuple[str, dict[str, Callers]]:
    """Return the URL of the service and, by how they log in, its callers."""
    site = stage.site(sizes.middle, "callers", callers.USERS)
    url = stage.url(site)
    if not stage.callers:
        stage.callers = {
            ", Basic": callers.by_basic(site, url, stage.folder),
            ", token": callers.by_token(site, url, stage.folder),
        }
    return url, stage.callers


def _beside(
    limit: Operation,
    name: str,
    url: str,
    everyone: dict[str, Callers],
    aims: dict[str, Aim],
    sizes: Sizes,
) -> Iterator[Row]:
    """Measure each kind of request by each kind of caller, each between two runs of the limit."""
    limits: list[Sample] = []
    for what, aim in aims.items():
        operations = _operations(url, everyone, aim)
        samples: dict[str, list[Sample]] = {how: [] for how in operations}
        ratios: dict[str, list[float]] = {how: [] for how in operations}
        before = limit.measure()
        for number in range(sizes.rounds // 2 + 2):
            say(f"{what} beside {name}: round {number} of {sizes.rounds // 2 + 1}")
            for how, operation in operations.items():
                aim.prepare()
                sample, after = operation.measure(), limit.measure()
                if number:  # the first round is a warm-up
                    limits.append(after)
                    samples[how].append(sample)
                    ratios[how].append((before.cpu_us + after.cpu_us) / 2 / sample.cpu_us)
                before = after
        for how in operations:
            ratio = statistics.median(ratios[how])
            row = Row.of(what + how, median(samples[how]))
            target = f"CPU of {name} / CPU >= {aim.least:.2f}"
            yield row.with_target(target, ratio >= aim.least, ratio)
    yield Row.of(name, median(limits))


def _operations(url: str, everyone: dict[str, Callers], aim: Aim) -> dict[str, Operation]:
    """Return the requests by kind of caller; no two of them send the same title to a task."""
    if aim.is_public:
        return {"": Operation(url, aim.path)}
    operations = {}
    for i, (how, some) in enumerate(everyone.items()):
        operations[how] = Operation(url, aim.path, some, aim.method, aim.body, skip=i * APART)
    return operations


def _batch(stage: Stage, sizes: Sizes) -> Row:
    site = stage.site(sizes.middle)
    body = '{"task_ids":[{tasks}],"updates":{"title":"Batch {n}"}}'
    spread, url = Tasks(count=site.population.tasks), stage.url(site)
    operation = Operation(url, "/tasks/batch", OWNER, "POST", body, spread, BATCH, connections=1)
    sample = Rounds({"batch": operation}).run("batch", sizes.rounds, seconds=2).median("batch")
    row = Row.of(f"POST /tasks/batch of {BATCH}", sample, "tasks/s", BATCH)
    return row.with_target(f">= {BATCH_LEAST} tasks/s", row.value >= BATCH_LEAST)
