"""Checks of keys: types, owners, the pin of a backup, entries of indexes, counters."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from taskapi.doctor.differences import Difference, Step, Stores, guard_of, named
from taskapi.errors import Damaged
from taskapi.store import session
from taskapi.store.connection import Command
from taskapi.store.consistency import (
    DAMAGED,
    WRONG_TYPE,
    Removal,
    Repair,
    entries,
    look,
    raw_name,
    text_of,
)
from taskapi.store.keys import TYPES, EntityRef, Keys, Kind
from taskapi.store.numbers import is_number
from taskapi.sync import row_versions

KINDS: Final = {
    **dict.fromkeys(("users", "members", "emails", "full_names"), Kind.USER),
    **dict.fromkeys(("groups", "names"), Kind.GROUP),
    "tasks": Kind.TASK,
}
"""First word of an index -> the kind of the entities that it names."""
NOUNS: Final = {kind.noun: kind for kind in Kind}
OWNERS: Final = {
    **dict.fromkeys(("tasks:u", "secret"), Kind.USER),
    **dict.fromkeys(("tasks:g", "members", "counts"), Kind.GROUP),
}
"""Beginning of a key of one user or group -> the kind of its owner."""
GONE: Final = "is gone from Redis"
TAKEN: Final = "--repair takes it from PostgreSQL"
NEVER: Final = -1
"""The TTL of a key that does not expire."""
REMOVED: Final = "--repair removes that"


class IndexEntry(NamedTuple):
    """A member of an index with its score, or a field with its value."""

    key: str
    name: str
    value: str


class Counter(NamedTuple):
    """A field that counts the tasks of a user."""

    key: str
    user_id: str


def check_types(stores: Stores, names: list[str]) -> Iterator[Difference]:
    """Compare the types of keys, named without the prefix."""
    keys = [stores.keys.root + name for name in names]
    types = look(stores.store, [("TYPE", key) for key in keys])
    for name, key, found in zip(names, keys, types, strict=True):
        expected, ref = TYPES.get(name.split(":")[0]), ref_of(name)
        kind = found.decode()
        if expected in (None, kind) or kind == "none":
            continue
        problem, aside = f"has type {kind}, not {expected}", f"{DAMAGED}{name}"
        if ref and not row_versions.of(stores.db, ref[0], [ref[1]]):
            yield Difference(name, problem, "PostgreSQL does not have it: delete it", Step.KEYS)
            continue
        repair = Repair([(("TYPE", key), kind)], [("RENAME", key, stores.keys.root + aside)])
        remedy = f"--repair moves its value to {aside} and rebuilds it"
        yield Difference(name, problem, remedy, Step.KEYS, repair=repair)


def check_owners(stores: Stores, names: list[str]) -> Iterator[Difference]:
    """Check that the user or group of each key exists."""
    keys, owned = stores.keys, [(name, owner) for name in names if (owner := owner_of(name))]

    def reads(pair: tuple[str, EntityRef]) -> list[Command]:
        name, owner = pair
        return [("EXISTS", keys.root + name), ("EXISTS", keys.entity(*owner))]

    for (name, owner), found in stores.look(owned, reads):
        if found == [1, 0]:
            repair = None
            if not name.startswith("tasks"):
                alive = (("EXISTS", keys.entity(*owner)), "0")
                repair = Repair([alive], [("UNLINK", keys.root + name)])
            remedy = REMOVED if repair else "no repair: delete its tasks or restore the owner"
            problem = f"belongs to {named(owner)}, which does not exist"
            yield Difference(name, problem, remedy, Step.INDEXES, repair=repair)


def check_pin(stores: Stores, names: list[str]) -> Iterator[Difference]:
    """Check that the pin of a backup is a number, and expires."""
    for name in names:
        key = stores.keys.root + name
        reads = [("GET", key), ("TTL", key)]
        value, ttl = look(stores.store, reads)
        if value in (None, WRONG_TYPE) or (is_number(value) and ttl != NEVER):
            continue
        problem = "never expires" if is_number(value) else "is no number"
        guards = [(reads[0], text_of(value)), (reads[1], str(ttl))][: 1 + (ttl == NEVER)]
        repair = Repair([*guards], [("UNLINK", key)])
        yield Difference(name, problem, "--repair deletes it", Step.MARKS, repair=repair)


def owner_of(name: str) -> EntityRef | None:
    """Return the user or group that a key belongs to."""
    return ref_in(name, OWNERS)


def ref_of(name: str) -> EntityRef | None:
    """Return the entity that a key holds, None for other keys."""
    return ref_in(name, NOUNS)


def ref_in(name: str, kinds: Mapping[str, Kind]) -> EntityRef | None:
    """Return the entity in `<word>:<id>`, by the kind of each word; None if there is none."""
    word, _, number = name.rpartition(":")
    return (kinds[word], int(number)) if word in kinds and number.isdecimal() else None


def check_index(stores: Stores, items: list[IndexEntry]) -> Iterator[Difference]:
    """Check that each entry of an index belongs to an entity that has it."""
    keys, lost = stores.keys, list[EntityRef]()

    def reads(item: IndexEntry) -> list[Command]:
        return [_read(keys, item), session.fetch(keys, *_ref_of_entry(keys, item))]

    for item, (current, stored) in stores.look(items, reads):
        ref = _ref_of_entry(keys, item)
        if current is None or WRONG_TYPE in (current, stored):
            continue
        try:
            entity = session.entity(*ref, stored)
        except Damaged:
            continue
        guards: list[Any] = [(_read(keys, item), text_of(current))]
        if entity is None:
            if item.key == keys.index(ref[0]):
                lost.append(ref)
            guards.append((("EXISTS", keys.entity(*ref)), "0"))
            yield _stray(keys, item, "names what does not exist", guards)
        elif _read(keys, item) not in (entry.read for entry in entries(keys, ref[0], entity)):
            guards.append(guard_of(keys, ref, entity["version"]))
            yield _stray(keys, item, "names what does not belong there", guards)
    yield from gone(stores, lost)


def _ref_of_entry(keys: Keys, item: IndexEntry) -> EntityRef:
    """Return the entity that an entry names; 0 is the id of none."""
    word = item.key.removeprefix(keys.root).split(":")[0]
    number = item.value if word in ("emails", "names") else item.name
    return KINDS[word], int(number) if number.isdecimal() else 0


def _read(keys: Keys, item: IndexEntry) -> tuple[str, str, str]:
    word = item.key.removeprefix(keys.root).split(":")[0]
    return ("HGET" if TYPES[word] == "hash" else "ZSCORE", item.key, item.name)


def _stray(keys: Keys, item: IndexEntry, problem: str, guards: list[Any]) -> Difference:
    read, ref = _read(keys, item), _ref_of_entry(keys, item)
    write = ("HDEL" if read[0] == "HGET" else "ZREM", item.key, item.name)
    subject, detail = item.key.removeprefix(keys.root), named(ref) if ref[1] else item.name
    return Difference(subject, problem, REMOVED, Step.INDEXES, detail, Repair(guards, [write]))


def gone(stores: Stores, refs: list[EntityRef]) -> Iterator[Difference]:
    """Yield a difference for each of these entities that PostgreSQL has and Redis lacks."""
    for kind in Kind:
        ids = [entity_id for each, entity_id in refs if each is kind]
        for entity_id in row_versions.of(stores.db, kind, ids) if ids else ():
            ref = (kind, entity_id)
            yield Difference(named(ref), GONE, TAKEN, Step.ENTITIES, repair=ref)


def check_names(stores: Stores, items: list[IndexEntry]) -> Iterator[Difference]:
    """Yield a difference for each entry whose name is not UTF-8: the service writes none."""
    for item in items:
        subject, raw = item.key.removeprefix(stores.keys.root), raw_name(item.name)
        is_hash = TYPES[subject.split(":")[0]] == "hash"
        (found,) = stores.store.connection.execute(("HGET" if is_hash else "ZSCORE", item.key, raw))
        if found is not None:
            repair = Removal(("HDEL" if is_hash else "ZREM", item.key, raw))
            problem = "has an entry whose name is not UTF-8"
            yield Difference(subject, problem, REMOVED, Step.INDEXES, repr(raw), repair)


def check_counters(stores: Stores, items: list[Counter]) -> Iterator[Difference]:
    """Compare counters with the sizes of the indexes."""
    keys = stores.keys

    def reads(item: Counter) -> list[Command]:
        group, own = item.key.removeprefix(keys.counts)[1:], keys.user_tasks(item.user_id)
        size = ("ZINTERCARD", "2", own, keys.group_tasks(group)) if group else ("ZCARD", own)
        return [("HGET", *item), size]

    for item, (counted, size) in stores.look(items, reads):
        wanted = (str(size).encode(),) if size else (b"0", None)
        if WRONG_TYPE in (counted, size) or counted in wanted:
            continue
        guards = [*zip(reads(item), (text_of(counted), str(size)), strict=True)]
        change = ("HSET", *item, str(size)) if size else ("HDEL", *item)
        subject = item.key.removeprefix(keys.root)
        problem, remedy = "has a wrong number of tasks for", "--repair counts them"
        detail = named((Kind.USER, int(item.user_id) if item.user_id.isdecimal() else 0))
        yield Difference(subject, problem, remedy, Step.COUNTERS, detail, Repair(guards, [change]))
