"""Logging in with a token: refusals, failures that count, and what is stored of a token."""

from __future__ import annotations

import time
from itertools import count
from typing import Any

import pytest

from taskapi.store import tokens
from tests.api.factories import login, made, new_task, new_token, ok, refused
from tests.api.test_authentication import sameness
from tests.api.token_site import WRONG, Clock, api, clock, clocked, installation, user
from tests.client import Answer, Api
from tests.stores import connect, root
from tests.support import Installation

__all__ = ["api", "clock", "clocked", "installation", "user"]
_addresses = count(1)


@pytest.fixture
def address() -> str:
    return f"10.3.0.{next(_addresses)}"


def ask(api: Api, address: str, by: str | tuple[object, str]) -> Answer:
    return api("GET", "/tasks/stats", by=by, headers=sent_from(address))


def sent_from(address: str) -> dict[str, str]:
    return {"X-Forwarded-For": address}


def test_a_user_with_two_tokens_is_logged_in_by_each(api: Api, user: Any) -> None:
    (_, reading), (_, full) = new_token(api, user, access="read"), new_token(api, user)
    path = f"/users/{user['id']}"
    for secret, expected in ((reading, 403), (full, 200)):
        ok(api("GET", path, by=secret))
        assert api("PUT", path, by=secret, json={"number": "1"}).status == expected


def test_every_refused_token_gets_the_same_401(
    api: Api, clocked: Api, clock: Clock, user: Any
) -> None:
    wrong = sameness(api("GET", "/groups", by=(user["id"], "wrong")))
    revoked, secret = new_token(api, user)
    ok(api("DELETE", f"/users/{user['id']}/tokens/{revoked['id']}", by="owner"))
    _, expired = new_token(api, user, expires_at="2099-12-31T23:59:59Z")
    clock.seconds = 4_102_444_799.0  # 2099-12-31T23:59:59Z
    _, other = new_token(api, user)
    refusals = [api("GET", "/groups", by=secret), clocked("GET", "/groups", by=expired)]
    for malformed in (
        WRONG.format(user["id"]),
        WRONG.format(987654321),
        WRONG.format(0),
        WRONG.format("01"),
        WRONG.format("9" * 17),
        other.upper(),
        other[:-1],
        other + "0",
        other.replace(f"tk_{user['id']}_", "tk_1_"),
        "",
        "tk_",
        "tk_1_\u0661",
    ):
        header = {"Authorization": f"Bearer {malformed}".encode().decode("latin-1")}
        refusals.append(api("GET", "/groups", headers=header))
    assert all(sameness(each) == wrong for each in refusals)
    ok(api("GET", "/groups", by=other))


def test_a_token_works_until_the_second_in_which_it_expires(
    api: Api, clocked: Api, clock: Clock, user: Any
) -> None:
    group = user["group_ids"][0]
    _, secret = new_token(api, user, expires_at="2099-12-31T23:59:59Z")
    clock.seconds = 4_102_444_798.9
    for _ in range(2):  # the second one from the memory of the process
        new_task(clocked, user["id"], group, by=secret)
    clock.seconds = 4_102_444_799.0
    body = {"title": "Too late", "group_id": group}
    refused(clocked("POST", f"/users/{user['id']}/tasks", by=secret, json=body), 401)
    refused(clocked("GET", "/groups", by=secret), 401)


