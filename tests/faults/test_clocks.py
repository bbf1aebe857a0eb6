"""Clocks that are wrong or were set back: of this machine, and of Redis."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from taskapi.doctor.store_checks import examine
from taskapi.sync import status, sync_pass
from tests.api.factories import new_group, ok
from tests.client import Api
from tests.conftest import Install
from tests.stores import connect, root
from tests.support import Installation

HOURS = 3600.0
CLOCKS = pytest.mark.parametrize("off_by", [-3 * HOURS, 3 * HOURS])


def set_clock(patch: pytest.MonkeyPatch, off_by: float) -> None:
    """Set the clock of this process, but not that of Redis."""
    patch.setattr(time, "time", lambda: time.time_ns() / 1e9 + off_by)


def shown(api: Api) -> Any:
    return ok(api("GET", "/admin/status", by="owner"))


def health(api: Api) -> str:
    return str(api("GET", "/health").json["status"])


def write(installation: Installation, key: str, **fields: object) -> None:
    with connect(installation) as connection:
        connection.hset(root(installation) + key, mapping=fields)


def of_worker(installation: Installation) -> str:
    """What the doctor says about the worker."""
    return {each.name: each for each in examine(installation.settings, time.time)}[
        "sync worker"
    ].detail


@CLOCKS
def test_a_worker_with_a_wrong_clock_is_known_to_run(
    installation: Installation, api: Api, off_by: float
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        set_clock(patch, off_by)
        store = sync_pass.open_store(installation.settings)
        status.publish_heartbeat(installation.settings, store)
        installation.sync()
    now = shown(api)
    assert (now["running"], now["healthy"], now["time_since_last_sync"]) == (True, True, "0s")
    assert (of_worker(installation), health(api)) == ("running", "healthy")


@CLOCKS
def test_a_web_process_with_a_wrong_clock_judges_by_the_clock_of_redis(
    installation: Installation, api: Api, off_by: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    status.publish_heartbeat(installation.settings, sync_pass.open_store(installation.settings))
    installation.sync()
    new_group(api)
    set_clock(monkeypatch, off_by)
    now = shown(api)
    assert (now["running"], now["healthy"], now["time_since_last_sync"]) == (True, True, "0s")
    assert 0 <= now["oldest_unsynced_seconds"] < 60
    assert health(api) == "healthy"


def test_what_a_dead_worker_wrote_before_the_clock_of_redis_was_set_back_is_unknown(
    installation: Installation, api: Api
) -> None:
    ahead = time.time() + 3 * HOURS
    write(installation, "sync", beat=ahead, last_sync=ahead, since=ahead, postgres="connected")
    now = shown(api)
    assert (now["running"], now["healthy"], now["time_since_last_sync"]) == (False, False, None)
    assert health(api) == "degraded"
    assert of_worker(installation) == "no heartbeat since the clock of Redis was set back"
    status.publish_heartbeat(installation.settings, sync_pass.open_store(installation.settings))
    installation.sync()
    assert shown(api)["healthy"] is True
    assert of_worker(installation) == "running"


def test_the_age_of_a_change_is_unknown_while_versions_are_ahead_of_the_clock_of_redis(
    installation: Installation, api: Api
) -> None:
    installation.sync()
    assert shown(api)["oldest_unsynced_seconds"] == 0
    write(installation, "meta", version=int((time.time() + 3 * HOURS) * 1_000_000))
    new_group(api)
    assert shown(api)["oldest_unsynced_seconds"] is None
    installation.sync()
    assert shown(api)["oldest_unsynced_seconds"] == 0


def test_a_clock_that_was_set_back_makes_no_new_backup_the_oldest(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation = install(BACKUP_KEEP="2")
    api, folder = installation.client(), installation.settings.backup_dir
    names = []
    for hours in (9, 6, 3, 0):
        now = time.time_ns() / 1e9 + hours * HOURS
        monkeypatch.setattr(time, "gmtime", lambda moment=now: time.localtime(moment))
        names.append(ok(api("POST", "/admin/sync?action=backup", by="owner"))["file"])
        newest = folder / names[-1]
        if hours == 9:  # the file system's clock was ahead too
            os.utime(newest, (now, now))
        assert newest.exists()
    assert sorted(names, reverse=True) == names
    assert {path.name for path in folder.iterdir()} == set(names[-2:])
