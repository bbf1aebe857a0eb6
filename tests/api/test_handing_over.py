"""Tasks that are given to another user: who may do it, and what follows."""

from __future__ import annotations

from typing import Any

import pytest

from taskapi.store import tasks
from tests.api.factories import (
    Team,
    everything,
    login,
    made,
    new_group,
    new_task,
    new_user,
    ok,
    path_of,
    refused,
)
from tests.client import Api
from tests.conftest import Install
from tests.stores import before


class Pair(Team):
    """A team with two users in both groups, and a stranger."""

    def __init__(self, api: Api) -> None:
        super().__init__(api)
        self.giver, self.taker = self.user, new_user(api, self.group, self.other)
        self.stranger = new_user(api, self.other)
        self.task = new_task(api, self.giver["id"], self.group, by=login(self.giver))


@pytest.fixture
def team(api: Api) -> Pair:
    return Pair(api)


def to(user: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"user_id": user["id"], **more}


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize("who", ["owner", "admin"])
def test_the_task_lives_under_its_new_user(api: Api, team: Pair, method: str, who: str) -> None:
    by: Any = "owner" if who == "owner" else login(team.head)
    old = path_of(team.task)
    task = ok(api(method, old, by=by, json=to(team.taker, title="Yours")))["task"]
    assert (task["user_id"], task["title"]) == (team.taker["id"], "Yours")
    assert (task["id"], task["group_id"]) == (team.task["id"], team.group)
    assert ok(api("GET", path_of(task), by=login(team.taker))) == task
    refused(api("GET", old, by=login(team.giver)), 404)
    refused(api("GET", path_of(task), by=login(team.giver)), 403)
    assert [ids_of(api, user) for user in (team.giver, team.taker)] == [[], [task["id"]]]


def ids_of(api: Api, user: dict[str, Any]) -> list[int]:
    """Return the tasks of a user, after a check that their list and statistics agree."""
    tasks = ok(api("GET", f"/users/{user['id']}/tasks", by=login(user)))["tasks"]
    stats = ok(api("GET", "/tasks/stats", by=login(user)))
    assert stats["total_tasks"] == len(tasks)
    return [task["id"] for task in tasks]


def test_statistics_and_the_sync_follow(api: Api, install: Install) -> None:
    installation = install()
    api = installation.client()
    team = Pair(api)
    installation.sync()
    ok(api("PUT", path_of(team.task), by="owner", json=to(team.taker)))
    name = team.taker["full_name"]
    assert ok(api("GET", "/tasks/stats", by="owner"))["user_task_counts"] == {name: 1}
    stats = ok(api("GET", f"/groups/{team.group}/stats", by="owner"))
    assert stats["user_task_counts"] == {name: 1}
    shown = everything(api)
    ok(api("POST", "/admin/sync?action=force", by="owner"))
    ok(api("POST", "/admin/sync?action=restore", by="owner"))
    assert everything(api) == shown
    assert ids_of(api, team.taker) == [team.task["id"]]


def test_a_user_keeps_a_task_but_gives_none_away(api: Api, team: Pair) -> None:
    path, by = path_of(team.task), login(team.giver)
    ok(api("PUT", path, by=by, json=to(team.giver, title="Mine")))
    for user in (team.taker, team.head, {"id": 99}):
        refused(api("PUT", path, by=by, json=to(user, title="Lost")), 403)
    assert ok(api("GET", path, by=by))["title"] == "Mine"


def test_an_admin_gives_to_members_of_the_group_that_it_is_then_in(api: Api, team: Pair) -> None:
    path, by = path_of(team.task), login(team.head)
    for user in (team.stranger, {"id": 99}):
        refused(api("PUT", path, by=by, json=to(user)), 403)
    refused(api("PUT", path, by=by, json=to(team.taker, group_id=team.other)), 403)
    task = ok(api("PUT", path, by=by, json=to(team.head)))["task"]
    assert ok(api("GET", path_of(task), by=by))["user_id"] == team.head["id"]


def test_an_admin_gives_no_task_of_another_group(api: Api, team: Pair) -> None:
    outside = new_group(api)["id"]
    ok(api("POST", f"/groups/{outside}/users", by="owner", json={"user_id": team.head["id"]}))
    task = new_task(api, team.head["id"], outside, by=login(team.head))
    for more in ({}, {"group_id": team.group}):
        body = to(team.taker, **more)
        refused(api("PUT", path_of(task), by=login(team.head), json=body), 403)