def test_a_token_expires_by_the_clock_of_the_machine(api: Api, user: Any) -> None:
    at = time.gmtime(time.time() + 2)
    _, secret = new_token(api, user, expires_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", at))
    deadline = time.monotonic() + 10
    while (status := api("GET", "/groups", by=secret).status) == 200:
        assert time.monotonic() < deadline
    assert status == 401


def test_the_owner_header_and_a_token_name_one_caller(api: Api, user: Any) -> None:
    _, secret = new_token(api, user)
    _, of_owner = new_token(api, {"id": 1}, access="read")
    bearer = [{"Authorization": f"Bearer {each}"} for each in (secret, of_owner)]
    refused(api("GET", "/users", by="owner", headers=bearer[0]), 401)
    ok(api("GET", "/users", by="owner", headers=bearer[1]))
    body = {"name": "n", "admin_id": 1}
    error = refused(api("POST", "/groups", by="owner", headers=bearer[1], json=body), 403)
    assert error["code"] == "read_only_token"
    refused(api("GET", "/users", headers=bearer[1] | {"X-Owner-Password": "wrong"}), 401)


def test_wrong_tokens_count_for_the_address_only(api: Api, user: Any, address: str) -> None:
    _, secret = new_token(api, user)
    wrong = WRONG.format(user["id"])
    assert {ask(api, address, wrong).status for _ in range(20)} == {401}
    ok(ask(api, address, login(user)))
    assert {ask(api, address, wrong).status for _ in range(80)} == {401}
    held = ask(api, address, wrong)
    assert refused(held, 429)
    assert 0 < int(held.headers["Retry-After"]) <= 300
    refused(ask(api, address, (user["id"], "wrong")), 429)
    ok(ask(api, address, secret))
    refused(ask(api, address, wrong), 429)


def test_a_token_neither_minds_nor_clears_failures_of_its_user(
    api: Api, user: Any, address: str
) -> None:
    _, secret = new_token(api, user)
    assert {ask(api, address, (user["id"], "wrong")).status for _ in range(10)} == {401}
    ok(ask(api, address, secret))
    path, body = f"/users/{user['id']}/tasks", {"title": "t", "group_id": user["group_ids"][0]}
    made(api("POST", path, by=secret, json=body, headers=sent_from(address)))
    refused(ask(api, address, login(user)), 429)


def test_what_is_no_token_does_not_count(api: Api, user: Any, address: str) -> None:
    assert {ask(api, address, f"tk_{user['id']}_x").status for _ in range(20)} == {401}
    ok(ask(api, address, login(user)))


def test_only_the_digest_of_a_token_is_stored(
    api: Api, installation: Installation, user: Any
) -> None:
    _, secret = new_token(api, user)
    with connect(installation) as redis:
        stored = redis.hget(f"{root(installation)}user:{user['id']}", "tokens")
    assert tokens.digest(secret) in stored
    assert secret.rpartition("_")[2] not in stored
    assert len(bytes.fromhex(secret.rpartition("_")[2])) * 8 == 256


@pytest.mark.parametrize(
    "stored",
    [
        *("%s", "[%s", "{%s}", "[{%s}]", '[{"id":1,%s}]', '[1,{"id":[],%s]'),
        '[{"id":1,"name":"n","access":"full","created_at":"2026-01-01T00:00:00Z",'
        '"expires_at":"never","last_used_on":null,%s}]',
    ],
)
def test_a_token_that_cannot_be_read_is_damage(
    api: Api, installation: Installation, user: Any, stored: str
) -> None:
    _, secret = new_token(api, user)
    with connect(installation) as redis:
        value = stored % f'"sha256":"{tokens.digest(secret)}"'
        redis.hset(f"{root(installation)}user:{user['id']}", "tokens", value)
    assert refused(api("GET", "/groups", by=secret), 503)["code"] == "damaged"
    ok(api("GET", "/groups", by=login(user)))
    for method in ("GET", "POST"):
        answer = api(method, f"/users/{user['id']}/tokens", by="owner", json={"name": "n"})
        assert refused(answer, 503)["code"] == "damaged"


def test_a_name_is_not_taken_for_a_token(api: Api, user: Any) -> None:
    _, secret = new_token(api, user)
    own = f'"sha256":"{tokens.digest(secret)}"'
    for name in (own[:99], f'x"}},{{"id":1,{own}'[:100], '{"id":1', '},{"id":', "},{"):
        _, other = new_token(api, user, name=name)
        assert {api("GET", "/groups", by=each).status for each in (secret, other)} == {200}
