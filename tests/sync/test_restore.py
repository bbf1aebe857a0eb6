"""A restore copies PostgreSQL to Redis, and no client sees a partial restore."""

from __future__ import annotations

import gzip
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest

from taskapi.errors import DatabaseUnreachable, NewEpoch
from taskapi.store import loading
from taskapi.store.keys import Kind
from taskapi.store.loading import Loader
from taskapi.store.server_start import SKIPPED_IDS
from taskapi.sync import restore, rows, state, sync_pass
from tests.api.drift import drift
from tests.api.factories import (
    everything,
    login,
    new_admin,
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
from tests.stores import before, connect, crash, dirty, empty_redis, entities, keys, meta, root, sql
from tests.support import Installation

ODD = ' \\ \\N "q" tab\tline\nreturn\r\x01 é e\u0301 İ ß 𝄞 \u2028 '


@pytest.fixture
def task(api: Api, installation: Installation) -> Any:
    """Create entities that PostgreSQL has; return the last task."""
    admin = new_admin(api)
    group = new_group(api, admin["id"], name=f"Größe{ODD}x")
    other = new_group(api)
    week = {"Sunday": 0, "Monday": 7.5, "Friday": 24}
    user = new_user(api, other["id"], group["id"], work_times=week, number="٣ 5")
    for n in range(4):
        fields = {
            "title": f"a{ODD}z",
            "information": ODD,
            "deadline": "2024-02-29" if n % 2 else None,
        }
        task = new_task(api, user["id"], group["id"], priority=1 + n % 3, **fields)
    done = ok(api("PUT", f"{path_of(task)}/done", by="owner"))["task"]
    ok(api("DELETE", path_of(new_task(api, user["id"], other["id"])), by="owner"))
    installation.sync()
    return done


def check(installation: Installation) -> None:
    settings = installation.settings
    assert not fsck(settings.redis_url, settings.key_prefix)
    assert not drift(settings.redis_url, settings.key_prefix, settings.database_url)


def test_a_new_installation_has_its_owner_and_issues_the_next_ids(
    installation: Installation, api: Api
) -> None:
    check(installation)
    owner = ok(api("GET", "/users/1", by="owner"))
    assert (owner["full_name"], owner["role"]) == ("System Owner", "owner")
    assert owner["email"] == installation.env["OWNER_EMAIL"]
    assert ok(api("GET", "/users/1", by=(1, installation.env["OWNER_PASSWORD"]))) == owner
    assert (new_user(api)["id"], new_group(api)["id"]) == (2, 1)


def test_an_emptied_redis_is_a_503_and_then_restored_byte_for_byte(
    installation: Installation, api: Api, task: Any
) -> None:
    stored, seen = entities(installation), everything(api)
    empty_redis(installation)
    refused(api("GET", "/users", by="owner"), 503)
    refused(api("GET", "/users/1", by=(1, "wrong")), 503)
    refused(api("POST", "/groups", by="owner", json={"name": "No", "admin_id": 1}), 503)
    assert api("GET", "/health").status == 503
    installation.prepare()
    assert entities(installation) == stored
    assert everything(api) == seen
    check(installation)
    ok(api("GET", f"/users/{task['user_id']}", by=login({"id": task["user_id"]})))


@pytest.mark.usefixtures("task")
def test_a_restore_of_a_live_store_gives_everything_again(
    installation: Installation, api: Api
) -> None:
    stored = entities(installation)
    ok(api("POST", "/admin/sync?action=restore", by="owner"))
    assert entities(installation) == stored
    check(installation)


def test_unsynced_changes_survive_a_restore(api: Api, task: Any) -> None:
    newer = new_task(api, task["user_id"], task["group_id"])
    ok(api("DELETE", path_of(task), by="owner"))
    seen = everything(api)
    result = ok(api("POST", "/admin/sync?action=restore", by="owner"))
    assert result["loaded"] == {"users": 3, "groups": 2, "tasks": 4}
    assert everything(api) == seen
    assert new_task(api, newer["user_id"], newer["group_id"])["id"] == newer["id"] + 1


def test_ids_lost_with_redis_are_never_issued_again(
    installation: Installation, api: Api, task: Any
) -> None:
    lost = new_task(api, task["user_id"], task["group_id"])
    empty_redis(installation)
    installation.prepare()
    assert new_task(api, task["user_id"], task["group_id"])["id"] > lost["id"]
    assert new_user(api)["id"] > SKIPPED_IDS


def test_ids_lost_before_the_first_pass_are_never_issued_again(
    installation: Installation, api: Api
) -> None:
    assert new_user(api)["id"] == 2
    empty_redis(installation)
    installation.prepare()
    assert new_user(api)["id"] > 2


def test_operations_are_remembered_over_a_restore(installation: Installation, api: Api) -> None:
    new_group(api)
    done = {name: value for name, value in meta(installation).items() if name.startswith("op:")}
    assert done
    ok(api("POST", "/admin/sync?action=restore", by="owner"))
    assert done.items() <= meta(installation).items()


@pytest.mark.usefixtures("task")
def test_a_restore_begins_a_new_epoch_and_never_lowers_the_version(
    installation: Installation, api: Api
) -> None:
    old = meta(installation)
    ok(api("POST", "/admin/sync?action=restore", by="owner"))
    new = meta(installation)
    assert int(new["epoch"]) == int(old["epoch"]) + 1
    assert int(new["version"]) >= int(old["version"])
    assert new["state"] == "ready"


@pytest.mark.parametrize("step", ["begin_epoch", "clear", "load", "unblock_clients"])
def test_a_restore_that_dies_leaves_redis_closed_and_the_next_start_finishes_it(
    installation: Installation, api: Api, task: Any, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    unsynced = new_task(api, task["user_id"], task["group_id"])
    seen = everything(api)
    module = state if step == "begin_epoch" else Loader
    before(monkeypatch, module, step, crash)
    with pytest.raises(ConnectionAbortedError):
        restore.force(installation.settings, sync_pass.open_store(installation.settings))
    refused(api("GET", "/users", by="owner"), 503)
    installation.prepare()
    assert everything(api) == seen
    ok(api("GET", path_of(unsynced), by="owner"))
    check(installation)


@pytest.mark.usefixtures("task")
def test_a_restore_that_cannot_read_everything_clears_nothing(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = everything(api)

    def outage() -> None:
        raise DatabaseUnreachable("PostgreSQL went away.")

    before(monkeypatch, rows, "read_through", outage)
    refused(api("POST", "/admin/sync?action=restore", by="owner"), 503)
    assert everything(api) == seen


@pytest.mark.usefixtures("task")
def test_two_restores_at_once_do_not_mix_what_they_load(installation: Installation) -> None:
    store = sync_pass.open_store(installation.settings)
    first, second = Loader(store), Loader(store)
    first.block_clients()
    second.block_clients()
    with pytest.raises(NewEpoch):
        first.load(Kind.GROUP, [group_row(1)])
    second.load(Kind.GROUP, [group_row(1)])
    installation.prepare()
    check(installation)


def group_row(group_id: int) -> dict[str, Any]:
    stamps = {"created_at": "2025-09-29T10:00:00Z", "updated_at": "2025-09-29T10:00:00Z"}
    return {"id": group_id, "name": "x", "admin_id": 1, "version": 1, **stamps}


def test_batches_are_applied_once(installation: Installation) -> None:
    store = sync_pass.open_store(installation.settings)
    loader = Loader(store)
    loader.block_clients()
    for _ in range(2):  # the same batch again, as after a lost reply
        loader._batches = 0
        loader.run([("INCR", f"{root(installation)}counter")])
    with connect(installation) as connection:
        assert connection.get(f"{root(installation)}counter") == "1"


@pytest.mark.usefixtures("task")
def test_many_batches_load_in_order(
    installation: Installation, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "BATCH", 1)
    ok(api("POST", "/admin/sync?action=restore", by="owner"))
    check(installation)


def test_two_starts_at_once_make_one_installation(install: Install) -> None:
    installation = install()
    sql(installation, "DROP TABLE sync_state, memberships, tasks, groups, users, tombstones")
    empty_redis(installation)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: installation.prepare(), range(2)))
    assert meta(installation)["epoch"] == "1"
    assert sql(installation, "SELECT count(*) FROM users") == [(1,)]
    check(installation)


def test_a_start_on_healthy_stores_changes_nothing(
    installation: Installation, api: Api, task: Any
) -> None:
    stored = keys(installation)
    new_task(api, task["user_id"], task["group_id"])
    marked = dirty(installation)
    installation.prepare()
    assert dirty(installation) == marked
    assert keys(installation).keys() >= stored.keys()


def test_other_installations_in_the_same_redis_are_left_alone(install: Install) -> None:
    name = install().settings.key_prefix
    longer = install(KEY_PREFIX=f"{name}.")
    shorter = install(KEY_PREFIX=name[:-1])
    before_restore = entities(longer), entities(shorter)
    similar = install(KEY_PREFIX=name[:-1] + ".")
    ok(similar.client()("POST", "/admin/sync?action=restore", by="owner"))
    assert (entities(longer), entities(shorter)) == before_restore


def test_a_long_restore_publishes_its_progress(
    api: Api, task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restore, "PROGRESS_SECONDS", 0.0)
    monkeypatch.setattr(loading, "BATCH", 1)
    seen = []

    def look() -> None:
        seen.append(ok(api("GET", "/admin/status", by="owner"))["restore_progress"])

    before(monkeypatch, Loader, "unblock_clients", look)
    ok(api("POST", "/admin/sync?action=restore", by="owner"))
    assert seen == ["9 of 9"]
    assert ok(api("GET", "/admin/status", by="owner"))["restore_progress"] is None
    assert ok(api("GET", path_of(task), by="owner")) == task


def test_what_postgresql_refused_is_in_the_file_that_a_restore_leaves(
    installation: Installation, api: Api, task: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    sql(installation, "ALTER TABLE tasks ADD CHECK (title <> 'Poison')")
    new_task(api, task["user_id"], task["group_id"], title="Poison")
    ok(api("POST", "/admin/sync?action=restore", by="owner"))
    assert "Sync restores without 1 change" in capsys.readouterr().out
    (file,) = installation.settings.backup_dir.glob("*-before-restore-*")
    assert b'"title":"Poison"' in gzip.decompress(file.read_bytes())
    check(installation)


def test_under_load_no_client_sees_half_of_a_restore(
    installation: Installation, api: Api, task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers see all tasks or get 503; afterwards, all acknowledged tasks are there."""
    monkeypatch.setattr(loading, "BATCH", 1)
    stop, unexpected, made = Event(), [], []
    tasks = f"/users/{task['user_id']}/tasks"

    def read() -> None:
        while not stop.is_set():
            answer = api("GET", tasks, by="owner")
            if answer.status == 200:
                unexpected.extend({*range(2, 5)} - {each["id"] for each in answer.data["tasks"]})
            elif answer.status != 503:
                unexpected.append(answer.status)

    def write() -> None:
        while not stop.is_set():
            body = {"title": "Under fire", "group_id": task["group_id"]}
            answer = api("POST", tasks, by="owner", json=body)
            if answer.status == 201:
                made.append(answer.data["task"]["id"])
            elif answer.status != 503:
                unexpected.append(answer.status)

    with ThreadPoolExecutor(3) as pool:
        pool.submit(read)
        pool.submit(write)
        try:
            for _ in range(4):
                restore.force(installation.settings, sync_pass.open_store(installation.settings))
        finally:
            stop.set()
    assert not unexpected
    shown = {each["id"] for each in ok(api("GET", tasks, by="owner"))["tasks"]}
    assert {*made} <= shown
    assert len({*made}) == len(made) > 0
    installation.sync()
    check(installation)
