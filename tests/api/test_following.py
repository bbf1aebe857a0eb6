"""Changes of tasks: a client that follows them ends with the same tasks, whatever happens."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from taskapi.store import changes, queries, scripts
from taskapi.sync import bootstrap, following, search
from tests.api.factories import login, new_group, new_task, new_user, ok, path_of, refused
from tests.api.follower import Follower
from tests.client import Api
from tests.conftest import Install
from tests.stores import connect, empty_redis, root, sql
from tests.support import Installation


def tasks_of(api: Api) -> dict[int, Any]:
    tasks = ok(api("GET", "/tasks/filter", by="owner"))["tasks"]
    return {task["id"]: task for task in tasks}


class Site:
    """An installation to which things happen."""

    def __init__(self, installation: Installation, chance: random.Random) -> None:
        self.installation, self.chance, self.api = installation, chance, installation.client()
        self.groups = [new_group(self.api)["id"] for _ in range(2)]
        self.users = [new_user(self.api, *self.groups)["id"] for _ in range(2)]
        for _ in range(12):
            self.create()
        installation.sync()

    def create(self) -> None:
        new_task(self.api, self.chance.choice(self.users), self.chance.choice(self.groups))

    def edit(self) -> None:
        tasks = [*tasks_of(self.api).values()]
        if tasks:
            body = {"priority": self.chance.choice([1, 2, 3])}
            body["user_id"] = self.chance.choice(self.users)
            ok(self.api("PUT", path_of(self.chance.choice(tasks)), by="owner", json=body))

    def batch(self) -> None:
        ids = [*tasks_of(self.api)][:5]
        action = self.chance.choice(["delete", "mark_done"])
        if ids:
            body = {"task_ids": ids[: self.chance.randint(1, 5)], "action": action}
            ok(self.api("POST", "/tasks/batch", by="owner", json=body))

    def replace_user(self) -> None:
        ok(self.api("DELETE", f"/users/{self.users.pop()}", by="owner"))
        self.users.append(new_user(self.api, *self.groups)["id"])

    def synchronise(self) -> None:
        self.installation.sync()

    def restore(self) -> None:
        ok(self.api("POST", "/admin/sync?action=restore", by="owner"))

    def lose_redis(self) -> None:
        """Lose Redis with the changes since the last pass, and restore it."""
        empty_redis(self.installation)
        bootstrap.prepare(self.installation.settings)
        self.users = [user["id"] for user in self._users() if user["id"] > 1]
        if not self.users:
            self.users = [new_user(self.api, *self.groups)["id"]]

    def prune(self) -> None:
        """Remove all tombstones, as passes do after DELETES_KEPT."""
        self.installation.sync()
        sql(
            self.installation,
            "WITH gone AS (DELETE FROM tombstones RETURNING version) UPDATE sync_state "
            "SET pruned_version = greatest(pruned_version, (SELECT max(version) FROM gone))",
        )

    def _users(self) -> list[Any]:
        users: list[Any] = ok(self.api("GET", "/users", by="owner"))["users"]
        return users


@pytest.mark.parametrize("seed", range(5))
def test_a_follower_ends_with_the_same_tasks(
    install: Install, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    if seed % 2:
        monkeypatch.setattr(queries, "CHUNK", 3)
    site = Site(install(), chance)
    common: list[Callable[[], None]] = [site.create, site.edit, site.edit, site.batch]
    rare = [site.replace_user, site.restore, site.lose_redis, site.prune]
    followers = [Follower(site.api) for _ in range(3)]
    for _ in range(45):
        chance.choice([*common * 3, site.synchronise, site.synchronise, *rare])()
        chance.choice(followers).read(chance.choice([1, 2, 5, 1000]))
        if chance.random() < 0.2:
            one = chance.choice(followers)
            assert one.catch_up(chance.choice([1, 3, 1000])) == tasks_of(site.api)
    for one in followers:
        assert one.catch_up(2) == tasks_of(site.api)


def test_changes_come_once_in_order_of_version(api: Api, installation: Installation) -> None:
    group = new_group(api)["id"]
    first, second = (new_task(api, 1, group) for _ in range(2))
    follower = Follower(api)
    assert [*follower.catch_up()] == [first["id"], second["id"]]
    ok(api("PUT", path_of(first), by="owner", json={"title": "Once"}))
    ok(api("PUT", path_of(first), by="owner", json={"title": "Twice"}))
    ok(api("DELETE", path_of(second), by="owner"))
    for _ in range(2):  # from Redis alone, then from PostgreSQL too
        page = ok(api("GET", f"/tasks/changes?since={follower.since}", by="owner"))
        assert [[*change] for change in page["changes"]] == [["task"], ["deleted"]]
        assert page["changes"][0]["task"]["title"] == "Twice"
        assert page["changes"][1]["deleted"]["id"] == second["id"]
        assert page["has_more"] is False
        installation.sync()
    later = ok(api("GET", f"/tasks/changes?since={page['next_since']}", by="owner"))
    assert (later["changes"], later["next_since"]) == ([], page["next_since"])


def test_a_page_has_all_changes_of_its_last_version(api: Api, installation: Installation) -> None:
    group = new_group(api)["id"]
    tasks = [{"title": "Many", "group_id": group}] * 30
    ok(api("POST", "/tasks/batch", by="owner", json={"action": "create", "tasks": tasks}))
    for _ in range(2):
        page = ok(api("GET", "/tasks/changes?limit=4", by="owner"))
        assert len(page["changes"]) == 30
        installation.sync()


def test_a_task_that_changed_since_the_pass_comes_at_its_last_version_only(
    api: Api, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = new_group(api)["id"]
    tasks = [new_task(api, 1, group) for _ in range(3)]
    installation.sync()
    for task in tasks:
        ok(api("PUT", path_of(task), by="owner", json={"title": "Changed"}))
    monkeypatch.setattr(following, "CHUNK", 1)  # of three marks, one is read at a time
    seen, since, has_more = list[int](), tasks[0]["version"] - 1, True
    while has_more:
        page = ok(api("GET", f"/tasks/changes?since={since}", by="owner"))
        seen += [change["task"]["id"] for change in page["changes"]]
        since, has_more = page["next_since"], page["has_more"]
    assert seen == [task["id"] for task in tasks]


def test_a_follower_who_saw_what_a_restore_took_back_begins_again(
    api: Api, installation: Installation
) -> None:
    group = new_group(api)["id"]
    task = new_task(api, 1, group, title="Before")
    installation.sync()
    ok(api("PUT", path_of(task), by="owner", json={"title": "After"}))
    follower = Follower(api)
    assert follower.catch_up()[task["id"]]["title"] == "After"
    with connect(installation) as connection:  # with its mark, the restore would save the change
        connection.delete(root(installation) + "dirty")
    ok(api("POST", "/admin/sync?action=restore", by="owner"))
    assert follower.catch_up()[task["id"]]["title"] == "Before"
    assert follower.restarts == 1


def test_deletes_that_are_pruned_make_a_follower_begin_again(
    api: Api, installation: Installation
) -> None:
    group = new_group(api)["id"]
    tasks = [new_task(api, 1, group) for _ in range(6)]
    follower = Follower(api)
    follower.catch_up()
    ok(api("DELETE", path_of(tasks[0]), by="owner"))
    installation.sync()
    sql(installation, "UPDATE sync_state SET pruned_version = last_version")
    sql(installation, "DELETE FROM tombstones")
    refused(api("GET", f"/tasks/changes?since={follower.since}", by="owner"), 410)
    assert follower.catch_up(limit=1) == tasks_of(api)
    assert follower.restarts == 1


def test_deletes_from_before_the_beginning_are_not_read(
    api: Api, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = new_group(api)["id"]
    for task in [new_task(api, 1, group) for _ in range(6)]:
        ok(api("DELETE", path_of(task), by="owner"))
    last = new_task(api, 1, group)
    installation.sync()
    asked = spied_calls(monkeypatch, following, "_read_rows")
    page = ok(api("GET", "/tasks/changes?limit=1", by="owner"))
    assert [change["task"]["id"] for change in page["changes"]] == [last["id"]]
    assert len(asked) == 1


def test_a_fenced_store_says_that_it_lists_no_changes(api: Api, installation: Installation) -> None:
    with connect(installation) as connection:
        connection.hset(root(installation) + "meta", "state", "fenced")
    assert "fenced" in refused(api("GET", "/tasks/changes", by="owner"), 503)["error"]


def spied_calls(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> list[Any]:
    """Return the arguments of each call of a function from now on."""
    calls, function = list[Any](), getattr(module, name)

    def spied(*args: Any) -> Any:
        calls.append(args)
        return function(*args)

    monkeypatch.setattr(module, name, spied)
    return calls


def test_without_postgresql_the_latest_changes_are_still_told(
    api: Api, installation: Installation
) -> None:
    group = new_group(api)["id"]
    new_task(api, 1, group)
    installation.sync()
    follower = Follower(api)
    follower.catch_up()
    index: search.Index = installation._app.extensions["taskapi"].index
    index._away_until = time.monotonic() + 1000
    new_task(api, 1, group)
    assert follower.catch_up() == tasks_of(api)
    error = refused(api("GET", "/tasks/changes?since=0", by="owner"), 503)
    assert error["code"] == "postgres_unreachable"


def test_nothing_is_missed_while_marks_are_removed(
    api: Api, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = new_group(api)["id"]
    tasks = [new_task(api, 1, group) for _ in range(8)]
    path = f"/tasks/changes?since={tasks[2]['version']}"
    call, seen = changes._call, []

    def watched(store: Any, script: str, query: Any) -> Any:
        reply = call(store, script, query)
        if script == scripts.ACKNOWLEDGE:
            page = ok(api("GET", path, by="owner"))
            seen.append([change["task"]["id"] for change in page["changes"]])
        return reply

    monkeypatch.setattr(changes, "CHUNK", 2)
    monkeypatch.setattr(changes, "_call", watched)
    installation.sync()
    assert len(seen) > 3
    assert seen == [[task["id"] for task in tasks[3:]]] * len(seen)


def test_only_owners_follow(api: Api) -> None:
    user = new_user(api, new_group(api)["id"])
    refused(api("GET", "/tasks/changes", by=login(user)), 403)


@pytest.mark.parametrize(
    "query",
    ["since=", "since=-1", "since=x", "since=1.5", "since=01", "since=1-", "limit=0", "limit=1001"],
)
def test_parameters_that_cannot_be_understood_are_refused(api: Api, query: str) -> None:
    error = refused(api("GET", f"/tasks/changes?{query}", by="owner"), 400)
    assert set(error["fields"]) == {query.split("=")[0]}


def test_a_version_that_was_never_issued_is_too_old(api: Api) -> None:
    new_group(api)
    refused(api("GET", f"/tasks/changes?since={10**17}", by="owner"), 410)
