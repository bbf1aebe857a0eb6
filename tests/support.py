"""Installations for tests, on real servers.

An `Installation` has its own key prefix, database and folders, so tests never see each other's
data. `tests.client` has the client for an installation.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import psycopg2
import redis
from argon2 import PasswordHasher
from flask import Flask
from psycopg2 import sql

from devserver.servers import free_port
from taskapi import create_app
from taskapi.config import Settings, load
from taskapi.sync import bootstrap, sync_pass
from tests.client import Answer, Api, Send, basic, in_process, over_http

__all__ = ["Answer", "Api", "Installation", "basic", "eventually"]

ROOT = Path(__file__).resolve().parent.parent
OWNER_PASSWORD = "owner-canary-8271"
OWNER_EMAIL = "owner@example.com"
CHEAP_HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""Hashes a password at a hundredth of the cost that we ship."""
GUIDES_VARIABLES = ("OWNER_", "SERVER_", "PORT", "REDIS_", "DATABASE_", "DB_", "POSTGRES_")
OUR_VARIABLES = (
    *("SYNC_", "TRUSTED_", "MAX_BODY", "KEY_PREFIX", "DATA_DIR", "BACKUP_", "DELETES_", "WEB_"),
    *("CORS_", "LOG_", "DOCS_"),
)


def eventually(condition: Callable[[], Any], seconds: float = 15) -> Any:
    """Wait until `condition` returns a true value, and return it; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {condition}")
        time.sleep(0.02)
    return result


class Installation:
    """A key prefix, a database and a backup folder, isolated from all other installations.

    A copy has what the stores of its template had, its description too: PostgreSQL and Redis of two
    copies fit each other.
    """

    def __init__(
        self,
        folder: Path,
        redis_url: str,
        database_url: str,
        template: Installation | None = None,
        **env: str,
    ):
        self.name = name = "t" + secrets.token_hex(6)
        self.folder = folder / name
        self.folder.mkdir(parents=True)
        self._server = database_url
        self.env = {
            "OWNER_PASSWORD": OWNER_PASSWORD,
            "OWNER_EMAIL": OWNER_EMAIL,
            "SERVER_PORT": str(free_port()),
            "REDIS_URL": redis_url,
            "DATABASE_URL": urlsplit(database_url)._replace(path="/" + name).geturl(),
            "KEY_PREFIX": name,
            "DATA_DIR": str(self.folder),
        } | env
        self.settings: Settings = load(self.env)
        # Copying files takes a quarter of the CPU time of the default strategy.
        create = "CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy"
        self._administer(create, name, template.name if template else "template1")
        if template:
            self._copy_keys(template)

    def close(self) -> None:
        """Drop the database; the keys stay until the Redis server stops."""
        self._administer("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name)

    def prepare(self) -> Installation:
        bootstrap.prepare(self.settings)
        return self

    def client(self) -> Api:
        """Return a client of the application in this process."""
        return Api(in_process(self._app), self.env["OWNER_PASSWORD"])

    def sync(self) -> sync_pass.SyncReport:
        """Do one pass of the sync in this process, after a check that may still be running."""
        return sync_pass.run(self.settings, wait_seconds=10)

    @contextlib.contextmanager
    def serve(self, workers: int = 2, app: str = "app:app", root: Path = ROOT) -> Iterator[Api]:
        """Run gunicorn with the project in `root`; yield a client when it answers."""
        env = {"WEB_CONCURRENCY": str(workers), "SERVER_PORT": str(free_port())}
        address = f"127.0.0.1:{env['SERVER_PORT']}"
        send = over_http(address)
        with self._process("web", ["-m", "gunicorn", app], env, root) as (process, log):
            eventually(lambda: _answers(send, process, log), 30)
            yield Api(send, self.env["OWNER_PASSWORD"], f"http://{address}", log)

    @contextlib.contextmanager
    def worker(self, root: Path = ROOT) -> Iterator[Path]:
        """Run sync_worker.py; yield the path of its log."""
        with self._process("sync", ["sync_worker.py"], {}, root) as (_, log):
            yield log

    @cached_property
    def _app(self) -> Flask:
        return create_app(self.settings)

    def _copy_keys(self, template: Installation) -> None:
        prefix, other = (each.settings.key_prefix for each in (self, template))
        with redis.Redis.from_url(self.settings.redis_url, decode_responses=True) as connection:
            pipeline = connection.pipeline(transaction=False)
            for key in template._keys:
                pipeline.copy(key, key.replace(other, prefix, 1))
            pipeline.execute()

    @cached_property
    def _keys(self) -> list[str]:
        pattern = f"{{{self.settings.key_prefix}}}:*"
        with redis.Redis.from_url(self.settings.redis_url, decode_responses=True) as connection:
            return list(connection.scan_iter(pattern, count=1000))

    def _administer(self, statement: str, *names: str) -> None:
        connection = psycopg2.connect(self._server)
        try:
            connection.autocommit = True
            connection.cursor().execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
        finally:
            connection.close()

    @contextlib.contextmanager
    def _process(
        self, name: str, arguments: list[str], env: dict[str, str], root: Path
    ) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
        log = self.folder / f"{name}-{secrets.token_hex(3)}.log"
        with log.open("wb") as output:
            measured = ambient() if root == ROOT else without_coverage(ambient())
            process = _start(arguments, measured | self.env | env, output, root)
            try:
                yield process, log
            finally:
                _stop(process)


def ambient() -> dict[str, str]:
    """Return the environment of this process without settings of the service."""
    settings = GUIDES_VARIABLES + OUR_VARIABLES
    return {k: v for k, v in os.environ.items() if not k.startswith(settings)}


def without_coverage(env: dict[str, str]) -> dict[str, str]:
    """Return the environment without coverage, for a copy of the program outside ROOT."""
    return {name: value for name, value in env.items() if not name.startswith("COV")}


def _start(
    arguments: list[str], env: dict[str, str], output: IO[bytes], root: Path
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, *arguments], cwd=root, env=env, stdout=output, stderr=subprocess.STDOUT
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(40)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


def _answers(send: Send, process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    try:
        return bool(send("GET", "/health", [], None).status)
    except OSError:
        return False
