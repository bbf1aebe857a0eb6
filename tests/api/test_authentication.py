"""Credentials: valid ones, malformed ones, and guessing."""

from __future__ import annotations

import time
from base64 import b64encode
from itertools import count
from typing import Any

import pytest

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
from tests.client import Answer, Api, Caller, basic
from tests.conftest import Install
from tests.support import OWNER_EMAIL, OWNER_PASSWORD, Installation

UNKNOWN = 987654321


@pytest.fixture(scope="module")
def installation(install: Install) -> Installation:
    return install(TRUSTED_PROXIES="1")


@pytest.fixture(scope="module")
def api(installation: Installation) -> Api:
    return installation.client()


@pytest.fixture(scope="module")
def user(api: Api) -> dict[str, Any]:
    return new_user(api, email="User.One@Example.com", password="a:b:ç ")


def from_address(number: int) -> dict[str, str]:
    return {"X-Forwarded-For": f"10.1.{number // 250}.{number % 250}"}


def test_basic_takes_an_id_or_an_email_in_any_case(api: Api, user: dict[str, Any]) -> None:
    path = f"/users/{user['id']}"
    for name in (
        user["id"],
        "User.One@Example.com",
        "user.one@example.com",
        "USER.ONE@EXAMPLE.COM",
    ):
        assert ok(api("GET", path, by=(name, "a:b:ç "))) == user


def test_an_owner_by_basic_is_an_owner(api: Api) -> None:
    second = new_user(api, role="owner")
    owners: list[Caller] = [login(second), (1, OWNER_PASSWORD), (OWNER_EMAIL, OWNER_PASSWORD)]
    for by in owners:
        made(api("POST", "/groups", by=by, json={"name": f"By {by}", "admin_id": 1}))
        ok(api("GET", "/admin/status", by=by))


ODD_LOGINS = {
    "nothing after the scheme": "Basic",
    "no base64": "Basic !!!",
    "bad padding": "Basic YTpi=YQ",
    "base64 that is not ASCII": "Basic YTpi\u00e9",
    "no colon": "Basic " + b64encode(b"1").decode(),
    "bad UTF-8": "Basic " + b64encode(b"1:\xff\xfe").decode(),
    "NUL": "Basic " + b64encode(b"1:a\0b").decode(),
    "NUL in the name": "Basic " + b64encode(b"1\0:" + OWNER_PASSWORD.encode()).decode(),
    "empty": "Basic " + b64encode(b":").decode(),
    "empty name": basic("", OWNER_PASSWORD),
    "empty password": basic(1, ""),
    "another scheme": "Bearer " + basic(1, OWNER_PASSWORD).split()[1],
    "no scheme": basic(1, OWNER_PASSWORD).split()[1],
    "leading zero": basic("01", OWNER_PASSWORD),
    "plus": basic("+1", OWNER_PASSWORD),
    "a space before the id": basic(" 1", OWNER_PASSWORD),
    "a space after the id": basic("1 ", OWNER_PASSWORD),
    "unicode digit": basic("\u0661", OWNER_PASSWORD),
    "fullwidth digit": basic("\uff11", OWNER_PASSWORD),
    "decimal": basic("1.0", OWNER_PASSWORD),
    "zero": basic("0", OWNER_PASSWORD),
    "2^63": basic(2**63, OWNER_PASSWORD),
    "5000 digits": basic("1" * 5000, OWNER_PASSWORD),
    "a long password": basic(1, "x" * 6000),
    "a name instead": basic("System Owner", OWNER_PASSWORD),
    "wildcard": basic("%@example.com", OWNER_PASSWORD),
    "cut password": basic(1, OWNER_PASSWORD[:-1]),
    "longer password": basic(1, OWNER_PASSWORD + "x"),
    "other case": basic(1, OWNER_PASSWORD.upper()),
    "Kelvin sign": basic("\u212aelvin@example.com", PASSWORD),
    "long s": basic("kelvin\u017f@example.com", PASSWORD),
}


