"""Tokens: creating, listing and revoking them."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskapi.store import tokens
from tests.api.factories import login, made, new_token, new_user, ok, refused
from tests.client import Api
from tests.conftest import Install
from tests.stores import before, connect, root
from tests.support import Installation

FIELDS = ["id", "user_id", "name", "access", "created_at", "expires_at", "last_used_on"]
FUTURE = "2099-12-31T23:59:59Z"


@pytest.fixture(scope="module")
def installation(install: Install) -> Installation:
    return install()


@pytest.fixture(scope="module")
def api(installation: Installation) -> Api:
    return installation.client()


@pytest.fixture
def user(api: Api) -> Any:
    return new_user(api)


def path_to(user: Any, token: Any = None) -> str:
    return f"/users/{user['id']}/tokens" + (f"/{token['id']}" if token else "")


def listed(api: Api, user: Any) -> list[Any]:
    found: list[Any] = ok(api("GET", path_to(user), by="owner"))["tokens"]
    return found


def test_a_token_is_created_with_its_secret_and_listed_without_it(api: Api, user: Any) -> None:
    answer = api("POST", path_to(user), by=login(user), json={"name": " Nightly report "})
    data = made(answer)
    assert set(data) == {"token", "secret"}
    token = data["token"]
    assert list(token) == FIELDS
    assert (token["user_id"], token["name"], token["access"]) == (
        user["id"],
        "Nightly report",
        "full",
    )
    assert (token["expires_at"], token["last_used_on"]) == (None, None)
    assert datetime.fromisoformat(token["created_at"]) > datetime.now(UTC) - timedelta(minutes=5)
    assert re.fullmatch(rf"tk_{user['id']}_[0-9a-f]{{64}}", data["secret"])
    assert answer.headers["Location"] == path_to(user, token)
    page = ok(api("GET", path_to(user), by=login(user)))
    assert page == {"user_id": user["id"], "tokens": [token], "count": 1}


def test_every_field_is_kept_and_times_are_shown_in_utc(api: Api, user: Any) -> None:
    for given, shown in [
        ("2099-12-31T23:59:59Z", FUTURE),
        ("2100-01-01t01:59:59.999+02:00", FUTURE),
        ("2099-12-31T23:59:59.1234567890z", FUTURE),
        (None, None),
    ]:
        token, _ = new_token(api, user, name="Ünïcode 😀", access="read", expires_at=given)
        assert (token["name"], token["access"], token["expires_at"]) == (
            "Ünïcode 😀",
            "read",
            shown,
        )
        assert token == listed(api, user)[-1]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": " "}, "name"),
        ({"name": "n" * 101}, "name"),
        ({"name": 7}, "name"),
        ({"name": "n", "access": "write"}, "access"),
        ({"name": "n", "access": None}, "access"),
        ({"name": "n", "access": "READ"}, "access"),
        ({"name": "n", "expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"name": "n", "expires_at": "0005-01-01T00:00:00Z"}, "expires_at"),
        ({"name": "n", "expires_at": "2099-12-31"}, "expires_at"),
        ({"name": "n", "expires_at": "2099-12-31T23:59:59"}, "expires_at"),
        ({"name": "n", "expires_at": "2099-02-30T23:59:59Z"}, "expires_at"),
        ({"name": "n", "expires_at": "9999-12-31T23:59:59-01:00"}, "expires_at"),
        ({"name": "n", "expires_at": 4102444799}, "expires_at"),
        ({"name": "n", "expires_at": ""}, "expires_at"),
        ({"name": "n", "secret": "tk_1_x"}, "secret"),
        ({"name": "n", "scope": "full"}, "scope"),
    ],
)
def test_an_unusable_body_is_refused(api: Api, user: Any, body: Any, field: str) -> None:
    error = refused(api("POST", path_to(user), by=login(user), json=body), 400)
    assert (error["code"], set(error["fields"])) == ("validation_failed", {field})
    assert listed(api, user) == []


def test_fields_that_nobody_sets_are_ignored(api: Api, user: Any) -> None:
    read_only = {"id": 7, "user_id": 1, "created_at": FUTURE, "last_used_on": "2099-12-31"}
    token, _ = new_token(api, user, **read_only)
    assert token["user_id"] == user["id"]
    assert token["last_used_on"] is None
    assert token["id"] != 7
    assert token["created_at"] < FUTURE


def test_a_revoked_token_is_gone(api: Api, user: Any) -> None:
    kept, revoked = (new_token(api, user)[0] for _ in range(2))
    data = ok(api("DELETE", path_to(user, revoked), by=login(user)))
    assert data == {"message": "Token revoked.", "token": revoked}
    assert listed(api, user) == [kept]
    assert (
        refused(api("DELETE", path_to(user, revoked), by=login(user)), 404)["code"] == "not_found"
    )


def test_nobody_revokes_a_token_under_the_path_of_another_user(api: Api, user: Any) -> None:
    other = new_user(api)
    token, _ = new_token(api, other)
    refused(api("DELETE", path_to(user, token), by="owner"), 404)
    refused(api("DELETE", path_to(user, token), by=login(user)), 404)
    assert listed(api, other) == [token]


def test_ids_are_never_used_again(api: Api, user: Any) -> None:
    ids = []
    for _ in range(3):
        token, _ = new_token(api, user)
        ids.append(token["id"])
        ok(api("DELETE", path_to(user, token), by="owner"))
    assert ids == sorted(set(ids))
    assert ids[0] > user["version"]


def test_a_list_has_pages(api: Api, user: Any) -> None:
    created = [new_token(api, user)[0] for _ in range(5)]
    path, found, after = path_to(user), [], 0
    while after is not None:
        answer = api(
            "GET", f"{path}?limit=2&after={after}" if after else f"{path}?limit=2", by="owner"
        )
        data = ok(answer)
        assert data["count"] == len(data["tokens"]) <= 2
        assert ("Link" in answer.headers) == (data["next_after"] is not None)
        found += data["tokens"]
        after = data["next_after"]
    assert found == created
    refused(api("GET", f"{path}?limit=0", by="owner"), 400)


def test_a_user_has_at_most_fifty(api: Api, user: Any) -> None:
    """Two clients at once do not get more, and a revoked token makes room for another."""

    def create(_: int) -> int:
        return api("POST", path_to(user), by="owner", json={"name": "n"}).status

    for _ in range(45):
        new_token(api, user)
    with ThreadPoolExecutor(4) as pool:
        statuses = [*pool.map(create, range(12))]
    assert sorted(statuses) == [201] * 5 + [409] * 7
    error = refused(api("POST", path_to(user), by=login(user), json={"name": "n"}), 409)
    assert error["code"] == "too_many_tokens"
    found = listed(api, user)
    assert len({token["id"] for token in found}) == 50
    ok(api("DELETE", path_to(user, found[0]), by="owner"))
    new_token(api, user)


def test_of_two_tokens_created_at_once_both_are_kept(
    api: Api, other: Api, user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before(monkeypatch, tokens, "_update", lambda: new_token(other, user))
    token, _ = new_token(api, user)
    assert len(listed(api, user)) == 2
    before(monkeypatch, tokens, "_update", lambda: new_token(other, user))
    ok(api("DELETE", path_to(user, token), by="owner"))
    assert len(listed(api, user)) == 2
    for _ in range(47):
        new_token(api, user)
    before(monkeypatch, tokens, "_update", lambda: new_token(other, user))
    refused(api("POST", path_to(user), by="owner", json={"name": "n"}), 409)
    assert len(listed(api, user)) == 50


def test_a_new_token_is_a_change_of_its_user(api: Api, user: Any) -> None:
    token, _ = new_token(api, user)
    path = f"/users/{user['id']}"
    changed = ok(api("GET", path, by="owner"))
    assert changed["version"] > user["version"]
    assert changed == user | {name: changed[name] for name in ("version", "updated_at")}
    old = {"If-Match": f'"{user["version"]}"'}
    refused(api("DELETE", path_to(user, token), by="owner", headers=old), 412)
    assert listed(api, user) == [token]


def test_tokens_stay_when_their_user_changes(api: Api, user: Any) -> None:
    token, secret = new_token(api, user)
    path = f"/users/{user['id']}"
    ok(api("PUT", path, by="owner", json={"full_name": "New", "email": "new@tokens.example"}))
    ok(api("PUT", path, by="owner", json={"password": "changed-canary", "role": "group_admin"}))
    group = made(api("POST", "/groups", by="owner", json={"name": "G", "admin_id": user["id"]}))
    ok(api("DELETE", f"/groups/{group['group']['id']}", by="owner"))
    assert listed(api, user) == [token]
    assert ok(api("GET", path, by=secret))["full_name"] == "New"


def test_the_tokens_of_a_deleted_user_are_deleted(
    api: Api, installation: Installation, user: Any
) -> None:
    _, secret = new_token(api, user)
    ok(api("DELETE", f"/users/{user['id']}", by="owner"))
    refused(api("GET", "/groups", by=secret), 401)
    refused(api("GET", path_to(user), by="owner"), 404)
    with connect(installation) as redis:
        assert not redis.exists(f"{root(installation)}user:{user['id']}")


def test_no_answer_about_a_user_has_tokens(api: Api, user: Any) -> None:
    token, secret = new_token(api, user, name="hidden-canary")
    ok(api("GET", "/groups", by=secret))
    for path in ("/users", f"/users/{user['id']}", f"/users/search?q={user['email']}"):
        body = api("GET", path, by="owner").body
        assert user["email"].encode() in body
        assert b"hidden-canary" not in body
        assert b"sha256" not in body
        assert str(token["id"]).encode() not in body
