"""Administration and health: sync, backup, restore, status, statistics."""

from __future__ import annotations

import gzip
import hashlib
import re
import stat
from typing import Any

import pytest

from tests.api.factories import everything, login, new_group, new_task, new_user, ok, refused
from tests.client import Api
from tests.conftest import Install
from tests.support import Installation, eventually

DURATION = re.compile(r"(\d+h)?(\d+m)?\d+(\.\d+)?(s|ms|µs)")
STATUS = {"running", "interval", "last_sync", "time_since_last_sync", "healthy", "dirty_types"}
STATUS |= {"pending_changes", "redis_status", "postgres_status"}


def act(api: Api, action: str) -> Any:
    data = ok(api("POST", f"/admin/sync?action={action}", by="owner"))
    assert data["action"] == action
    assert " " in data["message"]
    assert data["duration_seconds"] >= 0
    return data


def status(api: Api) -> Any:
    data = ok(api("GET", "/admin/status", by="owner"))
    assert set(data) >= STATUS
    return data


def populate(api: Api) -> Any:
    """Create a group, a user in it and a task of the user."""
    user = new_user(api, new_group(api)["id"])
    new_task(api, user["id"], *user["group_ids"])
    return user


def test_before_the_first_pass_there_is_no_last_sync(api: Api) -> None:
    populate(api)
    data = status(api)
    assert (data["last_sync"], data["time_since_last_sync"]) == (None, None)
    assert data["interval"] == "15m0s"
    assert data["pending_changes"] is True
    assert set(data["dirty_types"]) >= {"users", "groups", "tasks"}
    assert (data["redis_status"], data["postgres_status"]) == ("connected", "connected")


@pytest.mark.parametrize(
    ("setting", "shown"), [("30s", "30s"), ("1h30m", "1h30m0s"), ("90s", "1m30s"), ("2h", "2h0m0s")]
)
def test_the_interval_is_written_as_go_does(install: Install, setting: str, shown: str) -> None:
    assert status(install(SYNC_INTERVAL=setting).client())["interval"] == shown


def test_a_forced_pass_copies_all_changes_and_counts_them(api: Api) -> None:
    populate(api)
    assert act(api, "force")
    data = status(api)
    assert (data["pending_changes"], data["dirty_types"]) == (False, [])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", data["last_sync"])
    assert DURATION.fullmatch(data["time_since_last_sync"])
    stats = ok(api("GET", "/admin/stats", by="owner"))
    assert stats["redis"] == stats["postgresql"] == {"users": 2, "groups": 1, "tasks": 1}
    assert stats["sync"].items() >= {"pending_changes": False}.items()
    ok(api("PUT", "/users/1", by="owner", json={"full_name": "Changed"}))
    assert status(api)["dirty_types"] == ["users"]


def test_force_is_the_default_and_moves_last_sync_when_there_is_nothing_to_do(api: Api) -> None:
    assert ok(api("POST", "/admin/sync", by="owner"))["action"] == "force"
    first = status(api)["last_sync"]
    eventually(lambda: act(api, "force") and status(api)["last_sync"] > first)


def test_an_unknown_action_is_refused(api: Api) -> None:
    for query in ("action=dance", "action=", "action=Force", "action=force&action=force"):
        refused(api("POST", f"/admin/sync?{query}", by="owner"), 400)


def test_a_pass_writes_deletes_too(api: Api) -> None:
    user = populate(api)
    act(api, "force")
    ok(api("DELETE", f"/users/{user['id']}", by="owner"))
    act(api, "force")
    stats = ok(api("GET", "/admin/stats", by="owner"))
    assert stats["redis"] == stats["postgresql"] == {"users": 1, "groups": 1, "tasks": 0}


def test_a_backup_is_a_private_file_with_its_hash_in_the_answer(installation: Installation) -> None:
    api = installation.client()
    user = populate(api)
    result = act(api, "backup")
    (path,) = installation.settings.backup_dir.iterdir()
    content = path.read_bytes()
    values = list(flat(result))
    assert path.name in values
    assert len(content) in values
    assert hashlib.sha256(content).hexdigest() in values
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert user["email"] in gzip.decompress(content).decode()


def flat(value: Any) -> Any:
    children = value.values() if isinstance(value, dict) else value
    if isinstance(value, dict | list):
        for child in children:
            yield from flat(child)
    else:
        yield value


def test_a_restore_on_healthy_data_changes_nothing_that_clients_see(api: Api) -> None:
    user = populate(api)
    act(api, "force")
    populate(api)  # the restore first copies these to PostgreSQL
    before = everything(api)
    act(api, "restore")
    assert everything(api) == before
    ok(api("GET", f"/users/{user['id']}", by=login(user)))
    newer = new_user(api)
    assert newer["id"] > max(each["id"] for each in before[0]["users"])
    task = new_task(api, newer["id"], 1)
    assert task["id"] > max(each["id"] for each in before[2]["tasks"])
    act(api, "force")
    stats = ok(api("GET", "/admin/stats", by="owner"))
    assert stats["redis"] == stats["postgresql"]


def test_health_is_bare_and_has_no_details(install: Install) -> None:
    installation = install()
    with installation.serve(workers=1) as api, installation.worker():
        health = eventually(lambda: healthy(api))
        assert set(health) == {"status", "timestamp"}
        assert health["timestamp"].endswith("Z")
        eventually(lambda: status(api)["running"])
        assert status(api)["healthy"] is True


def healthy(api: Api) -> Any:
    answer = api("GET", "/health")
    assert answer.status == 200
    return answer.json if answer.json["status"] == "healthy" else None


def test_the_worker_syncs_at_its_start_at_its_interval_and_at_its_end(install: Install) -> None:
    installation = install(SYNC_INTERVAL="1s")
    api = installation.client()
    with installation.worker() as log:
        first = eventually(lambda: status(api)["last_sync"])
        populate(api)
        eventually(lambda: status(api)["last_sync"] > first and not status(api)["pending_changes"])
    assert "Sync" in log.read_text()
    slow = install(SYNC_INTERVAL="1h")
    api = slow.client()
    with slow.worker():
        eventually(lambda: status(api)["last_sync"])
        populate(api)
        assert status(api)["pending_changes"] is True
    assert status(api)["pending_changes"] is False


def test_only_force_can_reseed(api: Api) -> None:
    assert ok(api("POST", "/admin/sync?action=force&reseed=true", by="owner"))["action"] == "force"
    refused(api("POST", "/admin/sync?action=backup&reseed=true", by="owner"), 400)
    refused(api("POST", "/admin/sync?reseed=yes", by="owner"), 400)