@pytest.mark.parametrize(("number", "header"), list(enumerate(ODD_LOGINS.values())), ids=ODD_LOGINS)
def test_malformed_logins_get_the_same_401_as_a_wrong_password(
    api: Api, number: int, header: str
) -> None:
    wrong = api("GET", "/users", by=(UNKNOWN, "x"), headers=from_address(number))
    answer = api("GET", "/users", headers=from_address(number) | {"Authorization": header})
    assert sameness(answer) == sameness(wrong)


def sameness(answer: Answer) -> Any:
    """Return the parts of a refusal that must not depend on its reason."""
    error = refused(answer, 401)
    headers = {name.lower(): value for name, value in answer.headers.items()}
    for varying in ("x-request-id", "date", "content-length"):
        headers.pop(varying, None)
    assert headers["www-authenticate"] == 'Basic realm="taskapi", charset="UTF-8"'
    return headers, error | {"request_id": ""}


def test_every_401_is_the_same(api: Api, user: dict[str, Any]) -> None:
    headers = from_address(1000)
    wrong_owner = headers | {"X-Owner-Password": "wrong"}
    answers = [
        api("GET", "/users", headers=headers),
        api("GET", "/users", by=(user["id"], "wrong"), headers=headers),
        api("GET", "/users", by=(user["email"], "wrong"), headers=headers),
        api("GET", "/users", by=(UNKNOWN, "wrong"), headers=headers),
        api("GET", "/users", by=("nobody@example.com", "wrong"), headers=headers),
        api("GET", "/users", headers=wrong_owner),
        api("GET", f"/users/{UNKNOWN}", headers=headers),
        api("DELETE", "/groups/1", headers=headers),
    ]
    assert all(sameness(answer) == sameness(answers[0]) for answer in answers)


def test_the_kelvin_sign_is_not_a_k(api: Api) -> None:
    kelvin = new_user(api, email="kelvin@example.com")
    ok(api("GET", f"/users/{kelvin['id']}", by=("KELVIN@example.com", PASSWORD)))
    by = ("\u212aelvin@example.com", PASSWORD)
    refused(api("GET", f"/users/{kelvin['id']}", by=by, headers=from_address(1001)), 401)


@pytest.mark.parametrize("password", ["wrong", "", OWNER_PASSWORD + " x", OWNER_PASSWORD.upper()])
def test_a_wrong_owner_header_is_401_even_beside_valid_credentials(api: Api, password: str) -> None:
    headers = from_address(1002) | {"X-Owner-Password": password}
    refused(api("GET", "/users", headers=headers), 401)
    refused(api("GET", "/users", by=(1, OWNER_PASSWORD), headers=headers), 401)


def test_two_owner_headers_are_401(installation: Installation) -> None:
    with installation.serve(workers=1) as api:
        ok(api("GET", "/users", by="owner"))
        for second in (OWNER_PASSWORD, "wrong"):
            both = [("X-Owner-Password", OWNER_PASSWORD), ("X-Owner-Password", second)]
            refused(api("GET", "/users", headers=both), 401)


def test_header_and_basic_may_name_the_same_caller_only(api: Api, user: dict[str, Any]) -> None:
    ok(api("GET", "/users", by="owner", headers={"Authorization": basic(1, OWNER_PASSWORD)}))
    other = {"Authorization": basic(user["id"], "a:b:ç ")}
    refused(api("GET", "/users", by="owner", headers=other), 401)
    wrong = {"Authorization": basic(1, "wrong")} | from_address(1003)
    refused(api("GET", "/users", by="owner", headers=wrong), 401)


def test_underscores_do_not_become_dashes(installation: Installation) -> None:
    with installation.serve(workers=1) as api:
        refused(api("GET", "/users", headers={"X_Owner_Password": OWNER_PASSWORD}), 401)


def test_the_owner_header_is_always_the_environments_password(api: Api) -> None:
    changed = "another-canary-55"
    ok(api("PUT", "/users/1", by="owner", json={"password": changed}))
    ok(api("GET", "/users", by=(1, changed)))
    ok(api("GET", "/users", by="owner"))
    refused(api("GET", "/users", by=(1, OWNER_PASSWORD), headers=from_address(1004)), 401)
    refused(api("GET", "/users", headers={"X-Owner-Password": changed} | from_address(1004)), 401)
    ok(api("PUT", "/users/1", by=(1, changed), json={"password": OWNER_PASSWORD}))
    ok(api("GET", "/users", by=(1, OWNER_PASSWORD)))


