"""Servers that evict or are full, and more changes than fit in memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis

from devserver.servers import Postgres, Valkey
from taskapi.errors import Unusable
from taskapi.store import changes
from taskapi.store.keys import Kind
from tests.api.drift import drift
from tests.api.factories import login, new_group, new_task, new_user, ok, path_of, refused
from tests.client import Api
from tests.stores import connect, dirty, root, sql
from tests.support import ROOT, Installation, eventually


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A server for this module only; its tests change the settings."""
    with Valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
def setting(valkey: Valkey) -> Iterator[Any]:
    """Yield a function that changes a setting of the server until the test ends."""
    with redis.Redis.from_url(valkey.url) as connection:
        old: dict[str, str] = {}

        def change(name: str, value: str) -> None:
            old.setdefault(name, connection.config_get(name)[name])
            connection.config_set(name, value)

        yield change
        for name, value in old.items():
            connection.config_set(name, value)


def status(api: Api) -> Any:
    return ok(api("GET", "/admin/status", by="owner"))


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_redis_that_drops_data_is_refused_at_the_start(
    installation: Installation, api: Api, setting: Any, policy: str
) -> None:
    setting("maxmemory-policy", policy)
    with pytest.raises(Unusable):
        installation.prepare()
    env = {"PATH": "/usr/bin:/bin"} | installation.env
    for arguments in (["-m", "gunicorn", "app:app"], ["sync_worker.py"]):
        command = [sys.executable, *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=30, check=False
        )
        output = done.stdout + done.stderr
        assert done.returncode == 1
        assert "set maxmemory-policy noeviction" in output
        assert "Traceback" not in output
    assert any(policy in warning for warning in status(api)["warnings"])


def test_the_status_warns_of_what_redis_may_lose(api: Api, setting: Any) -> None:
    assert status(api)["warnings"] == []
    setting("appendfsync", "everysec")
    assert "appendfsync everysec" in status(api)["warnings"][0]
    setting("appendonly", "no")
    assert "no append-only file" in status(api)["warnings"][0]


def test_a_provider_that_hides_its_settings_is_served(
    valkey: Valkey, postgres: Postgres, tmp_path: Path
) -> None:
    with redis.Redis.from_url(valkey.url) as connection:
        connection.acl_setuser(
            "guest", enabled=True, passwords=["+secret"], keys=["*"], channels=["*"],
            categories=["+@all"], commands=["-config"],
        )  # fmt: skip
    url = f"redis://guest:secret@127.0.0.1:{valkey.port}/0"
    with closing(Installation(tmp_path, url, postgres.url)) as installation:
        api = installation.prepare().client()
        assert new_user(api)["id"] == 2
        assert "appendfsync unknown" in status(api)["warnings"][0]


def test_a_full_redis_refuses_writes_and_does_everything_else(
    installation: Installation, api: Api, setting: Any
) -> None:
    group, doomed = new_group(api), new_group(api)
    user = new_user(api, group["id"], doomed["id"])
    task, other = (new_task(api, user["id"], group["id"]) for _ in range(2))
    setting("maxmemory", "1")
    refused(api("POST", "/groups", by="owner", json={"name": "No", "admin_id": 1}), 503)
    refused(api("PUT", path_of(task), by="owner", json={"title": "No"}), 503)
    ok(api("GET", f"/users/{user['id']}", by=login(user)))
    ok(api("DELETE", path_of(task), by="owner"))
    ok(api("DELETE", f"/groups/{doomed['id']}", by="owner"))
    installation.sync()
    assert not dirty(installation)
    assert status(api)["last_sync"]
    with installation.worker():
        eventually(lambda: status(api)["running"])
        ok(api("DELETE", path_of(other), by="owner"))
    assert not dirty(installation)
    assert status(api)["last_error"] is None
    with installation.serve(workers=1) as served:
        ok(served("GET", f"/groups/{group['id']}", by="owner"))
    settings = installation.settings
    assert not drift(settings.redis_url, settings.key_prefix, settings.database_url)