def test_an_owner_gives_to_anybody_who_exists(api: Api, team: Pair) -> None:
    path = path_of(team.task)
    error = refused(api("PUT", path, by="owner", json=to({"id": 99})), 400)
    assert error["code"] == "unknown_user"
    error = refused(api("PUT", path, by="owner", json=to(team.stranger, group_id=99)), 400)
    assert error["code"] == "unknown_group"
    task = ok(api("PUT", path, by="owner", json=to(team.stranger)))["task"]
    assert (task["user_id"], task["group_id"]) == (team.stranger["id"], team.group)


@pytest.mark.parametrize("wrong", [None, "3", 0, -1, 1.0, True, [3], 2**63])
def test_a_user_id_that_is_none_is_refused(api: Api, team: Pair, wrong: Any) -> None:
    error = refused(api("PUT", path_of(team.task), by="owner", json={"user_id": wrong}), 400)
    assert set(error["fields"]) == {"user_id"}


def test_a_new_task_belongs_to_the_user_in_the_path(api: Api, team: Pair) -> None:
    path, body = f"/users/{team.giver['id']}/tasks", {"title": "New", "group_id": team.group}
    made(api("POST", path, by=login(team.giver), json=body | to(team.giver)))
    error = refused(api("POST", path, by="owner", json=body | to(team.taker)), 400)
    assert set(error["fields"]) == {"user_id"}


def test_a_batch_gives_each_task_that_may_be_given(api: Api, team: Pair) -> None:
    others = new_task(api, team.giver["id"], team.other)
    batch = {"task_ids": [team.task["id"], others["id"]], "updates": to(team.taker)}
    done = ok(api("POST", "/tasks/batch", by=login(team.head), json=batch))
    assert [task["user_id"] for task in done["updated_tasks"]] == [team.taker["id"]]
    assert done["error_count"] == 1
    done = ok(api("POST", "/tasks/batch", by="owner", json=batch))
    assert {task["user_id"] for task in done["updated_tasks"]} == {team.taker["id"]}
    assert ids_of(api, team.taker) == [team.task["id"], others["id"]]
    batch["updates"] = to({"id": 99})
    assert (
        refused(api("POST", "/tasks/batch", by="owner", json=batch), 400)["code"] == "unknown_user"
    )
    batch["updates"] = to(team.stranger)
    done = ok(api("POST", "/tasks/batch", by=login(team.head), json=batch))
    assert (done["updated_count"], done["error_count"]) == (0, 2)
    assert (
        f"Task {team.task['id']} may not be given to user {team.stranger['id']}." in done["errors"]
    )


def test_a_batch_by_a_user_gives_nothing_away(api: Api, team: Pair) -> None:
    batch = {"task_ids": [team.task["id"]], "updates": to(team.taker)}
    assert ok(api("POST", "/tasks/batch", by=login(team.giver), json=batch))["updated_count"] == 0


def test_a_user_who_leaves_the_group_meanwhile_gets_no_task(
    api: Api, team: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave = f"/groups/{team.group}/users/{team.taker['id']}"
    with monkeypatch.context() as patch:
        before(patch, tasks, "Commit", lambda: ok(api("DELETE", leave, by="owner")))
        refused(api("PUT", path_of(team.task), by=login(team.head), json=to(team.taker)), 403)
    assert ids_of(api, team.giver) == [team.task["id"]]


def test_a_user_who_is_deleted_meanwhile_gets_no_task(
    api: Api, team: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/users/{team.taker['id']}"
    with monkeypatch.context() as patch:
        before(patch, tasks, "Commit", lambda: ok(api("DELETE", path, by="owner")))
        error = refused(api("PUT", path_of(team.task), by="owner", json=to(team.taker)), 400)
    assert error["code"] == "unknown_user"


def test_a_given_task_goes_with_its_new_user(api: Api, team: Pair) -> None:
    task = ok(api("PUT", path_of(team.task), by="owner", json=to(team.taker)))["task"]
    ok(api("DELETE", f"/users/{team.giver['id']}", by="owner"))
    assert ok(api("GET", path_of(task), by=login(team.taker))) == task
    deleted = ok(api("DELETE", f"/users/{team.taker['id']}", by="owner"))
    assert deleted["deleted_tasks"] == 1


def test_the_log_names_the_new_user(
    api: Api, team: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    ok(api("PUT", path_of(team.task), by="owner", json=to(team.taker)))
    line = capsys.readouterr().out.splitlines()[-1]
    assert f" to_user={team.taker['id']}" in line
