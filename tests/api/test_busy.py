"""A request that cannot be served in time is a 503, and works when it is repeated."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from taskapi.api import application, password_checks
from taskapi.store import passwords
from taskapi.store.commit import Commit
from taskapi.store.passwords import is_password
from taskapi.sync.start_check import StartWatch
from tests.api.factories import PASSWORD, made, new_group, new_task, new_user, ok, refused
from tests.api.hashers import Exhausted
from tests.client import Answer, Api
from tests.conftest import Install
from tests.stores import before, connect, crash, root
from tests.support import Installation, eventually

CROWD = 20
"""More first log-ins at once than may wait in a process."""
LONGEST_SECONDS = 20.0


def check_busy(answer: Answer) -> None:
    assert refused(answer, 503)["code"] == "busy"
    assert answer.headers["Retry-After"] == "1"


def test_what_a_dying_delete_holds_up_is_busy_until_it_lets_go(
    installation: Installation, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = new_group(api)["id"]
    user = new_user(api, group)["id"]
    new_task(api, user, group)
    before(monkeypatch, Commit, "run", crash)
    refused(api("DELETE", f"/users/{user}", by="owner"), 500)
    closing = f"{root(installation)}closing:u:{user}"
    with connect(installation) as connection:
        assert connection.persist(closing)  # must not expire before the request
        check_busy(create(api, user, group))
        connection.delete(closing)
    made(create(api, user, group))


def test_a_request_waits_less_for_the_check_of_a_start_than_for_a_lost_race(
    installation: Installation, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(application, "CHECK_SECONDS", 0.2)
    monkeypatch.setattr(application, "RETRY_SECONDS", 10 * LONGEST_SECONDS)
    monkeypatch.setattr(StartWatch, "wake", lambda _: None)
    user = new_user(api)
    with connect(installation) as connection, ThreadPoolExecutor(1) as pool:
        opened = connection.hget(f"{root(installation)}meta", "opened")
        connection.hset(f"{root(installation)}meta", "opened", "another start")
        waiting = pool.submit(log_in, api, user["id"])
        try:
            eventually(waiting.done, LONGEST_SECONDS)
        finally:
            connection.hset(f"{root(installation)}meta", "opened", opened)
    assert refused(waiting.result(), 503)["error"] == application.UNCHECKED
    ok(log_in(api, user["id"]))


def create(api: Api, user: int, group: int) -> Answer:
    body = {"title": "Meanwhile", "group_id": group}
    return api("POST", f"/users/{user}/tasks", by="owner", json=body)


def log_in(api: Api, user: object, password: str = PASSWORD, address: str = "10.3.0.1") -> Answer:
    headers = {"X-Forwarded-For": address}
    return api("GET", "/groups", by=(user, password), headers=headers)


@contextmanager
def check_that_lasts(monkeypatch: pytest.MonkeyPatch, api: Api) -> Iterator[None]:
    """Check the password of somebody until the end of the block."""
    begun, ended = threading.Event(), threading.Event()

    def wait(*_: object) -> bool:
        begun.set()
        assert ended.wait(LONGEST_SECONDS)
        return False

    monkeypatch.setattr(password_checks, "is_password", wait)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(log_in, api, 77, address="10.3.1.1")
        try:
            assert begun.wait(LONGEST_SECONDS)
            monkeypatch.setattr(password_checks, "is_password", is_password)
            yield
        finally:
            ended.set()
        refused(first.result(), 401)


@pytest.fixture
def proxied(install: Install) -> Api:
    return install(TRUSTED_PROXIES="1").client()


def test_first_log_ins_that_wait_too_long_for_their_turn_are_busy(
    proxied: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = new_user(proxied)
    monkeypatch.setattr(password_checks, "CHECK_TURN_SECONDS", 0.05)
    with check_that_lasts(monkeypatch, proxied):
        check_busy(log_in(proxied, user["id"]))
        ok(proxied("GET", "/groups", by="owner"))
    ok(log_in(proxied, user["id"]))


def test_first_log_ins_beyond_those_that_may_wait_are_busy_at_once(
    proxied: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = new_user(proxied)["id"]
    ok(log_in(proxied, known))
    monkeypatch.setattr(password_checks, "CHECK_TURN_SECONDS", LONGEST_SECONDS)
    with ThreadPoolExecutor(CROWD) as pool, check_that_lasts(monkeypatch, proxied):
        others = [
            pool.submit(log_in, proxied, 78, f"wrong {number}", f"10.3.2.{number}")
            for number in range(CROWD)
        ]
        refusals = CROWD + 1 - password_checks.WAITING_MOST
        eventually(lambda: sum(answer.done() for answer in others) == refusals)
        ok(log_in(proxied, known))
    answers = [answer.result() for answer in others]
    for answer in answers:
        if answer.status != 401:
            check_busy(answer)
    assert sum(answer.status == 503 for answer in answers) == refusals


def test_guesses_while_too_many_wait_are_counted(
    proxied: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, colleague = new_user(proxied)["id"], new_user(proxied)["id"]
    ok(log_in(proxied, user))
    monkeypatch.setattr(password_checks, "CHECK_TURN_SECONDS", 0.0)
    with check_that_lasts(monkeypatch, proxied):
        guesses = [log_in(proxied, user, f"wrong {number}").status for number in range(11)]
        assert guesses == [503] * 10 + [429]
        refused(log_in(proxied, user), 429)
    ok(log_in(proxied, user, address="10.3.0.2"))
    ok(log_in(proxied, colleague))


def test_who_repeats_a_log_in_that_was_busy_is_not_held_up(
    proxied: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = new_user(proxied)["id"]
    monkeypatch.setattr(password_checks, "CHECK_TURN_SECONDS", 0.0)
    with check_that_lasts(monkeypatch, proxied):
        for _ in range(20):
            check_busy(log_in(proxied, user))
    ok(log_in(proxied, user))


def test_a_check_for_which_there_is_no_memory_is_no_wrong_password(
    proxied: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = new_user(proxied)["id"]
    with monkeypatch.context() as patch:
        patch.setattr(passwords, "HASHER", Exhausted())
        assert refused(log_in(proxied, user), 503)["code"] == "unavailable"
        body = {"password": "another-canary"}
        assert refused(proxied("PUT", f"/users/{user}", by="owner", json=body), 503)
    ok(log_in(proxied, user))
