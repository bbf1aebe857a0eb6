"""Refused rows go into quarantine with their reason and do not delay other rows."""

from __future__ import annotations

import json
from typing import Any

import pytest

from taskapi.errors import DatabaseUnreachable
from taskapi.store import changes, quarantine
from taskapi.sync import copy_changes, rows, sync_pass
from tests.api.drift import drift
from tests.api.factories import new_group, new_task, new_user, ok, path_of
from tests.client import Api
from tests.stores import before, connect, crash, dirty, root, sql
from tests.support import Installation


@pytest.fixture
def tasks(installation: Installation, api: Api) -> list[Any]:
    """Create seven tasks that PostgreSQL does not have yet, of a user that it has."""
    group = new_group(api)
    user = new_user(api, group["id"])
    installation.sync()
    return [new_task(api, user["id"], group["id"], title=f"task {n}") for n in range(7)]


def poison(installation: Installation, check: str) -> None:
    sql(installation, f"ALTER TABLE tasks ADD CONSTRAINT poison CHECK ({check})")


def status(api: Api) -> Any:
    return ok(api("GET", "/admin/status", by="owner"))


def quarantined(api: Api) -> dict[tuple[str, int], tuple[str, str]]:
    """Return the quarantined entities with SQLSTATE and reason."""
    shown = status(api)["quarantined"]
    assert all(each["since"] and each["version"] for each in shown)
    return {(e["type"], e["id"]): (e["sqlstate"], e["reason"]) for e in shown}


def copied(installation: Installation) -> list[int]:
    return [row[0] for row in sql(installation, "SELECT id FROM tasks ORDER BY id")]


def differences(installation: Installation) -> list[str]:
    settings = installation.settings
    return drift(settings.redis_url, settings.key_prefix, settings.database_url)


