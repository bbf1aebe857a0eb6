"""Two sync workers, on two machines: one is enough, and the other takes over."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from sync_worker import Worker
from taskapi.store import changes, meta
from taskapi.store.connection import Store
from taskapi.sync import status
from taskapi.sync.postgres import Database
from tests.api.factories import new_group, new_task
from tests.conftest import Install
from tests.support import ROOT, Installation, eventually

INTERVAL_SECONDS = 3


@pytest.mark.long
def test_a_standby_worker_takes_over_within_an_interval(install: Install, tmp_path: Path) -> None:
    installation = install(SYNC_INTERVAL=f"{INTERVAL_SECONDS}s")
    api, settings = installation.client(), installation.settings
    store = Store(settings.redis_url, settings.key_prefix)
    other = {"DATA_DIR": str(tmp_path / "other")}
    with (
        installation._process("sync", ["sync_worker.py"], {}, ROOT) as (first, _),
        installation._process("sync", ["sync_worker.py"], other, ROOT) as (second, log),
    ):
        eventually(lambda: "Sync done" in log.read_text())
        assert "Sync failed" not in log.read_text()
        first.kill()
        first.wait()
        new_task(api, 1, new_group(api)["id"])
        began = time.monotonic()
        eventually(lambda: not any(_waiting(store)), INTERVAL_SECONDS + 2)
        assert time.monotonic() - began < INTERVAL_SECONDS + 2
        _, published, now, _ = meta.read_status(store)
        assert status.is_running(published, now)
        assert second.poll() is None


def _waiting(store: Store) -> list[int]:
    return [*changes.count(store).values()]


def test_a_pass_of_another_worker_is_no_failure(installation: Installation) -> None:
    installation.sync()
    worker, settings = Worker(installation.settings), installation.settings
    store = Store(settings.redis_url, settings.key_prefix)
    worker.sync()
    with Database(settings) as db:
        db.lock()
        worker.sync()
    _, published, _, _ = meta.read_status(store)
    assert not published.keys() & {"failures", "last_error", "problem"}
    worker.sync()
    assert not meta.read_status(store)[1].keys() & {"failures", "last_error"}
