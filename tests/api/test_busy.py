"""A request that cannot be served in time is a 503, and works when it is repeated."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from taskapi.store import passwords
from taskapi.store.commit import Commit
from tests.api.factories import PASSWORD, made, new_group, new_task, new_user, ok, refused
from tests.api.hashers import Exhausted
from tests.client import Answer, Api
from tests.conftest import Install
from tests.stores import before, connect, crash, root
from tests.support import Installation

CROWD = 120
"""More first log-ins than one process can check in CHECK_TURN_SECONDS."""


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


def create(api: Api, user: int, group: int) -> Answer:
    body = {"title": "Meanwhile", "group_id": group}
    return api("POST", f"/users/{user}/tasks", by="owner", json=body)


@pytest.mark.usefixtures("shipped_password_hashes")
def test_first_log_ins_that_wait_too_long_for_their_turn_are_busy(install: Install) -> None:
    api = install(TRUSTED_PROXIES="1").client()

    def log_in(number: int) -> Answer:
        return api(
            "GET", "/groups", by=(1, "wrong"), headers={"X-Forwarded-For": f"10.3.0.{number}"}
        )

    with ThreadPoolExecutor(CROWD) as pool:
        answers = list(pool.map(log_in, range(CROWD)))
    held_up = [answer for answer in answers if answer.status != 401]
    assert 0 < len(held_up) < CROWD
    for answer in held_up:
        check_busy(answer)
    refused(log_in(CROWD), 401)
    ok(api("GET", "/groups", by="owner"))


def log_in(api: Api, user: object, password: str = PASSWORD, address: str = "10.3.0.1") -> Answer:
    headers = {"X-Forwarded-For": address}
    return api("GET", "/groups", by=(user, password), headers=headers)


@pytest.fixture
def proxied(install: Install) -> Api:
    return install(TRUSTED_PROXIES="1").client()


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
