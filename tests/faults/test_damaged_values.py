"""Values in Redis that cannot be read: no request gets a 500, and no process ends."""

from __future__ import annotations

import time
from contextlib import closing
from typing import Any

import pytest

from devserver.servers import Postgres, Valkey
from taskapi.doctor.store_checks import examine
from taskapi.errors import Damaged
from taskapi.store import changes, reconcile, unfinished
from taskapi.store.keys import Kind
from taskapi.sync import import_backup, sync_pass
from tests.api.factories import PASSWORD, login, ok, path_of, refused
from tests.conftest import Install
from tests.faults.test_damage import World, broken, build, put, with_value, zadd
from tests.stores import before, connect, dirty, entities, root, sql
from tests.support import Installation, eventually


@pytest.fixture
def world(installation: Installation) -> World:
    return build(installation)


ENTRIES = {
    "name": ("full_names", put("2", b"\xff")),
    "counter": ("counts", put("2", "many")),
    "counter of nobody": ("counts", put("x", "5")),
    "group's counter": ("counts:1", put("2", b"\xff")),
    "user": ("users", zadd("x", 2)),
    "group": ("groups", zadd("x", 1)),
    "task": ("tasks", zadd(b"\xff", 2)),
    "hex": ("tasks", zadd("0x5", 2)),
    "user's task": ("tasks:u:2", zadd("x", 1)),
    "mark": ("dirty", zadd("t:x", 5)),
    "fractional mark": ("dirty", zadd("t:99", 5.5)),
    "huge mark": ("dirty", zadd("t:99", 1e300)),
    "endless mark": ("dirty", zadd("t:99", float("inf"))),
    "duties": ("user:2", put("administers", "5")),
    "duties no ids": ("user:2", put("administers", '["1"]')),
    "priority": ("task:1", with_value("priority", "x")),
    "status": ("task:1", with_value("status", 1)),
    "title": ("task:1", with_value("title", None)),
    "groups": ("user:2", with_value("group_ids", 5)),
    "group ids": ("user:2", with_value("group_ids", ["1"])),
    "e-mail": ("user:2", with_value("email", 5)),
    "hours": ("user:2", with_value("work_times", {"Monday": "x"})),
    "name of a group": ("group:1", with_value("name", 5)),
    "admin": ("group:1", with_value("admin_id", "1")),
    "JSON": ("task:1", broken(b'{"title":"\xff"}')),
    "JSON of a user": ("user:2", broken(b'{"full_name":"\xff"}')),
}
SAFE_METHODS = (
    *("/tasks/stats", "/groups/1/stats", "/tasks/search?q=Task", "/users"),
    *("/groups", "/tasks/filter", "/users/2/tasks", "/groups/1/tasks", "/admin/stats"),
    *("/users/search?q=Person", "/health", "/admin/status", "/users/2", "/groups/1"),
)


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_that_cannot_be_read_causes_no_internal_error(world: World, name: str) -> None:
    key, change = ENTRIES[name]
    if key == "group:1":
        world.installation.sync()  # PostgreSQL takes no task whose group it lacks
    world.damage(key, change)
    answers = {path: world.owner("GET", path) for path in SAFE_METHODS}
    answers["own"] = world.api("GET", "/tasks/stats", by=login(world.other))
    answers["log-in"] = world.api("GET", "/users/2/worktimes", by=login(world.user))
    answers["task"] = world.owner("PUT", path_of(world.tasks[0]), json={"title": "new"})
    body = {"full_name": "New Name"}
    answers["change"] = world.owner("PUT", f"/users/{world.user['id']}", json=body)
    answers["backup"] = world.owner("POST", "/admin/sync?action=backup")
    answers["delete"] = world.owner("DELETE", f"/users/{world.user['id']}")
    statuses = {path: answer.status for path, answer in answers.items()}
    assert {*statuses.values()} <= {200, 503}, statuses
    refusal = {answer.json["code"] for answer in answers.values() if answer.status == 503}
    assert refusal <= {"damaged"}
    if key.partition(":")[0] in ("users", "groups", "tasks"):
        lists = ("/users", "/groups", "/tasks/filter", "/users/2/tasks", "/tasks/stats")
        assert {statuses[path] for path in lists} == {200}
        assert [each["id"] for each in answers["/users"].data["users"]] == [1, 2, 3]
        assert [each["id"] for each in answers["/tasks/filter"].data["tasks"]] == [1, 2, 3, 4]
    world.is_unharmed()
    if name.endswith("mark"):
        assert len(dirty(world.installation)) <= 1


