"""Checks of entities: that they can be read, and that everything else agrees with them."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple

from taskapi.doctor.check_keys import TAKEN
from taskapi.doctor.check_rows import compare_rows
from taskapi.doctor.differences import Administering, Difference, Step, Stores, guard_of, named
from taskapi.errors import Damaged
from taskapi.store import codec, quarantine, session, tokens
from taskapi.store.chunks import Mark
from taskapi.store.codec import Entity, references
from taskapi.store.connection import Command
from taskapi.store.consistency import DAMAGED, WRONG_TYPE, Entry, Repair, entries, look, text_of
from taskapi.store.indexes import Write
from taskapi.store.keys import EntityRef, Keys, Kind
from taskapi.store.passwords import is_hash
from taskapi.sync import row_versions

UNREADABLE: Final = "cannot be read"
NOT_THERE: Final = "PostgreSQL does not have it: correct it by hand, or delete its key and repair"
BY_HAND: Final = "no repair: change or delete one of them"


class Expectation(NamedTuple):
    """A read, and the function that returns the difference for its reply; None for a right one."""

    read: Command
    find: Callable[[Any], Difference | None]


def check_entities(stores: Stores, refs: list[EntityRef]) -> Iterator[Difference]:
    """Compare entities with their indexes, with each other and with PostgreSQL."""
    replies = look(stores.store, [session.fetch(stores.keys, *ref) for ref in refs])
    found: dict[EntityRef, Entity] = {}
    for ref, reply in zip(refs, replies, strict=True):
        try:
            if reply != WRONG_TYPE and (entity := session.entity(*ref, reply)):
                found[ref] = entity
        except Damaged:
            yield _unreadable(stores, ref, reply)
    unmarked: dict[Kind, dict[int, Entity]] = {kind: {} for kind in Kind}
    for ref, is_marked, differences in _compare(stores, found):
        yield from differences
        if not is_marked:
            unmarked[ref[0]][ref[1]] = found[ref]
    for kind, entities in unmarked.items():
        yield from compare_rows(stores, kind, entities)


def _compare(
    stores: Stores, found: dict[EntityRef, Entity]
) -> Iterator[tuple[EntityRef, bool, list[Difference]]]:
    """Yield each entity that is unchanged, whether it is marked, and what disagrees with it.

    Users get their `password_hash` and `tokens`, unless they cannot be read.
    """
    keys = stores.keys
    derived = {ref: entries(keys, ref[0], entity) for ref, entity in found.items()}
    others = {ref: [*_expectations(stores, ref, entity)] for ref, entity in found.items()}

    def reads(ref: EntityRef) -> list[Command]:
        return [
            ("HGET", keys.entity(*ref), "version"),
            ("ZSCORE", keys.dirty, f"{ref[0]}:{ref[1]}"),
            *(entry.read for entry in derived[ref]),
            *(each.read for each in others[ref]),
        ]

    for ref, (version, mark, *rest) in stores.look(found, reads):
        entity = found[ref]
        if version == str(entity["version"]).encode():
            at = len(derived[ref])
            wrong = [*_wrong_entries(keys, ref, entity, zip(derived[ref], rest[:at], strict=True))]
            pairs = zip(others[ref], rest[at:], strict=True)
            wrong += [problem for each, value in pairs if (problem := each.find(value))]
            if ref[0] is Kind.USER:
                entity |= _hidden(*rest[at : at + 2])
            yield ref, mark is not None, wrong


def _hidden(password_hash: bytes | None, stored: bytes | None) -> Entity:
    """Return the hidden values of a user that can be read."""
    hashed = {"password_hash": (password_hash or b"").decode()} if is_hash(password_hash) else {}
    return hashed | ({"tokens": tokens.parse(stored)} if tokens.are_readable(stored) else {})


def _wrong_entries(
    keys: Keys, ref: EntityRef, entity: Entity, read: Iterable[tuple[Entry, bytes | None]]
) -> Iterator[Difference]:
    for entry, value in read:
        if value != entry.value.encode() and value != WRONG_TYPE:
            subject = str(entry.read[1]).removeprefix(keys.root)
            problem = "lacks" if value is None else "has a wrong value for"
            repair = Repair([guard_of(keys, ref, entity["version"])], [entry.write])
            remedy = "--repair writes it from the entity"
            yield Difference(subject, problem, remedy, Step.INDEXES, named(ref), repair)


def _expectations(stores: Stores, ref: EntityRef, entity: Entity) -> Iterator[Expectation]:
    """Yield what users and groups need besides indexes; `check_owners` looks for lost owners."""
    if ref[0] is Kind.USER:
        yield _password_hash(stores, entity)  # these come first: `_compare` uses their replies
        yield _tokens(stores, entity)
        yield from (_existing(stores.keys, ref, other) for other in references(entity))
        held = entity.get("administers", ())
        yield from (_held(stores.keys, ref, group) for group in held)
    elif ref[0] is Kind.GROUP:
        yield _existing(stores.keys, ref, (Kind.USER, entity["admin_id"]))
        yield _admin(stores.keys, ref, entity)


def _existing(keys: Keys, ref: EntityRef, other: EntityRef) -> Expectation:
    """Expect that what an entity refers to exists."""
    problem = f"refers to {named(other)}, which does not exist"
    difference = Difference(named(ref), problem, BY_HAND, Step.INDEXES)
    read = ("EXISTS", keys.entity(*other))
    return Expectation(read, lambda exists: None if exists else difference)


def _password_hash(stores: Stores, user: Entity) -> Expectation:
    mark = Mark(Kind.USER, user["id"], user["version"])
    read = ("GET", stores.keys.password_hash(mark.id))

    def find(stored: bytes | None) -> Difference | None:
        if stored == WRONG_TYPE or is_hash(stored):
            return None
        row = row_versions.find(stores.db, Kind.USER, mark.id)
        taken = row["password_hash"] if row and is_hash(row["password_hash"].encode()) else ""
        writes: list[Write] = [("SET", read[1], taken), *_release_from_quarantine(stores, mark)]
        remedy = TAKEN if taken else "set a new password"
        problem = "has a password hash that cannot be read" if stored else "has no password hash"
        repair = Repair([(read, text_of(stored))], writes) if taken else None
        return Difference(named((Kind.USER, mark.id)), problem, remedy, Step.ENTITIES, "", repair)

    return Expectation(read, find)


def _tokens(stores: Stores, user: Entity) -> Expectation:
    mark = Mark(Kind.USER, user["id"], user["version"])
    read = ("HGET", stores.keys.entity(Kind.USER, mark.id), tokens.FIELD)

    def find(stored: bytes | None) -> Difference | None:
        if stored == WRONG_TYPE or tokens.are_readable(stored):
            return None
        row = row_versions.find(stores.db, Kind.USER, mark.id)
        repair, remedy = None, "delete the field tokens of its key"
        if row and tokens.are_tokens(row["tokens"]):
            write = tokens.write(stores.keys, mark.id, row["tokens"])
            writes = [write, *_release_from_quarantine(stores, mark)]
            repair, remedy = Repair([(read, text_of(stored))], writes), TAKEN
        subject, problem = named((Kind.USER, mark.id)), "has tokens that cannot be read"
        return Difference(subject, problem, remedy, Step.ENTITIES, "", repair)

    return Expectation(read, find)


def _release_from_quarantine(stores: Stores, mark: Mark) -> list[Write]:
    """Return the command that takes a repaired user out of quarantine, if it is there."""
    is_there = quarantine.contains(stores.store, mark)
    return [("HDEL", stores.keys.quarantine, str(mark))] if is_there else []


def _held(keys: Keys, ref: EntityRef, group_id: int) -> Expectation:
    """Expect that a group in the user's `administers` has the user as its admin."""

    def find(json: bytes | None) -> Difference | None:
        if json is not None and (json == WRONG_TYPE or _admin_id(json) in (ref[1], None)):
            return None
        problem = f"administers group {group_id}, which does not name this admin"
        repair = Administering(ref[1], group_id, is_held=False)
        return Difference(named(ref), problem, "--repair removes that", Step.INDEXES, "", repair)

    return Expectation(("HGET", keys.entity(Kind.GROUP, group_id), "json"), find)


