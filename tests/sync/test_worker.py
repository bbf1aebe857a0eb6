"""The worker process: it survives outages of the stores, and stops on a signal."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import schedule

from devserver.servers import Postgres
from sync_worker import Worker
from taskapi.config import load
from taskapi.sync import sync_pass
from taskapi.sync.state import Fenced
from tests.api.factories import everything, new_group, new_user, ok
from tests.client import Api
from tests.conftest import Install
from tests.stores import dirty, empty_redis, sql
from tests.support import ROOT, Installation, eventually

Start = Callable[[Installation], subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Yield a function that starts workers; kill the running ones at the end."""
    running = []

    def start(installation: Installation) -> subprocess.Popen[bytes]:
        with log_of(installation).open("ab") as log:
            command = [sys.executable, "sync_worker.py"]
            env = {"PATH": "/usr/bin:/bin"} | installation.env
            running.append(subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.wait()


WAITING = """
import threading, sync_worker
stop = threading.Event()
sync_worker.set_on_signals(stop)
print("ready", flush=True)
while not stop.wait(0):
    pass
"""


def log_of(installation: Installation) -> Path:
    return installation.folder / "worker.log"


def status(api: Api) -> Any:
    return ok(api("GET", "/admin/status", by="owner"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_on_sigterm_and_sigint_it_does_a_last_pass_and_exits_with_0(
    installation: Installation, api: Api, start: Start, number: signal.Signals
) -> None:
    worker = start(installation)
    eventually(lambda: status(api)["last_sync"])
    new_user(api)
    assert dirty(installation)
    worker.send_signal(number)
    assert worker.wait(20) == 0
    assert not dirty(installation)
    assert "Sync worker ends" in log_of(installation).read_text()


def test_a_signal_in_the_middle_of_a_wait_ends_it() -> None:
    command = [sys.executable, "-c", WAITING]
    waiting = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) for _ in range(8)]
    try:
        for process in waiting:
            assert process.stdout
            with process.stdout as output:
                assert output.readline() == b"ready\n"
            process.send_signal(signal.SIGTERM)
        assert [process.wait(20) for process in waiting] == [0] * len(waiting)
    finally:
        for process in waiting:
            process.kill()
            process.wait()


def test_it_publishes_a_heartbeat(installation: Installation, api: Api, start: Start) -> None:
    assert status(api)["running"] is False
    start(installation)
    eventually(lambda: status(api)["running"])
    assert status(api)["healthy"] is True


def test_it_syncs_at_its_interval(install: Install, start: Start) -> None:
    installation = install(SYNC_INTERVAL="1s")
    api = installation.client()
    start(installation)
    eventually(lambda: status(api)["last_sync"])
    new_group(api)
    done = "Sync done written={'users': 1, 'groups': 1"
    eventually(lambda: done in log_of(installation).read_text())
    assert not dirty(installation)


def test_it_syncs_though_its_clock_was_set_back(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    class SetBack(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return super().now(tz) - timedelta(days=1)

    installation = install(SYNC_INTERVAL="1s")
    worker = Worker(installation.settings)
    thread = Thread(target=worker.run)
    thread.start()
    try:
        api = installation.client()
        eventually(lambda: status(api)["last_sync"])
        monkeypatch.setattr(schedule.datetime, "datetime", SetBack)
        user = new_user(api)
        eventually(lambda: sql(installation, f"SELECT id FROM users WHERE id = {user['id']}"))
    finally:
        worker.stop.set()
        thread.join()


def test_it_lifts_a_fence_of_another_installation_soon(install: Install, start: Start) -> None:
    installation, foreign = install(SYNC_INTERVAL="1h"), install(is_foreign=True)
    api = installation.client()
    start(installation)
    eventually(lambda: status(api)["last_sync"])
    settings = {"REDIS_URL", "KEY_PREFIX"}
    env = foreign.env | {name: installation.env[name] for name in settings}
    with pytest.raises(Fenced):
        sync_pass.run(load(env))
    eventually(lambda: status(api)["healthy"] is True)
    new_user(api)


def test_it_restores_a_redis_that_was_emptied(
    installation: Installation, api: Api, start: Start
) -> None:
    new_group(api)
    start(installation)
    eventually(lambda: status(api)["last_sync"] and not dirty(installation))
    seen = everything(api)
    empty_redis(installation)
    assert api("GET", "/users", by="owner").status == 503
    eventually(lambda: api("GET", "/users", by="owner").status == 200)
    assert everything(api) == seen


def test_after_a_kill_the_next_worker_copies_the_waiting_changes(
    installation: Installation, api: Api, start: Start
) -> None:
    worker = start(installation)
    eventually(lambda: status(api)["last_sync"])
    new_group(api)
    worker.kill()
    worker.wait()
    start(installation)
    eventually(lambda: not dirty(installation))
    assert sql(installation, "SELECT count(*) FROM groups") == [(1,)]


def test_it_waits_for_a_postgresql_that_is_away(valkey: Any, tmp_path: Path, start: Start) -> None:
    with Postgres(tmp_path / "postgres", options=["fsync=off"]) as postgres:
        installation = Installation(tmp_path, valkey.url, postgres.url, SYNC_INTERVAL="1s")
        postgres.stop()
        worker = start(installation)
        log = log_of(installation)
        eventually(lambda: log.exists() and log.read_text().count("Error Sync failed") > 1)
        assert "Traceback" not in log.read_text()
        postgres.start()
        api = installation.client()
        eventually(lambda: api("GET", "/users", by="owner").status == 200)
        new_group(api)
        eventually(lambda: not dirty(installation))
        postgres.stop()
        new_group(api)
        eventually(lambda: api("GET", "/health").json["status"] == "degraded")
        worker.terminate()
        assert worker.wait(20) == 0


def test_mistakes_in_the_settings_are_reported_at_start(
    installation: Installation, start: Start
) -> None:
    installation.env |= {"SYNC_INTERVAL": "often"}
    with pytest.raises(ValueError, match="SYNC_INTERVAL"):
        load(installation.env)
    assert start(installation).wait(20) == 1
    log = log_of(installation).read_text()
    assert "SYNC_INTERVAL='often'" in log
    assert "Traceback" not in log


def test_a_start_retries_quarantined_changes(
    installation: Installation, api: Api, start: Start
) -> None:
    sql(installation, "ALTER TABLE groups ADD CONSTRAINT poison CHECK (name <> 'Poison')")
    new_group(api, name="Poison")
    installation.sync()
    assert status(api)["quarantined_count"] == 2  # the group and its admin
    sql(installation, "ALTER TABLE groups DROP CONSTRAINT poison")
    installation.sync()
    assert dirty(installation)
    start(installation)
    eventually(lambda: not dirty(installation))
    assert status(api)["quarantined"] == []
