"""Tokens in both stores: copied, restored, saved, healed, compared and repaired with their user."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from devserver.servers import Postgres
from taskapi.store import tokens
from taskapi.sync import bootstrap, import_backup, migrations
from tests.api.drift import check_stores
from tests.api.factories import new_group, new_token, new_user, ok, refused
from tests.client import Api
from tests.conftest import Install
from tests.operations.checks import DIFFERS, check
from tests.stores import connect, empty_redis, root, sql
from tests.support import Installation
from tests.sync.lossy_site import LossySite


@pytest.fixture
def user(api: Api) -> Any:
    return new_user(api, new_group(api)["id"])


def listed(api: Api, user: Any) -> list[Any]:
    found: list[Any] = ok(api("GET", f"/users/{user['id']}/tokens", by="owner"))["tokens"]
    return found


def revoke(api: Api, user: Any, token: Any) -> None:
    ok(api("DELETE", f"/users/{user['id']}/tokens/{token['id']}", by="owner"))


def status(api: Api, secret: str) -> int:
    return api("GET", "/groups", by=secret).status


def rows(installation: Installation, user: Any) -> Any:
    ((stored,),) = sql(installation, "SELECT tokens FROM users WHERE id = %s", user["id"])
    return stored


def set_tokens(installation: Installation, user: Any, value: str) -> None:
    with connect(installation) as redis:
        redis.hset(f"{root(installation)}user:{user['id']}", "tokens", value)


def test_a_pass_copies_every_change_of_a_token(
    installation: Installation, api: Api, user: Any
) -> None:
    token, secret = new_token(api, user, name='Back\\slash\t"quoted"\n😀', access="read")
    installation.sync()
    (copied,) = rows(installation, user)
    assert tokens.shown(user["id"], copied) == token
    assert copied["sha256"] == tokens.digest(secret)
    assert status(api, secret) == 200
    installation.sync()
    assert rows(installation, user)[0]["last_used_on"] is not None
    check_stores(installation)
    revoke(api, user, token)
    installation.sync()
    assert rows(installation, user) == []
    check_stores(installation)
    assert check(installation) == []


def test_a_restore_brings_back_every_token(installation: Installation, api: Api, user: Any) -> None:
    kept, secret = new_token(api, user, expires_at="2099-12-31T23:59:59Z")
    revoked, gone = new_token(api, user)
    revoke(api, user, revoked)
    assert status(api, secret) == 200
    seen = listed(api, user)
    installation.sync()
    empty_redis(installation)
    bootstrap.prepare(installation.settings)
    assert listed(api, user) == seen == [kept | {"last_used_on": seen[0]["last_used_on"]}]
    assert ok(api("GET", f"/users/{user['id']}", by="owner")).keys() == user.keys()
    assert [status(api, each) for each in (secret, gone)] == [200, 401]
    assert new_token(api, user)[0]["id"] > max(kept["id"], revoked["id"])
    ok(api("POST", "/admin/sync?action=restore", by="owner"))
    check_stores(installation)


def test_a_backup_has_the_tokens_and_no_secret(
    installation: Installation, install: Install, api: Api, user: Any
) -> None:
    token, secret = new_token(api, user)
    name = ok(api("POST", "/admin/sync?action=backup", by="owner"))["file"]
    file = installation.settings.backup_dir / name
    content = gzip.decompress(file.read_bytes()).decode()
    assert tokens.digest(secret) in content
    assert secret.rpartition("_")[2] not in content
    new = install()
    import_backup.run(new.settings, file)
    assert listed(new.client(), user) == [token]
    assert status(new.client(), secret) == 200
    new.sync()
    check_stores(new)


@pytest.fixture
def site(tmp_path: Path, postgres: Postgres) -> Iterator[LossySite]:
    with closing(LossySite(tmp_path, postgres.url, "everysec")) as made:
        yield made


def test_a_redis_that_lost_changes_of_tokens_gets_them_back(site: LossySite) -> None:
    api = site.api
    first, second, third = (new_user(api) for _ in range(3))
    (kept, used), (gone, _), (last, _) = (new_token(api, each) for each in (first, second, third))
    site.installation.sync()
    with site.lost():
        new, secret = new_token(api, first)
        revoke(api, second, gone)
        revoke(api, third, last)
        other, _ = new_token(api, third)
        assert status(api, used) == 200
        site.installation.sync()
        seen = [listed(api, each) for each in (first, second, third)]
    site.installation.sync()
    assert [listed(api, each) for each in (first, second, third)] == seen
    assert [[each["id"] for each in of] for of in seen] == [
        [kept["id"], new["id"]],
        [],
        [other["id"]],
    ]
    assert status(api, secret) == 200
    assert new_token(api, first)[0]["id"] > other["id"]
    site.installation.sync()
    assert site.is_whole()


def test_a_pass_is_not_held_up_by_tokens_that_cannot_be_read(
    installation: Installation, api: Api, user: Any
) -> None:
    token, _ = new_token(api, user)
    installation.sync()
    ok(api("PUT", f"/users/{user['id']}", by="owner", json={"number": "7"}))
    set_tokens(installation, user, "[1]")
    other, _ = new_token(api, {"id": 1})
    installation.sync()
    assert [each["id"] for each in rows(installation, user)] == [token["id"]]
    assert [each["id"] for each in rows(installation, {"id": 1})] == [other["id"]]
    (entry,) = ok(api("GET", "/admin/status", by="owner"))["quarantined"]
    assert (entry["type"], entry["id"]) == ("user", user["id"])
    assert "tokens" in entry["reason"]
    assert refused(api("POST", "/admin/sync?action=backup", by="owner"), 503)["code"] == "damaged"


def test_a_check_finds_and_repairs_tokens_that_cannot_be_read(
    installation: Installation, api: Api, user: Any
) -> None:
    token, secret = new_token(api, user)
    installation.sync()
    ok(api("PUT", f"/users/{user['id']}", by="owner", json={"number": "7"}))
    set_tokens(installation, user, "{")
    installation.sync()
    (line,) = check(installation)
    assert f"user {user['id']}: has tokens that cannot be read" in line
    check(installation, repairs=True)
    assert check(installation) == []
    assert listed(api, user) == [token]
    assert status(api, secret) == 200
    assert ok(api("GET", f"/users/{user['id']}", by="owner"))["number"] == "7"
    installation.sync()
    check_stores(installation)
    assert not ok(api("GET", "/admin/status", by="owner"))["quarantined"]


def test_tokens_that_postgresql_does_not_have_are_not_repaired(
    installation: Installation, user: Any
) -> None:
    set_tokens(installation, user, "{")
    (line,) = check(installation, repairs=True)[1:]
    assert "delete the field tokens of its key" in line
    with connect(installation) as redis:
        assert redis.hget(f"{root(installation)}user:{user['id']}", "tokens") == "{"


@pytest.mark.parametrize("in_row", ['{"a": 1}', "[1]", "{}", "null", "[99999999999999999999999]"])
def test_no_tokens_are_taken_from_a_row_that_is_damaged(
    installation: Installation, user: Any, in_row: str
) -> None:
    installation.sync()
    sql(installation, "UPDATE users SET tokens = %s WHERE id = %s", in_row, user["id"])
    set_tokens(installation, user, "{")
    assert "delete the field tokens of its key" in str(check(installation, repairs=True))
    with connect(installation) as redis:
        assert redis.hget(f"{root(installation)}user:{user['id']}", "tokens") == "{"


def test_no_user_is_taken_from_a_row_whose_tokens_are_damaged(
    installation: Installation, api: Api, user: Any
) -> None:
    token, secret = new_token(api, user)
    installation.sync()
    sql(installation, "UPDATE users SET tokens = '[1]' WHERE id = %s", user["id"])
    assert "its tokens there cannot be read" in str(check(installation, repairs=True))
    assert listed(api, user) == [token]
    assert status(api, secret) == 200


@pytest.mark.parametrize("in_redis", ["[]", None])
def test_a_check_takes_tokens_that_differ_from_postgresql(
    installation: Installation, api: Api, user: Any, in_redis: str | None
) -> None:
    token, secret = new_token(api, user)
    installation.sync()
    key = f"{root(installation)}user:{user['id']}"
    with connect(installation) as redis:
        redis.hdel(key, "tokens") if in_redis is None else redis.hset(key, "tokens", in_redis)
    (line,) = check(installation)
    assert DIFFERS in line
    assert "tokens" in line
    check(installation, repairs=True)
    assert check(installation) == []
    assert listed(api, user) == [token]
    assert status(api, secret) == 200


def test_a_check_removes_tokens_that_nobody_created(
    installation: Installation, api: Api, user: Any
) -> None:
    token, secret = new_token(api, user)
    installation.sync()
    with connect(installation) as redis:
        stored = redis.hget(f"{root(installation)}user:{user['id']}", "tokens")
    revoke(api, user, token)
    installation.sync()
    set_tokens(installation, user, stored)
    (line,) = check(installation)
    assert DIFFERS in line
    check(installation, repairs=True)
    assert check(installation) == []
    assert listed(api, user) == []
    assert status(api, secret) == 401


def test_a_database_from_before_tokens_is_migrated(
    installation: Installation, api: Api, user: Any
) -> None:
    installation.sync()
    sql(installation, "ALTER TABLE users DROP COLUMN tokens")
    sql(installation, "DELETE FROM migrations WHERE number >= 6")
    bootstrap.prepare(installation.settings)
    assert rows(installation, user) == []
    assert migrations.NEWEST >= 6
    token, _ = new_token(api, user)
    installation.sync()
    assert rows(installation, user)[0]["id"] == token["id"]
    ok(api("POST", "/admin/sync?action=restore", by="owner"))
    assert listed(api, user) == [token]
