"""What a token permits: the rights of its user at the moment, less what needs a password."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from taskapi import create_app
from taskapi.api import tasks as views
from tests.api.factories import (
    PASSWORD,
    everything,
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
from tests.api.token_site import api, installation, user
from tests.client import Api
from tests.stores import before, connect, root
from tests.support import Installation

__all__ = ["api", "installation", "user"]
CHANGES = ("POST", "PUT", "PATCH", "DELETE")


def test_a_full_token_has_the_rights_of_its_user(api: Api, user: Any) -> None:
    _, secret = new_token(api, user)
    task = new_task(api, user["id"], user["group_ids"][0], by=secret)
    ok(api("PUT", f"{path_of(task)}/done", by=secret))
    ok(api("PUT", f"/users/{user['id']}", by=secret, json={"full_name": "By a token"}))
    ok(api("DELETE", path_of(task), by=secret))
    assert [each["id"] for each in ok(api("GET", "/groups", by=secret))["groups"]] == [
        *user["group_ids"]
    ]
    refused(api("GET", "/users/1", by=secret), 403)
    refused(api("GET", "/admin/status", by=secret), 403)
    _, of_owner = new_token(api, {"id": 1})
    ok(api("GET", "/admin/status", by=of_owner))
    made(api("POST", "/groups", by=of_owner, json={"name": "By a token", "admin_id": 1}))


def requests(installation: Installation) -> Iterator[tuple[str, str]]:
    """Yield the method and a path of every operation that needs credentials."""
    app = create_app(installation.settings)
    for rule in app.url_map.iter_rules():
        if rule.endpoint.partition(".")[0] not in ("health", "docs", "ui", "documentation"):
            path = re.sub(r"<\w+:\w+>", "1", rule.rule)
            for method in sorted((rule.methods or set()) - {"OPTIONS"}):
                yield method, path


def test_a_read_only_token_changes_nothing(api: Api, installation: Installation) -> None:
    new_user(api)
    new_task(api, 1, new_group(api)["id"])
    _, secret = new_token(api, {"id": 1}, access="read")
    ok(api("GET", "/users", by=secret))
    before, tried = everything(api), set()
    for method, path in requests(installation):
        if method in CHANGES:
            error = refused(api(method, path, by=secret, json={"full_name": "n"}), 403)
            assert error["code"] == "read_only_token", (method, path)
            tried.add(method)
    assert tried == {*CHANGES}
    assert everything(api) == before


def test_a_read_only_token_reads_everything_but_tokens(
    api: Api, installation: Installation
) -> None:
    _, secret = new_token(api, {"id": 1}, access="read")
    for method, path in requests(installation):
        if method not in CHANGES:
            answer = api(method, path + "?q=a" * path.endswith("search"), by=secret)
            assert (answer.status == 403) == path.endswith("/tokens"), (method, path)
            assert answer.status != 401
    assert api("OPTIONS", "/users", by=secret).status == 200


def test_no_token_manages_tokens(api: Api, user: Any) -> None:
    for of in (user, {"id": 1}):
        token, secret = new_token(api, of)
        path = f"/users/{of['id']}/tokens"
        for method, target in (
            ("GET", path),
            ("HEAD", path),
            ("POST", path),
            ("DELETE", f"{path}/{token['id']}"),
        ):
            answer = api(method, target, by=secret, json={"name": "n"})
            assert answer.status == 403
            assert method == "HEAD" or answer.error == "password_needed"
        assert token["id"] in {t["id"] for t in ok(api("GET", path, by="owner"))["tokens"]}


@pytest.mark.parametrize(
    "body",
    [
        {"password": PASSWORD},
        {"email": "taken-over@example.com"},
        {"role": "group_admin"},
        {"full_name": "New", "role": "owner"},
    ],
)
def test_no_token_changes_password_email_or_role(api: Api, user: Any, body: Any) -> None:
    path = f"/users/{user['id']}"
    _, of_owner = new_token(api, {"id": 1})
    error = refused(api("PUT", path, by=of_owner, json=body), 403)
    assert error["code"] == "password_needed"
    if "role" not in body:
        _, own = new_token(api, user)
        assert refused(api("PATCH", path, by=own, json=body), 403)["code"] == "password_needed"
    shown = ok(api("GET", path, by=login(user)))
    assert shown | {"version": 0, "updated_at": ""} == user | {"version": 0, "updated_at": ""}


def test_no_token_creates_a_user(api: Api) -> None:
    admin = new_admin(api)
    group = new_group(api, admin["id"])["id"]
    body = {"full_name": "New", "email": "new@example.com", "password": PASSWORD}
    body |= {"role": "user", "group_ids": [group]}
    for creator in ({"id": 1}, admin):
        _, secret = new_token(api, creator)
        error = refused(api("POST", "/users", by=secret, json=body), 403)
        assert error["code"] == "password_needed"
    made(api("POST", "/users", by=login(admin), json=body))


def test_a_token_may_send_present_values_back(api: Api, user: Any) -> None:
    _, secret = new_token(api, user)
    path = f"/users/{user['id']}"
    shown = ok(api("GET", path, by=secret))
    changed = ok(api("PUT", path, by=secret, json=shown | {"number": "7"}))["user"]
    assert changed["number"] == "7"


def test_an_access_that_only_a_newer_program_knows_permits_reading(
    api: Api, installation: Installation, user: Any
) -> None:
    _, secret = new_token(api, user)
    key = f"{root(installation)}user:{user['id']}"
    with connect(installation) as redis:
        stored = redis.hget(key, "tokens")
        redis.hset(key, "tokens", stored.replace('"full"', '"tasks"'))
    ok(api("GET", "/groups", by=secret))
    error = refused(api("PUT", f"/users/{user['id']}", by=secret, json={}), 403)
    assert error["code"] == "read_only_token"


@pytest.mark.parametrize("end", ["revoked", "deleted", "removed", "demoted"])
def test_what_ends_a_right_ends_it_in_every_process(
    api: Api, other: Api, user: Any, end: str
) -> None:
    """Both processes remember the caller, from changes of tasks."""
    admin = new_admin(api)
    group = new_group(api, admin["id"])["id"]
    ok(api("POST", f"/groups/{group}/users", by="owner", json={"user_id": user["id"]}))
    caller = admin if end in ("deleted", "demoted") else user
    token, secret = new_token(api, caller)
    path, body = f"/users/{user['id']}/tasks", {"title": "t", "group_id": group}
    for client in (api, other, api, other):
        made(client("POST", path, by=secret, json=body))
    if end == "revoked":
        ok(api("DELETE", f"/users/{user['id']}/tokens/{token['id']}", by=login(user)))
    elif end == "deleted":
        ok(api("DELETE", f"/users/{admin['id']}", by="owner"))
    elif end == "removed":
        ok(api("DELETE", f"/groups/{group}/users/{user['id']}", by="owner"))
    else:
        ok(api("PUT", f"/groups/{group}", by="owner", json={"admin_id": 1}))
    for client in (other, api):
        status = 403 if end in ("removed", "demoted") else 401
        refused(client("POST", path, by=secret, json=body), status)


@pytest.mark.parametrize("is_known", [False, True])
def test_a_token_that_is_revoked_during_a_request_changes_nothing(
    api: Api, other: Api, user: Any, monkeypatch: pytest.MonkeyPatch, is_known: bool
) -> None:
    token, secret = new_token(api, user)
    path, group = f"/users/{user['id']}/tasks", user["group_ids"][0]
    if is_known:
        new_task(api, user["id"], group, by=secret)
    seen = everything(api)[2]
    revoke = f"/users/{user['id']}/tokens/{token['id']}"
    before(monkeypatch, views.store, "create", lambda: ok(other("DELETE", revoke, by="owner")))
    refused(api("POST", path, by=secret, json={"title": "t", "group_id": group}), 401)
    assert everything(api)[2] == seen


def test_processes_see_each_others_tokens(api: Api, installation: Installation) -> None:
    user = new_user(api)
    with installation.serve(workers=2) as served:
        token, secret = new_token(served, user)
        assert {served("GET", "/groups", by=secret).status for _ in range(10)} == {200}
        ok(served("DELETE", f"/users/{user['id']}/tokens/{token['id']}", by=login(user)))
        assert {served("GET", "/groups", by=secret).status for _ in range(9)} == {401}
    assert secret.rpartition("_")[2] not in served.log()


def test_a_password_and_a_token_are_remembered_side_by_side(api: Api, user: Any) -> None:
    _, secret = new_token(api, user)
    path, group = f"/users/{user['id']}", user["group_ids"][0]
    for by in (login(user), secret) * 3:
        new_task(api, user["id"], group, by=by)
        ok(api("GET", path, by=by))
        new_task(api, user["id"], group, by=by)
    refused(api("GET", f"{path}/tokens", by=secret), 403)
    ok(api("GET", f"{path}/tokens", by=login(user)))
