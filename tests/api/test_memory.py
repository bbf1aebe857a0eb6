"""Changes of tasks by a remembered caller: what another process has changed counts at once.

Each test lets one process remember a caller or a task, changes something through another process,
and then creates or changes a task through the first one.
"""

from __future__ import annotations

from typing import Any

import pytest
import redis

from taskapi.api import application
from taskapi.store import recent_tasks
from taskapi.store.connection import Connection
from tests.api.conftest import RoundTrips
from tests.api.factories import (
    PASSWORD,
    login,
    made,
    new_admin,
    new_group,
    new_task,
    new_token,
    new_user,
    ok,
    path_of,
    refused,
)
from tests.client import Answer, Api, Caller
from tests.stores import before, connect, root
from tests.support import OWNER_PASSWORD, Installation

OWNER = (1, OWNER_PASSWORD)


@pytest.fixture
def group(api: Api) -> dict[str, Any]:
    return new_group(api)


@pytest.fixture
def member(api: Api, group: dict[str, Any]) -> dict[str, Any]:
    """A member of the group whom the process remembers."""
    user = new_user(api, group["id"])
    new_task(api, user["id"], group["id"], by=login(user))
    return user


def create(
    api: Api, user: dict[str, Any], group: dict[str, Any], by: Caller, **sent: Any
) -> Answer:
    body = {"title": "Next", "group_id": group["id"]}
    return api("POST", f"/users/{user['id']}/tasks", by=by, json=body, **sent)


def test_a_remembered_caller_creates_a_task_in_one_round_trip(
    api: Api, group: dict[str, Any], member: dict[str, Any], round_trips: RoundTrips
) -> None:
    task = made(create(api, member, group, login(member)))["task"]
    assert len(round_trips) == 1
    assert ok(api("GET", f"/users/{member['id']}/tasks/{task['id']}", by=login(member)))


def test_a_password_that_was_changed_elsewhere_is_refused(
    api: Api, other: Api, group: dict[str, Any], member: dict[str, Any]
) -> None:
    path = f"/users/{member['id']}"
    ok(other("PUT", path, by=login(member), json={"password": "another-canary"}))
    refused(create(api, member, group, login(member)), 401)
    made(create(api, member, group, (member["id"], "another-canary")))
    made(create(api, member, group, (member["id"], "another-canary")))
    refused(create(api, member, group, login(member)), 401)


def test_the_log_names_no_caller_whose_password_was_changed_elsewhere(
    api: Api,
    other: Api,
    group: dict[str, Any],
    member: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = f"/users/{member['id']}"
    ok(other("PUT", path, by=login(member), json={"password": "another-canary"}))
    capsys.readouterr()
    refused(create(api, member, group, login(member)), 401)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if " 401 " in line]
    assert " caller=- " in line
    assert f" account={member['id']} address=127.0.0.1" in line


def test_a_body_of_a_wrong_type_is_not_looked_at_before_the_password(
    api: Api, other: Api, member: dict[str, Any]
) -> None:
    path, body = f"/users/{member['id']}", {"password": "another-canary"}
    text = {"data": b"title", "headers": {"Content-Type": "text/plain"}}
    refused(api("POST", f"{path}/tasks", by=login(member), **text), 415)
    ok(other("PUT", path, by=login(member), json=body))
    refused(api("POST", f"{path}/tasks", by=login(member), **text), 401)


def test_a_wrong_password_is_refused_after_the_right_one(
    api: Api, group: dict[str, Any], member: dict[str, Any]
) -> None:
    refused(create(api, member, group, (member["id"], "wrong")), 401)
    made(create(api, member, group, login(member)))


def test_a_wrong_password_is_counted_once(
    api: Api, group: dict[str, Any], member: dict[str, Any]
) -> None:
    statuses = [create(api, member, group, (member["id"], "wrong")).status for _ in range(11)]
    assert statuses == [401] * 10 + [429]


def test_a_user_who_was_deleted_elsewhere_is_refused(
    api: Api, other: Api, group: dict[str, Any], member: dict[str, Any]
) -> None:
    made(create(api, member, group, OWNER))
    ok(other("DELETE", f"/users/{member['id']}", by="owner"))
    refused(create(api, member, group, login(member)), 401)
    refused(create(api, member, group, OWNER), 404)


def test_a_caller_who_left_the_group_elsewhere_is_refused(
    api: Api, other: Api, group: dict[str, Any], member: dict[str, Any]
) -> None:
    ok(other("DELETE", f"/groups/{group['id']}/users/{member['id']}", by="owner"))
    refused(create(api, member, group, login(member)), 403)


