"""A pass copies every change to PostgreSQL once and overwrites no newer version there."""

from __future__ import annotations

from typing import Any

import pytest

from taskapi.config import load
from taskapi.errors import AlreadyRunning, DatabaseUnreachable, NewEpoch, NotReady
from taskapi.store import changes
from taskapi.sync import copy_changes, postgres, rows, state, sync_pass
from taskapi.sync.postgres import Database
from tests.api.drift import drift
from tests.api.factories import made, new_group, new_task, new_user, ok, path_of, refused
from tests.client import Api
from tests.conftest import Install
from tests.stores import before, connect, crash, dirty, empty_redis, meta, root, sql
from tests.support import Installation, eventually

ODD = ' \\ \\N "quoted" tab\tline\nreturn\r\x01 é e\u0301 İ ß 𝄞 \u2028 \\. '


def differences(installation: Installation) -> list[str]:
    settings = installation.settings
    return drift(settings.redis_url, settings.key_prefix, settings.database_url)


def populate(api: Api, tasks: int = 3) -> Any:
    """Create a group, a member and tasks of the member; return one task."""
    group = new_group(api)
    user = new_user(api, group["id"], work_times={"Sunday": 0.5, "Monday": 24}, number="+1 \\N")
    return [
        new_task(
            api, user["id"], group["id"], title=f"a{ODD}b", information=ODD * 9, priority=1 + n
        )
        for n in range(tasks)
    ][-1]


def test_a_pass_makes_postgresql_equal_to_redis(installation: Installation, api: Api) -> None:
    task = populate(api)
    ok(api("PUT", path_of(task), by="owner", json={"deadline": "0001-01-01", "status": True}))
    report = installation.sync()
    assert report.written == {"users": 2, "groups": 1, "tasks": 3}
    assert report.deleted == {"users": 0, "groups": 0, "tasks": 0}
    assert not differences(installation)


def test_a_pass_without_changes_writes_nothing(installation: Installation, api: Api) -> None:
    populate(api)
    installation.sync()
    assert set(installation.sync().written.values()) == {0}
    assert not differences(installation)


def test_only_what_changed_is_written(installation: Installation, api: Api) -> None:
    task = populate(api)
    installation.sync()
    ok(api("PUT", f"{path_of(task)}/done", by="owner"))
    assert installation.sync().written == {"users": 0, "groups": 0, "tasks": 1}
    assert not differences(installation)


def test_deletes_leave_tombstones(installation: Installation, api: Api) -> None:
    task = populate(api)
    installation.sync()
    ok(api("DELETE", path_of(task), by="owner"))
    ok(api("DELETE", f"/groups/{task['group_id']}", by="owner"))
    assert installation.sync().deleted == {"users": 0, "groups": 1, "tasks": 3}
    ok(api("DELETE", f"/users/{task['user_id']}", by="owner"))
    assert installation.sync().deleted["users"] == 1
    assert not differences(installation)
    assert sql(installation, "SELECT count(*) FROM tombstones") == [(5,)]


def test_what_came_and_went_between_passes_is_a_tombstone_only(
    installation: Installation, api: Api
) -> None:
    task = populate(api)
    ok(api("DELETE", path_of(task), by="owner"))
    installation.sync()
    assert not differences(installation)
    assert sql(installation, "SELECT id FROM tombstones WHERE kind = 't'") == [(task["id"],)]