def test_a_refused_row_holds_up_nothing_else_and_is_shown(
    installation: Installation, api: Api, tasks: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    poison(installation, "title <> 'task 3'")
    done = ok(api("POST", "/admin/sync?action=force", by="owner"))
    assert done["written"]["tasks"] == 6
    assert "except for 1 in quarantine" in done["message"]
    bad = tasks[3]["id"]
    assert copied(installation) == [task["id"] for task in tasks if task["id"] != bad]
    ((name, (sqlstate, reason)),) = quarantined(api).items()
    assert (name, sqlstate) == (("task", bad), "23514")
    assert "poison" in reason
    assert f"Sync quarantine t:{bad} sqlstate=23514" in capsys.readouterr().out
    assert set(dirty(installation)) == {f"t:{bad}"}
    assert ok(api("GET", path_of(tasks[3]), by="owner"))["title"] == "task 3"


def test_a_row_that_a_trigger_refuses_holds_up_nothing_else(
    installation: Installation, api: Api, tasks: list[Any]
) -> None:
    sql(
        installation,
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN IF NEW.title = 'task 3' THEN RAISE 'Not this one'; END IF; RETURN NEW; END$$;"
        "CREATE TRIGGER refuse BEFORE INSERT ON tasks FOR EACH ROW EXECUTE FUNCTION refuse()",
    )
    installation.sync()
    bad = tasks[3]["id"]
    assert copied(installation) == [task["id"] for task in tasks if task["id"] != bad]
    assert quarantined(api) == {("task", bad): ("P0001", "Not this one")}


def test_quarantine_is_skipped_until_it_changes(
    installation: Installation, api: Api, tasks: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(installation, "title <> 'task 3'")
    installation.sync()
    monkeypatch.setattr(copy_changes, "_copy_rows", crash)
    new_task(api, tasks[0]["user_id"], tasks[0]["group_id"])
    assert installation.sync().written["tasks"] == 1
    monkeypatch.undo()
    ok(api("PUT", path_of(tasks[3]), by="owner", json={"title": "mended"}))
    assert installation.sync().written["tasks"] == 1
    assert not quarantined(api)
    assert not differences(installation)


def test_a_released_quarantine_is_tried_again(
    installation: Installation, api: Api, tasks: list[Any]
) -> None:
    poison(installation, "title <> 'task 3'")
    installation.sync()
    sql(installation, "ALTER TABLE tasks DROP CONSTRAINT poison")
    assert installation.sync().written["tasks"] == 0
    quarantine.release(sync_pass.open_store(installation.settings))
    assert installation.sync().written["tasks"] == 1
    assert not differences(installation)
    assert len(tasks) == 7
    assert not quarantined(api)


@pytest.mark.parametrize(
    ("statement", "sqlstate"),
    [
        ("ALTER TABLE tasks ALTER title TYPE varchar(6)", "22001"),
        ("ALTER TABLE tasks ALTER user_id TYPE smallint", "22003"),
        ("ALTER TABLE tasks ADD extra text NOT NULL", "23502"),
    ],
)
def test_values_that_do_not_fit_are_named_by_their_sqlstate(
    installation: Installation, api: Api, statement: str, sqlstate: str
) -> None:
    group = new_group(api)
    if "smallint" in statement:
        with connect(installation) as connection:
            connection.hset(f"{root(installation)}meta", "next:u", "40000")
        sql(installation, "ALTER TABLE tasks DROP CONSTRAINT tasks_user")
    sql(installation, statement)
    user = new_user(api, group["id"])
    task = new_task(api, user["id"], group["id"], title="far too long")
    assert installation.sync().written == {"users": 2, "groups": 1, "tasks": 0}
    assert quarantined(api)["task", task["id"]][0] == sqlstate


def test_an_entity_that_cannot_be_written_as_a_row_is_quarantined(
    installation: Installation, api: Api, tasks: list[Any]
) -> None:
    key = f"{root(installation)}task:{tasks[2]['id']}"
    with connect(installation) as connection:
        broken = json.loads(connection.hget(key, "json")) | {"title": 7}
        connection.hset(key, "json", json.dumps(broken))
    assert installation.sync().written["tasks"] == 6
    assert quarantined(api)["task", tasks[2]["id"]][0] == ""


def test_the_children_of_what_is_refused_wait_for_it(installation: Installation, api: Api) -> None:
    sql(installation, "ALTER TABLE users ADD CONSTRAINT poison CHECK (full_name <> 'Poison')")
    group = new_group(api)
    user = new_user(api, group["id"], full_name="Poison")
    task = new_task(api, user["id"], group["id"])
    new_task(api, 1, group["id"])
    assert installation.sync().written == {"users": 1, "groups": 1, "tasks": 1}
    reasons = quarantined(api)
    assert reasons["user", user["id"]][0] == "23514"
    assert reasons["task", task["id"]][0] == "23503"
    ok(api("PUT", f"/users/{user['id']}", by="owner", json={"full_name": "Antidote"}))
    installation.sync()
    assert not quarantined(api)
    assert not differences(installation)


def test_a_user_is_quarantined_if_an_unknown_row_in_postgresql_has_the_email(
    installation: Installation, api: Api
) -> None:
    sql(
        installation,
        "INSERT INTO users SELECT 77, full_name, role, 'x@y.org', number, work_times, created_at,"
        " updated_at, 1, password_hash, 'x@y.org' FROM users WHERE id = 1",
    )
    user, other = new_user(api, email="X@y.org"), new_user(api)
    assert installation.sync().written["users"] == 1
    assert quarantined(api)["user", user["id"]] == ("23505", "it breaks the constraint users_email")
    assert sql(installation, "SELECT id FROM users ORDER BY id") == [(1,), (other["id"],), (77,)]


def test_an_entity_that_vanished_without_a_tombstone_is_quarantined(
    installation: Installation, api: Api, tasks: list[Any]
) -> None:
    installation.sync()
    ok(api("PUT", path_of(tasks[0]), by="owner", json={"title": "last words"}))
    with connect(installation) as connection:
        connection.delete(f"{root(installation)}task:{tasks[0]['id']}")
    assert installation.sync().deleted["tasks"] == 0
    assert len(copied(installation)) == 7
    assert set(quarantined(api)) == {("task", tasks[0]["id"])}


def test_transient_errors_quarantine_nothing(
    installation: Installation, api: Api, tasks: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def outage() -> None:
        raise DatabaseUnreachable("PostgreSQL went away.")

    before(monkeypatch, rows, "copy", outage)
    assert api("POST", "/admin/sync", by="owner").status == 503
    assert not quarantined(api)
    sql(installation, "ALTER TABLE tasks RENAME TO stolen")
    assert api("POST", "/admin/sync", by="owner").status == 503
    sql(installation, "ALTER TABLE stolen RENAME TO tasks")
    assert not quarantined(api)
    assert installation.sync().written["tasks"] == len(tasks)


def test_a_child_read_before_its_parent_is_read_again_not_quarantined(
    installation: Installation, api: Api, tasks: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pass that stops at its version limit may read a child without its parent."""
    monkeypatch.setattr(changes, "CHUNK", 1)
    monkeypatch.setattr(copy_changes, "CHUNK", 10**9)  # the first chunk is the last
    group = new_group(api)
    newer = new_task(api, 1, group["id"])
    for task in tasks:
        ok(api("DELETE", path_of(task), by="owner"))
    with connect(installation) as connection:
        connection.zadd(f"{root(installation)}dirty", {f"t:{newer['id']}": 1})
        older = {"version": 1, "json": json.dumps(newer | {"version": 1})}
        connection.hset(f"{root(installation)}task:{newer['id']}", mapping=older)
    last_tries = []

    def check_constraints(*args: Any, is_last_try: bool) -> bool:
        last_tries.append(is_last_try)
        monkeypatch.setattr(copy_changes, "CHUNK", 1)
        return real(*args, is_last_try=is_last_try)

    real = copy_changes.check_constraints
    monkeypatch.setattr(copy_changes, "check_constraints", check_constraints)
    installation.sync()
    assert last_tries == [False, False]
    assert not quarantined(api)


def test_backups_have_quarantined_changes(
    installation: Installation, api: Api, tasks: list[Any]
) -> None:
    poison(installation, "title <> 'task 3'")
    installation.sync()
    assert ok(api("POST", "/admin/sync?action=backup", by="owner"))["saved"]["tasks"] == len(tasks)
    assert set(dirty(installation)) == {f"t:{tasks[3]['id']}"}
