"""A user or group with many tasks is deleted in batches, completely and beside other work."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count
from threading import Event
from typing import Any

import pytest

from taskapi.store import deletions, memberships, scripts, unfinished
from taskapi.sync import sync_pass
from tests.api.conftest import RoundTrips, round_trips
from tests.api.factories import made, new_admin, new_group, new_task, new_user, ok, path_of, refused
from tests.client import Api
from tests.faults.checks import settle
from tests.faults.victim import Victim
from tests.stores import before, connect, crash, root, sql
from tests.support import Installation, eventually

__all__ = ["round_trips"]
MANY = 30_050
FEW = 9
SMALL_BATCHES = {"store__deletions__BATCH": 2}
LOGGED_MICROSECONDS = 1000
WORDS_MOST = 5000
"""Words in one command: those of a batch. Its duration would depend on the load of the machine."""


@pytest.fixture(scope="module")
def victim() -> Iterator[Victim]:
    with closing(Victim()) as victim:
        yield victim


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deletions, "BATCH", 2)


@pytest.fixture
def doomed(installation: Installation, api: Api) -> Any:
    """A group with FEW tasks of one of its five members, all of them in PostgreSQL too."""
    group = new_group(api)
    for _ in range(3):
        new_user(api, group["id"])
    user = new_user(api, group["id"])
    for _ in range(FEW):
        new_task(api, user["id"], group["id"])
    installation.sync()
    return group | {"user_id": user["id"]}


def tasks_of(installation: Installation, group_id: int) -> int:
    with connect(installation) as connection:
        return int(connection.zcard(f"{root(installation)}tasks:g:{group_id}"))


def is_decided(installation: Installation) -> bool:
    with connect(installation) as connection:
        return bool(connection.exists(f"{root(installation)}deleting"))


def is_closed(installation: Installation, path: str) -> bool:
    """Return whether changes of the tasks of a user or group are refused without a time limit."""
    name = path.removeprefix("/").replace("roups/", ":").replace("sers/", ":")
    with connect(installation) as connection:
        return bool(connection.ttl(f"{root(installation)}closing:{name}") == -1)


def check_gone(installation: Installation, api: Api, path: str) -> None:
    refused(api("GET", path, by="owner"), 404)
    assert not ok(api("GET", "/tasks/filter", by="owner"))["tasks"]
    with connect(installation) as connection:
        left = [*connection.scan_iter(f"{root(installation)}*clos*"), is_decided(installation)]
    assert left == [False]
    if path.startswith("/groups"):
        assert not any(user["group_ids"] for user in ok(api("GET", "/users", by="owner"))["users"])
    settle(installation)


def resume(installation: Installation) -> None:
    """Do what the worker does every few seconds."""
    store = sync_pass.open_store(installation.settings)
    unfinished.resume(store, unfinished.resume(store, {}))


def die_in_the_middle(victim: Victim, installation: Installation, group_id: int) -> None:
    """Begin a delete and die when some of the tasks are gone."""
    steps = count(1)
    while tasks_of(installation, group_id) == FEW:
        path = f"/groups/{group_id}"
        assert victim(installation, next(steps), "DELETE", path, **SMALL_BATCHES) != "done"
    assert 0 < tasks_of(installation, group_id) < FEW


@pytest.mark.parametrize("noun", ["groups", "users"])
@pytest.mark.long
def test_a_delete_in_batches_may_die_anywhere(
    victim: Victim, installation: Installation, api: Api, doomed: Any, noun: str
) -> None:
    path = f"/groups/{doomed['id']}" if noun == "groups" else f"/users/{doomed['user_id']}"
    for step in count(1):
        if victim(installation, step, "DELETE", path, **SMALL_BATCHES) == "done":
            break
        assert tasks_of(installation, doomed["id"]) == FEW or is_decided(installation)
        assert is_closed(installation, path) == is_decided(installation)
        settle(installation)
    check_gone(installation, api, path)


@pytest.mark.long
def test_the_worker_finishes_a_delete_whose_process_died(
    victim: Victim, installation: Installation, api: Api, doomed: Any
) -> None:
    die_in_the_middle(victim, installation, doomed["id"])
    with installation.worker():
        eventually(lambda: api("GET", f"/groups/{doomed['id']}", by="owner").status == 404, 30)
    check_gone(installation, api, f"/groups/{doomed['id']}")
    assert ok(api("GET", f"/users/{doomed['user_id']}", by="owner"))["group_ids"] == []


def test_after_a_restore_the_worker_still_finishes_a_delete(
    victim: Victim, installation: Installation, api: Api, doomed: Any
) -> None:
    die_in_the_middle(victim, installation, doomed["id"])
    ok(api("POST", "/admin/sync?action=restore", by="owner"))
    resume(installation)
    check_gone(installation, api, f"/groups/{doomed['id']}")


def test_until_the_end_tasks_are_shown_and_changes_of_them_are_busy(
    victim: Victim, installation: Installation, api: Api, doomed: Any
) -> None:
    die_in_the_middle(victim, installation, doomed["id"])
    shown = ok(api("GET", f"/groups/{doomed['id']}/tasks", by="owner"))["tasks"]
    assert len(shown) == tasks_of(installation, doomed["id"])
    answer = refused(api("PUT", path_of(shown[0]), by="owner", json={"title": "Late"}), 503)
    assert answer["code"] == "busy"
    made(api("POST", "/groups", by="owner", json={"name": "Other work", "admin_id": 1}))


def test_a_delete_that_is_resumed_closes_its_tasks_for_good(
    victim: Victim, installation: Installation, doomed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    die_in_the_middle(victim, installation, doomed["id"])
    with connect(installation) as connection:  # as a shorter operation on the same tasks does
        connection.expire(f"{root(installation)}closing:g:{doomed['id']}", 1000)
    before(monkeypatch, memberships, "dismiss", crash)
    with pytest.raises(ConnectionAbortedError):
        resume(installation)
    assert is_closed(installation, f"/groups/{doomed['id']}")


@pytest.mark.usefixtures("small_batches")
def test_a_user_with_many_tasks_leaves_their_groups_to_the_owner(
    installation: Installation, api: Api
) -> None:
    admin = new_admin(api)
    group = new_group(api, admin["id"])
    for _ in range(FEW):
        new_task(api, admin["id"], group["id"])
    deleted = ok(api("DELETE", f"/users/{admin['id']}", by="owner"))
    assert (deleted["deleted_tasks"], deleted["reassigned_groups"]) == (FEW, [group["id"]])
    assert ok(api("GET", f"/groups/{group['id']}", by="owner"))["admin_id"] == 1
    check_gone(installation, api, f"/users/{admin['id']}")


@pytest.mark.usefixtures("small_batches")
def test_members_leave_in_batches_too(
    installation: Installation, api: Api, round_trips: RoundTrips
) -> None:
    group = new_group(api)
    for _ in range(7):
        new_user(api, group["id"])
    round_trips.clear()
    deleted = ok(api("DELETE", f"/groups/{group['id']}", by="owner"))
    assert (deleted["deleted_tasks"], deleted["affected_users"]) == (0, 8)
    commits = [trip[0] for trip in round_trips if trip[0][1] == scripts.COMMIT_WHEN_FULL]
    assert max(commit.count("json") for commit in commits) <= deletions.BATCH + 1
    check_gone(installation, api, f"/groups/{group['id']}")


@pytest.mark.usefixtures("small_batches")
def test_a_full_redis_deletes_in_batches_too(
    installation: Installation, api: Api, doomed: Any
) -> None:
    with connect(installation) as connection:
        connection.config_set("maxmemory", "1")
        try:
            ok(api("DELETE", f"/groups/{doomed['id']}", by="owner"))
        finally:
            connection.config_set("maxmemory", "0")
    check_gone(installation, api, f"/groups/{doomed['id']}")


@pytest.mark.usefixtures("small_batches")
def test_a_task_that_cannot_be_read_is_found_before_anything_is_deleted(
    installation: Installation, api: Api, doomed: Any
) -> None:
    with connect(installation) as connection:
        connection.hset(f"{root(installation)}task:2", "json", "{")
    assert refused(api("DELETE", f"/groups/{doomed['id']}", by="owner"), 503)["code"] == "damaged"
    assert tasks_of(installation, doomed["id"]) == FEW
    assert not is_decided(installation)


def test_a_big_group_is_deleted_while_its_members_work(
    installation: Installation, api: Api
) -> None:
    group_id, other = fill_group(installation, api), new_group(api)["id"]
    stop, statuses = Event(), list[int]()

    def work(task_id: int) -> None:
        while not stop.is_set():
            body = {"title": "At work", "group_id": group_id}
            statuses.append(api("POST", "/users/1/tasks", by="owner", json=body).status)
            path = f"/users/1/tasks/{task_id}"
            statuses.append(api("PUT", path, by="owner", json={"group_id": other}).status)
            statuses.append(api("PUT", path, by="owner", json={"group_id": group_id}).status)

    with connect(installation) as connection, ThreadPoolExecutor(2) as pool:
        connection.config_set("slowlog-log-slower-than", LOGGED_MICROSECONDS)
        connection.slowlog_reset()
        for task_id in (MANY, MANY - 1):
            pool.submit(work, task_id)
        try:
            eventually(lambda: len(statuses) > 10)
            deleted = ok(api("DELETE", f"/groups/{group_id}", by="owner"))
        finally:
            stop.set()
        assert 0 < longest_command(connection) < WORDS_MOST
    assert deleted["deleted_tasks"] > MANY - 5
    assert {*statuses} <= {200, 201, 400, 404, 503}
    left = ok(api("GET", "/tasks/filter", by="owner"))["tasks"]
    assert {task["group_id"] for task in left} <= {other}
    settle(installation)


def longest_command(connection: Any) -> int:
    """Return the most words that a logged command had; the log has the first and a number."""
    logged = [entry["command"].decode(errors="replace") for entry in connection.slowlog_get(128)]
    rests = [re.search(r"\((\d+) more arguments\)$", command) for command in logged]
    return max(int(rest[1]) for rest in rests if rest)


def fill_group(installation: Installation, api: Api) -> int:
    """Create a group with MANY tasks; return its id."""
    group = new_group(api)
    installation.sync()
    rows = "SELECT n, 'Task', false, 2, NULL, '', 1, %s, now(), now(), %s, 'task' "
    sql(
        installation,
        f"INSERT INTO tasks {rows} FROM generate_series(1, {MANY}) AS n;"
        f"UPDATE sync_state SET last_task = {MANY}",
        *(group["id"], group["version"]),
    )
    ok(api("POST", "/admin/sync?action=restore", by="owner"))
    return int(group["id"])
