"""A crash of Redis loses no more than the status says; early passes keep this small."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from devserver.servers import Postgres, Valkey
from sync_worker import EARLY_SECONDS, Worker
from taskapi.store import meta
from taskapi.store.changes import Pin
from taskapi.sync import status, sync_pass
from tests.api.factories import everything, new_group, new_user, ok
from tests.client import Api
from tests.conftest import Install
from tests.stores import connect, dirty, root, sql
from tests.support import Installation, eventually
from tests.sync.lossy_site import LossySite


def window(api: Api) -> Any:
    return ok(api("GET", "/admin/status", by="owner"))["loss_window"]


@pytest.mark.parametrize(
    ("appendfsync", "expected"), [("always", "0s"), ("everysec", "2s"), ("no", None)]
)
def test_with_an_append_only_file_the_window_is_that_of_appendfsync(
    tmp_path: Path, postgres: Postgres, appendfsync: str, expected: str | None
) -> None:
    with (
        Valkey(tmp_path / "valkey", options=[f"appendfsync {appendfsync}"]) as valkey,
        closing(Installation(tmp_path, valkey.url, postgres.url)) as installation,
    ):
        assert window(installation.prepare().client()) == expected


@pytest.mark.parametrize("appendfsync", ["always", "everysec", "no"])
def test_a_killed_redis_with_an_append_only_file_loses_nothing(
    tmp_path: Path, postgres: Postgres, appendfsync: str
) -> None:
    with closing(LossySite(tmp_path, postgres.url, appendfsync)) as site:
        for _ in range(20):
            new_user(site.api)
        kept = everything(site.api)
        with connect(
            site.installation
        ) as connection:  # a slow disk delays writes, but for `always`
            persistence = partial(connection.info, "persistence")
            if appendfsync != "always":
                eventually(lambda: persistence()["aof_buffer_length"] == 0)
        site.restart()
        assert everything(site.api) == kept


def test_without_an_append_only_file_the_window_is_known_only_while_passes_succeed(
    installation: Installation, api: Api
) -> None:
    store = sync_pass.open_store(installation.settings)
    installation.sync()
    assert window(api) is None, "no worker runs"
    status.publish_heartbeat(installation.settings, store)
    assert window(api) == "15m1s"
    meta.publish_status(store, {"failures": 1})
    assert window(api) is None
    installation.sync()
    assert window(api) == "15m1s"
    with connect(installation) as connection:
        connection.hincrbyfloat(root(installation) + "sync", "beat", -status.FRESH_SECONDS)
    assert window(api) is None


def test_when_many_changes_wait_a_pass_begins_early(install: Install) -> None:
    installation = install(SYNC_MAX_PENDING="3")
    api, clock = installation.client(), [0.0]
    worker = Worker(installation.settings, lambda: clock[0])
    worker.sync()
    new_group(api)
    clock[0] = EARLY_SECONDS
    assert len(dirty(installation)) == 2  # the group and its admin
    assert not worker.is_due()
    new_user(api)
    clock[0] = EARLY_SECONDS - 0.1
    assert not worker.is_due()
    clock[0] = EARLY_SECONDS
    assert worker.is_due()
    worker.sync()
    assert not dirty(installation)
    clock[0] *= 2
    assert not worker.is_due()


def test_marks_that_stay_begin_no_pass_early(install: Install) -> None:
    """Marks in quarantine, and marks that a running backup needs, do not count as waiting."""
    installation = install(SYNC_MAX_PENDING="2")
    api, clock = installation.client(), [0.0]
    worker = Worker(installation.settings, lambda: clock[0])
    sql(installation, "ALTER TABLE groups ADD CONSTRAINT poison CHECK (name <> 'Poison')")
    new_group(api, name="Poison")
    worker.sync()
    pin = Pin(sync_pass.open_store(installation.settings))
    clock[0] += EARLY_SECONDS
    assert len(dirty(installation)) == 2
    assert not worker.is_due()
    new_user(api)
    new_user(api)
    assert worker.is_due()
    worker.sync()
    clock[0] += EARLY_SECONDS
    assert len(dirty(installation)) == 4
    assert not worker.is_due()
    pin.drop()


def test_a_redis_without_an_append_only_file_loses_only_waiting_changes(
    tmp_path: Path, postgres: Postgres
) -> None:
    env = {"SYNC_INTERVAL": "1h", "SYNC_MAX_PENDING": "3"}
    with (
        Valkey(tmp_path / "valkey", options=["appendonly no"]) as valkey,
        closing(Installation(tmp_path, valkey.url, postgres.url, **env)) as installation,
    ):
        api = installation.prepare().client()
        with installation.worker():
            eventually(lambda: ok(api("GET", "/admin/status", by="owner"))["last_sync"])
            for _ in range(3):
                new_user(api)
            eventually(lambda: not dirty(installation))
            kept = everything(api)
            new_user(api)
            valkey.kill()
            valkey.start()
            eventually(lambda: api("GET", "/users", by="owner").status == 200)
            assert everything(api) == kept
