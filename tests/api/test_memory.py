"""Creates by a remembered caller: a change made by another process counts at once.

Each test lets one process remember a caller, changes something through another process, and then
sends a task to the first one.
"""

from __future__ import annotations

from typing import Any

import pytest
import redis

from taskapi.store.connection import Connection
from tests.api.conftest import RoundTrips
from tests.api.factories import (
    PASSWORD,
    login,
    made,
    new_admin,
    new_group,
    new_task,
    new_user,
    ok,
    refused,
)
from tests.client import Answer, Api, Caller
from tests.support import OWNER_PASSWORD

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
