"""A password hash by an older method is replaced after a log-in, at no cost to its user."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from argon2 import PasswordHasher
from werkzeug.security import generate_password_hash

from taskapi.api import password_checks
from taskapi.store import passwords, users
from taskapi.store.passwords import is_old, is_password
from tests.api.factories import PASSWORD, login, new_group, new_task, new_user, ok, refused
from tests.api.hashers import Exhausted
from tests.client import Api
from tests.stores import before, connect, meta, root, sql
from tests.support import Installation

User = dict[str, Any]
LONG_AGO = "2026-01-01T00:00:00Z"
OLD = generate_password_hash(PASSWORD, "scrypt:256:8:1")
WEAKER = PasswordHasher(time_cost=1, memory_cost=16, parallelism=2).hash(PASSWORD)


@pytest.fixture(autouse=True)
def _processes_that_run_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(password_checks, "REPLACING_SECONDS", 0.0)


@pytest.fixture
def veteran(installation: Installation, api: Api) -> User:
    """A user whose hash both stores have from an older program."""
    user = new_user(api)
    key, created = f"{root(installation)}user:{user['id']}", user["created_at"]
    with connect(installation) as connection:
        connection.hset(key, "json", connection.hget(key, "json").replace(created, LONG_AGO))
    set_hash(installation, user, OLD)
    installation.sync()
    return user | {"created_at": LONG_AGO, "updated_at": LONG_AGO}


def set_hash(installation: Installation, user: User, hashed: str) -> None:
    with connect(installation) as connection:
        connection.set(f"{root(installation)}secret:{user['id']}", hashed)


def hash_of(installation: Installation, user: User) -> str:
    with connect(installation) as connection:
        return str(connection.get(f"{root(installation)}secret:{user['id']}"))


def show(api: Api, user: User, **sent: Any) -> User:
    shown: User = ok(api("GET", f"/users/{user['id']}", by=login(user), **sent))
    return shown


@pytest.mark.parametrize("old", [OLD, WEAKER], ids=["scrypt", "weaker"])
def test_an_old_hash_is_replaced_at_the_next_log_in(
    installation: Installation, api: Api, other: Api, veteran: User, old: str
) -> None:
    set_hash(installation, veteran, old)
    refused(api("GET", "/groups", by=(veteran["id"], "wrong")), 401)
    assert hash_of(installation, veteran) == old
    for process in (api, other, api):
        shown = show(process, veteran)
    hashed = hash_of(installation, veteran)
    assert not is_old(hashed)
    assert is_password(hashed, PASSWORD)
    assert shown == veteran | {"version": shown["version"]}
    assert shown["version"] > veteran["version"]
    installation.sync()
    query = "SELECT password_hash FROM users WHERE id = %s"
    assert sql(installation, query, veteran["id"]) == [(hashed,)]
    refused(api("GET", "/groups", by=(veteran["id"], "wrong")), 401)


def test_a_young_process_replaces_no_hash_because_older_ones_may_still_run(
    installation: Installation, api: Api, veteran: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(password_checks, "REPLACING_SECONDS", 90.0)
    show(api, veteran)
    assert hash_of(installation, veteran) == OLD


def test_a_request_that_names_a_version_replaces_no_hash(
    installation: Installation, api: Api, veteran: User
) -> None:
    path, name = f"/users/{veteran['id']}", {"full_name": "New Name"}
    condition = {"If-Match": f'"{veteran["version"]}"'}
    ok(api("PUT", path, by=login(veteran), json=name, headers=condition))
    assert hash_of(installation, veteran) == OLD


def test_a_user_of_whom_postgres_may_have_more_gets_no_new_version(
    installation: Installation, api: Api, veteran: User
) -> None:
    with connect(installation) as connection:
        connection.hset(f"{root(installation)}meta", "confirmed", "an earlier start")
    show(api, veteran)
    assert hash_of(installation, veteran) == OLD


@pytest.mark.parametrize(("seconds", "is_replaced"), [(60.0, False), (0.0, True)])
def test_a_hash_that_was_not_replaced_is_tried_again_after_a_minute(
    installation: Installation,
    api: Api,
    veteran: User,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    is_replaced: bool,
) -> None:
    monkeypatch.setattr(password_checks, "OLD_SECONDS", seconds)
    for age in (90.0, 0.0):
        monkeypatch.setattr(password_checks, "REPLACING_SECONDS", age)
        show(api, veteran)
    assert is_old(hash_of(installation, veteran)) != is_replaced


def test_redis_remembers_nothing_of_an_old_hash(
    installation: Installation, api: Api, veteran: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(password_checks, "REPLACING_SECONDS", 90.0)
    show(api, veteran)
    with connect(installation) as connection:
        assert not connection.exists(f"{root(installation)}verified:{veteran['id']}")


def test_what_redis_remembers_ends_when_its_hash_becomes_an_old_one(
    installation: Installation, api: Api, other: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = new_user(api)
    show(api, user)
    monkeypatch.setattr(passwords, "HASHER", PasswordHasher(2, 8, 1))
    show(other, user)
    assert not is_old(hash_of(installation, user))


def test_a_password_that_changes_during_its_check_is_not_set_back(
    api: Api, other: Api, veteran: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, changed = f"/users/{veteran['id']}", {"password": "changed-meanwhile"}
    put = partial(other, "PUT", path, by="owner", json=changed)
    before(monkeypatch, users, "replace_hash", put)
    refused(api("GET", path, by=login(veteran)), 401)
    ok(api("GET", path, by=(veteran["id"], "changed-meanwhile")))


def test_a_user_who_is_deleted_during_the_check_does_not_come_back(
    installation: Installation, api: Api, other: Api, veteran: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/users/{veteran['id']}"
    before(monkeypatch, users, "replace_hash", partial(other, "DELETE", path, by="owner"))
    refused(api("GET", path, by=login(veteran)), 401)
    with connect(installation) as connection:
        assert not connection.exists(f"{root(installation)}secret:{veteran['id']}")


def fence(installation: Installation, state: str) -> None:
    with connect(installation) as connection:
        connection.hset(root(installation) + "meta", "state", state)


def test_a_store_that_takes_no_changes_keeps_the_old_hash(
    installation: Installation, api: Api, veteran: User
) -> None:
    state = meta(installation)["state"]
    fence(installation, "fenced")
    show(api, veteran)
    fence(installation, state)
    assert hash_of(installation, veteran) == OLD
    show(api, veteran)


def test_a_lack_of_memory_keeps_the_old_hash(
    installation: Installation, api: Api, veteran: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "HASHER", Exhausted())
    show(api, veteran)
    assert hash_of(installation, veteran) == OLD


def test_all_requests_of_a_user_succeed_while_the_hash_is_replaced(
    installation: Installation, api: Api, other: Api
) -> None:
    group = new_group(api)["id"]
    for _ in range(3):
        user = new_user(api, group)
        set_hash(installation, user, OLD)

        def create(number: int, user: User = user) -> None:
            new_task((api, other)[number % 2], user["id"], group, by=login(user))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(create, range(8)))
        assert not is_old(hash_of(installation, user))