def _admin(keys: Keys, ref: EntityRef, group: Entity) -> Expectation:
    """Expect that the admin of a group is a suitable member, with the group in `administers`."""
    user_id = group["admin_id"]

    def find(reply: Any) -> Difference | None:
        try:
            user = None if reply == WRONG_TYPE else session.entity(Kind.USER, user_id, reply)
        except Damaged:
            user = None
        if user is None:  # a difference of its own
            return None
        if ref[1] not in user["group_ids"] or user["role"] == "user":
            problem = f"its admin, user {user_id}, is no member or has role user"
            return Difference(named(ref), problem, BY_HAND, Step.INDEXES)
        if ref[1] in user.get("administers", ()):
            return None
        problem = f"its admin, user {user_id}, does not administer it"
        repair = Administering(user_id, ref[1], is_held=True)
        return Difference(named(ref), problem, "--repair adds that", Step.INDEXES, "", repair)

    return Expectation(session.fetch(keys, Kind.USER, user_id), find)


def _admin_id(json: bytes) -> int | None:
    """Return the admin in a group's JSON, None if it cannot be read."""
    try:
        admin_id: int = codec.decode(Kind.GROUP, json)["admin_id"]
    except Damaged:
        return None
    return admin_id


def _fields(ref: EntityRef, reply: list[bytes | None]) -> str:
    """Return a text that names the wrong and missing fields of an entity; empty if unknown."""
    json, _, *administers = reply
    names = codec.wrong_fields(ref[0], json or b"")
    try:
        session.ids_of((administers and administers[0]) or b"[]")
    except ValueError:
        names.append("administers")
    return f"wrong or missing {', '.join(names)}" if names else ""


def _unreadable(stores: Stores, ref: EntityRef, reply: list[bytes | None]) -> Difference:
    """Return the difference for an entity that is moved aside if PostgreSQL has it."""
    key, name, fields = stores.keys.entity(*ref), f"{ref[0].noun}:{ref[1]}", _fields(ref, reply)
    lengths = [("HSTRLEN", key, "json"), ("HSTRLEN", key, "version")]
    guards = [
        (read, str(length))
        for read, length in zip(lengths, look(stores.store, lengths), strict=True)
    ]
    if row_versions.of(stores.db, ref[0], [ref[1]]):
        remedy = f"--repair moves its value to {DAMAGED}{name} and takes it from PostgreSQL"
        repair = Repair(guards, [("RENAME", key, f"{stores.keys.root}{DAMAGED}{name}")])
        return Difference(named(ref), UNREADABLE, remedy, Step.KEYS, fields, repair)
    return Difference(named(ref), UNREADABLE, NOT_THERE, Step.KEYS, fields)