def test_an_admin_who_lost_the_group_elsewhere_is_refused(api: Api, other: Api) -> None:
    admin = new_admin(api)
    group = new_group(api, admin_id=admin["id"])
    user = new_user(api, group["id"])
    for _ in range(2):
        made(create(api, user, group, login(admin)))
    ok(other("PUT", f"/groups/{group['id']}", by="owner", json={"admin_id": 1}))
    refused(create(api, user, group, login(admin)), 403)


def test_a_user_who_left_the_group_elsewhere_gets_no_task_from_its_admin(
    api: Api, other: Api
) -> None:
    admin = new_admin(api)
    group = new_group(api, admin_id=admin["id"])
    user = new_user(api, group["id"], new_group(api)["id"])
    for _ in range(2):
        made(create(api, user, group, login(admin)))
    ok(other("DELETE", f"/groups/{group['id']}/users/{user['id']}", by="owner"))
    refused(create(api, user, group, login(admin)), 403)


def test_a_group_that_was_deleted_elsewhere_is_refused(
    api: Api, other: Api, group: dict[str, Any], member: dict[str, Any]
) -> None:
    made(create(api, member, group, OWNER))
    ok(other("DELETE", f"/groups/{group['id']}", by="owner"))
    assert refused(create(api, member, group, OWNER), 400)["code"] == "unknown_group"


def test_an_account_that_was_blocked_elsewhere_is_refused(
    api: Api, other: Api, group: dict[str, Any], member: dict[str, Any]
) -> None:
    for _ in range(10):
        refused(create(other, member, group, (member["id"], "wrong")), 401)
    refused(create(api, member, group, login(member)), 429)


def test_failures_of_a_remembered_lookup_open_no_blocked_account(
    api: Api, other: Api, group: dict[str, Any], member: dict[str, Any]
) -> None:
    refused(create(api, member, group, (member["id"], "wrong")), 401)
    made(create(api, member, group, login(member)))
    for _ in range(10):
        refused(create(other, member, group, (member["id"], "wrong")), 401)
    refused(create(api, member, group, login(member)), 429)


def test_an_email_address_that_was_changed_elsewhere_is_refused(
    api: Api, other: Api, group: dict[str, Any], member: dict[str, Any]
) -> None:
    made(create(api, member, group, (member["email"], PASSWORD)))
    body = {"email": "moved@example.com"}
    ok(other("PUT", f"/users/{member['id']}", by=login(member), json=body))
    refused(create(api, member, group, (member["email"], PASSWORD)), 401)
    made(create(api, member, group, ("moved@example.com", PASSWORD)))


def test_if_match_is_compared_with_what_the_store_has(
    api: Api, other: Api, group: dict[str, Any], member: dict[str, Any]
) -> None:
    changed = {"full_name": "Changed elsewhere"}
    now = ok(other("PUT", f"/users/{member['id']}", by=login(member), json=changed))["user"]
    old, new = ({"If-Match": f'"{user["version"]}"'} for user in (member, now))
    made(create(api, member, group, login(member), headers=new))
    refused(create(api, member, group, login(member), headers=old), 412)


def test_a_create_succeeds_after_a_restore_by_another_process(
    api: Api, other: Api, group: dict[str, Any], member: dict[str, Any]
) -> None:
    ok(other("POST", "/admin/sync?action=restore", by="owner"))
    made(create(api, member, group, login(member)))


def test_a_create_whose_outcome_is_unknown_is_not_retried(
    api: Api, group: dict[str, Any], member: dict[str, Any]
) -> None:
    exchange, lost = Connection._exchange, iter(range(2))  # the commit, which is sent twice

    def losing(self: Connection, commands: Any, *rest: Any) -> list[Any]:
        replies = exchange(self, commands, *rest)
        if next(lost, None) is not None:
            raise redis.TimeoutError
        return replies

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Connection, "_exchange", losing)
        refused(create(api, member, group, login(member)), 503)
    tasks = ok(api("GET", f"/users/{member['id']}/tasks", by=login(member)))["tasks"]
    assert len(tasks) == 2


@pytest.fixture
def task(api: Api, group: dict[str, Any], member: dict[str, Any]) -> dict[str, Any]:
    """A task of the member that the process remembers."""
    ok(api("DELETE", path_of(new_task(api, member["id"], group["id"])), by="owner"))  # load scripts
    return new_task(api, member["id"], group["id"], by=login(member))


def edit(api: Api, task: dict[str, Any], by: Caller, **sent: Any) -> Answer:
    return api("PUT", path_of(task), by=by, **{"json": {"title": "Edited"}} | sent)