def test_a_whole_chunk_of_damaged_marks_stops_no_pass(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "CHUNK", 2)
    marked = dirty(world.installation)
    last = max(marked.values()) + 0.5
    for task_id, version in enumerate([-5, -5, -4, -3, 1e-300, 5.5, 5.5, 5.7, 5.7, last], 90):
        world.damage("dirty", zadd(f"t:{task_id}", version))
    world.installation.sync()
    assert not {*marked} & {*dirty(world.installation)}


def test_a_mark_above_all_versions_hides_no_later_change(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.damage("dirty", zadd("t:99", 2**52))
    path = path_of(world.tasks[0])
    before(
        monkeypatch, changes, "acknowledge", lambda: world.owner("PUT", path, json={"title": "x"})
    )
    world.installation.sync()
    assert "t:1" in dirty(world.installation)
    world.installation.sync()
    assert sql(world.installation, "SELECT title FROM tasks WHERE id = 1") == [("x",)]


def test_a_tombstone_that_cannot_be_read_is_named(world: World) -> None:
    world.installation.sync()
    world.damage("tombs", zadd("t:1", 5.5))
    entities = [world.tasks[0]]
    store = sync_pass.open_store(world.installation.settings)
    with pytest.raises(Damaged, match="tombstone is not a number"):
        list(reconcile.newer(store, Kind.TASK, entities))


@pytest.mark.parametrize("value", ["garb", b"\xff", "-", "9" * 30])
def test_a_failure_counter_that_cannot_be_read_begins_anew(world: World, value: Any) -> None:
    user, wrong = world.user["id"], (world.user["id"], "wrong")
    assert world.api("GET", f"/users/{user}", by=wrong).status == 401
    with connect(world.installation) as connection:
        keys = [*connection.scan_iter(root(world.installation) + "failures:*")]
        assert len(keys) == 2
        for key in keys:
            connection.set(key, value)
        ok(world.api("GET", f"/users/{user}", by=login(world.user)))
        for key in keys:
            connection.set(key, value)
        assert world.api("GET", f"/users/{user}", by=wrong).status == 401
        assert [connection.get(key) for key in keys] == ["1", "1"]
        assert all(connection.ttl(key) > 0 for key in keys)


def test_an_email_entry_that_names_no_user_is_reported_as_damage(world: World) -> None:
    email = world.user["email"]
    world.damage("emails", put(email, "garb"))
    refusal = refused(world.api("GET", "/users", by=(email, PASSWORD)), 503)
    assert refusal["code"] == "damaged"
    ok(world.api("GET", f"/users/{world.user['id']}", by=login(world.user)))


def test_a_published_status_that_cannot_be_read_is_unknown(world: World) -> None:
    world.installation.sync()
    for name in ("beat", "since", "last_sync", "last_duration", "failures", "last_error"):
        for value in ("x", "inf", "1e400", b"\xff", "9" * 20):
            world.damage("sync", put(name, value))
            assert world.api("GET", "/health").status == 200
            shown = world.status()
            {each.name: each for each in examine(world.installation.settings, time.time)}
    assert (shown["running"], shown["last_sync"], shown["consecutive_failures"]) == (False, None, 0)
    world.installation.sync()
    assert world.status()["last_sync"]


def test_an_unfinished_delete_that_names_no_entity_stops_no_other(world: World) -> None:
    for name in ("weird", b"\xff", "t:1"):
        world.damage("deleting", put(name, "5"))
    world.damage("deleting", put(f"g:{world.group['id']}", "5"))
    store = sync_pass.open_store(world.installation.settings)
    unfinished.resume(store, unfinished.resume(store, {}))
    assert world.owner("GET", f"/groups/{world.group['id']}").status == 404


@pytest.mark.parametrize("pin", ["garb", "-5", b"\xff", "inf"])
def test_a_pin_that_is_no_number_stops_no_pass(world: World, pin: Any) -> None:
    world.damage("pin", lambda connection, key: connection.set(key, pin))
    world.is_unharmed()
    assert not dirty(world.installation)


DESCRIPTION = {
    "version": b"garb\xffage",
    "synced": "1e3",
    "next:t": "x",
    "epoch": "x",
    "state": "weird",
    "installation": b"\xff",
}


@pytest.mark.parametrize("name", DESCRIPTION)
def test_a_description_that_cannot_be_read_is_reported_and_restored(
    world: World, name: str
) -> None:
    world.installation.sync()
    ok(world.owner("PUT", path_of(world.tasks[3]), json={"title": "not copied"}))
    world.damage("meta", put(name, DESCRIPTION[name]))
    words = f"the field {name} of its key meta cannot be read"
    health, shown = world.api("GET", "/health"), world.status()
    assert (health.json["status"], shown["healthy"]) == ("unhealthy", False)
    assert words in health.json["issues"][0]
    assert words in shown["warnings"][0]
    ok(world.owner("GET", "/admin/stats"))
    body = {"title": "x", "group_id": world.group["id"]}
    answers = [
        world.owner("GET", "/users"),
        world.owner("GET", "/tasks/search?q=Task"),
        world.owner("POST", f"/users/{world.user['id']}/tasks", json=body),
    ]
    assert {answer.status for answer in answers} <= {200, 201, 503}
    assert {answer.error for answer in answers if answer.status == 503} <= {"damaged"}
    assert refused(world.owner("POST", "/admin/sync"), 503)["code"] == "damaged"
    assert refused(world.owner("POST", "/admin/sync?action=backup"), 503)["code"] == "damaged"
    found = {each.name: each for each in examine(world.installation.settings, time.time)}
    assert found["redis data"].status == "fail"
    ok(world.owner("POST", "/admin/sync?action=restore"))
    *lines, last = world.saved("*-before-restore-*")
    titles = [line["task"]["title"] for line in lines if "task" in line]
    assert "not copied" in titles
    assert name == "state" or words in last["lacks"][0]
    world.is_unharmed()


@pytest.mark.parametrize("version", ["nan", "inf", "-5", "1e3", "0x10"])
def test_a_last_version_that_is_no_whole_number_refuses_changes(world: World, version: str) -> None:
    world.installation.sync()
    world.damage("meta", put("version", version))
    before_changes = entities(world.installation)
    body = {"title": "x", "group_id": world.group["id"]}
    for method, path in (("PUT", path_of(world.tasks[0])), ("POST", "/users/1/tasks")):
        assert refused(world.owner(method, path, json=body), 503)["code"] == "damaged"
    assert (entities(world.installation), dirty(world.installation)) == (before_changes, {})
    ok(world.owner("POST", "/admin/sync?action=restore"))
    world.is_unharmed()


def test_processes_survive_a_description_that_cannot_be_read(install: Install) -> None:
    installation = install(SYNC_INTERVAL="1s")
    meta = f"{root(installation)}meta"
    with connect(installation) as connection, installation.serve() as api:
        with installation.worker() as log:
            eventually(lambda: api("GET", "/health").json["status"] == "healthy")
            for name in ("version", "state", "installation"):
                right, failures = connection.hget(meta, name), log.read_text().count("Sync failed")
                connection.hset(meta, name, DESCRIPTION[name])
                assert api("GET", "/health").json["status"] == "unhealthy"
                eventually(lambda seen=failures: log.read_text().count("Sync failed") > seen)
                connection.hset(meta, name, right or "0")
                eventually(lambda: api("GET", "/health").json["status"] == "healthy")
        assert "trace" not in (log.read_text() + api.log()).lower()


def test_a_backup_file_without_the_last_ids_lets_no_id_be_issued_twice(
    world: World, valkey: Valkey, postgres: Postgres
) -> None:
    world.damage("meta", put("next:t", "x"))
    ok(world.owner("POST", "/admin/sync?action=restore"))
    (file,) = world.installation.settings.backup_dir.glob("*-before-restore-*")
    target = Installation(world.installation.folder, valkey.url, postgres.url)
    with closing(target):
        import_backup.run(target.settings, file)
        ((last,),) = sql(target, "SELECT last_task FROM sync_state")
        assert last >= max(task["id"] for task in world.tasks)
