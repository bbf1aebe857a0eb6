"""Keys in Redis that are of the wrong type, cannot be read or are gone: the rest goes on."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest

from devserver.servers import Postgres, Valkey
from taskapi.doctor.store_checks import examine
from taskapi.sync import import_backup
from tests.api.factories import login, new_group, new_task, new_user, ok, path_of, refused
from tests.client import Api
from tests.stores import connect, dirty, entities, root, sql
from tests.support import Installation

Damage = Callable[[Any, str], None]


def wrong_type(connection: Any, key: str) -> None:
    connection.delete(key)
    connection.lpush(key, "no such type")


def broken(text: str | bytes) -> Damage:
    return lambda connection, key: connection.hset(key, "json", text)


def without_field(connection: Any, key: str) -> None:
    stored = json.loads(connection.hget(key, "json"))
    del stored["created_at"]
    connection.hset(key, "json", json.dumps(stored, separators=(",", ":")))


def with_value(name: str, value: Any) -> Damage:
    """Return damage that sets a field of an entity to this value."""

    def change(connection: Any, key: str) -> None:
        stored = json.loads(connection.hget(key, "json")) | {name: value}
        connection.hset(key, "json", json.dumps(stored, separators=(",", ":")))

    return change


def of_another(name: str) -> Damage:
    def change(connection: Any, key: str) -> None:
        stored = json.loads(connection.hget(key, "json"))
        stored[name] += 1
        connection.hset(key, "json", json.dumps(stored, separators=(",", ":")))

    return change


def as_version(text: str) -> Damage:
    def change(connection: Any, key: str) -> None:
        connection.hset(key, "version", text)

    return change


def without_json(connection: Any, key: str) -> None:
    connection.hdel(key, "json")


ENTITY_DAMAGE = {
    "wrong type": wrong_type,
    "not JSON": broken("what?"),
    "cut off": broken('{"id":1,"title":"cu'),
    "no object": broken("5"),
    "empty": broken(""),
    "without a field": without_field,
    "a field of a wrong type": with_value("created_at", 5),
    "another id": of_another("id"),
    "another version": of_another("version"),
    "a word as version": as_version("nan"),
    "a long version": as_version("1" + "0" * 400),
    "without JSON": without_json,
}
CONTRADICTORY = {"another id", "another version", "a word as version", "a long version"}
"""Damage for which a commit is refused as after a lost race."""
LISTED = {"without a field", "a field of a wrong type", *CONTRADICTORY}
"""Damage that lists do not look for: it would cost each of them time."""
on_each_entity_damage = pytest.mark.parametrize("name", ENTITY_DAMAGE)


@dataclass
class World:
    """A group with two users, each with two tasks, and a group without tasks."""

    installation: Installation
    api: Api
    group: Any
    user: Any
    other: Any
    tasks: list[Any]

    def damage(self, key: str, change: Damage) -> None:
        with connect(self.installation) as connection:
            change(connection, root(self.installation) + key)

    def owner(self, method: str, path: str, **kwargs: Any) -> Any:
        return self.api(method, path, by="owner", **kwargs)

    def status(self) -> Any:
        return ok(self.owner("GET", "/admin/status"))

    def quarantined(self) -> dict[tuple[str, int], str]:
        return {(e["type"], e["id"]): e["reason"] for e in self.status()["quarantined"]}

    def is_unharmed(self) -> None:
        """Check that what is not damaged can be read, listed, changed and copied."""
        mine, others = self.tasks[2], self.tasks[3]
        assert ok(self.api("GET", path_of(mine), by=login(self.other)))
        ok(self.owner("PUT", path_of(others), json={"title": "goes on"}))
        made = new_task(self.api, self.other["id"], self.group["id"])
        written = ok(self.owner("POST", "/admin/sync?action=force"))["written"]
        assert written["tasks"] >= 1
        ids = {row[0] for row in sql(self.installation, "SELECT id FROM tasks")}
        assert {others["id"], made["id"]} <= ids
        listed = ok(self.owner("GET", f"/users/{self.other['id']}/tasks"))["tasks"]
        assert {mine["id"], others["id"], made["id"]} <= {each["id"] for each in listed}

    def saved(self, pattern: str) -> list[Any]:
        """Return the lines of the newest backup file of this kind."""
        newest = max(self.installation.settings.backup_dir.glob(pattern))
        return [*map(json.loads, gzip.decompress(newest.read_bytes()).splitlines())]


def build(installation: Installation) -> World:
    api = installation.client()
    group = new_group(api)
    new_group(api)
    user, other = new_user(api, group["id"]), new_user(api, group["id"])
    tasks = [new_task(api, who["id"], group["id"]) for who in (user, user, other, other)]
    return World(installation, api, group, user, other, tasks)


@pytest.fixture
def world(installation: Installation) -> World:
    return build(installation)


@on_each_entity_damage
def test_a_damaged_task_holds_up_nothing_else(world: World, name: str) -> None:
    bad = world.tasks[0]
    world.damage(f"task:{bad['id']}", ENTITY_DAMAGE[name])
    for method, body in (("GET", ...), ("PUT", {"title": "new"}), ("DELETE", ...)):
        refusal = refused(world.owner(method, path_of(bad), json=body), 503)
        assert (refusal["code"], "taskapi check" in refusal["error"]) == ("damaged", True)
    world.is_unharmed()
    assert set(world.quarantined()) == {("task", bad["id"])}
    for path in (f"/users/{world.user['id']}/tasks", "/tasks/filter", "/tasks/search?q=Task"):
        answer = ok(world.owner("GET", path))
        found = answer.get("tasks") or [each["task"] for each in answer["results"]]
        listed = {each["id"] for each in found}
        assert world.tasks[1]["id"] in listed
        assert bad["id"] not in listed or name in LISTED
    refusal = refused(world.owner("POST", "/admin/sync?action=backup"), 503)
    assert (refusal["code"], f"task {bad['id']}" in refusal["error"]) == ("damaged", True)


@on_each_entity_damage
def test_a_restore_mends_a_damaged_task_and_saves_the_rest_first(world: World, name: str) -> None:
    world.installation.sync()
    bad, changed = world.tasks[0], world.tasks[1]
    world.damage(f"task:{bad['id']}", ENTITY_DAMAGE[name])
    ok(world.owner("PUT", path_of(changed), json={"title": "not copied"}))
    ok(world.owner("POST", "/admin/sync?action=restore"))
    *lines, last = world.saved("*-before-restore-*")
    titles = {line["task"]["id"]: line["task"]["title"] for line in lines if "task" in line}
    assert titles[changed["id"]] == "not copied"
    assert bad["id"] not in titles
    assert any(f"task {bad['id']}" in sentence for sentence in last["lacks"])
    damaged = [line["damaged"] for line in lines if "damaged" in line]
    assert {(each["kind"], each["id"]) for each in damaged} == {("t", bad["id"])}
    assert ok(world.owner("GET", path_of(bad))) == bad
    assert ok(world.owner("GET", path_of(changed)))["title"] == "not copied"


def test_the_file_before_a_restore_keeps_json_that_cannot_be_read(world: World) -> None:
    world.damage(f"task:{world.tasks[0]['id']}", broken('{"title":"half'))
    ok(world.owner("POST", "/admin/sync?action=restore"))
    damaged = [line["damaged"] for line in world.saved("*-before-restore-*") if "damaged" in line]
    assert {each["json"] for each in damaged} == {'{"title":"half'}


@on_each_entity_damage
def test_a_damaged_user_and_a_damaged_group_are_refused(world: World, name: str) -> None:
    user, group = world.user["id"], world.group["id"]
    world.damage(f"user:{user}", ENTITY_DAMAGE[name])
    assert refused(world.owner("GET", f"/users/{user}"), 503)["code"] == "damaged"
    assert refused(world.api("GET", "/users", by=login(world.user)), 503)["code"] == "damaged"
    if name not in CONTRADICTORY:
        assert refused(world.owner("DELETE", f"/groups/{group}"), 503)["code"] == "damaged"
    world.is_unharmed()
    world.damage(f"group:{group}", ENTITY_DAMAGE[name])
    assert refused(world.owner("GET", f"/groups/{group}"), 503)["code"] == "damaged"
    assert {("user", user)} <= set(world.quarantined())
    listed = ok(world.owner("GET", "/users"))["users"]
    assert {1, world.other["id"]} <= {each["id"] for each in listed}
    assert ok(world.owner("GET", "/groups"))["groups"]


ENDLESS_HASHES = [
    "scrypt:99999999:8:1$x$ab",
    "pbkdf2:sha256:99999999$x$ab",
    "$argon2id$v=19$m=9999999,t=2,p=1$aaaaaaaaaaa$bbbbbbbbbbb",
    "$argon2id$v=19$m=19456,t=800000,p=1$aaaaaaaaaaa$bbbbbbbbbbb",
    "$argon2id$v=19$m=19456,t=2,p=100$aaaaaaaaaaa$bbbbbbbbbbb",
]
"""Hashes whose check would take minutes."""
NO_HASHES = ["garbage", "a$b$c", b"\xff", "$argon2i$v=19$m=8,t=1,p=1$x$ab", *ENDLESS_HASHES]
USELESS_HASHES = [
    *("scrypt:3:8:1$x$ab", "scrypt:524288:9:9$x$ab", "pbkdf2:sha9:1000$x$ab"),
    *("$argon2id$v=19$m=8,t=0,p=1$x$ab", "$argon2id$v=19$m=8,t=1,p=1$a$b"),
]
"""Hashes whose parameters cannot be used."""


@pytest.mark.parametrize("stored", ["", *NO_HASHES, *USELESS_HASHES])
def test_a_log_in_with_a_damaged_password_hash_is_refused(
    world: World, stored: str | bytes
) -> None:
    world.damage(f"secret:{world.user['id']}", lambda connection, key: connection.set(key, stored))
    answer = world.api("GET", "/users/2", by=login(world.user))
    if stored == "":
        assert (answer.status, answer.error) == (401, "unauthenticated")
    else:
        code = "damaged" if stored in NO_HASHES else "unavailable"
        assert (answer.status, answer.error) == (503, code)
    assert ok(world.api("GET", "/users/3", by=login(world.other)))


@pytest.mark.parametrize("stored", ["", *NO_HASHES])
def test_a_damaged_password_hash_does_not_reach_postgresql(
    world: World, stored: str | bytes
) -> None:
    world.installation.sync()
    ok(world.owner("PUT", f"/users/{world.user['id']}", json={"full_name": "New Name"}))
    world.damage(f"secret:{world.user['id']}", lambda connection, key: connection.set(key, stored))
    world.is_unharmed()
    assert set(world.quarantined()) == {("user", world.user["id"])}
    hashes = sql(world.installation, "SELECT password_hash FROM users")
    assert all(value.startswith("$argon2id$") for (value,) in hashes)


INDEXES = ("users", "groups", "tasks", "emails", "names", "full_names", "counts")


@pytest.mark.parametrize("key", INDEXES)
@pytest.mark.parametrize("is_gone", [False, True])
def test_a_damaged_index_is_told_and_no_backup_is_made_without_it(
    world: World, key: str, is_gone: bool
) -> None:
    world.installation.sync()
    world.damage(key, (lambda c, k: c.delete(k)) if is_gone else wrong_type)
    assert ok(world.api("GET", path_of(world.tasks[0]), by=login(world.user)))
    refusal = refused(world.owner("POST", "/admin/sync?action=backup"), 503)
    assert (refusal["code"], "taskapi check" in refusal["error"]) == ("damaged", True)
    assert not [*world.installation.settings.backup_dir.glob("*.gz")]
    ok(world.owner("POST", "/admin/sync?action=force"))
    health, shown = world.api("GET", "/health"), world.status()
    assert (health.status, health.json["status"]) == (200, "degraded")
    assert any("damaged" in issue for issue in health.json["issues"])
    assert shown["healthy"] is False
    assert "damaged" in shown["warnings"][0]
    found = {each.name: each for each in examine(world.installation.settings, time.time)}
    assert found["redis data"].status == "fail"
    ok(world.owner("POST", "/admin/sync?action=restore"))
    assert world.saved("*-before-restore-*")[-1]["lacks"]
    world.is_unharmed()
    assert world.status()["healthy"] is True
    ok(world.owner("POST", "/admin/sync?action=backup"))


@pytest.mark.parametrize("key", [*INDEXES, "dirty", "tombs", "members:1", "tasks:u:2", "counts:1"])
def test_a_change_beside_a_damaged_index_is_done_completely_or_not_at_all(
    world: World, key: str
) -> None:
    world.damage(key, wrong_type)
    before = entities(world.installation)
    user, group = world.user["id"], world.group["id"]
    bodies = {
        f"/users/{user}/tasks": {"title": "x", "group_id": group},
        "/users": {"full_name": "x", "email": "x@y.org", "password": "long-enough-1"},
        "/groups": {"name": "new", "admin_id": 1},
    }
    answers = [world.owner("POST", path, json=body) for path, body in bodies.items()]
    answers.append(world.owner("DELETE", path_of(world.tasks[0])))
    assert {answer.status for answer in answers} <= {200, 201, 503}
    errors = {answer.error for answer in answers if answer.status == 503}
    assert errors == (set() if key == "members:1" else {"damaged"})
    after = entities(world.installation)
    done = sum(answer.status < 300 for answer in answers)
    changed = [each for each in before.keys() | after.keys() if before.get(each) != after.get(each)]
    assert len([each for each in changed if each != "user:1"]) == done


def test_what_cannot_be_marked_is_not_changed_and_health_says_so(world: World) -> None:
    world.damage("dirty", wrong_type)
    assert refused(world.owner("POST", "/admin/sync"), 503)["code"] == "damaged"
    assert refused(world.owner("POST", "/admin/sync?action=backup"), 503)["code"] == "damaged"
    assert world.api("GET", "/health").json["status"] == "degraded"
    shown = world.status()
    assert (shown["healthy"], shown["redis_status"]) == (False, "connected")
    assert "damaged" in shown["warnings"][0]
    assert ok(world.owner("GET", path_of(world.tasks[0])))
    ok(world.owner("POST", "/admin/sync?action=restore"))
    *lines, last = world.saved("*-before-restore-*")
    assert len([line for line in lines if "task" in line]) == len(world.tasks)
    assert last["lacks"]


def test_without_its_description_redis_is_unhealthy(world: World) -> None:
    world.damage("meta", wrong_type)
    health = world.api("GET", "/health")
    assert (health.status, health.json["status"]) == (503, "unhealthy")
    assert refused(world.owner("GET", "/users"), 503)["code"] == "damaged"


def put(name: str, value: Any) -> Damage:
    return lambda connection, key: connection.hset(key, name, value)


def zadd(member: str | bytes, score: float) -> Damage:
    return lambda connection, key: connection.zadd(key, {member: score})


def test_deletes_wait_when_the_tombstones_are_damaged(world: World) -> None:
    world.installation.sync()
    ok(world.owner("DELETE", path_of(world.tasks[0])))
    world.damage("tombs", wrong_type)
    world.is_unharmed()
    assert ("task", world.tasks[0]["id"]) in world.quarantined()
    assert refused(world.owner("DELETE", path_of(world.tasks[1])), 503)["code"] == "damaged"


NO_VERSION = '{"version":"x","sqlstate":"","reason":"r","since":"s"}'


@pytest.mark.parametrize("entry", ["what?", "5", "{}", NO_VERSION])
def test_a_damaged_quarantine_is_rebuilt(world: World, entry: str) -> None:
    for change in (put(f"t:{world.tasks[0]['id']}", entry), wrong_type):
        world.damage("quarantine", lambda connection, key: connection.delete(key))
        world.damage("quarantine", change)
        assert world.api("GET", "/health").json["status"] == "degraded"
        assert world.status()["healthy"] is False
        world.is_unharmed()
        assert not world.quarantined()
        assert not dirty(world.installation)


def gone(connection: Any, key: str) -> None:
    connection.delete(key)


@pytest.mark.parametrize("key", ["tasks:g:1", "members:1", "counts:1"])
@pytest.mark.parametrize("change", [gone, wrong_type])
def test_a_group_whose_index_is_damaged_is_not_deleted(
    world: World, key: str, change: Damage
) -> None:
    world.damage(key, change)
    path = f"/groups/{world.group['id']}"
    assert refused(world.owner("DELETE", path), 503)["code"] == "damaged"
    assert ok(world.owner("GET", path_of(world.tasks[0])))


@pytest.mark.parametrize("key", ["tasks:u:2", "counts"])
@pytest.mark.parametrize("change", [gone, wrong_type])
def test_a_user_whose_index_is_damaged_is_not_deleted(
    world: World, key: str, change: Damage
) -> None:
    world.damage(key, change)
    path = f"/users/{world.user['id']}"
    assert refused(world.owner("DELETE", path), 503)["code"] == "damaged"
    assert ok(world.owner("GET", path))


def test_a_member_whose_tasks_cannot_be_found_is_not_removed(world: World) -> None:
    world.damage(f"tasks:u:{world.user['id']}", gone)
    path = f"/groups/{world.group['id']}/users/{world.user['id']}"
    assert refused(world.owner("DELETE", path), 503)["code"] == "damaged"


def test_a_reseed_without_an_index_does_not_empty_postgresql(world: World) -> None:
    world.installation.sync()
    world.damage("tasks", gone)
    sql(world.installation, "UPDATE sync_state SET last_version = 1")
    refusal = refused(world.owner("POST", "/admin/sync?action=force&reseed=true"), 503)
    assert refusal["code"] == "damaged"
    assert len(sql(world.installation, "SELECT id FROM tasks")) == len(world.tasks)


def test_a_file_that_lacks_something_can_be_restored(
    world: World, valkey: Valkey, postgres: Postgres
) -> None:
    world.damage(f"task:{world.tasks[0]['id']}", wrong_type)
    ok(world.owner("POST", "/admin/sync?action=restore"))
    (file,) = world.installation.settings.backup_dir.glob("*-before-restore-*")
    target = Installation(world.installation.folder, valkey.url, postgres.url)
    with closing(target):
        import_backup.run(target.settings, file)
        rows = sql(target, "SELECT id FROM tasks ORDER BY id")
        assert [row[0] for row in rows] == [task["id"] for task in world.tasks[1:]]
