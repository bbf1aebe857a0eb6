"""A backup is one consistent file, even while clients write, and needs no PostgreSQL."""

from __future__ import annotations

import gzip
import hashlib
import json
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from taskapi.errors import AlreadyRunning, Unavailable
from taskapi.store import changes
from taskapi.store.changes import Pin
from taskapi.sync import backup, sync_pass
from tests.api.factories import new_group, new_task, new_user, ok, path_of, refused
from tests.client import Api
from tests.conftest import Install
from tests.stores import before, connect, crash, dirty, empty_redis, entities, root
from tests.support import Installation


def contents(installation: Installation) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the last state of each entity in the newest file, and the file's last line."""
    newest = max(installation.settings.backup_dir.glob("*.jsonl.gz"))
    first, *lines, last = map(json.loads, gzip.decompress(newest.read_bytes()).splitlines())
    assert first["taskapi_backup"] == 2
    saved: dict[str, Any] = {}
    for line in lines:
        ((kind, entity),) = line.items()
        if kind == "deleted":
            noun = {"u": "user", "g": "group", "t": "task"}[entity["kind"]]
            saved.pop(f"{noun}:{entity['id']}", None)
        elif saved.get(f"{kind}:{entity['id']}", entity)["version"] <= entity["version"]:
            saved[f"{kind}:{entity['id']}"] = entity
    return saved, last


def in_redis(installation: Installation) -> dict[str, Any]:
    return {key: json.loads(fields["json"]) for key, fields in entities(installation).items()}


def without_secrets(saved: dict[str, Any]) -> dict[str, Any]:
    return {
        key: {n: value for n, value in entity.items() if n not in ("password_hash", "tokens")}
        for key, entity in saved.items()
    }


@pytest.fixture
def task(api: Api) -> Any:
    group = new_group(api)
    user = new_user(api, group["id"])
    return [new_task(api, user["id"], group["id"], title=f"tä\n{n}") for n in range(5)][-1]


@pytest.mark.usefixtures("task")
def test_a_backup_has_everything_with_the_hash_of_each_password(
    installation: Installation, api: Api
) -> None:
    result = ok(api("POST", "/admin/sync?action=backup", by="owner"))
    assert result["saved"] == {"users": 2, "groups": 1, "tasks": 5}
    saved, last = contents(installation)
    assert without_secrets(saved) == in_redis(installation)
    assert all(
        saved[key]["password_hash"].startswith("$argon2id$") for key in saved if "user" in key
    )
    assert last["saved"] == result["saved"]
    assert last["ids"] == {"users": 2, "groups": 1, "tasks": 5}


@pytest.mark.usefixtures("task")
def test_a_backup_is_private_and_its_hash_is_right(installation: Installation, api: Api) -> None:
    result = ok(api("POST", "/admin/sync?action=backup", by="owner"))
    (path,) = installation.settings.backup_dir.iterdir()
    assert result["file"] == path.name
    assert result["size_bytes"] == path.stat().st_size
    assert result["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_changes_during_a_backup_are_in_the_backup(
    installation: Installation, api: Api, task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation.sync()

    def change() -> None:
        new_task(api, task["user_id"], task["group_id"])
        ok(api("PUT", f"{path_of(task)}/done", by="owner"))
        ok(api("DELETE", f"/users/{task['user_id']}/tasks/1", by="owner"))
        installation.sync()  # its acknowledgement must not remove the marks

    monkeypatch.setattr(changes, "CHUNK", 2)
    before(monkeypatch, changes, "changed", change)
    result = backup.write(installation.settings, sync_pass.open_store(installation.settings))
    assert without_secrets(contents(installation)[0]) == in_redis(installation)
    assert result.saved == {"users": 2, "groups": 1, "tasks": 5}
    assert set(dirty(installation)) == {"t:1", f"t:{task['id']}", "t:6"}
    installation.sync()
    assert not dirty(installation)


def test_a_backup_under_traffic_is_one_state(
    installation: Installation, api: Api, task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two tasks always change in one commit; if they differ in a file, it is not of one instant."""
    monkeypatch.setattr(changes, "CHUNK", 2)
    stop = threading.Event()

    def write() -> None:
        priority = 1
        while not stop.is_set():
            priority = priority % 3 + 1
            body = {"task_ids": [1, task["id"]], "updates": {"priority": priority}}
            ok(api("POST", "/tasks/batch", by="owner", json=body))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(5):
            backup.write(installation.settings, sync_pass.open_store(installation.settings))
            saved, _ = contents(installation)
            assert saved["task:1"]["priority"] == saved[f"task:{task['id']}"]["priority"]
    finally:
        stop.set()
        writer.join()


def test_a_backup_needs_no_postgresql(install: Install) -> None:
    installation = install()
    settings = installation.settings
    nowhere = Installation(
        installation.folder,
        settings.redis_url,
        settings.database_url,
        KEY_PREFIX=settings.key_prefix,
        DATABASE_URL="postgresql://x@127.0.0.1:1/x",
    )
    result = ok(nowhere.client()("POST", "/admin/sync?action=backup", by="owner"))
    assert result["saved"]["users"] == 1
    nowhere.close()


def test_the_newest_are_kept(install: Install) -> None:
    installation = install(BACKUP_KEEP="2")
    api, folder = installation.client(), installation.settings.backup_dir
    names = []
    for _ in range(4):
        new_group(api)
        names.append(ok(api("POST", "/admin/sync?action=backup", by="owner"))["file"])
    assert sorted(path.name for path in folder.iterdir()) == names[-2:] == sorted(names)[-2:]
    ok(api("POST", "/admin/sync?action=restore", by="owner"))
    assert len(list(folder.glob("*-before-restore-*"))) == 1
    assert len(list(folder.iterdir())) == 3


def test_a_second_backup_is_refused_until_the_pin_of_a_dead_one_expires(
    installation: Installation, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "PIN_SECONDS", 1)
    store = sync_pass.open_store(installation.settings)
    dead = Pin(store)
    with pytest.raises(AlreadyRunning):
        Pin(store)
    refused(api("POST", "/admin/sync?action=backup", by="owner"), 409)
    with connect(installation) as connection:
        assert 0 < connection.pttl(f"{root(installation)}pin") <= 1000
        connection.delete(f"{root(installation)}pin")
    with pytest.raises(Unavailable):
        dead.renew()


@pytest.mark.usefixtures("task")
def test_a_backup_that_dies_leaves_no_file_that_looks_whole(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    before(monkeypatch, changes, "changed", crash)
    store = sync_pass.open_store(installation.settings)
    with pytest.raises(Unavailable):
        backup.write(installation.settings, store)
    folder = installation.settings.backup_dir
    assert not [path for path in folder.iterdir() if path.suffix != ".partial"]
    backup.write(installation.settings, store)
    assert [path.suffix for path in folder.iterdir()] == [".gz"]


def test_a_folder_that_cannot_be_written_is_a_503(install: Install, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    api = install(BACKUP_DIR=str(tmp_path / "file")).client()
    refused(api("POST", "/admin/sync?action=backup", by="owner"), 503)


def test_an_empty_redis_is_not_saved(installation: Installation, api: Api) -> None:
    empty_redis(installation)
    refused(api("POST", "/admin/sync?action=backup", by="owner"), 503)
    assert not installation.settings.backup_dir.exists()


def test_a_restore_does_not_wait_for_a_dead_backup(installation: Installation, api: Api) -> None:
    dead = Pin(sync_pass.open_store(installation.settings))
    ok(api("POST", "/admin/sync?action=restore", by="owner"))
    with pytest.raises(Unavailable):
        dead.renew()
