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
from taskapi.doctor import consistency, entity_checks
from taskapi.errors import AlreadyRunning
from taskapi.store import consistency as lookups
from taskapi.sync.postgres import Database
from tests.api.drift import check_stores
from tests.api.factories import everything, login, new_group, new_task, new_user, ok, path_of
from tests.faults.test_damage import (
    ENTITY_DAMAGE,
    Damage,
    World,
    broken,
    build,
    gone,
    put,
    with_value,
    without_field,
    wrong_type,
    zadd,
)
from tests.stores import before, connect, empty_redis, keys, root, sql
from tests.support import ROOT, Installation, ambient


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


def check(installation: Installation, *, repairs: bool = False) -> list[str]:
    """Return the lines of a check without the last one, which is their number."""
    *lines, end = doctor.check(installation.settings, repairs=repairs)[0]
    assert repairs or end == f"{len(lines)} difference(s)"
    return lines


@pytest.fixture(autouse=True)
def _short_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consistency, "PAUSE_SECONDS", 0.05)


@pytest.fixture
def world(installation: Installation) -> World:
    """Users, groups and tasks that both stores have, and a change that only Redis has."""
    world = build(installation)
    installation.sync()
    ok(world.owner("PUT", path_of(world.tasks[3]), json={"title": "not copied"}))
    return world


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


def hdel(name: str) -> Damage:
    return lambda connection, key: connection.hdel(key, name)


def zrem(member: str) -> Damage:
    return lambda connection, key: connection.zrem(key, member)


def marked_without_version(connection: Any, key: str) -> None:
    connection.hset(key, "version", "x")
    connection.zadd(f"{key.partition(':')[0]}:dirty", {"t:1": 5})


def text(value: str | bytes) -> Damage:
    return lambda connection, key: connection.set(key, value)


def copy_of(name: str) -> Damage:
    return lambda c, key: c.set(key, c.get(f"{key.partition(':')[0]}:{name}"))


def moved_and_done(connection: Any, key: str) -> None:
    for name, value in (("status", True), ("group_id", 2)):
        with_value(name, value)(connection, key)


