"""Batches of tasks: permitted tasks change in one step, the others are named."""

from __future__ import annotations

import re
from typing import Any

import pytest

from taskapi.store import tasks
from tests.api.factories import Team, everything, login, new_group, new_task, ok, path_of, refused
from tests.api.test_contract_tasks import api, team
from tests.client import Api

__all__ = ["api", "team"]

LONG = "\x01" * 10_000
"""Information that has six bytes of JSON for each character."""


def test_a_batch_updates_marks_and_deletes(api: Api, team: Team) -> None:
    tasks = [new_task(api, team.user["id"], team.group, priority=3) for _ in range(3)]
    ids = [task["id"] for task in tasks]
    updated = batch(api, "owner", task_ids=ids, updates={"priority": 1, "deadline": "2030-01-01"})
    assert (updated["action"], updated["updated_count"], updated["deleted_ids"]) == (
        "update",
        3,
        [],
    )
    assert [task["id"] for task in updated["updated_tasks"]] == ids
    assert {(t["priority"], t["deadline"]) for t in updated["updated_tasks"]} == {(1, "2030-01-01")}
    done = batch(api, login(team.user), task_ids=ids[:2], action="mark_done")
    assert (done["action"], done["updated_count"]) == ("mark_done", 2)
    assert [ok(api("GET", path_of(t), by="owner"))["status"] for t in tasks] == [True, True, False]
    gone = batch(api, login(team.head), task_ids=ids[1:], action="delete")
    assert (gone["deleted_count"], gone["deleted_ids"]) == (2, ids[1:])
    assert (gone["updated_count"], gone["updated_tasks"]) == (0, [])
    assert [api("GET", path_of(t), by="owner").status for t in tasks] == [200, 404, 404]


def batch(api: Api, by: Any, **body: Any) -> Any:
    data = ok(api("POST", "/tasks/batch", by=by, json=body))
    keys = {"action", "total_requested", "updated_count", "updated_tasks"}
    assert set(data) >= keys | {"deleted_count", "deleted_ids"}
    assert ("errors" in data) == ("error_count" in data)
    assert len(data.get("errors", [])) == data.get("error_count", 0)
    return data


def test_a_batch_does_what_is_permitted_and_names_the_rest(api: Api, team: Team) -> None:
    mine = new_task(api, team.user["id"], team.group)["id"]
    foreign = new_task(api, 1, team.group)
    ids = [mine, foreign["id"], 987654321]
    data = batch(api, login(team.user), task_ids=ids, updates={"title": "Both"})
    assert (data["total_requested"], data["updated_count"], data["error_count"]) == (3, 1, 2)
    assert [task["id"] for task in data["updated_tasks"]] == [mine]
    for task_id in ids[1:]:
        assert any(str(task_id) in sentence for sentence in data["errors"])
    sentences = [s.replace(str(i), "") for s, i in zip(data["errors"], ids[1:], strict=True)]
    assert sentences[0] == sentences[1]
    assert ok(api("GET", path_of(foreign), by="owner")) == foreign


def test_repeated_ids_of_a_batch_count_once(api: Api, team: Team) -> None:
    task = new_task(api, team.user["id"], team.group)["id"]
    data = batch(api, "owner", task_ids=[task, task, task], action="mark_done")
    assert (data["total_requested"], data["updated_count"]) == (1, 1)


def test_a_batch_without_effect_changes_no_version(api: Api, team: Team) -> None:
    task = new_task(api, team.user["id"], team.group)
    data = batch(api, "owner", task_ids=[task["id"]], updates={"title": task["title"]})
    assert data["updated_tasks"] == [task]


def test_a_batch_moves_as_put_does(api: Api, team: Team) -> None:
    task = new_task(api, team.user["id"], team.group)
    move = {"task_ids": [task["id"]], "updates": {"group_id": team.other}}
    assert batch(api, login(team.head), **move)["updated_count"] == 0
    assert batch(api, login(team.user), **move)["updated_count"] == 1
    before = everything(api)
    nowhere = {"task_ids": [task["id"]], "updates": {"group_id": 987654321}}
    assert api("POST", "/tasks/batch", by="owner", json=nowhere).status in (200, 400)
    assert everything(api) == before


def test_a_batch_takes_a_thousand_ids(api: Api, team: Team) -> None:
    task = new_task(api, team.user["id"], team.group)["id"]
    ids = [task, *range(10**6, 10**6 + 999)]
    data = batch(api, "owner", task_ids=ids, action="delete")
    assert (data["total_requested"], data["deleted_ids"], data["error_count"]) == (
        1000,
        [task],
        999,
    )


def test_the_tasks_of_a_batch_have_a_limit_together(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [new_task(api, 1, new_group(api)["id"])["id"] for _ in range(3)]
    body = {"task_ids": ids, "updates": {"information": "Ä" * 100}}
    before = everything(api)
    monkeypatch.setattr(tasks, "BYTES_MOST", 1)
    size = int(re.findall(r"have (\d+) bytes", refused_as_long(api, body))[0])
    assert size > 3 * 2 * 100
    monkeypatch.setattr(tasks, "BYTES_MOST", size - 1)
    assert "send about 2 in each batch" in refused_as_long(api, body)
    assert everything(api) == before
    monkeypatch.setattr(tasks, "BYTES_MOST", size)
    assert ok(api("POST", "/tasks/batch", by="owner", json=body))["updated_count"] == 3
    monkeypatch.setattr(tasks, "BYTES_MOST", 1)
    done = {"task_ids": ids, "action": "mark_done"}
    before = everything(api)
    refused_as_long(api, done)
    assert everything(api) == before
    ok(api("POST", "/tasks/batch", by="owner", json={"task_ids": ids, "action": "delete"}))


def refused_as_long(api: Api, body: dict[str, Any]) -> str:
    """Send a batch that is refused because of its tasks' size; return the sentence."""
    error = refused(api("POST", "/tasks/batch", by="owner", json=body), 400)
    assert error["code"] == "validation_failed"
    assert error["fields"] == {"task_ids": [error["error"]]}
    sentence: str = error["error"]
    return sentence


def test_four_megabytes_are_too_many_and_a_little_less_is_not(api: Api) -> None:
    group = new_group(api)["id"]
    ids = [new_task(api, 1, group)["id"] for _ in range(67)]
    body = {"task_ids": ids, "updates": {"information": LONG}}
    assert "send about 66 in each batch" in refused_as_long(api, body)
    data = ok(api("POST", "/tasks/batch", by="owner", json=body | {"task_ids": ids[1:]}))
    assert data["updated_count"] == 66
    assert [task["information"] for task in data["updated_tasks"]] == [LONG] * 66