def test_operators_see_how_the_sync_is(installation: Installation, api: Api) -> None:
    assert status(api)["oldest_unsynced_seconds"] == 0
    group = new_group(api)
    new_task(api, 1, group["id"])
    shown = status(api)
    assert shown["dirty_counts"] == {"users": 1, "groups": 1, "tasks": 1}
    assert 0 <= shown["oldest_unsynced_seconds"] < 60
    assert shown["last_duration_seconds"] is None
    installation.sync()
    shown = status(api)
    assert shown["dirty_counts"] == {"users": 0, "groups": 0, "tasks": 0}
    assert shown["last_duration_seconds"] > 0
    assert (shown["last_error"], shown["consecutive_failures"]) == (None, 0)
    assert (shown["quarantined"], shown["restore_progress"]) == ([], None)


def test_failures_of_the_worker_are_counted_until_it_succeeds(
    installation: Installation, api: Api
) -> None:
    sql(installation, "ALTER TABLE tasks RENAME folded TO stolen")
    new_task(api, 1, new_group(api)["id"])
    with installation.worker():
        eventually(lambda: status(api)["consecutive_failures"] > 1)
        assert "PostgreSQL" in status(api)["last_error"]
        sql(installation, "ALTER TABLE tasks RENAME stolen TO folded")
        eventually(lambda: status(api)["consecutive_failures"] == 0 and status(api)["last_sync"])
    assert status(api)["last_error"] is None


def test_operations_of_long_ago_are_forgotten(installation: Installation, api: Api) -> None:
    new_group(api)
    with connect(installation) as connection:
        key = f"{root(installation)}meta"
        connection.hset(key, "op:dead.1", "7 OK 1 1700000000000000 2023-11-14T22:13:20Z")
        installation.sync()
        fields = connection.hkeys(key)
    assert "op:dead.1" not in fields
    assert any(field.startswith("op:") for field in fields)


MEASURED = """
import json, sys
from pathlib import Path
from taskapi.config import load
from taskapi.sync import sync_pass, restore
settings = load(json.load(sys.stdin))
{act}
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0], json.dumps(done))
"""
"""Code for a process of its own: it prints its peak memory in kB."""
PASS = "done = sync_pass.run(settings).written"
RESTORE = "done = restore.fill(settings, sync_pass.open_store(settings))"


@pytest.mark.long
def test_many_rows_take_no_more_memory_than_few(installation: Installation, api: Api) -> None:
    """A pass and a restore of 10 chunks of tasks need little more memory than those of 2."""
    used = []
    group = new_group(api)
    installation.sync()
    for count in (2 * changes.CHUNK, 10 * changes.CHUNK):
        make_dirty(installation, group["id"], count)
        # Only the second restore finds the tasks in Redis' index, so it saves them to a file first.
        peaks = [peak_kilobytes(installation, act, count) for act in (PASS, RESTORE, RESTORE)]
        used.append((peaks[0], peaks[2]))
    for few, many in zip(*used, strict=True):
        assert many < few + 8 * 1024


def peak_kilobytes(installation: Installation, act: str, count: int, kind: Kind = Kind.TASK) -> int:
    """Return the peak memory of `act` in kB; check that it copied `count` entities of a kind."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED.format(act=act)], cwd=ROOT, check=True,
        input=json.dumps(installation.env), capture_output=True, text=True,
    )  # fmt: skip
    kilobytes, counts = done.stdout.splitlines()[-1].split(" ", 1)
    assert json.loads(counts)[kind.plural] == count
    return int(kilobytes)


def make_dirty(installation: Installation, group_id: int, count: int) -> None:
    """Write tasks directly to Redis: only entities and marks."""
    at = root(installation)
    stamp = {"created_at": "2025-09-29T10:00:00Z", "updated_at": "2025-09-29T10:00:00Z"}
    with connect(installation) as connection, connection.pipeline(transaction=False) as pipeline:
        base = int(connection.hget(f"{at}meta", "version")) + 1
        for n in range(1, count + 1):
            task = {
                "id": n, "title": f"Task {n}", "status": False, "priority": 2, "deadline": None,
                "information": "x" * 60, "user_id": 1, "group_id": group_id, **stamp,
                "version": base + n,
            }  # fmt: skip
            fields = {"json": json.dumps(task), "version": base + n}
            pipeline.hset(f"{at}task:{n}", mapping=fields)
            pipeline.zadd(f"{at}dirty", {f"t:{n}": base + n})
        pipeline.hset(f"{at}meta", mapping={"version": base + count, "next:t": count})
        pipeline.execute()
