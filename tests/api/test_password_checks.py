"""A verified password is remembered while it is in use, by all processes, for one address."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from taskapi import create_app
from taskapi.api import credentials, password_checks
from taskapi.api.shared_key import KEY_FILE
from taskapi.api.throttling import LoginThrottle
from taskapi.doctor import check
from taskapi.store import verified
from taskapi.store.passwords import is_password
from tests.api.factories import PASSWORD, login, new_user, ok, refused
from tests.client import Api, in_process
from tests.conftest import Install
from tests.stores import connect, root
from tests.support import OWNER_PASSWORD, Installation

User = dict[str, Any]
CALLERS = 11
HOME, ELSEWHERE = "192.0.2.1", "192.0.2.2"


@pytest.fixture
def installation(install: Install) -> Installation:
    return install(TRUSTED_PROXIES="1")


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The passwords that were checked against a hash from now on."""
    passwords: list[str] = []

    def check(hashed: str | None, password: str) -> bool:
        passwords.append(password)
        return is_password(hashed, password)

    monkeypatch.setattr(password_checks, "is_password", check)
    return passwords


def log_in(api: Api, user: User, password: str = PASSWORD, address: str = HOME) -> None:
    headers = {"X-Forwarded-For": address}
    ok(api("GET", f"/users/{user['id']}", by=(user["id"], password), headers=headers))


def digests(installation: Installation, user: User) -> list[str]:
    """The digests of this user's credentials in Redis, the oldest first."""
    with connect(installation) as connection:
        return list(connection.zrange(f"{root(installation)}verified:{user['id']}", 0, -1))


def process_with(installation: Installation, folder: Path) -> Api:
    """Return a client of a process with another DATA_DIR."""
    settings = replace(installation.settings, data_dir=folder)
    return Api(in_process(create_app(settings)), OWNER_PASSWORD)


def test_a_known_caller_is_not_checked_again(api: Api, checked: list[str]) -> None:
    user = new_user(api)
    for _ in range(3):
        log_in(api, user)
    assert checked == [PASSWORD]


