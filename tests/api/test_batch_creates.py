"""Batches that create tasks, and batches that change everything or nothing."""

from __future__ import annotations

from typing import Any

import pytest

from taskapi.store import tasks
from tests.api.factories import (
    Team,
    everything,
    login,
    new_task,
    new_user,
    ok,
    path_of,
    refused,
)
from tests.client import Answer, Api, Caller
from tests.conftest import Install
from tests.stores import before


@pytest.fixture
def team(api: Api) -> Team:
    return Team(api)


def batch(api: Api, by: Caller, *items: dict[str, Any], **more: Any) -> Answer:
    body = {"action": "create", "tasks": list(items)} | more
    return api("POST", "/tasks/batch", by=by, json=body)


def test_tasks_are_created_in_order(api: Api, team: Team) -> None:
    earlier = new_task(api, team.user["id"], team.group)
    items = [{"title": f"Task {n}", "group_id": team.group, "priority": n} for n in (1, 2, 3)]
    done = ok(batch(api, login(team.user), *items))
    ids = [earlier["id"] + n for n in (1, 2, 3)]
    assert done == {
        "message": "Batch create: 3 of 3 done.",
        "action": "create",
        "total_requested": 3,
        "created_count": 3,
        "created_ids": ids,
    }
    created = ok(api("GET", f"/users/{team.user['id']}/tasks?after={earlier['id']}", by="owner"))
    assert [task["id"] for task in created["tasks"]] == ids
    for task, item in zip(created["tasks"], items, strict=True):
        assert task.items() >= (item | {"user_id": team.user["id"], "status": False}).items()
        assert ok(api("GET", path_of(task), by=login(team.user))) == task
    assert new_task(api, team.user["id"], team.group)["id"] == ids[-1] + 1


def test_each_item_is_decided_by_the_rules_of_a_single_create(api: Api, team: Team) -> None:
    mine, theirs = {"title": "Mine"}, {"title": "Theirs", "user_id": team.user["id"]}
    outside = new_user(api, team.other)["id"]
    items = [
        mine | {"group_id": team.group},
        theirs | {"group_id": team.group},
        theirs | {"group_id": team.other},
        mine | {"group_id": team.other},
        {"title": "Foreign", "user_id": outside, "group_id": team.group},
        {"title": "Nobody's", "user_id": 99, "group_id": team.group},
    ]
    done = ok(batch(api, login(team.head), *items))
    assert (done["created_count"], done["error_count"]) == (2, 4)
    assert [i is None for i in done["created_ids"]] == [False, False, True, True, True, True]
    assert [error.split(":")[0] for error in done["errors"]] == [f"Item {n}" for n in (3, 4, 5, 6)]
    assert done["errors"][2].split(": ")[1] == done["errors"][3].split(": ")[1]


def test_an_owner_learns_what_does_not_exist(api: Api, team: Team) -> None:
    done = ok(
        batch(
            api,
            "owner",
            {"title": "A", "group_id": 99},
            {"title": "B", "group_id": team.group, "user_id": 99},
            {"title": "C", "group_id": team.group},
        )
    )
    assert done["errors"] == [
        "Item 1: There is no group 99: name one that exists.",
        "Item 2: There is no user 99: name one who exists.",
    ]
    assert done["created_ids"][:2] == [None, None]
    path = f"/users/1/tasks/{done['created_ids'][2]}"
    assert ok(api("GET", path, by="owner"))["title"] == "C"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"action": "create"}, "tasks"),
        ({"action": "create", "tasks": []}, "tasks"),
        ({"action": "create", "tasks": [{"title": "A"}]}, "tasks.0.group_id"),
        ({"action": "create", "tasks": [{"title": "", "group_id": 1}]}, "tasks.0.title"),
        (
            {"action": "create", "tasks": [{"title": "A", "group_id": 1, "colour": 1}]},
            "tasks.0.colour",
        ),
        ({"action": "create", "tasks": [7]}, "tasks.0"),
        ({"action": "create", "tasks": {"title": "A"}}, "tasks"),
        (
            {"action": "create", "tasks": [{"title": "A", "group_id": 1}], "task_ids": [1]},
            "task_ids",
        ),
        ({"action": "create", "tasks": [{"title": "A", "group_id": 1}], "updates": {}}, "updates"),
        ({"action": "delete", "task_ids": [1], "tasks": []}, "tasks"),
        ({"action": "delete", "task_ids": [1], "atomic": 1}, "atomic"),
        ({"updates": {"title": "A"}}, "task_ids"),
    ],
)
def test_a_body_that_does_not_fit_its_action_is_refused(
    api: Api, body: dict[str, Any], field: str
) -> None:
    shown = everything(api)
    error = refused(api("POST", "/tasks/batch", by="owner", json=body), 400)
    assert field in error["fields"]
    assert everything(api) == shown