def test_in_both_processes_a_changed_password_or_a_deleted_user_is_out_at_once(
    installation: Installation,
) -> None:
    with installation.serve(workers=2) as api:
        user = new_user(api)
        path = f"/users/{user['id']}"
        for _ in range(12):  # both processes remember the credential
            ok(api("GET", path, by=login(user)))
        ok(api("PUT", path, by=login(user), json={"password": "changed-canary-1"}))
        old = [api("GET", path, by=login(user), headers=from_address(n)) for n in range(8)]
        assert {answer.status for answer in old} == {401}
        for _ in range(12):
            ok(api("GET", path, by=(user["id"], "changed-canary-1")))
        ok(api("DELETE", path, by="owner"))
        by = (user["id"], "changed-canary-1")
        gone = [api("GET", path, by=by, headers=from_address(n)) for n in range(8)]
        assert {answer.status for answer in gone} == {401}


def test_in_both_processes_a_lost_role_or_membership_counts_at_once(
    installation: Installation,
) -> None:
    with installation.serve(workers=2) as api:
        head, spare = new_admin(api), new_admin(api)
        group = new_group(api, head["id"])
        member = new_user(api, group["id"])
        mine = {"title": "t", "group_id": group["id"]}
        for _ in range(8):
            ok(api("GET", "/users", by=login(head)))
            new_task(api, member["id"], group["id"], by=login(member))
        ok(api("PUT", f"/groups/{group['id']}", by="owner", json={"admin_id": spare["id"]}))
        ok(api("PUT", f"/users/{head['id']}", by="owner", json={"role": "user"}))
        ok(api("DELETE", f"/groups/{group['id']}/users/{member['id']}", by="owner"))
        for _ in range(8):
            refused(api("GET", "/users", by=login(head)), 403)
            path = f"/users/{member['id']}/tasks"
            refused(api("POST", path, by=login(member), json=mine), 403)


def test_an_email_given_up_is_no_login_and_a_new_one_is(api: Api) -> None:
    user = new_user(api, email="before@example.com")
    path = f"/users/{user['id']}"
    ok(api("GET", path, by=("before@example.com", PASSWORD)))
    ok(api("PUT", path, by=login(user), json={"email": "after@example.com"}))
    by = ("before@example.com", PASSWORD)
    refused(api("GET", path, by=by, headers=from_address(1005)), 401)
    ok(api("GET", path, by=("after@example.com", PASSWORD)))
    heir = new_user(api, email="before@example.com", password="heirs-canary-1")
    ok(api("GET", f"/users/{heir['id']}", by=("before@example.com", "heirs-canary-1")))


def test_an_unknown_user_takes_as_long_as_a_wrong_password(api: Api) -> None:
    user = new_user(api)

    def seconds(name: object, number: int) -> float:
        began = time.thread_time()  # CPU time, so that other processes do not count
        api("GET", "/users", by=(name, "wrong"), headers=from_address(number))
        return time.thread_time() - began

    names, numbers = (user["id"], UNKNOWN, "nobody@example.com"), count(2000)
    rounds = [[seconds(name, next(numbers)) for name in names] for _ in range(10)]
    known, *unknown = map(min, zip(*rounds, strict=True))
    assert all(0.5 < other / known < 2 for other in unknown), (known, unknown)


@pytest.mark.parametrize("hops", ["garbage", "", ",", "1.2.3.4,", "\u00e9", "x" * 5000, "::1, ::2"])
def test_a_malformed_forwarded_address_counts_as_an_address(api: Api, hops: str) -> None:
    headers = {"X-Forwarded-For": hops}
    assert api("GET", "/users", by="owner", headers=headers).status == 200
    assert api("GET", "/users", by=(UNKNOWN, "x"), headers=headers).status in (401, 429)