def test_write_during_a_pass_stays_dirty(
    installation: Installation, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = populate(api)

    def change() -> None:
        ok(api("PUT", path_of(task), by="owner", json={"title": "Changed meanwhile"}))

    before(monkeypatch, changes, "acknowledge", change)
    installation.sync()
    assert set(dirty(installation)) == {f"t:{task['id']}"}
    assert installation.sync().written["tasks"] == 1
    assert not differences(installation)


def test_delete_during_a_pass_stays_dirty(
    installation: Installation, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = populate(api)

    def delete() -> None:
        ok(api("DELETE", path_of(task), by="owner"))

    before(monkeypatch, changes, "acknowledge", delete)
    installation.sync()
    assert set(dirty(installation)) == {f"t:{task['id']}"}
    installation.sync()
    assert not differences(installation)


def test_a_pass_that_dies_before_its_commit_changes_nothing(
    installation: Installation, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    populate(api)
    marked = dirty(installation)
    before(monkeypatch, state, "advance", crash)
    with pytest.raises(ConnectionAbortedError):
        installation.sync()
    assert dirty(installation) == marked
    assert sql(installation, "SELECT count(*) FROM tasks") == [(0,)]
    installation.sync()
    assert not differences(installation)


def test_a_lost_acknowledgement_is_made_good_by_the_next_pass(
    installation: Installation, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    populate(api)
    before(monkeypatch, changes, "acknowledge", crash)
    with pytest.raises(ConnectionAbortedError):
        installation.sync()
    assert set(installation.sync().written.values()) == {0}
    assert not differences(installation)


def test_many_changes_of_one_commit_cross_chunks(
    installation: Installation, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "CHUNK", 2)
    populate(api, tasks=3)
    ids = [new_task(api, 1, 1)["id"] for _ in range(5)]
    for updates in ({"priority": 3}, {"title": "one"}):
        ok(api("POST", "/tasks/batch", by="owner", json={"task_ids": ids, "updates": updates}))
        new_task(api, 1, 1)
        assert installation.sync()
        assert not differences(installation)


def test_two_users_swap_their_addresses(installation: Installation, api: Api) -> None:
    first, second = new_user(api), new_user(api)
    installation.sync()
    for user, email in (
        (first, "between@x.org"),
        (second, first["email"]),
        (first, second["email"]),
    ):
        ok(api("PUT", f"/users/{user['id']}", by="owner", json={"email": email}))
    installation.sync()
    assert not differences(installation)


def test_a_freed_name_is_taken_again(installation: Installation, api: Api) -> None:
    freed, kept = new_group(api, name="Größe"), new_group(api)
    installation.sync()
    ok(api("DELETE", f"/groups/{freed['id']}", by="owner"))
    ok(api("PUT", f"/groups/{kept['id']}", by="owner", json={"name": "GRÖSSE"}))
    installation.sync()
    assert not differences(installation)


def test_one_of_two_passes_at_once_is_refused(installation: Installation) -> None:
    with Database(installation.settings) as db:
        db.lock()
        with pytest.raises(AlreadyRunning):
            installation.sync()
        assert not dirty(installation)


def test_force_waits_for_the_running_pass_and_then_gives_up(
    installation: Installation, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "FORCE_SECONDS", 0.2)
    with Database(installation.settings) as db:
        db.lock()
        assert refused(api("POST", "/admin/sync", by="owner"), 409)["code"] == "already_running"
    ok(api("POST", "/admin/sync", by="owner"))


def test_postgresql_never_goes_back_to_an_older_version(
    installation: Installation, api: Api
) -> None:
    task = populate(api)
    installation.sync()
    sql(installation, "UPDATE tasks SET version = version + 1e15::bigint, title = 'newer'")
    ok(api("PUT", path_of(task), by="owner", json={"title": "older"}))
    assert installation.sync().written["tasks"] == 0
    assert set(dirty(installation)) == {f"t:{task['id']}"}
    ok(api("DELETE", path_of(task), by="owner"))
    assert installation.sync().deleted["tasks"] == 0


def test_what_was_deleted_is_not_resurrected(installation: Installation, api: Api) -> None:
    task = populate(api)
    sql(installation, "INSERT INTO tombstones VALUES ('t', %s, 1)", task["id"])
    assert installation.sync().written["tasks"] == 2
    assert set(dirty(installation)) == {f"t:{task['id']}"}


def test_an_entity_that_vanished_without_a_tombstone_is_no_delete(
    installation: Installation, api: Api
) -> None:
    task = populate(api)
    installation.sync()
    ok(api("PUT", path_of(task), by="owner", json={"title": "last words"}))
    with connect(installation) as connection:
        connection.delete(f"{root(installation)}task:{task['id']}")
    assert installation.sync().deleted["tasks"] == 0
    assert sql(installation, "SELECT count(*) FROM tasks") == [(3,)]
    assert set(dirty(installation)) == {f"t:{task['id']}"}


def test_a_pass_ends_when_its_process_has_met_another_start_of_redis(
    installation: Installation, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = new_task(api, 1, new_group(api)["id"])
    store = sync_pass.open_store(installation.settings)
    monkeypatch.setattr(changes, "CHUNK", 1)
    with monkeypatch.context() as patch:
        before(patch, rows, "copy", lambda: setattr(store, "run_id", "another start"))
        with pytest.raises(NewEpoch):
            sync_pass.run(installation.settings, store)
    assert not sql(installation, "SELECT 1 FROM tasks WHERE id = %s", task["id"])
    installation.sync()
    assert sql(installation, "SELECT 1 FROM tasks WHERE id = %s", task["id"])


def test_a_pass_of_another_epoch_forgets_no_marks(
    installation: Installation, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    populate(api)
    marked = dirty(installation)

    def another_epoch() -> None:
        with connect(installation) as connection:
            connection.hset(f"{root(installation)}meta", "epoch", "99")

    before(monkeypatch, changes, "acknowledge", another_epoch)
    with pytest.raises(NewEpoch):
        installation.sync()
    assert dirty(installation) == marked


def test_redis_of_another_installation_is_fenced_until_its_own_postgresql_is_back(
    install: Install,
) -> None:
    own, other = install(), install(is_foreign=True)
    api = own.client()
    populate(api)
    stray = Installation(
        own.folder,
        own.settings.redis_url,
        own.settings.database_url,
        KEY_PREFIX=own.settings.key_prefix,
        DATABASE_URL=other.settings.database_url,
    )
    with pytest.raises(state.Fenced):
        stray.sync()
    stray.prepare()
    assert sql(other, "SELECT count(*) FROM tasks") == [(0,)]
    refused(api("POST", "/groups", by="owner", json={"name": "No", "admin_id": 1}), 503)
    ok(api("GET", "/users", by="owner"))
    assert api("GET", "/health").json["status"] == "degraded"
    own.sync()
    made(api("POST", "/groups", by="owner", json={"name": "Yes", "admin_id": 1}))
    stray.close()


def test_an_empty_redis_is_never_synced(installation: Installation, api: Api) -> None:
    populate(api)
    installation.sync()
    empty_redis(installation)
    with pytest.raises(NotReady):
        installation.sync()
    assert sql(installation, "SELECT count(*) FROM tasks") == [(3,)]


def test_an_unreachable_postgresql_is_reported_without_its_password(
    installation: Installation,
) -> None:
    nowhere = installation.env | {"DATABASE_URL": "postgresql://x:secret@127.0.0.1:1/x"}
    with pytest.raises(DatabaseUnreachable) as caught:
        sync_pass.run(load(nowhere))
    assert "secret" not in str(caught.value)


def test_postgresql_knows_the_last_issued_ids(installation: Installation, api: Api) -> None:
    task = populate(api)
    ok(api("DELETE", path_of(task), by="owner"))
    installation.sync()
    assert sql(installation, "SELECT last_user, last_group, last_task FROM sync_state") == [
        tuple(int(meta(installation)[f"next:{kind}"]) for kind in "ugt")
    ]


def test_long_passes_say_how_far_they_are(
    installation: Installation,
    api: Api,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(copy_changes, "PROGRESS_SECONDS", 0.0)
    populate(api)
    capsys.readouterr()
    installation.sync()
    assert eventually(lambda: "Sync in progress" in capsys.readouterr().out)
