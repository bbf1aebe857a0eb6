"""Putting back changes that Redis lost, unless they conflict with changes made since."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

import orjson

from taskapi.store import quarantine, session
from taskapi.store.chunks import Mark
from taskapi.store.codec import Entity
from taskapi.store.connection import Store
from taskapi.store.indexes import Write, fold, reindex
from taskapi.store.keys import Kind
from taskapi.store.loading import Loader, commands
from taskapi.store.numbers import number
from taskapi.store.quarantine import Refusal

BATCH: Final = 500
TAKEN: Final = "Redis lost it, and another entity has its name or e-mail address now"
UNFIT: Final = "Redis lost it, and it does not fit changes made since"
ONLY_IN_POSTGRES: Final = {TAKEN, UNFIT}
"""Reasons for the quarantine of entities that only PostgreSQL has."""
NEEDED: Final = "Redis lost its delete, and other entities refer to it now"

EntityRef = tuple[Kind, int]
Lost = dict[EntityRef, Entity | Mark]
"""Entities and deletes to put back."""

_REFERENCES: Final = {"admin_id": Kind.USER, "user_id": Kind.USER, "group_id": Kind.GROUP}


def newer(store: Store, kind: Kind, entities: Iterable[Entity]) -> Iterator[Entity]:
    """Yield the entities that are newer than those of the store and than its deletes."""
    rest = iter(entities)
    while batch := list(islice(rest, BATCH)):
        keys, marks = store.keys, [f"{kind}:{each['id']}" for each in batch]
        reads = [("HGET", keys.entity(kind, each["id"]), "version") for each in batch]
        *versions, deletes = store.connection.execute(*reads, ("ZMSCORE", keys.tombstones, *marks))
        for each, version, delete in zip(batch, versions, deletes, strict=True):
            known = number(version or b"0", f"the version of a {kind.noun} is no number")
            deleted = number(
                delete or b"0", f"the version of a {kind.noun}'s tombstone is no number"
            )
            if each["version"] > max(known, deleted):
                yield each


def alive(store: Store, deletes: list[Mark]) -> Iterator[Mark]:
    """Yield the deletes whose entity is in the store, in an older version."""
    for start in range(0, len(deletes), BATCH):
        batch = deletes[start : start + BATCH]
        reads = (("HGET", store.keys.entity(Kind(m.kind), m.id), "version") for m in batch)
        for mark, version in zip(batch, store.connection.execute(*reads), strict=True):
            known = number(version or b"0", f"the version of {mark} is no number")
            if version is not None and known < mark.version:
                yield mark


class Reconciliation:
    """Puts entities and deletes back into a store while clients are blocked.

    A change that no longer fits goes into quarantine: the store's own changes win.
    """

    def __init__(self, store: Store, loader: Loader, lost: Lost) -> None:
        self._store, self._keys, self._loader, self._lost = store, store.keys, loader, lost
        self._stored: dict[EntityRef, Entity | None] = {}

    def run(self) -> None:
        """Put everything back; raises NewEpoch when another restore has started."""
        while refusals := [*self._refusals()]:
            for mark, *_ in refusals:
                del self._lost[Kind(mark.kind), mark.id]
                self._loader.run([("ZADD", self._keys.dirty, str(mark.version), str(mark))])
            quarantine.add(self._store, refusals)
        # Tasks first: the delete of a user or group removes the indexes of its tasks.
        refs = sorted(self._lost, key=lambda ref: "tug".index(ref[0]))
        writes = [write for ref in refs for write in self._writes(*ref)]
        names = {("HDEL", self._keys.emails), ("HDEL", self._keys.names)}
        writes.sort(key=lambda write: write[:2] not in names)  # free all names before they are used
        writes += self._set_administers()
        for start in range(0, len(writes), BATCH):
            self._loader.run(writes[start : start + BATCH])

    def _refusals(self) -> Iterator[Refusal]:
        for (kind, entity_id), each in self._lost.items():
            if isinstance(each, Mark):
                reason = NEEDED if self._is_needed(kind, entity_id) else ""
            elif self._is_taken(kind, each):
                reason = TAKEN
            else:
                reason = "" if self._fits(kind, each) else UNFIT
            if reason:
                version = each.version if isinstance(each, Mark) else each["version"]
                yield Refusal(Mark(kind, entity_id, version), "", reason)

    def _is_taken(self, kind: Kind, new: Entity) -> bool:
        """Return whether another entity will have this one's name or e-mail address."""
        if kind is Kind.TASK:
            return False
        index, field = (
            (self._keys.emails, "email") if kind is Kind.USER else (self._keys.names, "name")
        )
        (holder,) = self._store.connection.execute(("HGET", index, fold(new[field])))
        other = self._final(kind, int(holder)) if holder and int(holder) != new["id"] else None
        return other is not None and fold(other[field]) == fold(new[field])

    def _fits(self, kind: Kind, new: Entity) -> bool:
        """Return whether all references will exist, and all admins may administer their groups."""
        if not all(self._final(*ref) for ref in _references(new)):
            return False
        if kind is Kind.TASK:
            return True
        if kind is Kind.GROUP:
            return _may_administer(self._final(Kind.USER, new["admin_id"]), new["id"])
        group_ids = (self._stored_entity(kind, new["id"]) or {}).get("administers", [])
        groups = (self._final(Kind.GROUP, group_id) for group_id in group_ids)
        held = [group["id"] for group in groups if group and group["admin_id"] == new["id"]]
        return all(_may_administer(new, group_id) for group_id in held)

    def _is_needed(self, kind: Kind, entity_id: int) -> bool:
        """Return whether an entity will still refer to this user or group."""
        if kind is Kind.TASK:
            return False
        keys = self._keys
        if kind is Kind.USER:
            tasks, others, other = keys.user_tasks(entity_id), keys.groups, Kind.GROUP
        else:
            tasks, others, other = keys.group_tasks(entity_id), keys.members(entity_id), Kind.USER
        reads = ("ZRANGE", tasks, 0, -1), ("ZRANGE", others, 0, -1)
        task_ids, other_ids = self._store.connection.execute(*reads)
        refs = [(Kind.TASK, int(i)) for i in task_ids] + [(other, int(i)) for i in other_ids]
        finals = (self._final(*ref) for ref in refs)
        return any((kind, entity_id) in _references(final) for final in finals if final)

    def _writes(self, kind: Kind, entity_id: int) -> Iterator[Write]:
        old, new = self._stored_entity(kind, entity_id), self._final(kind, entity_id)
        if new:
            yield from commands(self._keys, kind, old, new)
        elif old:
            yield from reindex(self._keys, kind, old, None)
            yield ("UNLINK", self._keys.entity(kind, entity_id))
        yield ("ZREM", self._keys.dirty, f"{kind}:{entity_id}")  # the mark of an older change

    def _set_administers(self) -> Iterator[Write]:
        """Yield commands that set `administers` of all users concerned."""
        groups = [ref for ref in self._lost if ref[0] is Kind.GROUP]
        versions = [get(*ref) for ref in groups for get in (self._stored_entity, self._final)]
        user_ids = {ref[1] for ref in self._lost if ref[0] is Kind.USER}
        for user_id in user_ids | {group["admin_id"] for group in versions if group}:
            before = (self._stored_entity(Kind.USER, user_id) or {}).get("administers", [])
            refs = {*groups, *((Kind.GROUP, group_id) for group_id in before)}
            finals = [final for ref in refs if (final := self._final(*ref))]
            group_ids = sorted(group["id"] for group in finals if group["admin_id"] == user_id)
            key = self._keys.entity(Kind.USER, user_id)
            if not group_ids:
                yield ("HDEL", key, "administers")
            elif self._final(Kind.USER, user_id):
                yield ("HSET", key, "administers", orjson.dumps(group_ids).decode())

    def _final(self, kind: Kind, entity_id: int) -> Entity | None:
        """Return the entity as it will be afterwards."""
        lost = self._lost.get((kind, entity_id))
        if lost is None:
            return self._stored_entity(kind, entity_id)
        return None if isinstance(lost, Mark) else lost

    def _stored_entity(self, kind: Kind, entity_id: int) -> Entity | None:
        """Return the entity that the store has."""
        ref = kind, entity_id
        if ref not in self._stored:
            (reply,) = self._store.connection.execute(session.fetch(self._keys, kind, entity_id))
            self._stored[ref] = session.entity(kind, entity_id, reply)
        return self._stored[ref]


def _references(entity: Entity) -> list[EntityRef]:
    """Return the entities that an entity refers to."""
    single = [(kind, entity[name]) for name, kind in _REFERENCES.items() if name in entity]
    return single + [(Kind.GROUP, group_id) for group_id in entity.get("group_ids", ())]


def _may_administer(user: Entity | None, group_id: int) -> bool:
    return user is not None and group_id in user["group_ids"] and user["role"] != "user"
