"""Errors of Redis that the service does not know: no request gets a 500, and no process ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import redis

from devserver.servers import Postgres, Valkey
from sync_worker import Worker
from taskapi import logs
from taskapi.store import server_start, unfinished
from taskapi.sync import status
from taskapi.sync.start_check import StartWatch
from taskapi.sync.sync_pass import open_store
from tests.api.factories import new_group, new_task, ok, refused
from tests.conftest import Install
from tests.stores import connect, dirty, root
from tests.support import Installation, eventually

UNKNOWN = "ACL failure in script"
"""Part of Valkey's error when a script runs a command that the user may not run."""


@dataclass
class Limited:
    """An installation whose Redis user loses rights in a test."""

    installation: Installation
    admin: Any

    @contextmanager
    def without(self, command: str) -> Iterator[None]:
        """Forbid a command in this block."""
        self.admin.execute_command("ACL", "SETUSER", "service", f"-{command}")
        yield
        self.admin.execute_command("ACL", "SETUSER", "service", f"+{command}")

    def is_registered(self) -> bool:
        return bool(self.admin.exists(f"{root(self.installation)}processes"))


@pytest.fixture
def limited(valkey: Valkey, postgres: Postgres, tmp_path: Path) -> Iterator[Limited]:
    with redis.Redis.from_url(valkey.url) as admin:
        rights = ("on", ">word", "~*", "&*", "+@all")
        admin.execute_command("ACL", "SETUSER", "service", "reset", *rights)
        url = f"redis://service:word@127.0.0.1:{valkey.port}/0"
        made = Installation(tmp_path, url, postgres.url, SYNC_INTERVAL="1s")
        with closing(made):
            yield Limited(made.prepare(), admin)
        admin.execute_command("ACL", "DELUSER", "service")


def test_an_unknown_error_gets_503_and_only_the_log_has_its_text(
    limited: Limited, capsys: pytest.CaptureFixture[str]
) -> None:
    api = limited.installation.client()
    group = new_group(api)
    with limited.without("zcard"):
        body = {"title": "x", "group_id": group["id"]}
        refusal = refused(api("POST", "/users/1/tasks", by="owner", json=body), 503)
        assert (refusal["code"], "ACL" in refusal["error"]) == ("unavailable", False)
        assert UNKNOWN in capsys.readouterr().out
        assert api("GET", "/health").status in (200, 503)
        ok(api("GET", "/admin/status", by="owner"))
        refused(api("POST", "/admin/sync", by="owner"), 503)
    new_task(api, 1, group["id"])


def test_a_worker_survives_errors_that_it_does_not_know(limited: Limited) -> None:
    installation, api = limited.installation, limited.installation.client()

    def is_running() -> bool:
        return bool(ok(api("GET", "/admin/status", by="owner"))["running"])

    with installation.worker() as log:
        eventually(is_running)
        with limited.without("hset"):
            limited.admin.delete(f"{root(installation)}sync")
            eventually(lambda: log.read_text().count("Error Sync failed") > 1)
        new_group(api)
        eventually(lambda: not dirty(installation) and is_running())
        assert "trace=" not in log.read_text()


def test_the_watch_for_starts_survives_errors_that_it_does_not_know(
    limited: Limited, capsys: pytest.CaptureFixture[str]
) -> None:
    installation = limited.installation
    logs.configure("text")
    watch = StartWatch(installation.settings, open_store(installation.settings))
    limited.admin.delete(f"{root(installation)}processes")
    with limited.without("hset"):
        watch.start()
        for _ in range(2):
            eventually(lambda: UNKNOWN in capsys.readouterr().out)
        assert not limited.is_registered()
    eventually(limited.is_registered)
    watch.stop()


def mistake(*_: object) -> Any:
    raise ValueError("a mistake in the program")


def errors_in(out: str) -> int:
    return out.count("a mistake in the program trace=")


def test_the_watch_for_starts_survives_a_mistake_and_logs_it_once(
    installation: Installation,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure("text")
    calls: list[int] = []
    look: Callable[..., bool] = server_start.needs_check

    def needs_check(*arguments: Any) -> bool:
        calls.append(1)
        return mistake() if len(calls) < 4 else look(*arguments)

    monkeypatch.setattr(server_start, "needs_check", needs_check)
    watch = StartWatch(installation.settings, open_store(installation.settings))
    watch.start()
    eventually(lambda: len(calls) > 4)
    watch.stop()
    assert errors_in(capsys.readouterr().out) == 1


def test_a_worker_survives_a_mistake_and_goes_on_with_passes(
    install: Install, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    installation = install(SYNC_INTERVAL="1s")
    api = installation.client()
    beats: list[int] = []

    def publish(*_: object) -> None:
        beats.append(1)
        mistake()

    monkeypatch.setattr(unfinished, "resume", mistake)
    monkeypatch.setattr(status, "publish_heartbeat", publish)
    monkeypatch.setattr(status, "HEARTBEAT_SECONDS", 0.1)
    worker = Worker(installation.settings)
    running = Thread(target=worker.run)
    running.start()
    try:
        for _ in range(2):
            new_group(api)
            eventually(lambda: not dirty(installation) and len(beats) > 1)
    finally:
        worker.stop.set()
        running.join()
    assert errors_in(capsys.readouterr().out) == 2  # of the deletes and of the heartbeat


def test_a_value_that_is_no_number_is_damage(installation: Installation) -> None:
    api = installation.client()
    group = new_group(api)
    with connect(installation) as connection:
        connection.hset(f"{root(installation)}meta", "next:t", "many")
    body = {"title": "x", "group_id": group["id"]}
    refusal = refused(api("POST", "/users/1/tasks", by="owner", json=body), 503)
    assert (refusal["code"], "number" in refusal["error"]) == ("damaged", True)
