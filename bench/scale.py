"""Measure whether requests cost the same for any number of tasks."""

from collections.abc import Iterator

from bench import seed
from bench.sites import OWNER, Site, Stage
from bench.sizes import Sizes
from bench.table import Row
from bench.wrk import Operation, Rounds

LEAST = 0.85
OWNERS_MOST_MS = 100
ADMIN, MEMBER = 2, 3
"""Ids of the admin and of a member of group 1; both have tasks in every installation."""


def scale(stage: Stage, sizes: Sizes) -> Iterator[Row]:
    """Measure the same requests at three sizes, in turn."""
    steps = (sizes.small, sizes.middle, sizes.large)
    sites = {tasks: stage.site(tasks) for tasks in steps}
    for what, (path, user_id) in _requests().items():
        operations = {
            str(tasks): Operation(stage.url(site), path, _login(user_id))
            for tasks, site in sites.items()
        }
        done = Rounds(operations).run(what, sizes.rounds)
        for tasks in steps:
            yield _row(what, tasks, done, str(sizes.small))
    yield from _owners_statistics(stage, sizes, [sites[tasks] for tasks in steps[1:]])


def _requests() -> dict[str, tuple[str, int]]:
    return {
        "GET /tasks/filter?limit=50, owner": ("/tasks/filter?limit=50", OWNER[0]),
        "GET /tasks/stats, user": ("/tasks/stats", MEMBER),
        "GET /tasks/stats, group admin": ("/tasks/stats", ADMIN),
        "GET /groups/{id}": ("/groups/1", MEMBER),
    }


def _login(user_id: int) -> tuple[int, str]:
    return OWNER if user_id == OWNER[0] else (user_id, seed.PASSWORD)


def _row(what: str, tasks: int, done: Rounds, base: str) -> Row:
    row = Row.of(f"{what}, {tasks} tasks", done.median(str(tasks)))
    if str(tasks) == base:
        return row
    ratio = done.ratio(str(tasks), base)
    return row.with_target(f">= {LEAST} of {base} tasks", ratio >= LEAST, ratio)


def _owners_statistics(stage: Stage, sizes: Sizes, sites: list[Site]) -> Iterator[Row]:
    operations = {
        str(site.population.tasks): Operation(stage.url(site), "/tasks/stats", OWNER, connections=1)
        for site in sites
    }
    done = Rounds(operations).run("owner's statistics", sizes.rounds)
    base, *_ = operations
    for site in sites:
        sample = done.median(str(site.population.tasks))
        ratio = done.ratio(str(site.population.tasks), base)
        name = (
            f"GET /tasks/stats, owner, {site.population.users} users, {site.population.tasks} tasks"
        )
        is_met = sample.p50_ms <= OWNERS_MOST_MS and ratio >= LEAST
        target = f"p50 <= {OWNERS_MOST_MS} ms, >= {LEAST} of {base} tasks"
        yield Row.of(name, sample).with_target(target, is_met, ratio)