def test_a_remembered_task_is_changed_and_deleted_in_one_round_trip_each(
    api: Api, member: dict[str, Any], task: dict[str, Any], round_trips: RoundTrips
) -> None:
    path, by = path_of(task), login(member)
    for title in ("First", "Second"):
        assert ok(edit(api, task, by, json={"title": title}))["task"]["title"] == title
    assert ok(api("PUT", f"{path}/done", by=by))["task"]["status"] is True
    ok(api("DELETE", path, by=by))
    assert [len(commands) for commands in round_trips] == [1] * 4
    refused(edit(api, task, by), 404)


def test_tasks_of_a_batch_are_remembered_as_they_are(
    api: Api,
    group: dict[str, Any],
    member: dict[str, Any],
    task: dict[str, Any],
    round_trips: RoundTrips,
) -> None:
    by, done = login(member), new_task(api, member["id"], group["id"], status=True)
    batch = {"task_ids": [task["id"], done["id"]], "action": "mark_done"}
    ok(api("POST", "/tasks/batch", by=by, json=batch))  # the second task keeps its version
    round_trips.clear()
    for each in (task, done):
        edited = ok(edit(api, each, by))["task"]
        assert (edited["title"], edited["status"]) == ("Edited", True)
    assert [len(commands) for commands in round_trips] == [1] * 2


def test_a_task_keeps_what_was_changed_elsewhere(
    api: Api, other: Api, member: dict[str, Any], task: dict[str, Any]
) -> None:
    ok(edit(other, task, login(member), json={"information": "From elsewhere"}))
    edited = ok(edit(api, task, login(member)))["task"]
    assert (edited["title"], edited["information"]) == ("Edited", "From elsewhere")


@pytest.mark.parametrize(("seconds", "expected"), [(60.0, [3, 2, 2]), (0.0, [3, 3, 3])])
def test_a_task_that_is_changed_elsewhere_too_takes_the_usual_way(
    api: Api,
    other: Api,
    member: dict[str, Any],
    task: dict[str, Any],
    round_trips: RoundTrips,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    expected: list[int],
) -> None:
    monkeypatch.setattr(recent_tasks, "CONTESTED_SECONDS", seconds)
    trips = []
    for turn in range(3):
        ok(edit(other, task, login(member), json={"title": f"Elsewhere {turn}"}))
        round_trips.clear()
        ok(edit(api, task, login(member), json={"title": f"Here {turn}"}))
        trips.append(len(round_trips))
    assert trips == expected


def test_a_task_that_others_read_meanwhile_stays_remembered(
    api: Api, other: Api, member: dict[str, Any], task: dict[str, Any], round_trips: RoundTrips
) -> None:
    ok(edit(other, task, login(member)))
    refused(api("GET", path_of(task), by=f"tk_{member['id']}_{'0' * 64}"), 401)
    ok(api("GET", path_of(task), by=login(member)))
    ok(edit(api, task, "owner", json={"title": "By the usual way"}))
    round_trips.clear()
    ok(edit(api, task, login(member), json={"title": "From memory"}))
    assert len(round_trips) == 1


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_task_that_was_deleted_elsewhere_is_not_found(
    api: Api,
    other: Api,
    member: dict[str, Any],
    task: dict[str, Any],
    round_trips: RoundTrips,
    method: str,
) -> None:
    ok(other("DELETE", path_of(task), by=login(member)))
    body: Any = {"title": "Gone"} if method == "PUT" else ...
    for trips in (2, 1):  # it is forgotten
        round_trips.clear()
        refused(api(method, path_of(task), by=login(member), json=body), 404)
        assert len(round_trips) == trips


def test_a_damaged_task_is_whole_after_a_change_from_memory(
    api: Api, installation: Installation, member: dict[str, Any], task: dict[str, Any]
) -> None:
    with connect(installation) as redis:
        redis.hset(f"{root(installation)}task:{task['id']}", "json", '{"half')
    refused(api("GET", path_of(task), by=login(member)), 503)
    edited = ok(edit(api, task, login(member)))["task"]
    assert ok(api("GET", path_of(task), by=login(member))) == edited


def test_a_member_who_left_the_group_elsewhere_moves_no_task_into_it(
    api: Api, other: Api, group: dict[str, Any]
) -> None:
    left = new_group(api)
    user = new_user(api, group["id"], left["id"])
    task = new_task(api, user["id"], group["id"], by=login(user))
    ok(other("DELETE", f"/groups/{left['id']}/users/{user['id']}", by="owner"))
    refused(edit(api, task, login(user), json={"group_id": left["id"]}), 403)