DIFFERS = "differs from PostgreSQL in:"
DAMAGE: dict[str, tuple[str, Damage, str]] = {
    **{
        f"{key} {word}": (key, change, f"{key}: ")
        for key in ("users", "groups", "tasks", "emails", "names", "full_names", "counts")
        for word, change in (("gone", gone), ("wrong type", wrong_type))
    },
    **{
        f"{key} {word}": (key, change, f"{key}: ")
        for key in ("tasks:u:2", "tasks:g:1", "members:1", "counts:1")
        for word, change in (("gone", gone), ("wrong type", wrong_type))
    },
    **{
        f"task {name}": ("task:1", change, "task 1: cannot be read")
        for name, change in ENTITY_DAMAGE.items()
    },
    **{
        f"user {name}": ("user:2", change, "user 2: cannot be read")
        for name, change in ENTITY_DAMAGE.items()
    },
    "task wrong type": ("task:1", wrong_type, "task:1: has type list"),
    "user wrong type": ("user:2", wrong_type, "user:2: has type list"),
    "task gone": ("task:1", gone, "task 1: is gone from Redis"),
    "user gone": ("user:2", gone, "user 2: is gone from Redis"),
    "group gone": ("group:1", gone, "group 1: is gone from Redis"),
    "hash gone": ("secret:2", gone, "user 2: has no password hash"),
    "hash wrong type": ("secret:2", wrong_type, "secret:2: has type list"),
    "hash garbage": ("secret:2", text("garbage"), "user 2: has a password hash that cannot"),
    "hash not UTF-8": ("secret:2", text(b"\xff"), "user 2: has a password hash that cannot"),
    "hash of another": ("secret:2", copy_of("secret:3"), f"user 2: {DIFFERS} password_hash"),
    "role": ("user:2", with_value("role", "owner"), f"user 2: {DIFFERS} role"),
    "other hours": ("user:2", with_value("work_times", {"Monday": 1.5}), f"user 2: {DIFFERS}"),
    "groups": ("user:2", with_value("group_ids", [1, 2]), f"user 2: {DIFFERS} group_ids"),
    "e-mail": ("user:2", with_value("email", "x@y.org"), f"user 2: {DIFFERS} email"),
    "name": ("group:1", with_value("name", "x"), f"group 1: {DIFFERS} name"),
    "title": ("task:1", with_value("title", "x"), f"task 1: {DIFFERS} title"),
    "status and group": ("task:1", moved_and_done, f"task 1: {DIFFERS} status, group_id"),
    "stray hash": ("secret:99", lambda c, k: c.set(k, "x"), "secret:99: belongs to user 99"),
    "stray task": ("tasks:g:2", zadd("1", 1), "tasks:g:2: names what does not belong"),
    "unknown task": ("tasks", zadd("99", 99), "tasks: names what does not exist"),
    "stray member": ("members:2", zadd("2", 2), "members:2: names what does not belong"),
    "stray name": ("emails", put("x@y.org", "2"), "emails: names what does not belong"),
    "wrong score": ("tasks", zadd("1", 77), "tasks: has a wrong value for: task 1"),
    "wrong counter": ("counts", put("2", "5"), "counts: has a wrong number"),
    "counter of nobody": ("counts:1", put("99", "5"), "counts:1: has a wrong number"),
    "no number": ("counts", put("2", "many"), "counts: has a wrong number"),
    "name not UTF-8": ("emails", put(b"\xff", "2"), "emails: has an entry whose name"),
    "value not UTF-8": ("emails", put("x@y.org", b"\xff"), "emails: names what does not exist"),
    "full name not UTF-8": ("full_names", put("2", b"\xff"), "full_names: has a wrong value for"),
    "counter not UTF-8": ("counts", put("2", b"\xff"), "counts: has a wrong number"),
    "user no number": ("users", zadd("x", 5), "users: names what does not exist: x"),
    "group no number": ("groups", zadd("x", 5), "groups: names what does not exist: x"),
    "task not UTF-8": ("tasks", zadd(b"\xff", 5), "tasks: has an entry whose name"),
    "mark not UTF-8": ("dirty", zadd(b"\xff", 5), "dirty: has an entry whose name"),
    "duties not UTF-8": ("user:2", put("administers", b"\xff"), "user 2: cannot be read"),
    "duties no list": ("user:2", put("administers", "5"), "user 2: cannot be read"),
    "entity's version": ("task:1", put("version", b"\xff"), "task 1: cannot be read"),
    "marked version": ("task:1", marked_without_version, "task 1: cannot be read"),
    "pin for ever": ("pin", lambda c, k: c.set(k, "5"), "pin: never expires"),
    "pin no number": ("pin", lambda c, k: c.set(k, b"\xff", ex=60), "pin: is no number"),
    "no delete": ("deleting", put("t:1", "5"), "deleting: names neither a user nor a group: t:1"),
    "duties no ids": ("user:2", put("administers", '["1"]'), "user 2: cannot be read: wrong"),
    "priority": ("task:1", with_value("priority", "x"), "task 1: cannot be read: wrong"),
    "hours": ("user:2", with_value("work_times", {"Monday": "x"}), "user 2: cannot be read"),
    "group ids": ("user:2", with_value("group_ids", ["1"]), "user 2: cannot be read"),
    "admin": ("group:1", with_value("admin_id", "1"), "group 1: cannot be read"),
    "duty gone": ("user:1", hdel("administers"), "group 1: its admin, user 1, does not"),
    "duty of another": ("user:2", put("administers", "[1]"), "user 2: administers group 1"),
    "dirty gone": ("dirty", gone, "task 4: PostgreSQL has an older version"),
    "dirty wrong type": ("dirty", wrong_type, "dirty: has type list"),
    "mark of nothing": ("dirty", zadd("t:99", 5), "task 99: is gone from both stores"),
    "no mark": ("dirty", zadd("what", 5), "mark what: names nothing"),
    "older mark": ("dirty", zadd("t:1", 5), "task 1: is marked with an older version"),
    "fractional mark": ("dirty", zadd("t:1", 5.5), "task 1: has a mark without a version"),
    "endless mark": ("dirty", zadd("t:1", float("inf")), "task 1: has a mark without a version"),
    "mark ahead": ("dirty", zadd("t:1", 2**52), "task 1: has a mark without a version"),
    "mark of nothing ahead": ("dirty", zadd("t:99", 2**52), "task 99: has a mark without a"),
    "huge mark": ("dirty", zadd("t:99", 1e300), "task 99: has a mark without a version"),
    "huge tombstone": ("tombs", zadd("t:99", 1e300), "task 99: has a tombstone without a version"),
    "buried alive": ("tombs", zadd("t:1", 5), "task 1: is alive and has a tombstone"),
    "last id": ("meta", put("next:t", "2"), "meta: next:t is below"),
    "version damaged": ("meta", put("version", b"garb\xffage"), "meta: version cannot be read"),
    "last id damaged": ("meta", put("next:t", "x"), "meta: next:t cannot be read"),
    "synced damaged": ("meta", put("synced", "-"), "meta: synced cannot be read"),
    "last version": ("meta", put("version", "2"), "meta: version is below"),
    "tombstones": ("tombs", wrong_type, "tombs: has type list"),
    "quarantine": ("quarantine", wrong_type, "quarantine: has type list"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_each_damage_is_named_and_repaired(world: World, name: str) -> None:
    key, change, words = DAMAGE[name]
    seen = everything(world.api)
    world.damage(key, change)
    before = keys(world.installation)
    lines = check(world.installation)
    assert any(line.startswith(words) for line in lines), lines
    assert all(" – " in line for line in lines)  # noqa: RUF001
    assert keys(world.installation) == before
    repaired = check(world.installation, repairs=True)
    assert not [line for line in repaired if line.startswith("remains")]
    assert check(world.installation) == []
    world.installation.sync()
    assert check(world.installation) == []
    with connect(world.installation) as connection:
        for aside in connection.scan_iter(root(world.installation) + "damaged:*"):
            connection.delete(aside)
    check_stores(world.installation)
    assert without_versions(everything(world.api)) == without_versions(seen)
    assert ok(world.api("GET", f"/users/{world.user['id']}", by=login(world.user)))


OF_ONE_OWNER = {
    "members:1": ("/groups/1/users", "users"),
    "tasks:g:1": ("/groups/1/tasks", "tasks"),
    "tasks:u:2": ("/users/2/tasks", "tasks"),
    "counts:1": ("/groups/1/stats", "user_task_counts"),
}


@pytest.mark.parametrize("key", OF_ONE_OWNER)
def test_a_lost_index_of_one_user_or_group_is_found_by_the_check_alone(
    world: World, key: str
) -> None:
    path, name = OF_ONE_OWNER[key]
    seen = ok(world.owner("GET", path))[name]
    assert seen
    world.damage(key, gone)
    world.installation.sync()
    assert not ok(world.owner("GET", path))[name]
    assert world.api("GET", "/health").json["status"] == "healthy"
    assert world.status()["healthy"] is True
    saved = ok(world.owner("POST", "/admin/sync?action=backup"))["saved"]
    assert saved == {"users": 3, "groups": 2, "tasks": 4}
    assert any(line.startswith(f"{key}: ") for line in check(world.installation))
    check(world.installation, repairs=True)
    assert ok(world.owner("GET", path))[name] == seen


def without_versions(data: Any) -> Any:
    if isinstance(data, dict):
        return {k: without_versions(v) for k, v in data.items() if k not in ("version", "ETag")}
    return [without_versions(each) for each in data] if isinstance(data, list) else data


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
    monkeypatch.setattr(entity_checks, "look", change_and_look)
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
