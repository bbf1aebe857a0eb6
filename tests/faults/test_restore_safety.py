"""A restore clears Redis only when a whole file or PostgreSQL has everything that Redis had."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from taskapi.errors import NewEpoch, Unavailable
from taskapi.store import server_start
from taskapi.store.loading import Loader
from taskapi.sync import import_backup, sync_pass
from tests.api.factories import everything, new_group, new_task, ok, path_of, refused
from tests.client import Api
from tests.conftest import Install
from tests.faults.checks import settle
from tests.faults.steps import STORES
from tests.faults.victim import Victim
from tests.stores import connect, meta, sql
from tests.support import ROOT, Installation

ALONE = {"store__server_start__SETTLE_SECONDS": 0}
LARGEST_FILE = 200
"""Bytes that a file may have on the full disk of this test."""


@pytest.fixture(scope="module")
def victim() -> Iterator[Victim]:
    with closing(Victim()) as victim:
        yield victim


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check of a start waits for no other process: there is none."""
    monkeypatch.setattr(server_start, "SETTLE_SECONDS", 0.0)


def fence(installation: Installation) -> None:
    """Give PostgreSQL another history, so that what Redis has cannot be pushed."""
    sql(installation, "UPDATE sync_state SET epoch = epoch + 1")


def saved(installation: Installation, title: str) -> bool:
    """Return whether a whole file has the task with this title."""
    files = [*installation.settings.backup_dir.glob("*-before-restore-*.gz")]
    for file in files:
        import_backup.verify(file)
    return any(f'"{title}"'.encode() in gzip.decompress(file.read_bytes()) for file in files)


@pytest.mark.long
def test_no_change_is_lost_when_a_restore_dies_anywhere(victim: Victim, install: Install) -> None:
    installation = install(BACKUP_KEEP="100")
    api = installation.client()
    group = new_group(api)["id"]
    installation.sync()
    for store in STORES:
        for step in count(1):
            task = new_task(api, 1, group, title=f"Only in Redis {store} {step}")
            fence(installation)
            where = victim(installation, step, "restore", store=store, **ALONE)
            installation.prepare()
            is_there = api("GET", path_of(task), by="owner").status == 200
            assert is_there or saved(installation, task["title"]), where
            if is_there:
                ok(api("POST", "/admin/sync?action=restore", by="owner"))
            if where == "done":
                break
    settle(installation)


@pytest.fixture(params=["file", "file/below"])
def unusable(request: pytest.FixtureRequest, install: Install, tmp_path: Path) -> Installation:
    """An installation whose BACKUP_DIR is a file, or below one, and with a change to lose."""
    installation = install(BACKUP_DIR=str(tmp_path / request.param))
    group = new_group(installation.client())
    installation.sync()
    new_task(installation.client(), 1, group["id"], title="Only in Redis")
    (tmp_path / "file").touch()
    return installation


def mend(installation: Installation) -> None:
    folder = installation.settings.backup_dir
    (folder if folder.is_file() else folder.parent).unlink()


def test_without_a_usable_folder_a_restore_changes_nothing_and_says_why(
    unusable: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    api = unusable.client()
    fence(unusable)
    seen = everything(api)
    answer = refused(api("POST", "/admin/sync?action=restore", by="owner"), 503)
    assert "BACKUP_DIR" in answer["error"]
    assert "BACKUP_DIR" in ok(api("GET", "/admin/status", by="owner"))["last_error"]
    assert "Error Nothing was restored: BACKUP_DIR" in capsys.readouterr().out
    assert everything(api) == seen
    mend(unusable)
    ok(api("POST", "/admin/sync?action=restore", by="owner"))
    assert saved(unusable, "Only in Redis")


def test_clients_are_served_again_after_a_restore_that_died_before_its_file_was_whole(
    victim: Victim, unusable: Installation
) -> None:
    api = unusable.client()
    seen = everything(api)
    steps = count(1)
    while meta(unusable)["state"] == "ready":
        assert victim(unusable, next(steps), "restore", store="Redis") != "done"
    refused(api("GET", "/users", by="owner"), 503)
    unusable.prepare()
    assert everything(api) == seen
    new_group(api)
    settle(unusable)


def test_a_heal_that_died_ends_without_a_file_if_postgresql_has_everything(
    unusable: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = everything(unusable.client())
    Loader(sync_pass.open_store(unusable.settings)).block_clients()  # a heal does, and dies
    unusable.prepare()
    assert everything(unusable.client()) == seen
    assert "without a file" in capsys.readouterr().out
    settle(unusable)


def test_a_heal_that_died_clears_nothing_that_only_redis_has(unusable: Installation) -> None:
    sql(unusable, "ALTER TABLE tasks ADD CONSTRAINT poison CHECK (title <> 'Only in Redis')")
    Loader(sync_pass.open_store(unusable.settings)).block_clients()
    for _ in range(2):
        with pytest.raises(Unavailable, match="BACKUP_DIR"):
            unusable.prepare()
    mend(unusable)
    unusable.prepare()
    assert saved(unusable, "Only in Redis")


DISK_FULL = """
import json, resource, sys
from taskapi.config import load
from taskapi.errors import Unavailable
from taskapi.sync import restore, sync_pass
settings = load(json.load(sys.stdin))
resource.setrlimit(resource.RLIMIT_FSIZE, ({most}, {most}))
try:
    restore.force(settings, sync_pass.open_store(settings))
except Unavailable as error:
    print(error)
"""


def test_a_disk_that_fills_up_stops_a_restore_before_it_changes_anything(
    installation: Installation, api: Api
) -> None:
    group = new_group(api)
    for _ in range(9):
        new_task(api, 1, group["id"])
    fence(installation)
    seen = everything(api)
    done = subprocess.run(
        [sys.executable, "-c", DISK_FULL.format(most=LARGEST_FILE)], cwd=ROOT, check=True,
        input=json.dumps(installation.env), capture_output=True, text=True,
    )  # fmt: skip
    assert "BACKUP_DIR cannot take the backup: File too large" in done.stdout
    assert everything(api) == seen
    assert not [*installation.settings.backup_dir.iterdir()]


def test_clients_are_served_again_also_when_redis_is_full(unusable: Installation) -> None:
    api = unusable.client()
    seen = everything(api)
    with connect(unusable) as connection:
        connection.config_set("maxmemory", "1")
        try:
            refused(api("POST", "/admin/sync?action=restore", by="owner"), 503)
            assert everything(api) == seen
        finally:
            connection.config_set("maxmemory", "0")
    new_group(api)


def test_a_restore_that_lost_its_lock_serves_nobody_what_another_one_loads(
    installation: Installation,
) -> None:
    first, second = (Loader(sync_pass.open_store(installation.settings)) for _ in range(2))
    former = first.block_clients(can_reopen=True).former
    second.block_clients(can_reopen=True)
    second.confirm_saved()
    for act in (first.confirm_saved, lambda: first.reopen(former)):
        with pytest.raises(NewEpoch):
            act()
    assert meta(installation)["state"] == "restoring"
    installation.prepare()
    settle(installation)
