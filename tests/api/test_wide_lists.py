"""Lists of an admin of many groups: complete, in order, and read in short calls."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import pytest

from taskapi.store import queries
from tests.api.conftest import RoundTrips
from tests.api.factories import login, new_admin, new_group, new_task, new_user, ok
from tests.api.test_prefetched_reads import has_page
from tests.client import Api
from tests.conftest import Install
from tests.support import Installation

GROUPS = 30


@pytest.fixture(scope="module")
def wide(install: Install) -> tuple[Api, dict[str, Any], list[dict[str, Any]]]:
    """Return a client, an admin of many groups, and the tasks that the admin sees."""
    installation: Installation = install()
    api = installation.client()
    admin = new_admin(api)
    ids = [new_group(api, admin_id=admin["id"])["id"] for _ in range(GROUPS)]
    foreign = new_group(api)["id"]
    seen = [new_task(api, 1, ids[0]) for _ in range(40)]
    for n in range(90):
        new_task(api, 1, foreign)
        user_id = admin["id"] if n % 9 == 0 or n % 10 == 0 else 1
        group_id = foreign if n % 9 == 0 else ids[n % GROUPS]
        fields = {"priority": 1 + n % 3, "status": n % 2 == 0}
        seen.append(new_task(api, user_id, group_id, **fields))
    return api, admin, seen


def walk(api: Api, admin: dict[str, Any], path: str, **query: object) -> list[int]:
    """Return the ids on all pages of a list."""
    found: list[int] = []
    while True:
        page = ok(api("GET", f"{path}?{urlencode(query)}", by=login(admin)))
        found += [task["id"] for task in page["tasks"]]
        if page["next_after"] is None:
            return found
        query["after"] = page["next_after"]


@pytest.mark.parametrize("limit", [1, 7, 50, 1000])
def test_pages_of_many_groups_are_complete_and_in_order(wide: Any, limit: int) -> None:
    api, admin, seen = wide
    assert walk(api, admin, "/tasks/filter", limit=limit) == [task["id"] for task in seen]


def test_a_filter_of_many_groups_is_complete_and_in_order(wide: Any) -> None:
    api, admin, seen = wide
    wanted = [task["id"] for task in seen if task["status"] and task["priority"] == 1]
    query = {"status": "completed", "priority": 1, "limit": 4}
    assert walk(api, admin, "/tasks/filter", **query) == wanted


def test_statistics_of_many_groups_add_up(wide: Any) -> None:
    api, admin, seen = wide
    groups = {*ok(api("GET", f"/users/{admin['id']}", by="owner"))["group_ids"]}
    tasks = [task for task in seen if task["group_id"] in groups]
    stats = ok(api("GET", "/tasks/stats", by=login(admin)))
    done = sum(task["status"] for task in tasks)
    assert (stats["total_tasks"], stats["completed_tasks"]) == (len(tasks), done)
    assert sum(stats["user_task_counts"].values()) == len(tasks)
    assert sum(stats["group_task_counts"].values()) == len(tasks)


def test_a_list_looks_at_few_tasks_in_each_call(
    api: Api, monkeypatch: pytest.MonkeyPatch, round_trips: RoundTrips
) -> None:
    monkeypatch.setattr(queries, "CHUNK", 3)
    admin = new_admin(api)
    ids = [new_group(api, admin_id=admin["id"])["id"] for _ in range(2)]
    foreign = new_group(api)["id"]
    user = new_user(api, *ids, foreign)
    title = f'"group_id":{ids[0]},'
    for _ in range(6):
        new_task(api, user["id"], foreign, title=title)
    mine = [new_task(api, user["id"], group_id)["id"] for group_id in ids]
    round_trips.clear()
    assert walk(api, admin, f"/users/{user['id']}/tasks", limit=5) == mine
    calls = {commands[0][-1] for commands in round_trips if has_page(commands)}
    assert len(calls) == 3
