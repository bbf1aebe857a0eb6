"""Passwords and tokens appear in no answer, log, store or backup."""

from __future__ import annotations

import gzip
import json
import re
import socket
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import psycopg2
import pytest
import redis
from psycopg2 import sql

from devserver.servers import Valkey
from taskapi.store.tokens import digest
from tests.api import test_guide
from tests.api.factories import new_token, new_user, ok
from tests.client import Answer, Api, basic
from tests.conftest import Install
from tests.operations.test_readme import COMMANDS, curl
from tests.support import OWNER_PASSWORD, Installation, eventually

TOURISTS = {"admin1234": "canary-owner-1", "alice123": "canary-alice-2"}
TOURISTS |= {"mypassword": "canary-charlie-3", "email.com:password": "email.com:canary-user-0"}
CHANGED, BAD, WRONG, NAME = "canary-put-4", "canary-bad-5", "canary-wrong-6", "canary-name-7"
HEADER, QUERY, WORD, NUMBER = "canary-head-8", "canary-query-9", "canary-word-10", "771133771133"
KEY, RAW, ID, METHOD = "canary-key-11", "canary-raw-12", "canary id 13", "CANARY-METHOD-14"
SECRETS = (CHANGED, BAD, WRONG, NAME, HEADER, QUERY, WORD, NUMBER, ID, METHOD)
SECRETS += tuple(value.rpartition(":")[2] for value in TOURISTS.values())
ECHOED = (KEY, RAW)
"""Secrets that a refusal quotes, because it names what the client has to change."""


@pytest.fixture(scope="module")
def installation(install: Install) -> Installation:
    return install()


@pytest.mark.parametrize(("whose", "style"), [("readme", "json"), ("guide", "text")])
def test_no_password_or_token_is_in_anything_that_leaves(
    install: Install, tmp_path: Path, whose: str, style: str
) -> None:
    installation = install(LOG_FORMAT=style, OWNER_PASSWORD=TOURISTS["admin1234"])
    with installation.serve(workers=1) as api, installation.worker() as worker_log:
        tour = [*readmes_tour(api)] if whose == "readme" else guides_tour(api, tmp_path)
        token, secret = new_token(api, {"id": 3})
        answers = "".join([*tour, *misplaced(api), *misplaced_token(api, secret), *kept(api)])
        send_malformed_http(api, secret)
        eventually(lambda: api.log().count("Invalid request from ip=") == 4)
    log = api.log() + worker_log.read_text()
    stored = stored_in_backups(installation) + stored_in_postgresql(installation)
    hidden = (*SECRETS, secret.rpartition("_")[2])
    for text, secrets in ((answers, hidden), (log + stored, (*hidden, *ECHOED))):
        assert not [form for secret in secrets for form in forms(secret) if form in text]
    assert str(token["id"]) in log  # the id tells which token a request used
    assert digest(secret) in stored
    assert digest(secret) not in answers + log
    assert "alice@company.com" in stored
    assert "argon2" not in answers + log
    for line in log.splitlines() if style == "json" else ():
        assert {"time", "level", "event"} <= set(json.loads(line)), line


def forms(secret: str) -> list[str]:
    """Return a secret in plain text, URL-encoded, and in Base64 at each possible offset."""
    coded = [b64encode(b"x" * n + secret.encode()).decode()[4:-4] for n in range(3)]
    return [secret, quote(secret), *coded]


def guides_tour(api: Api, home: Path) -> list[str]:
    """Run the guide's commands with other passwords; return the answers."""
    curl = test_guide.Curl(api, home, TOURISTS)
    test_guide.follow(api, curl)
    return curl.printed


def readmes_tour(api: Api) -> Iterator[str]:
    """Run the README's tour with other passwords; yield the answers."""
    for command in COMMANDS:
        for printed, own in TOURISTS.items():
            command = command.replace(printed, own)
        yield curl(command, api.url, "-i")


