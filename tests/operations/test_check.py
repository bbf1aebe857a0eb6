"""`python -m taskapi check`: each damage is named and repaired, and traffic is no damage."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from taskapi import doctor
from taskapi.doctor import check_entities, consistency
from taskapi.errors import AlreadyRunning
from taskapi.store import consistency as lookups
from taskapi.store.conflicts import UNFIT
from taskapi.sync.postgres import Database
from tests.api.drift import check_stores
from tests.api.factories import login, new_group, new_task, new_user, ok, path_of
from tests.faults.test_damage import (
    Damage,
    World,
    broken,
    gone,
    put,
    with_value,
    without_field,
    wrong_type,
    zadd,
)
from tests.operations.checks import DIFFERS, check, hdel, synced_world, zrem
from tests.stores import before, connect, empty_redis, keys, root, sql
from tests.support import ROOT, Installation, ambient


def hset(field: str, value: str) -> Damage:
    return lambda connection, key: connection.hset(key, field, value)


def run(installation: Installation, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "taskapi", "check", *arguments],
        cwd=ROOT,
        env=ambient() | installation.env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def world(installation: Installation) -> World:
    return synced_world(installation)


def test_stores_that_agree_have_no_differences(world: World) -> None:
    before = keys(world.installation)
    done = run(world.installation)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 difference(s)\n", "")
    assert keys(world.installation) == before
    world.installation.sync()
    assert check(world.installation) == []


def test_a_store_that_is_away_or_empty_has_an_exit_code_of_its_own(world: World) -> None:
    for name, url in (
        ("REDIS_URL", "redis://127.0.0.1:1/0"),
        ("DATABASE_URL", "postgresql://x@127.0.0.1:1/x"),
    ):
        world.installation.env[name], right = url, world.installation.env[name]
        done = run(world.installation)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        world.installation.env[name] = right
    empty_redis(world.installation)
    for arguments in ((), ("--repair",)):
        done = run(world.installation, *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert "empty" in done.stderr


def test_the_fields_because_of_which_an_entity_cannot_be_read_are_named(world: World) -> None:
    world.damage("task:1", with_value("priority", "x"))
    world.damage("task:1", with_value("status", 0))
    world.damage("user:2", without_field)
    world.damage("user:2", put("administers", "5"))
    task, user = check(world.installation)
    assert "task 1: cannot be read: wrong or missing status, priority" in task
    assert "user 2: cannot be read: wrong or missing created_at, administers" in user


def test_duties_that_are_damaged_during_a_repair_end_no_repair(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.damage("user:1", hdel("administers"))
    repair = sys.modules["taskapi.doctor.repair"]  # `doctor.repair` is its function
    before(monkeypatch, repair, "_duties", lambda: world.damage("user:1", put("administers", "5")))
    repaired = check(world.installation, repairs=True)
    assert any(line.startswith("found  user 1: cannot be read") for line in repaired)


def test_an_entity_that_was_written_without_a_mark_is_repaired_at_once(world: World) -> None:
    def write(connection: Any, key: str) -> None:
        stored = json.loads(connection.hget(key, "json"))
        stored["version"] += 3600 * 1_000_000
        text = json.dumps(stored, separators=(",", ":"))
        connection.hset(key, mapping={"json": text, "version": stored["version"]})

    world.damage("task:1", write)
    repaired = check(world.installation, repairs=True)
    assert any(line.startswith("found  meta: version is below") for line in repaired)
    assert not [line for line in repaired if line.startswith("remains")]
    assert check(world.installation) == []
    world.installation.sync()
    assert check(world.installation) == []


@pytest.mark.parametrize(
    ("name", "value"), [("epoch", "x"), ("state", "weird"), ("installation", b"\xff")]
)
def test_what_no_store_can_derive_needs_a_restore(world: World, name: str, value: Any) -> None:
    world.damage("meta", put(name, value))
    words = f"meta: {name} cannot be read – no repair: action=restore"  # noqa: RUF001
    assert any(line.startswith(words) for line in check(world.installation))
    remains = [line for line in check(world.installation, repairs=True) if "remains" in line]
    assert any(line.startswith(f"remains  {words}") for line in remains)
    ok(world.owner("POST", "/admin/sync?action=restore"))
    assert check(world.installation) == []


def test_lost_tombstones_lose_no_delete(world: World) -> None:
    bad = world.tasks[0]
    ok(world.owner("DELETE", path_of(bad)))
    world.damage("tombs", gone)
    lines = check(world.installation)
    assert any(line.startswith(f"task {bad['id']}: was deleted, and its tomb") for line in lines)
    check(world.installation, repairs=True)
    assert check(world.installation) == []
    world.installation.sync()
    assert sql(world.installation, "SELECT id FROM tasks WHERE id = %s", bad["id"]) == []
    assert world.owner("GET", path_of(bad)).status == 404


def test_what_only_postgresql_has_is_taken_back(world: World) -> None:
    bad = world.tasks[0]
    world.damage(f"task:{bad['id']}", gone)
    for key in ("tasks", "tasks:u:2", "tasks:g:1"):
        world.damage(key, zrem(str(bad["id"])))
    assert any(line.startswith(f"task {bad['id']}: is gone") for line in check(world.installation))
    check(world.installation, repairs=True)
    back = ok(world.owner("GET", path_of(bad)))
    assert back == bad | {"version": back["version"]}
    assert back["version"] > world.tasks[3]["version"]
    assert world.installation.sync().written["tasks"] == 2


def test_a_change_during_a_repair_wins_over_postgresql(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = path_of(world.tasks[0])
    world.damage("task:1", with_value("title", "wrong"))
    before(monkeypatch, lookups, "put_back", lambda: world.owner("PUT", path, json={"title": "n"}))
    assert any(DIFFERS in line for line in check(world.installation, repairs=True))
    assert ok(world.owner("GET", path))["title"] == "n"
    assert check(world.installation) == []


def test_a_repair_of_a_hash_keeps_another_version_of_the_user_in_quarantine(world: World) -> None:
    newer = {"version": f"{world.user['version'] + 1}", "sqlstate": "", "reason": UNFIT}
    world.damage("quarantine", hset("u:2", json.dumps(newer | {"since": ""})))
    world.damage("secret:2", gone)
    check(world.installation, repairs=True)
    assert world.quarantined() == {("user", 2): UNFIT}


def test_a_repair_puts_back_the_hash_of_the_last_pass_and_copies_quarantined_changes(
    world: World,
) -> None:
    path = f"/users/{world.user['id']}"
    ok(world.owner("PUT", path, json={"full_name": "Newer", "password": "not copied"}))
    changed = ok(world.owner("GET", path))
    world.damage("secret:2", gone)
    world.installation.sync()
    assert [*world.quarantined()] == [("user", 2)]
    check(world.installation, repairs=True)
    assert ok(world.api("GET", path, by=login(world.user))) == changed
    world.installation.sync()
    assert (world.quarantined(), check(world.installation)) == ({}, [])
    assert sql(world.installation, "SELECT full_name FROM users WHERE id = 2") == [("Newer",)]


def test_no_password_hash_is_taken_from_a_row_that_has_none(world: World) -> None:
    sql(world.installation, "UPDATE users SET password_hash = 'x' WHERE id = 2")
    world.damage("secret:2", gone)
    (line,) = check(world.installation)
    assert "user 2: has no password hash" in line
    assert "set a new password" in line
    repaired = check(world.installation, repairs=True)
    assert [each for each in repaired if each.startswith("remains")] == [f"remains  {line}"]


def test_a_damaged_value_is_kept_aside(world: World) -> None:
    world.damage("task:1", broken('{"half'))
    assert any("damaged:task:1" in line for line in check(world.installation, repairs=True))
    with connect(world.installation) as connection:
        aside = f"{root(world.installation)}damaged:task:1"
        assert connection.hget(aside, "json") == '{"half'


def test_a_difference_that_is_gone_at_the_second_look_is_none(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.damage("tasks", zrem("1"))
    back = zadd("1", 2**50 + 1)
    monkeypatch.setattr(consistency.time, "sleep", lambda _: world.damage("tasks", back))
    assert check(world.installation) == []


def test_an_entity_that_changes_between_two_reads_is_no_difference(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles = (f"title {n}" for n in range(100))

    def change_and_look(*args: Any) -> list[Any]:
        replies = lookups.look(*args)
        body = {"title": next(titles), "priority": next(priorities)}
        ok(world.owner("PUT", path_of(world.tasks[0]), json=body))
        return replies

    priorities = (n % 3 + 1 for n in range(100))
    monkeypatch.setattr(check_entities, "look", change_and_look)
    assert check(world.installation) == []


def test_what_postgresql_lacks_is_said_and_left_as_it_is(world: World) -> None:
    task = new_task(world.api, world.user["id"], world.group["id"])
    world.damage(f"task:{task['id']}", broken("{what?"))
    done = run(world.installation, "--repair")
    assert done.returncode == 1
    assert f"remains  task {task['id']}: cannot be read" in done.stdout
    assert "PostgreSQL does not have it" in done.stdout
    with connect(world.installation) as connection:
        assert connection.hget(f"{root(world.installation)}task:{task['id']}", "json") == "{what?"


def test_a_name_that_is_taken_meanwhile_is_not_given_twice(world: World) -> None:
    world.damage("user:2", gone)
    world.damage("emails", lambda connection, key: connection.hdel(key, world.user["email"]))
    taken = new_user(world.api, email=world.user["email"])
    lines = check(world.installation, repairs=True)
    (remains,) = [line for line in lines if line.startswith("remains  user 2")]
    assert f"user {taken['id']} has its email now" in remains


@pytest.mark.parametrize("damage", [broken("{"), wrong_type])
def test_a_name_of_what_cannot_be_read_is_not_given_twice(world: World, damage: Damage) -> None:
    world.damage("user:2", gone)
    world.damage("emails", lambda connection, key: connection.hdel(key, world.user["email"]))
    taken = new_user(world.api, email=world.user["email"])
    world.damage(f"user:{taken['id']}", damage)
    lines = check(world.installation, repairs=True)
    (remains,) = [line for line in lines if line.startswith("remains  user 2")]
    assert f"user {taken['id']} has its email now" in remains


@pytest.mark.parametrize("holder", ["3", "99"])
@pytest.mark.parametrize(("key", "index"), [("user:2", "emails"), ("group:2", "names")])
def test_a_stray_entry_for_a_name_does_not_need_a_second_repair(
    world: World, key: str, index: str, holder: str
) -> None:
    with connect(world.installation) as connection:
        names = connection.hgetall(root(world.installation) + index)
    (name,) = [name for name, number in names.items() if number == "2"]
    world.damage(key, gone)
    world.damage(index, put(name, "1" if key == "group:2" and holder == "3" else holder))
    lines = check(world.installation, repairs=True)
    assert not [line for line in lines if line.startswith("remains")]
    assert check(world.installation) == []


def test_a_repair_of_what_changes_meanwhile_does_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.damage("tasks", zrem("4"))
    mend = lookups.mend

    def after_a_delete(*args: Any) -> int:
        with suppress(AssertionError):
            ok(world.owner("DELETE", path_of(world.tasks[3])))
        return mend(*args)

    monkeypatch.setattr(lookups, "mend", after_a_delete)
    check(world.installation, repairs=True)
    assert check(world.installation) == []


def test_a_repair_does_not_run_beside_a_pass_or_a_restore(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "FORCE_SECONDS", 0.1)
    with Database(world.installation.settings) as db:
        db.lock()
        with pytest.raises(AlreadyRunning):
            check(world.installation, repairs=True)


def busy(world: World, stop: threading.Event) -> None:
    """Create, change, move and delete users, groups and tasks until `stop` is set."""
    while not stop.is_set():
        group = new_group(world.api)
        user = new_user(world.api, group["id"], world.group["id"])
        tasks = [new_task(world.api, user["id"], group["id"]) for _ in range(3)]
        body = {"task_ids": [task["id"] for task in tasks], "updates": {"priority": 1}}
        ok(world.owner("POST", "/tasks/batch", json=body))
        ok(world.owner("PUT", f"{path_of(tasks[0])}/done"))
        body = {"password": f"secret-{user['id']}", "work_times": {"Monday": 1.5}}
        ok(world.owner("PUT", f"/users/{user['id']}", json=body))
        ok(
            world.owner(
                "PUT", f"/groups/{group['id']}", json={"admin_id": 1, "name": f"x{group['id']}"}
            )
        )
        ok(world.owner("DELETE", f"/groups/{group['id']}/users/{user['id']}"))
        ok(world.owner("DELETE", f"/groups/{group['id']}"))
        ok(world.owner("DELETE", f"/users/{user['id']}"))


def beside(world: World, act: Callable[[], Any]) -> None:
    """Act ten times while clients write and passes run."""
    stop = threading.Event()
    clients = [threading.Thread(target=busy, args=(world, stop)) for _ in range(2)]
    for client in clients:
        client.start()
    try:
        for _ in range(10):
            act()
            with suppress(AlreadyRunning):
                world.installation.sync()
    finally:
        stop.set()
        for client in clients:
            client.join()


def test_beside_traffic_there_is_no_false_alarm(world: World) -> None:
    found: list[str] = []
    beside(world, lambda: found.extend(check(world.installation)))
    assert found == []
    world.installation.sync()
    check_stores(world.installation)


def test_a_repair_beside_traffic_mends_and_breaks_nothing(world: World) -> None:
    def damage_and_repair() -> None:
        for key, change in (("tasks", zrem("1")), ("counts", put("2", "9")), ("task:2", gone)):
            world.damage(key, change)
        check(world.installation, repairs=True)

    beside(world, damage_and_repair)
    assert check(world.installation) == []
    world.installation.sync()
    check_stores(world.installation)
