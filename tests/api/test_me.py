"""`me` in a path: the caller, whoever that is at the moment."""

from __future__ import annotations

from typing import Any

import pytest

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
    refused,
)
from tests.client import Api, Caller


@pytest.fixture
def group(api: Api) -> dict[str, Any]:
    return new_group(api)


@pytest.fixture
def user(api: Api, group: dict[str, Any]) -> dict[str, Any]:
    return new_user(api, group["id"])


@pytest.mark.parametrize("how", ["id", "email", "token"])
def test_me_is_the_user_who_logs_in(api: Api, user: dict[str, Any], how: str) -> None:
    token = new_token(api, user)[1]
    by = {"id": login(user), "email": (user["email"], PASSWORD), "token": token}[how]
    assert ok(api("GET", "/users/me", by=by))["id"] == user["id"]


def test_me_is_user_1_for_the_owner_header(api: Api) -> None:
    assert ok(api("GET", "/users/me", by="owner"))["id"] == 1


def test_every_endpoint_of_a_user_takes_me(
    api: Api, group: dict[str, Any], user: dict[str, Any]
) -> None:
    by, mine = login(user), f"/users/{user['id']}"
    answer = api("POST", "/users/me/tasks", by=by, json={"title": "A", "group_id": group["id"]})
    task = made(answer)["task"]
    path, number = f"/users/me/tasks/{task['id']}", f"{mine}/tasks/{task['id']}"
    assert (task["user_id"], answer.headers["Location"]) == (user["id"], number)
    for title in ("B", "C"):  # the second change is made from memory
        assert ok(api("PUT", path, by=by, json={"title": title}))["task"]["title"] == title
    assert ok(api("PUT", f"{path}/done", by=by))["task"]["status"] is True
    assert ok(api("GET", path, by=by)) == ok(api("GET", number, by=by))
    assert ok(api("GET", "/users/me/tasks", by=by))["user_id"] == user["id"]
    ok(api("DELETE", path, by=by))
    week = {"work_times": {"Monday": 8}}
    assert ok(api("PUT", "/users/me/worktimes", by=by, json=week))["user_id"] == user["id"]
    assert ok(api("GET", "/users/me/worktimes", by=by)) == {"user_id": user["id"], **week}
    assert ok(api("PATCH", "/users/me", by=by, json={"number": "7"}))["user"]["number"] == "7"
    created = api("POST", "/users/me/tokens", by=by, json={"name": "Script"})
    token = made(created)["token"]
    assert created.headers["Location"] == f"{mine}/tokens/{token['id']}"
    assert [each["id"] for each in ok(api("GET", "/users/me/tokens", by=by))["tokens"]] == [
        token["id"]
    ]
    ok(api("DELETE", f"/users/me/tokens/{token['id']}", by=by))


def test_the_link_to_the_next_page_has_the_number(
    api: Api, group: dict[str, Any], user: dict[str, Any]
) -> None:
    for _ in range(2):
        last = new_task(api, user["id"], group["id"])
    answer = api("GET", "/users/me/tasks?limit=1", by=login(user))
    assert answer.headers["Link"] == (
        f'</users/{user["id"]}/tasks?limit=1&after={last["id"] - 1}>; rel="next"'
    )


def test_me_has_the_rights_of_the_caller_only(api: Api, user: dict[str, Any]) -> None:
    refused(api("DELETE", "/users/me", by=login(user)), 403)
    refused(api("PUT", "/users/me", by=login(user), json={"role": "owner"}), 403)
    refused(api("DELETE", "/users/me", by="owner"), 409)
    refused(api("POST", "/users/me/tokens", by=new_token(api, user)[1], json={"name": "A"}), 403)


@pytest.mark.parametrize("by", [None, (1, "wrong"), ("nobody@example.com", PASSWORD)])
def test_nobody_is_me_without_right_credentials(api: Api, by: Caller) -> None:
    refused(api("GET", "/users/me", by=by), 401)


def test_me_is_who_has_the_email_address_now(
    api: Api, other: Api, group: dict[str, Any], user: dict[str, Any]
) -> None:
    email = user["email"]
    assert ok(api("GET", "/users/me", by=(email, PASSWORD)))["id"] == user["id"]
    ok(other("PUT", f"/users/{user['id']}", by="owner", json={"email": "moved@example.com"}))
    new = new_user(other, group["id"], email=email)
    assert ok(api("GET", "/users/me", by=(email, PASSWORD)))["id"] == new["id"]


def test_me_is_no_id_elsewhere(api: Api) -> None:
    for path in ("/groups/me", "/users/1/tasks/me", "/users/ME", "/users/mee", "/users/0"):
        refused(api("GET", path, by="owner"), 404)
    refused(api("GET", "/tasks/filter?user_id=me", by="owner"), 400)


def test_the_log_names_the_caller(
    api: Api, user: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    admin = new_admin(api)
    capsys.readouterr()
    ok(api("PUT", "/users/me", by=login(admin), json={"number": "7"}))
    refused(api("PUT", "/users/me", by=(user["id"], "wrong"), json={"number": "7"}), 401)
    lines = capsys.readouterr().out.splitlines()
    changed, refusal = (line for line in lines if " PUT /users/me " in line)
    assert f" caller={admin['id']} " in changed
    assert f" user={admin['id']}" in changed
    assert " user=me" in refusal
