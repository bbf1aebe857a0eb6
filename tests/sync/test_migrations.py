"""Data older than the program: migrations, defaults, and two versions running together."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import psycopg2
import pytest

from taskapi.errors import DatabaseUnreachable
from taskapi.store import codec
from taskapi.store.keys import Kind
from taskapi.sync import bootstrap, migrations
from tests.api.drift import check_stores
from tests.api.factories import (
    made,
    new_group,
    new_task,
    new_token,
    new_user,
    ok,
    path_of,
    refused,
)
from tests.client import Api
from tests.operations.nginx import reload_gunicorn
from tests.stores import connect, root, sql
from tests.support import ROOT, Installation, eventually

BEFORE_MIGRATIONS = Path(__file__).with_name("schema_before_migrations.sql")
FIELD = "    user_id = StrictInteger(\n"
NEXT = migrations.NEWEST + 1
METADATA = f'{{"example": 3, "added": {NEXT}}}'
NEW_FIELD = f"    estimate = StrictInteger(0, 99, load_default=0, metadata={METADATA})\n"
MIGRATION = "ALTER TABLE tasks ADD COLUMN IF NOT EXISTS estimate bigint NOT NULL DEFAULT 0;\n"


@pytest.fixture
def next_program(tmp_path: Path) -> Path:
    """Return a copy of the project with the new task field of docs/architecture.md."""
    documented = (ROOT / "docs/architecture.md").read_text()
    for words in (NEW_FIELD.strip(), f"{NEXT:04}_add_estimate.sql", MIGRATION):
        assert words in documented
    folder = tmp_path / "next"
    folder.mkdir()
    for name in ("taskapi", "schemas"):
        shutil.copytree(ROOT / name, folder / name)
    for name in ("app.py", "sync_worker.py", "gunicorn.conf.py"):
        shutil.copy(ROOT / name, folder)
    schema = folder / "schemas/tasks.py"
    text = schema.read_text()
    assert text.count(FIELD) >= 1
    schema.write_text(text.replace(FIELD, NEW_FIELD + FIELD, 1))
    (folder / f"taskapi/sync/migrations/{NEXT:04}_add_estimate.sql").write_text(MIGRATION)
    return folder


@contextmanager
def writing(api: Api, group_id: int) -> Iterator[list[int]]:
    """Create tasks all the time; yield the acknowledged ids."""
    acknowledged: list[int] = []
    stop = Event()

    def write() -> None:
        while not stop.is_set():
            body = {"title": "Written meanwhile", "group_id": group_id}
            answer = api("POST", "/users/1/tasks", by="owner", json=body)
            assert answer.status in (201, 503)  # 503 during the restore
            if answer.status == 201:
                acknowledged.append(answer.data["task"]["id"])

    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(write)
        try:
            yield acknowledged
        finally:
            stop.set()
            writer.result()


def listed(api: Api) -> dict[int, Any]:
    return {task["id"]: task for task in ok(api("GET", "/tasks/filter", by="owner"))["tasks"]}


@pytest.mark.long
def test_old_and_new_program_work_side_by_side(
    installation: Installation, api: Api, next_program: Path
) -> None:
    group_id = new_group(api)["id"]
    task = new_task(api, 1, group_id)
    installation.sync()
    with installation.serve() as old, writing(old, group_id) as acknowledged:
        eventually(lambda: acknowledged)
        with installation.serve(root=next_program) as new:
            shown = ok(new("GET", path_of(task), by="owner"))
            assert list(shown)[-6:-4] == ["estimate", "user_id"]
            assert shown == task | {"estimate": 0}

            ok(new("PUT", path_of(task), by="owner", json={"estimate": 5}))
            ok(old("PUT", path_of(task), by="owner", json={"title": "By the old program"}))
            assert ok(new("GET", path_of(task), by="owner"))["estimate"] == 5
            tasks = listed(new)
            assert len(tasks) > 1
            assert all("estimate" in each for each in tasks.values())
            changes = ok(new("GET", "/tasks/changes", by="owner"))["changes"]
            assert all("estimate" in each["task"] for each in changes)

            error = refused(old("POST", "/admin/sync", by="owner"), 503)["error"]
            assert f"schema {NEXT}" in error
            assert "Upgrade this program" in error
            ok(new("POST", "/admin/sync", by="owner"))
            ok(new("POST", "/admin/sync?action=restore", by="owner"))
            assert ok(new("GET", path_of(task), by="owner"))["estimate"] == 5
            created = new_task(new, 1, group_id, estimate=7)
            assert created["estimate"] == 7
    with installation.serve(root=next_program) as new:
        ok(new("POST", "/admin/sync", by="owner"))
        tasks = listed(new)
    assert set(acknowledged) <= set(tasks)
    assert tasks[created["id"]]["estimate"] == 7
    rows = dict(sql(installation, "SELECT id, estimate FROM tasks"))
    assert rows == {each["id"]: each["estimate"] for each in tasks.values()}


def test_a_reload_migrates_before_the_new_program_runs(
    installation: Installation, next_program: Path, tmp_path: Path
) -> None:
    migration = next_program / f"taskapi/sync/migrations/{NEXT:04}_add_estimate.sql"
    migration.rename(tmp_path / migration.name)
    with installation.serve(root=next_program) as served:
        (tmp_path / migration.name).rename(migration)
        reload_gunicorn(served)
    assert sql(installation, "SELECT 1 FROM migrations WHERE number = %s", NEXT)


def test_workers_of_both_programs_lose_nothing(
    installation: Installation, api: Api, next_program: Path
) -> None:
    task = new_task(api, 1, new_group(api)["id"])
    with installation.worker(), installation.worker(root=next_program):
        eventually(lambda: sql(installation, "SELECT 1 FROM tasks WHERE id = %s", task["id"]))
        eventually(
            lambda: sql(installation, "SELECT 1 FROM migrations WHERE number = %s", NEXT), 30
        )
    with installation.worker() as old_log:
        eventually(lambda: "Upgrade this program" in old_log.read_text())
    rows = sql(installation, "SELECT id, estimate FROM tasks")
    assert rows == [(task["id"], 0)]


@pytest.fixture
def earlier(installation: Installation, api: Api) -> Installation:
    """An installation with data in the database schema from before migrations."""
    new_task(api, 1, new_group(api)["id"])
    installation.sync()
    sql(installation, "DROP TABLE migrations")
    sql(installation, "ALTER TABLE users ADD COLUMN folded text NOT NULL DEFAULT 'x'")
    sql(installation, "ALTER TABLE sync_state ADD COLUMN schema integer NOT NULL DEFAULT 1")
    return installation


def columns(installation: Installation) -> set[tuple[str, str, str]]:
    return set(
        sql(
            installation,
            "SELECT table_name, column_name, data_type FROM information_schema.columns"
            " WHERE table_schema = 'public' AND table_name <> 'migrations'",
        )
    )


def test_a_database_from_before_migrations_is_adopted(earlier: Installation, api: Api) -> None:
    tasks = listed(api)
    bootstrap.prepare(earlier.settings)
    applied = sql(earlier, "SELECT number FROM migrations ORDER BY 1")
    assert [number for (number,) in applied] == list(range(1, NEXT))
    assert not {("users", "folded"), ("sync_state", "schema")} & {c[:2] for c in columns(earlier)}
    new_task(api, 1, 1)
    earlier.sync()
    check_stores(earlier)
    ok(api("POST", "/admin/sync?action=restore", by="owner"))
    assert listed(api).items() > tasks.items()


def test_the_schema_from_before_migrations_becomes_that_of_a_new_database(
    installation: Installation,
) -> None:
    expected = columns(installation)
    tables = ", ".join((*migrations.TABLES, "migrations"))
    sql(installation, f"DROP TABLE {tables}")
    sql(installation, BEFORE_MIGRATIONS.read_text().replace("%", "%%"))
    bootstrap.prepare(installation.settings)
    assert columns(installation) == expected


def test_a_start_waits_for_no_lock_when_there_is_nothing_to_migrate(
    installation: Installation,
) -> None:
    with closing(psycopg2.connect(installation.settings.database_url)) as other:
        other.cursor().execute("LOCK TABLE users, groups, memberships, tasks, tombstones")
        bootstrap.prepare(installation.settings)


def test_a_migration_waits_for_a_reader_only_for_a_while(
    earlier: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "LOCK_TIMEOUT", "100ms")
    with closing(psycopg2.connect(earlier.settings.database_url)) as reader:
        reader.cursor().execute("SELECT FROM users")
        with pytest.raises(DatabaseUnreachable, match="holds a lock"):
            bootstrap.prepare(earlier.settings)
    bootstrap.prepare(earlier.settings)


def test_fields_that_only_a_newer_program_knows_are_kept(
    installation: Installation, api: Api
) -> None:
    task = new_task(api, 1, new_group(api)["id"])
    key = f"{root(installation)}task:{task['id']}"
    with connect(installation) as redis:
        json = redis.hget(key, "json")
        redis.hset(key, "json", json.replace(',"user_id"', ',"colour":"red","user_id"'))
    changed = ok(api("PUT", path_of(task), by="owner", json={"title": "New"}))["task"]
    assert changed["colour"] == "red"
    assert list(changed)[-1] == "version"
    etag = api("GET", path_of(task), by="owner").headers["ETag"]
    assert etag == f'"{changed["version"]}"'


def test_what_only_a_newer_program_knows_of_a_user_and_of_a_token_is_kept(
    installation: Installation, api: Api
) -> None:
    user = new_user(api)
    _, secret = new_token(api, user)
    key, path = f"{root(installation)}user:{user['id']}", f"/users/{user['id']}"
    with connect(installation) as redis:
        tokens = redis.hget(key, "tokens")
        redis.hset(key, "tokens", tokens.replace('"name"', '"colour":"red","name"', 1))
        redis.hset(key, "keys", "[7]")
    new_token(api, user)
    ok(api("PUT", path, by=secret, json={"number": "7"}))
    with connect(installation) as redis:
        assert '"colour":"red"' in redis.hget(key, "tokens")
        assert redis.hget(key, "keys") == "[7]"
    installation.sync()
    ok(api("POST", "/admin/sync?action=restore", by="owner"))
    with connect(installation) as redis:
        assert '"colour":"red"' in redis.hget(key, "tokens").replace(" ", "")
    ok(api("GET", path, by=secret))


@pytest.mark.parametrize("kind", Kind)
def test_a_field_is_in_the_first_schema_or_names_its_migration(kind: Kind) -> None:
    first = BEFORE_MIGRATIONS.read_text()
    (columns_of_first,) = re.findall(rf"EXISTS {kind.plural} \((.*?)\n\);", first, re.DOTALL)
    for name, field in codec.SCHEMAS[kind].dump_fields.items():
        if name != "group_ids":  # a table of its own
            was_first = re.search(rf"^ +{name} ", columns_of_first, re.MULTILINE)
            assert was_first or field.metadata["added"] in range(2, NEXT), name


def test_a_new_field_of_a_user_or_group_needs_only_a_schema_line_and_a_migration(
    installation: Installation, next_program: Path
) -> None:
    for noun, line in (
        ("users", "    number = Text("),
        ("groups", "    admin_id = StrictInteger("),
    ):
        schema = next_program / f"schemas/{noun}.py"
        text = schema.read_text()
        assert text.count(line) == 1
        field = f'    colour = Text(0, 9, load_default="", metadata={METADATA})\n'
        schema.write_text(text.replace(line, field + line))
    statements = [
        f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS colour text NOT NULL DEFAULT '';"
        for table in ("users", "groups")
    ]
    migration = next_program / f"taskapi/sync/migrations/{NEXT:04}_add_estimate.sql"
    migration.write_text("\n".join([MIGRATION, *statements]))
    with installation.serve(root=next_program) as new:
        body = {"name": "Coloured", "admin_id": 1, "colour": "red"}
        group = made(new("POST", "/groups", by="owner", json=body))["group"]
        assert group["colour"] == "red"
        user = new_user(new, group["id"])
        assert user["colour"] == ""
        changed = new("PUT", f"/users/{user['id']}", by="owner", json={"colour": "blue"})
        assert ok(changed)["user"]["colour"] == "blue"
        ok(new("POST", "/admin/sync", by="owner"))
    rows = sql(installation, "SELECT colour FROM users ORDER BY id")
    assert rows == [("",), ("blue",)]


def test_text_that_looks_like_a_field_is_not_taken_for_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    field = codec.SCHEMAS[Kind.TASK].fields["information"]
    monkeypatch.setitem(codec.ADDED, Kind.TASK, {"information": field})
    task = {
        "id": 1,
        "title": '"information":',
        "status": False,
        "priority": 2,
        "deadline": None,
        "information": "1",
        **dict.fromkeys(("user_id", "group_id", "version"), 1),
        **dict.fromkeys(("created_at", "updated_at"), ""),
    }
    whole = codec.template(Kind.TASK, task).encode()
    older = whole.replace(b'"information":"1",', b"")
    assert codec.complete_json(Kind.TASK, whole, 1) == whole
    filled = codec.complete_json(Kind.TASK, b",".join([whole, older]), 2)
    assert filled == whole + b"," + whole.replace(b'"information":"1"', b'"information":""')
