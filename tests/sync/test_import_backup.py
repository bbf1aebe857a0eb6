"""`python -m taskapi restore FILE` restores an empty installation and changes no other."""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis

from taskapi.store.server_start import SKIPPED_IDS
from taskapi.sync import import_backup, restore
from taskapi.sync.state import Fenced
from tests.api.drift import drift
from tests.api.factories import everything, login, new_group, new_task, new_user, ok, path_of
from tests.client import Api
from tests.conftest import Install
from tests.store.fsck import fsck
from tests.stores import before, crash, empty_redis, keys, meta, root, sql
from tests.support import ROOT, Installation


def run_restore(installation: Installation, file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "taskapi", "restore", str(file)],
        cwd=ROOT,
        env={"PATH": os.defpath} | installation.env,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def user(api: Api) -> Any:
    """A user that the backup has."""
    group = new_group(api, name="Größe")
    user = new_user(api, group["id"], work_times={"Monday": 8})
    tasks = [new_task(api, user["id"], group["id"]) for _ in range(5)]
    ok(api("DELETE", path_of(tasks[0]), by="owner"))
    return user


@pytest.fixture
def file(installation: Installation, api: Api, user: Any) -> Path:
    """A backup with a change that PostgreSQL does not have."""
    installation.sync()
    ok(api("PUT", f"/users/{user['id']}", by="owner", json={"number": "7"}))
    name = ok(api("POST", "/admin/sync?action=backup", by="owner"))["file"]
    return installation.settings.backup_dir / name


def wipe(installation: Installation) -> None:
    empty_redis(installation)
    sql(installation, "DROP TABLE sync_state, memberships, tasks, groups, users, tombstones")


def test_an_empty_installation_is_restored(
    installation: Installation, api: Api, file: Path, user: Any
) -> None:
    seen = everything(api)
    wipe(installation)
    done = run_restore(installation, file)
    assert (done.returncode, done.stderr) == (0, "")
    assert everything(api) == seen
    assert ok(api("GET", f"/users/{user['id']}", by=login(user)))["number"] == "7"
    settings = installation.settings
    assert not fsck(settings.redis_url, settings.key_prefix)
    assert not drift(settings.redis_url, settings.key_prefix, settings.database_url)
    assert new_group(api)["id"] > SKIPPED_IDS
    installation.sync()


def test_a_redis_from_before_the_restore_is_refused(
    installation: Installation, api: Api, file: Path
) -> None:
    ok(api("POST", "/admin/sync?action=restore", by="owner"))
    installation.sync()
    old = keys(installation)
    wipe(installation)
    assert run_restore(installation, file).returncode == 0
    empty_redis(installation)
    with redis.Redis.from_url(installation.settings.redis_url) as connection:
        for name, value in old.items():
            connection.restore(root(installation) + name, 0, value)
        # Its last sync was long ago, so only the installation tells that it is another one.
        connection.hset(root(installation) + "meta", "synced", 1)
    with pytest.raises(Fenced):
        installation.sync()


def test_a_new_installation_with_only_its_owner_is_restored_too(
    install: Install, api: Api, file: Path, installation: Installation
) -> None:
    new = install(OWNER_EMAIL="else@example.com")
    assert run_restore(new, file).returncode == 0
    assert everything(new.client()) == everything(api)
    assert new.sync().written["tasks"] == 0
    assert installation.sync()


@pytest.mark.parametrize("place", ["both", "redis", "postgres"])
def test_an_installation_that_has_something_is_refused(
    installation: Installation, api: Api, file: Path, place: str
) -> None:
    seen = everything(api)
    if place == "postgres":
        installation.sync()
        empty_redis(installation)
    if place == "redis":
        sql(installation, "TRUNCATE tasks, memberships, groups, users, sync_state")
    done = run_restore(installation, file)
    assert done.returncode == 1
    assert "not empty" in done.stderr
    assert "Traceback" not in done.stderr
    if place == "postgres":
        installation.prepare()
    assert everything(api) == seen


def damaged(content: bytes, how: str) -> bytes:
    plain = gzip.decompress(content)
    match how:
        case "cut":
            return content[: len(content) // 2]
        case "flipped":
            return content[:200] + bytes([content[200] ^ 1]) + content[201:]
        case "shortened":
            return gzip.compress(b"\n".join(plain.splitlines()[:-2]))
        case "changed":
            return gzip.compress(plain.replace(b'"role":"user"', b'"role":"owner"'))
        case "empty":
            return b""
    return plain


@pytest.mark.parametrize("how", ["cut", "flipped", "shortened", "changed", "empty", "plain"])
def test_a_file_that_is_not_whole_is_refused_before_anything_is_written(
    installation: Installation, file: Path, how: str
) -> None:
    bad = file.with_name("bad.jsonl.gz")
    bad.write_bytes(damaged(file.read_bytes(), how))
    wipe(installation)
    done = run_restore(installation, bad)
    assert done.returncode == 1
    assert "backup" in done.stderr
    assert "Traceback" not in done.stderr
    assert sql(installation, "SELECT to_regclass('users')") == [(None,)]
    assert not meta(installation)


def test_a_missing_file_and_missing_arguments_are_reported(installation: Installation) -> None:
    assert "cannot be read" in run_restore(installation, Path("/nowhere")).stderr
    env = {"PATH": os.defpath} | installation.env
    command = [sys.executable, "-m", "taskapi", "restore"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "required: file" in done.stderr


@pytest.mark.parametrize("step", ["_fill", "fill"])
def test_a_killed_restore_has_done_nothing_or_is_finished_by_the_next_start(
    installation: Installation, api: Api, file: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    seen = everything(api)
    wipe(installation)
    before(monkeypatch, import_backup if step == "_fill" else restore, step, crash)
    with pytest.raises(ConnectionAbortedError):
        import_backup.run(installation.settings, file)
    if step == "_fill":
        assert run_restore(installation, file).returncode == 0
    installation.prepare()
    assert everything(api) == seen


@pytest.mark.parametrize("number", [0, 3, '"old"'])
def test_a_file_of_an_unknown_format_is_refused_by_the_name_of_its_format(
    installation: Installation, file: Path, number: object
) -> None:
    first = f'{{"taskapi_backup":{number}}}\n'.encode()
    file.write_bytes(gzip.compress(first + b'{"what":"ever"}\n'))
    done = run_restore(installation, file)
    assert done.returncode == 1
    assert f"has backup format {str(number).strip(chr(34))}, and this program reads" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_of_the_first_format_is_restored(
    installation: Installation, api: Api, user: Any, file: Path
) -> None:
    with gzip.open(file) as lines:
        first, *content, last = lines.read().splitlines(keepends=True)
    first = first.replace(b'"taskapi_backup":2', b'"taskapi_backup":1')
    assert any(b',"tokens":[]' in line for line in content)
    content = [line.replace(b',"tokens":[]', b"") for line in content]  # users had none then
    content = [line.replace(b'"password_hash":', b'"secret":') for line in content]
    digest = hashlib.sha256(b"".join([first, *content])).hexdigest()
    end = orjson.loads(last) | {"sha256": digest}
    with gzip.open(file, "wb") as lines:
        lines.writelines([first, *content, orjson.dumps(end)])
    wipe(installation)
    assert run_restore(installation, file).returncode == 0
    assert ok(api("GET", f"/users/{user['id']}", by=login(user)))["number"] == "7"