def test_a_thousand_tasks_are_created_and_one_more_is_refused(api: Api, team: Team) -> None:
    items = [{"title": "Many", "group_id": team.group}] * 1001
    refused(batch(api, "owner", *items), 400)
    done = ok(batch(api, "owner", *items[:1000]))
    assert len(set(done["created_ids"])) == done["created_count"] == 1000
    stats = ok(api("GET", f"/groups/{team.group}/stats", by="owner"))
    assert stats["total_tasks"] == 1000


def test_new_tasks_have_a_limit_together(
    api: Api, team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "BYTES_MOST", 300)
    items = [{"title": "Long", "group_id": team.group, "information": "x" * 200}] * 2
    error = refused(batch(api, "owner", *items), 400)
    assert "send about 1 in each batch" in error["fields"]["tasks"][0]
    assert ok(api("GET", "/tasks/filter", by="owner"))["count"] == 0


def test_created_tasks_are_copied_and_restored(install: Install) -> None:
    api = install().client()
    team = Team(api)
    ok(batch(api, login(team.user), *[{"title": "Kept", "group_id": team.group}] * 30))
    shown = everything(api)
    ok(api("POST", "/admin/sync?action=force", by="owner"))
    ok(api("POST", "/admin/sync?action=restore", by="owner"))
    assert everything(api) == shown
    ids = ok(batch(api, "owner", {"title": "Next", "group_id": team.group}))["created_ids"]
    assert ids[0] > max(task["id"] for task in shown[2]["tasks"])


def test_nothing_is_created_for_a_member_who_leaves_meanwhile(
    api: Api, team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave = f"/groups/{team.group}/users/{team.user['id']}"
    with monkeypatch.context() as patch:
        before(patch, tasks, "_require_short", lambda: ok(api("DELETE", leave, by="owner")))
        late = {"title": "Late", "group_id": team.group, "user_id": team.user["id"]}
        done = ok(batch(api, login(team.head), late))
    assert (done["created_ids"], done["error_count"]) == ([None], 1)


def test_an_atomic_batch_creates_everything_or_nothing(api: Api, team: Team) -> None:
    items = [{"title": "A", "group_id": team.group}, {"title": "B", "group_id": 99}]
    error = refused(batch(api, "owner", *items, atomic=True), 409)
    assert error["code"] == "batch_refused"
    assert error["fields"] == {"errors": ["Item 2: There is no group 99: name one that exists."]}
    assert ok(api("GET", "/tasks/filter", by="owner"))["count"] == 0
    assert ok(batch(api, "owner", items[0], atomic=True))["created_count"] == 1


@pytest.mark.parametrize(
    "change", [{"action": "mark_done"}, {"action": "delete"}, {"updates": {"title": "New"}}]
)
def test_an_atomic_batch_changes_everything_or_nothing(
    api: Api, team: Team, change: dict[str, Any]
) -> None:
    mine, foreign = (new_task(api, user["id"], team.group) for user in (team.user, team.head))
    body = {"task_ids": [mine["id"], foreign["id"]], "atomic": True} | change
    shown = everything(api)
    error = refused(api("POST", "/tasks/batch", by=login(team.user), json=body), 409)
    assert error["fields"] == {"errors": [f"You may not change task {foreign['id']}."]}
    assert everything(api) == shown
    done = ok(api("POST", "/tasks/batch", by=login(team.head), json=body))
    assert "error_count" not in done
    assert everything(api) != shown
