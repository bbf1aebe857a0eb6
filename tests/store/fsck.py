"""Check the Redis keys of an installation, without importing the product.

`fsck` rebuilds every index and counter from the entities and compares them with what Redis holds,
so that a key that should not be there is found too.
"""

import json
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import redis

Store = dict[str, Any]
Entities = dict[int, dict[str, Any]]

KINDS = {"user": "u", "group": "g", "task": "t"}
BUCKET = 2**50
NOT_DERIVED = (
    *("meta", "dirty", "tombs", "quarantine", "sync", "processes", "failures", "secret"),
    *("closing", "deleting", "damaged", "verified", "answer"),
)


def fsck(url: str, prefix: str) -> list[str]:
    """Return what is wrong with the keys of this prefix, one sentence each."""
    store = load(url, prefix)
    return [*_wrong_indexes(store), *_wrong_secrets(store), *_wrong_marks(store)]


def load(url: str, prefix: str) -> Store:
    """Return every key with its value, without the prefix; JSON in hashes is decoded."""
    root = f"{{{prefix}}}:"
    with redis.Redis.from_url(url, decode_responses=True) as connection:
        keys = list(connection.scan_iter(f"{root}*", count=1000))
        return {key.removeprefix(root): _value(connection, key) for key in keys}


def entities(store: Store, kind: str) -> Entities:
    """Return the entities of a kind by id, from the JSON in their hashes."""
    hashes = {key: value for key, value in store.items() if key.startswith(f"{kind}:")}
    return {int(key.split(":")[1]): value["json"] for key, value in hashes.items()}


def _value(connection: Any, key: str) -> Any:
    match connection.type(key):
        case "hash":
            fields = connection.hgetall(key)
            is_entity = "json" in fields and "version" in fields
            decoded = {"json", "administers", "tokens"} if is_entity else set()
            values = {k: json.loads(v) if k in decoded else v for k, v in fields.items()}
            return {k: v for k, v in values.items() if v != []}
        case "zset":
            return {m: int(s) for m, s in connection.zrange(key, 0, -1, withscores=True)}
        case "string":
            return connection.get(key)
        case other:
            return f"of an unexpected type, {other}"


def _wrong_indexes(store: Store) -> Iterator[str]:
    stored = {k: v for k, v in store.items() if k.split(":")[0] not in NOT_DERIVED}
    for key in [key for key in stored if key.split(":")[0] == "counts"]:
        stored[key] = {member: n for member, n in stored[key].items() if n != "0"}
    derived = _derived(*(entities(store, kind) for kind in KINDS))
    for key in [key for key in stored if key.startswith("user:")]:
        stored[key] = {name: value for name, value in stored[key].items() if name != "tokens"}
    for key in sorted(derived.keys() | stored.keys()):
        if (derived.get(key) or {}) != (stored.get(key) or {}):
            yield f"{key} is {stored.get(key)}, not {derived.get(key)}"


def _derived(users: Entities, groups: Entities, tasks: Entities) -> Store:
    derived: defaultdict[str, Any] = defaultdict(dict)
    for user_id, user in users.items():
        administers = sorted(i for i, group in groups.items() if group["admin_id"] == user_id)
        duties = {"administers": administers} if administers else {}
        derived[f"user:{user_id}"] = _hash(user) | duties
        derived["users"][str(user_id)] = user_id
        derived["emails"][user["email"].lower()] = str(user_id)
        derived["full_names"][str(user_id)] = user["full_name"]
        for group_id in user["group_ids"]:
            derived[f"members:{group_id}"][str(user_id)] = user_id
    for group_id, group in groups.items():
        derived[f"group:{group_id}"] = _hash(group)
        derived["groups"][str(group_id)] = group_id
        derived["names"][folded(group["name"])] = str(group_id)
    for task_id, task in tasks.items():
        derived[f"task:{task_id}"] = _hash(task)
        score = (task["status"] * 3 + task["priority"] - 1) * BUCKET + task_id
        for scope in ("tasks", f"tasks:u:{task['user_id']}", f"tasks:g:{task['group_id']}"):
            derived[scope][str(task_id)] = score
    return derived | _counters(tasks)


def _hash(entity: dict[str, Any]) -> Store:
    return {"json": entity, "version": str(entity["version"])}


def _counters(tasks: Entities) -> Store:
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for task in tasks.values():
        for scope in ("counts", f"counts:{task['group_id']}"):
            counts[scope][str(task["user_id"])] += 1
    return {key: {member: str(n) for member, n in c.items()} for key, c in counts.items()}


def _wrong_secrets(store: Store) -> Iterator[str]:
    secrets = {key for key in store if key.startswith("secret:")}
    for key in secrets ^ {f"secret:{user_id}" for user_id in entities(store, "user")}:
        yield f"either {key} or its user does not exist"


def _wrong_marks(store: Store) -> Iterator[str]:
    """Check that a mark has its entity's version, and that references exist."""
    meta, dirty, tombstones = (store.get(key, {}) for key in ("meta", "dirty", "tombs"))
    for kind, letter in KINDS.items():
        existing = entities(store, kind)
        for mark in (mark for mark in dirty if mark.startswith(letter)):
            entity = existing.get(int(mark.split(":")[1]))
            if dirty[mark] != (entity["version"] if entity else tombstones.get(mark)):
                yield f"dirty has {mark} {dirty[mark]}, entity {entity}, tombstones {tombstones}"
        for entity_id, entity in existing.items():
            if f"{letter}:{entity_id}" in tombstones:
                yield f"{kind} {entity_id} is alive and among the tombstones"
            if entity["id"] != entity_id or entity_id > int(meta[f"next:{letter}"]):
                yield f"{kind} {entity_id} has another id in its JSON, or an id not yet issued"
            if entity["version"] > int(meta["version"]):
                yield f"{kind} {entity_id} is newer than the last version given"
            yield from _dangling(store, entity)


def _dangling(store: Store, entity: dict[str, Any]) -> Iterator[str]:
    parents = {f"user:{entity[name]}" for name in ("user_id", "admin_id") if name in entity}
    parents |= {f"group:{group_id}" for group_id in entity.get("group_ids", ())}
    parents |= {f"group:{entity['group_id']}"} if "group_id" in entity else set()
    for parent in parents - store.keys():
        yield f"{entity} refers to {parent}, which does not exist"
    if "admin_id" in entity and f"user:{entity['admin_id']}" in store:
        admin = store[f"user:{entity['admin_id']}"]["json"]
        if entity["id"] not in admin["group_ids"] or admin["role"] == "user":
            yield f"{entity} has an admin who is no member or has the role user: {admin}"


def folded(text: str) -> str:
    """Return the text in a form that is the same for names that differ only in case."""
    normal = unicodedata.normalize("NFC", text).casefold()
    return unicodedata.normalize("NFC", normal)
