"""What grows is pruned, and a Redis older than what was pruned brings nothing back."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import pytest

from devserver.servers import Postgres
from taskapi.doctor.store_checks import examine
from taskapi.store import changes, quarantine
from taskapi.store import meta as store_meta
from taskapi.sync import sync_pass
from taskapi.sync.state import Fenced
from tests.api.factories import new_group, new_task, ok, path_of, refused
from tests.client import Api
from tests.stores import connect, dirty, meta, root, sql
from tests.support import Installation
from tests.sync.lossy_site import LossySite, uncompared

TOMBSTONES = "SELECT kind::text, id FROM tombstones ORDER BY id"


def delete_task(installation: Installation, api: Api) -> int:
    """Create and delete a task, with a pass after each; return its id."""
    task = new_task(api, 1, new_group(api)["id"])
    installation.sync()
    ok(api("DELETE", path_of(task), by="owner"))
    installation.sync()
    return int(task["id"])


def age_tombstones(installation: Installation, days: int) -> None:
    """Make all tombstones older."""
    sql(installation, "UPDATE tombstones SET deleted_at = deleted_at - %s * interval '1 day'", days)


def pruned(installation: Installation) -> int:
    ((version,),) = sql(installation, "SELECT pruned_version FROM sync_state")
    return int(version)


def test_old_tombstones_are_pruned_and_young_ones_stay(
    installation: Installation, api: Api
) -> None:
    old = delete_task(installation, api)
    ((version,),) = sql(installation, "SELECT version FROM tombstones WHERE id = %s", old)
    age_tombstones(installation, 2)
    young = delete_task(installation, api)
    age_tombstones(installation, 29)
    installation.sync()
    assert sql(installation, TOMBSTONES) == [("t", young)]
    assert pruned(installation) == version
    new_group(api)
    installation.sync()
    assert not dirty(installation)


def test_a_redis_older_than_the_tombstones_brings_nothing_back(
    tmp_path: Path, postgres: Postgres
) -> None:
    with closing(LossySite(tmp_path, postgres.url, "everysec")) as site:
        api, installation = site.api, site.installation
        task = new_task(api, 1, new_group(api)["id"])
        installation.sync()
        with site.lost():
            ok(api("DELETE", path_of(task), by="owner"))
            installation.sync()
            age_tombstones(installation, 31)
            installation.sync()
            assert pruned(installation)
        with uncompared(site):
            ok(api("PUT", f"{path_of(task)}/done", by="owner"))
        with pytest.raises(Fenced, match="action=restore"):
            installation.sync()
        refused(api("PUT", path_of(task), by="owner", json={"title": "Not now"}), 503)
        ok(api("GET", path_of(task), by="owner"))
        refused(api("POST", "/admin/sync?action=force&reseed=true", by="owner"), 409)
        assert sql(installation, "SELECT id FROM tasks") == []
        ok(api("POST", "/admin/sync?action=restore", by="owner"))
        assert list(installation.settings.backup_dir.glob("*-before-restore-*"))
        refused(api("GET", path_of(task), by="owner"), 404)
        new_task(api, 1, task["group_id"])
        installation.sync()
        assert site.is_whole()


def test_an_old_change_from_quarantine_does_not_make_redis_look_old(
    installation: Installation, api: Api
) -> None:
    sql(installation, "ALTER TABLE groups ADD CONSTRAINT poison CHECK (name <> 'Poison')")
    new_group(api, name="Poison")
    installation.sync()
    delete_task(installation, api)
    age_tombstones(installation, 31)
    installation.sync()
    assert pruned(installation)
    sql(installation, "ALTER TABLE groups DROP CONSTRAINT poison")
    quarantine.release(sync_pass.open_store(installation.settings))
    assert installation.sync().written["groups"] == 1
    installation.sync()
    assert not dirty(installation)


def test_what_is_synced_is_not_set_back_by_old_changes(
    installation: Installation, api: Api
) -> None:
    new_group(api)
    installation.sync()
    store = sync_pass.open_store(installation.settings)
    redis = store_meta.read(store)
    changes.acknowledge(store, redis, str(redis.synced - 1))
    assert store_meta.read(store).synced == redis.synced


def test_a_database_from_before_pruning_is_read_and_migrated(
    installation: Installation, api: Api
) -> None:
    delete_task(installation, api)
    sql(installation, "ALTER TABLE sync_state DROP COLUMN pruned_version")
    sql(installation, "ALTER TABLE tombstones DROP COLUMN deleted_at")
    sql(installation, "DELETE FROM migrations WHERE number >= 3")
    found = {each.name: each.status for each in examine(installation.settings, time.time)}
    assert (found["schema"], found["installation"]) == ("warn", "ok")
    installation.prepare()
    installation.sync()
    assert len(sql(installation, TOMBSTONES)) == 1
    assert pruned(installation) == 0


def test_operation_fields_of_dead_processes_are_removed_when_nothing_changes(
    installation: Installation,
) -> None:
    installation.sync()
    now, hour = int(time.time() * 1_000_000), 3_600_000_000
    fields = {
        "op:dead.1": f"5 OK 7 {now - 5 * hour // 4} 2026-01-01T00:00:00Z",
        "op:living.1": f"6 OK 8 {now - hour // 2} 2026-01-01T00:00:00Z",
        "op:registered.1": f"5 OK 7 {now - 5 * hour // 4} 2026-01-01T00:00:00Z",
        "version": now - hour // 2,
    }
    with connect(installation) as connection:
        connection.hset(root(installation) + "meta", mapping=fields)
        connection.hset(root(installation) + "meta", "synced", now - hour // 2)
        entry = f"run {int(time.time())} 1 1 1 1"
        connection.hset(root(installation) + "processes", "registered", entry)
    sql(installation, "UPDATE sync_state SET last_version = %s", now - hour // 2)
    installation.sync()
    assert not dirty(installation)
    kept = {name for name in meta(installation) if name.startswith("op:")}
    assert kept == {"op:living.1", "op:registered.1"}
