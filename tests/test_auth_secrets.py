"""Where passwords must never be seen: answers, logs, stores, backups."""

from __future__ import annotations

import gzip
import re
from base64 import b64encode
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg2
import pytest
import redis
from psycopg2 import sql

from taskapi.embedded import Valkey
from tests.client import basic
from tests.conftest import Install
from tests.making import (
    login,
    new_user,
    ok,
)
from tests.support import OWNER_PASSWORD, Installation


@pytest.fixture(scope="module")
def installation(install: Install) -> Installation:
    return install(TRUSTED_PROXIES="1")


def test_no_password_is_in_any_answer_or_log_line(installation: Installation) -> None:
    secrets = ["canary-new-1", "canary-put-2", "canary-bad-3", "canary-wrong-4", "canary-head-5"]
    with installation.serve(workers=2) as api, installation.worker() as worker_log:
        user = new_user(api, password=secrets[0])
        path = f"/users/{user['id']}"
        seen = [
            api("GET", path, by=(user["id"], secrets[0])),
            api("PUT", path, by="owner", json={"password": secrets[1]}),
            api("GET", path, by=(user["id"], secrets[1])),
            api("PUT", path, by="owner", json={"password": secrets[2], "colour": 1}),
            api("PUT", path, by="owner", json={"Password": secrets[2]}),
            api("PUT", path, by="owner", data=b'{"password": "canary-bad-3"'),
            api("GET", path, by=(user["id"], secrets[3])),
            api("GET", path, headers={"X-Owner-Password": secrets[4]}),
            api("GET", "/users?limit=1000", by="owner"),
            api("POST", "/admin/sync?action=backup", by="owner"),
            api("POST", "/admin/sync", by="owner"),
        ]
    everything = b"".join(a.body + str(a.headers).encode() for a in seen) + api.log().encode()
    everything += worker_log.read_bytes()
    for secret in [*secrets, OWNER_PASSWORD]:
        for form in (secret.encode(), b64encode(secret.encode()).rstrip(b"=")[:-1]):
            assert form not in everything
    assert b"scrypt" not in everything
    assert basic(user["id"], secrets[0]).split()[1].encode() not in everything


def test_only_a_salted_hash_of_a_password_is_stored(
    installation: Installation, valkey: Valkey
) -> None:
    api = installation.client()
    twins = [new_user(api, password="stored-canary-9") for _ in range(2)]
    ok(api("POST", "/admin/sync", by="owner"))
    ok(api("POST", "/admin/sync?action=backup", by="owner"))
    backups = installation.settings.backup_dir.iterdir()
    stored = {
        "Redis": stored_in_redis(valkey, installation),
        "PostgreSQL": stored_in_postgresql(installation),
        "backups": "".join(gzip.decompress(path.read_bytes()).decode() for path in backups),
    }
    for place, text in stored.items():
        assert twins[0]["email"] in text, place
        assert "stored-canary-9" not in text, place
        assert OWNER_PASSWORD not in text, place
    hashes = re.findall(r"scrypt:[^\s'\",)]+", stored["Redis"])
    assert len(hashes) == len(set(hashes)) >= 2


def stored_in_redis(valkey: Valkey, installation: Installation) -> str:
    with redis.Redis.from_url(valkey.url, decode_responses=True) as client:
        read: dict[str, Callable[[str], Any]] = {
            "string": client.get,
            "hash": client.hgetall,
            "zset": lambda key: client.zrange(key, 0, -1),
            "set": client.smembers,
            "list": lambda key: client.lrange(key, 0, -1),
        }
        keys = client.keys(f"*{installation.name}*")
        return repr([(key, read[client.type(key)](key)) for key in keys])


def stored_in_postgresql(installation: Installation) -> str:
    connection = psycopg2.connect(installation.settings.database_url)
    with closing(connection), connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        rows = []
        for (table,) in cursor.fetchall():
            cursor.execute(sql.SQL("SELECT t::text FROM {} AS t").format(sql.Identifier(table)))
            rows += cursor.fetchall()
        return repr(rows)


def test_the_log_tells_of_requests_and_logins_without_letting_lines_be_forged(
    installation: Installation,
) -> None:
    with installation.serve(workers=1) as api:
        user = new_user(api)
        ids = {"X-Request-ID": "the-good-one"}, {"X-Request-ID": "the-bad-one"}
        ok(api("GET", f"/users/{user['id']}", by=login(user), headers=ids[0]))
        api("GET", "/users", by=("a@b.co\nForged line", "x"), headers=ids[1])
        api("GET", "/nothing%0AForged%20line", headers=ids[1])
    lines = api.log().splitlines()
    good = [line for line in lines if "the-good-one" in line]
    assert any(f"/users/{user['id']}" in line and "200" in line for line in good)
    assert any("401" in line for line in lines if "the-bad-one" in line)
    assert not [line for line in lines if line.startswith("Forged")]