def test_a_token_that_reads_only_changes_no_remembered_task(
    api: Api, member: dict[str, Any], task: dict[str, Any]
) -> None:
    token = new_token(api, member, access="read")[1]
    ok(edit(api, task, login(member)))
    assert refused(edit(api, task, token), 403)["code"] == "read_only_token"


def test_a_remembered_task_is_not_found_under_another_user(
    api: Api, group: dict[str, Any], member: dict[str, Any], task: dict[str, Any]
) -> None:
    user = new_user(api, group["id"])
    for caller, by in ((user, login(user)), (user, OWNER), (member, OWNER)):
        made(create(api, caller, group, by))
    path = f"/users/{user['id']}/tasks/{task['id']}"
    for by in (login(user), OWNER):
        refused(api("PUT", path, by=by, json={"title": "Stolen"}), 404)
        refused(api("DELETE", path, by=by), 404)
    refused(edit(api, task, login(user)), 403)
    assert ok(api("GET", path_of(task), by=login(member)))["title"] == task["title"]


def test_a_task_that_was_moved_out_of_reach_elsewhere_is_refused(api: Api, other: Api) -> None:
    admin = new_admin(api)
    group, foreign = new_group(api, admin_id=admin["id"]), new_group(api)
    user = new_user(api, group["id"], foreign["id"])
    task = new_task(api, user["id"], group["id"], by=login(admin))
    ok(edit(api, task, login(admin)))
    ok(edit(other, task, by="owner", json={"group_id": foreign["id"]}))
    refused(edit(api, task, login(admin)), 403)


def test_an_admin_who_lost_the_group_elsewhere_changes_no_task(api: Api, other: Api) -> None:
    admin = new_admin(api)
    group = new_group(api, admin_id=admin["id"])
    task = new_task(api, new_user(api, group["id"])["id"], group["id"], by=login(admin))
    ok(edit(api, task, login(admin)))
    ok(other("PUT", f"/groups/{group['id']}", by="owner", json={"admin_id": 1}))
    refused(edit(api, task, login(admin), json={"title": "Too late"}), 403)


@pytest.mark.parametrize("is_old_first", [True, False])
def test_if_match_is_compared_with_the_task_that_the_store_has(
    api: Api, other: Api, member: dict[str, Any], task: dict[str, Any], is_old_first: bool
) -> None:
    now = ok(edit(other, task, login(member)))["task"]
    old, new = ({"If-Match": f'"{each["version"]}"'} for each in (task, now))
    body = {"title": "Edited again"}
    if is_old_first:
        refused(edit(api, task, login(member), json=body, headers=old), 412)
    ok(edit(api, task, login(member), json=body, headers=new))
    refused(edit(api, task, login(member), json=body, headers=new), 412)


def test_a_version_that_was_right_a_moment_ago_is_not_the_present_one(
    api: Api, member: dict[str, Any], task: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    condition = {"If-Match": f'"{task["version"]}"'}
    with monkeypatch.context() as patch:
        before(patch, application, "call", lambda: ok(edit(api, task, login(member))))
        late = edit(api, task, login(member), json={"title": "Too late"}, headers=condition)
        refused(late, 412)
    assert ok(api("GET", path_of(task), by=login(member)))["title"] == "Edited"


def test_a_change_without_effect_keeps_the_version(
    api: Api, member: dict[str, Any], task: dict[str, Any]
) -> None:
    for title in ("Edited", "Edited"):
        edited = ok(edit(api, task, login(member), json={"title": title}))["task"]
    assert edited["version"] == ok(api("GET", path_of(task), by=login(member)))["version"]


def test_a_task_is_changed_after_a_restore_by_another_process(
    api: Api, other: Api, group: dict[str, Any], member: dict[str, Any], task: dict[str, Any]
) -> None:
    ok(other("POST", "/admin/sync?action=restore", by="owner"))
    made(create(api, member, group, login(member)))  # remembered with the new epoch
    assert ok(edit(api, task, login(member)))["task"]["title"] == "Edited"


def test_long_tasks_are_not_remembered(
    api: Api, member: dict[str, Any], task: dict[str, Any], round_trips: RoundTrips
) -> None:
    trips = []
    for title in ("First", "Second", "Third"):
        body = {"title": title, "information": "long " * 400}
        assert ok(edit(api, task, login(member), json=body))["task"]["title"] == title
        trips.append(len(round_trips))
        round_trips.clear()
    assert trips == [1, 2, 2]
