"""The day on which a token was used last."""

from __future__ import annotations

import json
from typing import Any

import pytest

from taskapi.errors import Stale
from taskapi.store import tokens
from tests.api.factories import (
    new_admin,
    new_group,
    new_task,
    new_token,
    new_user,
    ok,
    refused,
)
from tests.api.token_site import Clock, api, clock, clocked, installation, user
from tests.client import Api
from tests.stores import before, connect, root
from tests.support import Installation

__all__ = ["api", "clock", "clocked", "installation", "user"]
DAY_SECONDS = 86_400


def used_on(api: Api, user: Any) -> Any:
    (token,) = ok(api("GET", f"/users/{user['id']}/tokens", by="owner"))["tokens"]
    return token["last_used_on"]


def test_the_day_of_the_last_use_is_shown(api: Api, clocked: Api, clock: Clock, user: Any) -> None:
    _, secret = new_token(api, user)
    assert used_on(api, user) is None
    for _ in range(3):
        ok(clocked("GET", "/groups", by=secret))
        assert used_on(api, user) == clock.day()
        clock.seconds += DAY_SECONDS
    ok(clocked("GET", "/groups", by=secret))
    last = clock.day()
    clock.seconds -= 2 * DAY_SECONDS
    ok(clocked("GET", "/groups", by=secret))
    assert used_on(api, user) == last


def test_a_use_changes_the_version_once_a_day_and_nothing_else(
    installation: Installation, api: Api, clocked: Api, clock: Clock, user: Any
) -> None:
    _, secret = new_token(api, user)
    path, versions = f"/users/{user['id']}", []
    key = f"{root(installation)}user:{user['id']}"
    with connect(installation) as redis:
        stored = json.loads(redis.hget(key, "json")) | {"updated_at": "2020-01-01T00:00:00Z"}
        redis.hset(key, "json", json.dumps(stored, separators=(",", ":")))
    old = ok(api("GET", path, by="owner"))
    for _ in range(2):
        for _ in range(2):
            answer = clocked("GET", path, by=secret)
            shown = ok(answer)
            assert shown == ok(api("GET", path, by="owner")) == old | {"version": shown["version"]}
            assert answer.headers["ETag"] == f'"{shown["version"]}"'
            versions.append(shown["version"])
        clock.seconds += DAY_SECONDS
    assert old["version"] < versions[0] == versions[1] < versions[2] == versions[3]
    etag = {"If-Match": clocked("GET", path, by=secret).headers["ETag"]}
    ok(clocked("PUT", path, by=secret, headers=etag, json={"number": "8"}))


def test_the_first_use_of_a_day_may_be_a_change(
    api: Api, clocked: Api, clock: Clock, user: Any
) -> None:
    """Its caller is remembered by the process, from the day before."""
    _, secret = new_token(api, user)
    for _ in range(3):
        new_task(clocked, user["id"], user["group_ids"][0], by=secret)
        assert used_on(api, user) == clock.day()
        clock.seconds += DAY_SECONDS


def test_a_group_admin_keeps_their_groups_at_the_first_use_of_a_day(api: Api) -> None:
    admin = new_admin(api)
    group, member = new_group(api, admin["id"])["id"], new_user(api)
    _, secret = new_token(api, admin)
    ok(api("POST", f"/groups/{group}/users", by=secret, json={"user_id": member["id"]}))


def test_a_request_that_names_a_version_records_no_use(api: Api, user: Any) -> None:
    _, secret = new_token(api, user)
    path = f"/users/{user['id']}"
    condition = {"If-Match": api("GET", path, by="owner").headers["ETag"]}
    ok(api("PUT", path, by=secret, json={"number": "7"}, headers=condition))
    assert used_on(api, user) is None
    ok(api("GET", path, by=secret))
    assert used_on(api, user) is not None


def test_no_use_is_recorded_of_a_user_of_whom_postgres_may_have_more(
    api: Api, installation: Installation, user: Any
) -> None:
    _, secret = new_token(api, user)
    with connect(installation) as redis:
        confirmed = redis.hget(f"{root(installation)}meta", "confirmed")
        redis.hset(f"{root(installation)}meta", "confirmed", "an earlier start")
        try:
            ok(api("GET", "/groups", by=secret))
        finally:
            redis.hset(f"{root(installation)}meta", "confirmed", confirmed)
    assert used_on(api, user) is None


def test_a_token_reads_while_its_user_changes(
    api: Api, user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, secret = new_token(api, user)
    with monkeypatch.context() as patch:
        before(patch, tokens, "record_use", conflict)
        ok(api("GET", "/groups", by=secret))
    assert used_on(api, user) is None


def conflict() -> None:
    raise Stale


def test_while_redis_refuses_changes_a_token_reads(
    api: Api, installation: Installation, user: Any
) -> None:
    _, secret = new_token(api, user)
    with connect(installation) as redis:
        redis.hset(f"{root(installation)}meta", "state", "fenced")
        try:
            ok(api("GET", f"/users/{user['id']}", by=secret))
            refused(api("PUT", f"/users/{user['id']}", by=secret, json={"number": "1"}), 503)
        finally:
            redis.hset(f"{root(installation)}meta", "state", "ready")
    assert used_on(api, user) is None
    ok(api("GET", "/groups", by=secret))
    assert used_on(api, user) is not None