def misplaced(api: Api) -> Iterator[str]:
    """Send wrong and misplaced passwords; yield the answers."""
    user = "/users/3"
    for body in (
        {"password": CHANGED},
        {"password": BAD, "colour": 1},
        {"password": [BAD], "Password": BAD},
    ):
        yield text_of(api("PUT", user, by="owner", json=body))
    yield text_of(api("PUT", user, by="owner", data=f'{{"password": "{BAD}"'.encode()))
    for name, password in ((3, TOURISTS["mypassword"]), (3, CHANGED), ("alice@company.com", WRONG)):
        yield text_of(api("GET", user, by=(name, password)))
    for name in (NAME, f"{NAME}@x.com", NUMBER):
        yield text_of(api("GET", user, by=(name, WRONG)))
    for headers in (
        {"Authorization": f"Bearer {NAME}"},
        {"Authorization": basic(NAME, "")[:-1]},
        {"X-Owner-Password": HEADER},
    ):
        yield text_of(api("GET", user, headers=headers))
    yield text_of(api("GET", user, by="owner", headers={"X-Request-ID": ID}))
    for path in ("/health", user):
        yield text_of(api("GET", f"{path}?password={QUERY}", by="owner"))
    for path in (f"/{WORD}", f"/users/{WORD}/tasks/", f"/groups/1/{quote(ID)}/{NUMBER}"):
        yield text_of(api("POST", path, by="owner"))
    yield text_of(api(METHOD, user, by="owner"))
    api("PUT", user, by="owner", json={KEY: 1})


def misplaced_token(api: Api, secret: str) -> Iterator[str]:
    """Send a token, also in wrong places; yield the answers."""
    user = "/users/3"
    for by in (secret, secret + "0", (3, secret), (secret, ""), (f"{secret}@x.com", secret)):
        yield text_of(api("GET", user, by=by))
    for name, value in (
        ("X-Owner-Password", secret),
        ("Authorization", secret),
        ("Authorization", f"Token {secret}"),
        ("Authorization", f"Basic {secret}"),
        ("Authorization", f"Bearer {secret} {secret}"),
        ("Authorization", f'Bearer token="{secret}"'),
    ):
        yield text_of(api("GET", user, headers={name: value}))
    yield text_of(api("GET", user, by=secret, headers={"X-Request-ID": secret}))
    for path in (f"/{secret}", f"{user}/tokens/{secret}", f"{user}?token={secret}"):
        yield text_of(api("DELETE", path, by=secret))
    yield text_of(api("PUT", user, by=secret, json={"full_name": secret, "role": "owner"}))
    yield text_of(api("GET", f"{user}/tokens", by="owner"))


def kept(api: Api) -> Iterator[str]:
    """Request everything that can be listed and copied; yield the answers."""
    for path in ("/users", "/groups", "/tasks/filter", "/admin/status", "/admin/stats"):
        yield text_of(api("GET", path, by="owner"))
    for action in ("force", "backup"):
        yield text_of(api("POST", f"/admin/sync?action={action}", by="owner"))


def text_of(answer: Answer) -> str:
    return f"{answer.headers}{answer.body.decode()}"


def send_malformed_http(api: Api, secret: str) -> None:
    """Send passwords and tokens in requests that gunicorn cannot read."""
    address = urlsplit(api.url)
    for line in (
        f"GET /{RAW} {RAW} HTTP/1.1",
        f"GET / HTTP/1.1\r\n{RAW} {RAW}: {RAW}",
        f"GET / HTTP/1.1\r\nAuthorization : Bearer {secret}",
        f"Bearer {secret}",
    ):
        with socket.create_connection((address.hostname, address.port)) as connection:
            connection.sendall(f"{line}\r\n\r\n".encode())
            assert b" 400 " in connection.recv(4096)


def test_only_a_salted_hash_of_a_password_is_stored(
    installation: Installation, valkey: Valkey
) -> None:
    api = installation.client()
    twins = [new_user(api, password="stored-canary-9") for _ in range(2)]
    ok(api("POST", "/admin/sync", by="owner"))
    ok(api("POST", "/admin/sync?action=backup", by="owner"))
    stored = {
        "Redis": stored_in_redis(valkey, installation),
        "PostgreSQL": stored_in_postgresql(installation),
        "backups": stored_in_backups(installation),
    }
    for place, text in stored.items():
        assert twins[0]["email"] in text, place
        assert "stored-canary-9" not in text, place
        assert OWNER_PASSWORD not in text, place
    hashes = re.findall(r"\$argon2id\$[^\s'\")]+", stored["Redis"])
    assert len(hashes) == len(set(hashes)) >= 2


def stored_in_backups(installation: Installation) -> str:
    files = installation.settings.backup_dir.iterdir()
    return "".join(gzip.decompress(path.read_bytes()).decode() for path in files)


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
