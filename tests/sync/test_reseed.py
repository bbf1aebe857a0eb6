"""A PostgreSQL that lost data is refused until a reseed copies everything."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from devserver.servers import Postgres
from taskapi.errors import Conflict
from taskapi.store import quarantine
from taskapi.sync import copy_changes, state, sync_pass
from tests.api.drift import drift
from tests.api.factories import (
    everything,
    made,
    new_group,
    new_task,
    new_user,
    ok,
    path_of,
    refused,
)
from tests.client import Api
from tests.conftest import Install
from tests.store.fsck import fsck
from tests.stores import before, connect, crash, dirty, empty_redis, meta, root, sql
from tests.support import Installation
from tests.sync.lossy_site import LossySite, lose_task, uncompared

TABLES = "sync_state, memberships, tasks, groups, users, tombstones"


def reseed(installation: Installation) -> Any:
    return sync_pass.force(installation.settings, sync_pass.open_store(installation.settings), True)


def refuses(api: Api, action: str) -> Any:
    """Return the error code of an action that is refused."""
    return refused(api("POST", f"/admin/sync?action={action}", by="owner"), 409)["code"]


def status(api: Api) -> Any:
    return ok(api("GET", "/admin/status", by="owner"))


def is_whole(installation: Installation) -> bool:
    settings = installation.settings
    assert not fsck(settings.redis_url, settings.key_prefix)
    assert not drift(settings.redis_url, settings.key_prefix, settings.database_url)
    return True


@pytest.fixture
def seen(installation: Installation, api: Api) -> Any:
    """Entities that PostgreSQL has, except for one change."""
    group = new_group(api)
    user = new_user(api, group["id"])
    task = new_task(api, user["id"], group["id"])
    new_task(api, user["id"], group["id"])
    installation.sync()
    ok(api("DELETE", path_of(task), by="owner"))
    return everything(api)


def test_a_postgresql_from_before_a_row_left_quarantine_is_refused(
    installation: Installation, api: Api
) -> None:
    group = new_group(api)
    late = new_task(api, 1, group["id"], title="late")
    sql(installation, "ALTER TABLE tasks ADD CONSTRAINT refuse CHECK (title <> 'late')")
    new_task(api, 1, group["id"])
    installation.sync()
    ((version,),) = sql(installation, "SELECT last_version FROM sync_state")
    sql(installation, "ALTER TABLE tasks DROP CONSTRAINT refuse")
    quarantine.release(sync_pass.open_store(installation.settings))
    installation.sync()
    sql(
        installation,
        f"DELETE FROM tasks WHERE id = {late['id']};UPDATE sync_state SET last_version = {version}",
    )
    with pytest.raises(state.Fenced):
        installation.sync()


def test_a_reseed_keeps_what_redis_lost_and_postgresql_has(
    tmp_path: Path, postgres: Postgres
) -> None:
    with closing(LossySite(tmp_path, postgres.url, "always")) as site:
        group = new_group(site.api)
        with site.lost():
            task = new_task(site.api, 1, group["id"])
            site.installation.sync()
        with uncompared(site):
            new_group(site.api)  # opens Redis, without what it lost
            refused(site.api("GET", path_of(task), by="owner"), 404)
        reseed(site.installation)
        assert ok(site.api("GET", path_of(task), by="owner")) == task
        assert site.is_whole()


def test_a_reseed_is_refused_while_only_postgresql_has_what_redis_lost(
    tmp_path: Path, postgres: Postgres
) -> None:
    with closing(LossySite(tmp_path, postgres.url, "always")) as site:
        task = lose_task(site)
        site.installation.sync()
        with pytest.raises(Conflict, match="does not have"):
            reseed(site.installation)
        assert sql(site.installation, "SELECT id FROM tasks") == [(task["id"],)]


@pytest.mark.parametrize("wipe", [f"DROP TABLE {TABLES}", f"TRUNCATE {TABLES}"])
def test_a_wiped_postgresql_is_refused_until_it_is_reseeded(
    installation: Installation, api: Api, seen: Any, wipe: str
) -> None:
    sql(installation, wipe)
    with pytest.raises(state.Fenced):
        installation.sync()
    installation.prepare()
    shown = status(api)
    assert "reseed=true" in shown["warnings"][0]
    assert shown["healthy"] is False
    assert refuses(api, "force") == "fenced"
    assert refuses(api, "restore") == "nothing_to_restore"
    assert everything(api) == seen
    refused(api("POST", "/groups", by="owner", json={"name": "No", "admin_id": 1}), 503)
    assert reseed(installation)["written"] == {"users": 2, "groups": 1, "tasks": 1}
    assert everything(api) == seen
    assert is_whole(installation)
    assert not any("reseed" in each for each in status(api)["warnings"])
    made(api("POST", "/groups", by="owner", json={"name": "Yes", "admin_id": 1}))
    assert installation.sync().written["groups"] == 1
    assert is_whole(installation)


@pytest.mark.usefixtures("seen")
def test_a_postgresql_set_back_in_time_is_refused_and_reseeded(
    installation: Installation, api: Api
) -> None:
    sql(installation, "UPDATE sync_state SET last_version = last_version - 1")
    sql(installation, "DELETE FROM tasks WHERE id = 2")
    with pytest.raises(state.Fenced):
        installation.sync()
    assert "reseed=true" in status(api)["warnings"][0]
    reseed(installation)
    assert is_whole(installation)


@pytest.mark.usefixtures("seen")
@pytest.mark.parametrize("step", ["_copy_until_valid", "changes.acknowledge"])
def test_a_reseed_that_dies_can_be_repeated(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    sql(installation, f"DROP TABLE {TABLES}")
    module, name = (copy_changes.changes, "acknowledge") if "." in step else (copy_changes, step)
    before(monkeypatch, module, name, crash)
    with pytest.raises(ConnectionAbortedError):
        reseed(installation)
    if step == "_copy_until_valid":
        with pytest.raises(state.Fenced):
            installation.sync()
        reseed(installation)
    installation.sync()
    assert meta(installation)["state"] == "ready"
    assert is_whole(installation)


@pytest.mark.usefixtures("seen")
def test_a_reseed_retries_quarantined_changes(installation: Installation, api: Api) -> None:
    sql(installation, "ALTER TABLE groups ADD CHECK (name <> 'Poison')")
    new_group(api, name="Poison")
    installation.sync()
    sql(installation, f"DROP TABLE {TABLES}")
    assert reseed(installation)["message"] == "PostgreSQL has everything that Redis has."
    assert not quarantine.read(sync_pass.open_store(installation.settings))
    assert is_whole(installation)


@pytest.mark.usefixtures("seen")
def test_a_reseed_says_how_many_changes_are_refused_again(
    installation: Installation, api: Api
) -> None:
    sql(installation, "ALTER TABLE groups ADD CHECK (name <> 'Poison')")
    new_group(api, name="Poison")
    sql(installation, "TRUNCATE sync_state, users, groups, memberships, tasks, tombstones")
    assert ", except for 5 in quarantine" in reseed(installation)["message"]  # with its members


def test_a_postgresql_with_more_data_is_not_overwritten(install: Install) -> None:
    own, other = install(), install(is_foreign=True)
    new_group(other.client())
    other.sync()
    stray = Installation(
        own.folder,
        own.settings.redis_url,
        own.settings.database_url,
        KEY_PREFIX=own.settings.key_prefix,
        DATABASE_URL=other.settings.database_url,
    )
    anew = "force&reseed=true"
    assert refuses(stray.client(), anew) == "not_empty"
    assert sql(other, "SELECT count(*) FROM groups") == [(1,)]
    sql(other, "TRUNCATE sync_state")
    assert refuses(stray.client(), anew) == "not_empty"
    sql(own, "UPDATE sync_state SET epoch = epoch + 1")
    assert refuses(own.client(), anew) == "not_empty"
    stray.close()


@pytest.mark.usefixtures("seen")
def test_a_healthy_postgresql_can_be_written_anew(installation: Installation, api: Api) -> None:
    epoch = int(meta(installation)["epoch"])
    sql(installation, "UPDATE tasks SET title = 'mangled'")
    reseed(installation)
    assert int(meta(installation)["epoch"]) == epoch + 1
    assert not dirty(installation)
    assert is_whole(installation)
    ok(api("POST", "/admin/sync?action=restore", by="owner"))
    assert is_whole(installation)


def test_an_empty_redis_reseeds_nothing(installation: Installation, api: Api) -> None:
    new_group(api)
    installation.sync()
    empty_redis(installation)
    with pytest.raises(Exception, match="empty"):
        reseed(installation)
    assert sql(installation, "SELECT count(*) FROM groups") == [(1,)]
    with connect(installation) as connection:
        assert not connection.exists(f"{root(installation)}meta")