def test_requests_that_wait_for_the_same_check_are_not_checked_themselves(
    api: Api, checked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    user, all_begin = new_user(api), threading.Barrier(CALLERS)
    monkeypatch.setattr(LoginThrottle, "require_address_open", lambda *_, **__: all_begin.wait(20))
    with ThreadPoolExecutor(CALLERS) as pool:
        answers = pool.map(lambda _: api("GET", "/groups", by=login(user)).status, range(CALLERS))
    assert [*answers] == [200] * CALLERS
    assert checked == [PASSWORD]


def test_the_password_that_was_not_used_for_the_longest_time_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(credentials, "REMEMBERED_MOST", 2)
    digests = credentials.Digests()
    digests.add("first", 1.0)
    digests.add("second", 2.0)
    assert digests.use("first") == 1.0
    digests.add("third", 3.0)
    assert [digests.use(each) for each in ("first", "second", "third")] == [1.0, 0.0, 3.0]


def test_a_password_is_checked_once_for_all_processes_and_across_restarts(
    installation: Installation, api: Api, other: Api, checked: list[str]
) -> None:
    user = new_user(api)
    log_in(api, user)
    for _ in range(2):
        log_in(other, user)
    assert checked == [PASSWORD]
    refused(other("GET", "/groups", by=(user["id"], "wrong")), 401)
    assert checked == [PASSWORD, "wrong"]
    with connect(installation) as connection:
        seconds = connection.ttl(f"{root(installation)}verified:{user['id']}")
    assert 0 < seconds <= verified.REMEMBERED_SECONDS


def test_each_address_is_checked_and_logged_itself(
    api: Api, other: Api, checked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    user = new_user(api)
    log_in(api, user)
    capsys.readouterr()
    for process in (api, other):
        log_in(process, user, address=ELSEWHERE)
    assert checked == [PASSWORD] * 2
    lines = [line for line in capsys.readouterr().out.splitlines() if "Info Log-in" in line]
    assert [line.split("user=")[1] for line in lines] == [f"{user['id']} address={ELSEWHERE}"]


def test_what_redis_remembers_of_a_password_ends_with_the_password(api: Api, other: Api) -> None:
    user, gone = new_user(api), new_user(api)
    for each in (user, gone):
        log_in(api, each)
    body = {"password": "another-canary"}
    ok(api("PUT", f"/users/{user['id']}", by=login(user), json=body))
    ok(api("DELETE", f"/users/{gone['id']}", by="owner"))
    for each in (user, gone):
        headers = {"X-Forwarded-For": HOME}
        refused(other("GET", "/groups", by=login(each), headers=headers), 401)
    log_in(other, user, "another-canary")


def test_what_redis_remembers_is_renewed_while_it_is_in_use(
    installation: Installation, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(password_checks, "RENEWED_SECONDS", 0)
    user = new_user(api)
    log_in(api, user)
    with connect(installation) as connection:
        key = f"{root(installation)}verified:{user['id']}"
        connection.expire(key, 5)
        log_in(api, user)
        assert connection.ttl(key) > 5


def test_redis_remembers_the_last_addresses_of_a_user_only(
    installation: Installation, api: Api, other: Api, checked: list[str]
) -> None:
    user = new_user(api)
    for number in range(verified.REMEMBERED_MOST + 2):
        log_in(api, user, address=f"192.0.2.{number}")
    assert len(digests(installation, user)) == verified.REMEMBERED_MOST
    checked.clear()
    log_in(other, user, address=f"192.0.2.{number}")
    assert not checked


def test_a_digest_in_redis_is_of_no_use_without_the_key(
    installation: Installation, api: Api, checked: list[str], tmp_path: Path
) -> None:
    user = new_user(api)
    log_in(api, user)
    assert (installation.settings.data_dir / KEY_FILE).stat().st_mode & 0o777 == 0o600
    log_in(process_with(installation, tmp_path), user)
    assert checked == [PASSWORD] * 2
    assert len(digests(installation, user)) == 2


def test_a_digest_is_of_no_use_to_another_user_with_the_same_hash(
    installation: Installation, api: Api, other: Api, checked: list[str]
) -> None:
    user, twin = new_user(api), new_user(api)
    log_in(api, user)
    with connect(installation) as connection:
        for name in ("secret", "verified"):
            keys = [f"{root(installation)}{name}:{each['id']}" for each in (user, twin)]
            connection.copy(*keys, replace=True)
    log_in(other, twin)
    assert checked == [PASSWORD] * 2


def test_without_a_key_each_process_remembers_passwords_for_itself(
    installation: Installation, checked: list[str], tmp_path: Path
) -> None:
    (tmp_path / KEY_FILE).write_bytes(b"short")
    process = process_with(installation, tmp_path)
    user = new_user(process)
    for _ in range(2):
        log_in(process, user)
    assert checked == [PASSWORD]
    assert not digests(installation, user)


def test_a_full_redis_lets_everybody_log_in(installation: Installation, api: Api) -> None:
    user = new_user(api)
    with connect(installation) as connection:
        connection.config_set("maxmemory", "1")
        try:
            log_in(api, user)
        finally:
            connection.config_set("maxmemory", "0")
    assert not digests(installation, user)
    log_in(api, user)


def test_a_damaged_key_of_digests_lets_everybody_log_in(
    installation: Installation, api: Api, other: Api, checked: list[str]
) -> None:
    user = new_user(api)
    with connect(installation) as connection:
        connection.set(f"{root(installation)}verified:{user['id']}", "damaged")
    for process in (api, other):
        log_in(process, user)
    assert checked == [PASSWORD] * 2


def forget_by_restore(api: Api) -> None:
    ok(api("POST", "/admin/sync?action=restore", by="owner"))


def nothing(_: Api) -> None:
    pass


@pytest.mark.parametrize(("act", "left"), [(nothing, 1), (forget_by_restore, 0)])
def test_what_redis_remembers_is_no_difference_and_ends_with_a_restore(
    installation: Installation, api: Api, act: Callable[[Api], None], left: int
) -> None:
    user = new_user(api)
    log_in(api, user)
    act(api)
    installation.sync()
    assert len(digests(installation, user)) == left
    assert check(installation.settings, repairs=False)[1] == 0
    log_in(api, user)


def test_a_clock_that_was_ahead_takes_no_place(
    api: Api, other: Api, checked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    user, now = new_user(api), verified.time.time()
    with monkeypatch.context() as patch:
        patch.setattr(verified.time, "time", lambda: now + 3600)
        for number in range(verified.REMEMBERED_MOST):
            log_in(api, user, address=f"192.0.2.{10 + number}")
    log_in(api, user)
    checked.clear()
    log_in(other, user)
    assert checked == []
