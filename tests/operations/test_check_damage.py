"""`python -m taskapi check`: each damage of Redis is named, and repaired with `--repair`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.drift import check_stores
from tests.api.factories import everything, login, ok
from tests.faults.test_damage import (
    ENTITY_DAMAGE,
    Damage,
    World,
    gone,
    put,
    with_value,
    wrong_type,
    zadd,
)
from tests.operations.checks import DIFFERS, check, hdel, synced_world
from tests.stores import connect, keys, root
from tests.support import Installation


@pytest.fixture
def world(installation: Installation) -> World:
    return synced_world(installation)


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
    "fractional mark": ("dirty", zadd("t:1", 5.5), "task 1: has an invalid mark"),
    "endless mark": ("dirty", zadd("t:1", float("inf")), "task 1: has an invalid mark"),
    "mark ahead": ("dirty", zadd("t:1", 2**52), "task 1: has an invalid mark"),
    "mark of nothing ahead": ("dirty", zadd("t:99", 2**52), "task 99: has an invalid mark"),
    "huge mark": ("dirty", zadd("t:99", 1e300), "task 99: has an invalid mark"),
    "huge tombstone": ("tombs", zadd("t:99", 1e300), "task 99: has an invalid tombstone"),
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


def without_versions(data: Any) -> Any:
    if isinstance(data, dict):
        return {k: without_versions(v) for k, v in data.items() if k not in ("version", "ETag")}
    return [without_versions(each) for each in data] if isinstance(data, list) else data


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
