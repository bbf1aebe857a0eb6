"""Putting back what a store has lost, where what it has taken in since leaves room for it."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

import orjson

from taskapi.store import quarantine
from taskapi.store.changes import Mark
from taskapi.store.codec import Entity
from taskapi.store.connection import Store
from taskapi.store.indexes import Write, fold, reindex
from taskapi.store.keys import Kind
from taskapi.store.loading import Loader, commands
from taskapi.store.quarantine import Refusal
from taskapi.store.session import entity, fetch

BATCH: Final = 500
TAKEN: Final = "Redis lost it, and its name or address has been given to another since"
ALONE: Final = "Redis lost it, and it does not fit what has changed since"
NEEDED: Final = "Redis lost its delete, and it has been used since"

Name = tuple[Kind, int]
Lost = dict[Name, Entity | Mark]
"""What is to be put back, entities and deletes."""

_REFERENCES: Final = {"admin_id": Kind.USER, "user_id": Kind.USER, "group_id": Kind.GROUP}


def newer(store: Store, kind: Kind, entities: Iterable[Entity]) -> Iterator[Entity]:
    """Yield those of the entities that the store has older, or does not have and never deleted."""
    rest = iter(entities)
    while batch := list(islice(rest, BATCH)):
        keys, marks = store.keys, [f"{kind}:{each['id']}" for each in batch]
        reads = [("HGET", keys.entity(kind, each["id"]), "version") for each in batch]
        *versions, deletes = store.connection.execute(*reads, ("ZMSCORE", keys.tombstones, *marks))
        for each, version, delete in zip(batch, versions, deletes, strict=True):
            if each["version"] > max(int(version or 0), int(delete or 0)):
                yield each


def alive(store: Store, deletes: list[Mark]) -> Iterator[Mark]:
    """Yield those of the deletes whose entity the store has, older than the delete."""
    for start in range(0, len(deletes), BATCH):
        batch = deletes[start : start + BATCH]
        reads = (("HGET", store.keys.entity(Kind(m.kind), m.id), "version") for m in batch)
        for mark, version in zip(batch, store.connection.execute(*reads), strict=True):
            if version is not None and int(version) < mark.version:
                yield mark


class Merge:
    """Puts entities and deletes back into a store whose doors are closed.

    What no longer fits goes into quarantine instead, marked as changed: the store's own wins.
    """

    def __init__(self, store: Store, loader: Loader, lost: Lost) -> None:
        self._store, self._keys, self._loader, self._lost = store, store.keys, loader, lost
        self._stored: dict[Name, Entity | None] = {}

    def run(self) -> None:
        """Do it; raises NewEpoch when another restore has begun."""
        while refusals := [*self._refusals()]:
            for mark, *_ in refusals:
                del self._lost[Kind(mark.kind), mark.id]
                self._loader.run([("ZADD", self._keys.dirty, str(mark.version), str(mark))])
            quarantine.add(self._store, refusals)
        names = sorted(self._lost, key=lambda name: "tug".index(name[0]))
        writes = [write for name in names for write in self._writes(*name)]
        unique = {("HDEL", self._keys.emails), ("HDEL", self._keys.names)}
        writes.sort(key=lambda write: write[:2] not in unique)  # free them all, then take them
        writes += self._duties()
        for start in range(0, len(writes), BATCH):
            self._loader.run(writes[start : start + BATCH])

    def _refusals(self) -> Iterator[Refusal]:
        for (kind, entity_id), each in self._lost.items():
            if isinstance(each, Mark):
                reason = NEEDED if self._is_needed(kind, entity_id) else ""
            elif self._is_taken(kind, each):
                reason = TAKEN
            else:
                reason = "" if self._fits(kind, each) else ALONE
            if reason:
                version = each.version if isinstance(each, Mark) else each["version"]
                yield Refusal(Mark(kind, entity_id, version), "", reason)

    def _is_taken(self, kind: Kind, new: Entity) -> bool:
        """Whether another entity will have this one's name or address."""
        if kind is Kind.TASK:
            return False
        index, field = (
            (self._keys.emails, "email") if kind is Kind.USER else (self._keys.names, "name")
        )
        (holder,) = self._store.connection.execute(("HGET", index, fold(new[field])))
        other = self._final(kind, int(holder)) if holder and int(holder) != new["id"] else None
        return other is not None and fold(other[field]) == fold(new[field])

    def _fits(self, kind: Kind, new: Entity) -> bool:
        """Whether all it refers to will exist, and admins be members with the role for it."""
        if not all(self._final(*name) for name in _references(new)):
            return False
        if kind is Kind.TASK:
            return True
        if kind is Kind.GROUP:
            return _may_administer(self._final(Kind.USER, new["admin_id"]), new["id"])
        duties = (self._look(kind, new["id"]) or {}).get("administers", [])
        groups = (self._final(Kind.GROUP, group_id) for group_id in duties)
        held = [group["id"] for group in groups if group and group["admin_id"] == new["id"]]
        return all(_may_administer(new, group_id) for group_id in held)

    def _is_needed(self, kind: Kind, entity_id: int) -> bool:
        """Whether something will still refer to this user or group."""
        if kind is Kind.TASK:
            return False
        keys = self._keys
        if kind is Kind.USER:
            tasks, others, other = keys.user_tasks(entity_id), keys.groups, Kind.GROUP
        else:
            tasks, others, other = keys.group_tasks(entity_id), keys.members(entity_id), Kind.USER
        found = self._store.connection.execute(("ZRANGE", tasks, 0, -1), ("ZRANGE", others, 0, -1))
        names = ((k, int(i)) for k, ids in zip((Kind.TASK, other), found, strict=True) for i in ids)
        finals = (self._final(*name) for name in names)
        return any((kind, entity_id) in _references(final) for final in finals if final)

    def _writes(self, kind: Kind, entity_id: int) -> Iterator[Write]:
        old, new = self._look(kind, entity_id), self._final(kind, entity_id)
        if new:
            yield from commands(self._keys, kind, old, new)
        elif old:
            yield from reindex(self._keys, kind, old, None)
            yield ("UNLINK", self._keys.entity(kind, entity_id))

    def _duties(self) -> Iterator[Write]:
        """Yield what makes `administers` of all users concerned what the groups say."""
        groups = [name for name in self._lost if name[0] is Kind.GROUP]
        people = {name[1] for name in self._lost if name[0] is Kind.USER}
        sides = [self._look(*name) for name in groups] + [self._final(*name) for name in groups]
        for user_id in people | {group["admin_id"] for group in sides if group}:
            before = (self._look(Kind.USER, user_id) or {}).get("administers", [])
            names = {*groups, *((Kind.GROUP, group_id) for group_id in before)}
            finals = [final for name in names if (final := self._final(*name))]
            duties = sorted(group["id"] for group in finals if group["admin_id"] == user_id)
            key = self._keys.entity(Kind.USER, user_id)
            if not duties:
                yield ("HDEL", key, "administers")
            elif self._final(Kind.USER, user_id):
                yield ("HSET", key, "administers", orjson.dumps(duties).decode())

    def _final(self, kind: Kind, entity_id: int) -> Entity | None:
        """Return what an entity will be afterwards."""
        lost = self._lost.get((kind, entity_id))
        if lost is None:
            return self._look(kind, entity_id)
        return None if isinstance(lost, Mark) else lost

    def _look(self, kind: Kind, entity_id: int) -> Entity | None:
        """Return what the store has."""
        name = kind, entity_id
        if name not in self._stored:
            (reply,) = self._store.connection.execute(fetch(self._keys, kind, entity_id))
            self._stored[name] = entity(kind, reply)
        return self._stored[name]


def _references(user: Entity) -> list[Name]:
    """Return what an entity cannot be without."""
    single = [(kind, user[name]) for name, kind in _REFERENCES.items() if name in user]
    return single + [(Kind.GROUP, group_id) for group_id in user.get("group_ids", ())]


def _may_administer(user: Entity | None, group_id: int) -> bool:
    return user is not None and group_id in user["group_ids"] and user["role"] != "user"
