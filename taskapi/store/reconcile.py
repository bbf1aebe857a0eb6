"""Putting back changes that Redis lost, unless they conflict with changes made since."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import chain
from typing import Final

import orjson

from taskapi.store import quarantine, session
from taskapi.store.chunks import Mark
from taskapi.store.codec import Entity, references
from taskapi.store.connection import Store
from taskapi.store.indexes import Write, fold, merged, reindex
from taskapi.store.keys import EntityRef, Kind
from taskapi.store.loading import Loader, batches, commands
from taskapi.store.numbers import number
from taskapi.store.quarantine import Refusal

TAKEN: Final = "Redis lost it, and another entity has its name or e-mail address now"
UNFIT: Final = "Redis lost it, and it does not fit changes made since"
ONLY_IN_POSTGRES: Final = {TAKEN, UNFIT}
"""Reasons for the quarantine of entities that only PostgreSQL has."""
NEEDED: Final = "Redis lost its delete, and other entities refer to it now"

Change = tuple[EntityRef, Entity | Mark]
Lost = dict[EntityRef, Entity | Mark]
"""Entities and deletes to put back."""
FindTasks = Callable[[Sequence[int]], Iterator[Change]]
"""Yields the lost changes of the tasks with these ids; of all tasks if the sequence is empty."""


def newer(store: Store, kind: Kind, entities: Iterable[Entity]) -> Iterator[Entity]:
    """Yield the entities that are newer than those of the store and than its deletes."""
    for batch in batches(entities):
        keys, marks = store.keys, [f"{kind}:{each['id']}" for each in batch]
        reads = [("HGET", keys.entity(kind, each["id"]), "version") for each in batch]
        *versions, deletes = store.connection.execute(*reads, ("ZMSCORE", keys.tombstones, *marks))
        for each, version, delete in zip(batch, versions, deletes, strict=True):
            known = number(version or b"0", f"the version of a {kind.noun} is no number")
            deleted = number(delete or b"0", f"the version of a {kind.noun} tombstone is no number")
            if each["version"] > max(known, deleted):
                yield each


def alive(store: Store, deletes: Iterable[Mark]) -> Iterator[Mark]:
    """Yield the deletes whose entity is in the store, in an older version."""
    for batch in batches(deletes):
        reads = (("HGET", store.keys.entity(Kind(m.kind), m.id), "version") for m in batch)
        for mark, version in zip(batch, store.connection.execute(*reads), strict=True):
            known = number(version or b"0", f"the version of {mark} is no number")
            if version is not None and known < mark.version:
                yield mark


class Reconciliation:
    """Puts entities and deletes back into a store while clients are blocked.

    A change that no longer fits goes into quarantine: the store's own changes win. Lost users and
    groups are held in memory; lost tasks are read in batches.
    """

    def __init__(self, store: Store, loader: Loader, lost: Lost, find_tasks: FindTasks) -> None:
        self._store, self._keys, self._loader, self._lost = store, store.keys, loader, lost
        self._find_tasks = find_tasks
        self._stored: dict[EntityRef, Entity | None] = {}

    def run(self) -> None:
        """Put everything back; raises NewEpoch when another restore has started."""
        while refusals := [*self._refusals()]:
            self._refuse(self._lost, refusals)
        # Tasks first: the delete of a user or group removes the indexes of its tasks.
        for batch in batches(self._find_tasks(())):
            self._put_back_tasks(dict(batch))
        for refs in batches(self._lost):
            self._stored |= self._read(refs)
        writes = [*self._writes(self._lost)]
        names = {("HDEL", self._keys.emails), ("HDEL", self._keys.names)}
        writes.sort(key=lambda write: write[:2] not in names)  # free all names before they are used
        for part in batches([*writes, *self._set_administers()]):
            self._loader.run(part)

    def _put_back_tasks(self, lost: Lost) -> None:
        tasks = [each for each in lost.values() if isinstance(each, dict)]
        self._stored = self._read({*lost, *chain.from_iterable(map(references, tasks))})
        unfit = (task for task in tasks if not self._has_references(task))
        self._refuse(lost, [_refusal(Kind.TASK, task, UNFIT) for task in unfit])
        self._loader.run(merged(self._writes(lost)))

    def _refuse(self, lost: Lost, refusals: list[Refusal]) -> None:
        """Move changes from `lost` to quarantine."""
        for part in batches(refusals):
            marks = [mark for mark, *_ in part]
            self._loader.run([("ZADD", self._keys.dirty, str(m.version), str(m)) for m in marks])
            quarantine.add(self._store, part)
        for mark, *_ in refusals:
            del lost[Kind(mark.kind), mark.id]

    def _refusals(self) -> Iterator[Refusal]:
        for (kind, entity_id), each in self._lost.items():
            if isinstance(each, Mark):
                if self._is_needed(kind, entity_id):
                    yield Refusal(each, "", NEEDED)
            elif self._is_taken(kind, each):
                yield _refusal(kind, each, TAKEN)
            elif not self._fits(kind, each):
                yield _refusal(kind, each, UNFIT)

    def _is_taken(self, kind: Kind, new: Entity) -> bool:
        """Return whether another entity will have this one's name or e-mail address."""
        index = self._keys.emails if kind is Kind.USER else self._keys.names
        field = "email" if kind is Kind.USER else "name"
        (holder,) = self._store.connection.execute(("HGET", index, fold(new[field])))
        other = self._final(kind, int(holder)) if holder and int(holder) != new["id"] else None
        return other is not None and fold(other[field]) == fold(new[field])

    def _fits(self, kind: Kind, new: Entity) -> bool:
        """Return whether all references will exist, and all admins may administer their groups."""
        if not self._has_references(new):
            return False
        if kind is Kind.GROUP:
            return _may_administer(self._final(Kind.USER, new["admin_id"]), new["id"])
        group_ids = (self._stored_entity(kind, new["id"]) or {}).get("administers", [])
        groups = (self._final(Kind.GROUP, group_id) for group_id in group_ids)
        held = [group["id"] for group in groups if group and group["admin_id"] == new["id"]]
        return all(_may_administer(new, group_id) for group_id in held)

    def _has_references(self, new: Entity) -> bool:
        return all(self._final(*ref) for ref in references(new))

    def _is_needed(self, kind: Kind, entity_id: int) -> bool:
        """Return whether an entity will still refer to this user or group."""
        keys = self._keys
        if kind is Kind.USER:
            tasks, others, other = keys.user_tasks(entity_id), keys.groups, Kind.GROUP
        else:
            tasks, others, other = keys.group_tasks(entity_id), keys.members(entity_id), Kind.USER
        reads = ("ZRANGE", tasks, 0, -1), ("ZRANGE", others, 0, -1)
        task_ids, other_ids = self._store.connection.execute(*reads)
        finals = chain((self._final(other, int(i)) for i in other_ids), self._final_tasks(task_ids))
        return any((kind, entity_id) in references(final) for final in finals if final)

    def _writes(self, lost: Lost) -> Iterator[Write]:
        """Yield the commands that put these entities and deletes back."""
        for (kind, entity_id), each in lost.items():
            old = self._stored_entity(kind, entity_id)
            if isinstance(each, dict):
                yield from commands(self._keys, kind, old, each)
            elif old:
                yield from reindex(self._keys, kind, old, None)
                yield ("UNLINK", self._keys.entity(kind, entity_id))
            yield ("ZREM", self._keys.dirty, f"{kind}:{entity_id}")  # the mark of an older change

    def _set_administers(self) -> Iterator[Write]:
        """Yield commands that set `administers` of all users concerned."""
        changed = {ref[1]: set[int]() for ref in self._lost if ref[0] is Kind.USER}
        for kind, entity_id in self._lost:
            if kind is Kind.GROUP:
                for each in (self._stored_entity(kind, entity_id), self._final(kind, entity_id)):
                    if each:
                        changed.setdefault(each["admin_id"], set()).add(entity_id)
        for user_id, group_ids in changed.items():
            before = (self._stored_entity(Kind.USER, user_id) or {}).get("administers", [])
            finals = [self._final(Kind.GROUP, group_id) for group_id in group_ids.union(before)]
            held = sorted(each["id"] for each in finals if each and each["admin_id"] == user_id)
            key = self._keys.entity(Kind.USER, user_id)
            if not held:
                yield ("HDEL", key, "administers")
            elif self._final(Kind.USER, user_id):
                yield ("HSET", key, "administers", orjson.dumps(held).decode())

    def _final(self, kind: Kind, entity_id: int) -> Entity | None:
        """Return the user or group as it will be afterwards."""
        lost = self._lost.get((kind, entity_id))
        if lost is None:
            return self._stored_entity(kind, entity_id)
        return None if isinstance(lost, Mark) else lost

    def _final_tasks(self, task_ids: Iterable[bytes]) -> Iterator[Entity | None]:
        """Yield tasks of the store as they will be afterwards."""
        for batch in batches(map(int, task_ids)):
            lost = dict(self._find_tasks(batch))
            for ref, stored in self._read([(Kind.TASK, task_id) for task_id in batch]).items():
                new = lost.get(ref)
                if not isinstance(new, Mark):
                    yield new if new and self._has_references(new) else stored

    def _stored_entity(self, kind: Kind, entity_id: int) -> Entity | None:
        """Return the entity that the store has."""
        ref = kind, entity_id
        if ref not in self._stored:
            self._stored |= self._read([ref])
        return self._stored[ref]

    def _read(self, refs: Collection[EntityRef]) -> dict[EntityRef, Entity | None]:
        """Read entities of the store in one call."""
        replies = self._store.connection.execute(*(session.fetch(self._keys, *ref) for ref in refs))
        return {ref: session.entity(*ref, each) for ref, each in zip(refs, replies, strict=True)}


def _refusal(kind: Kind, entity: Entity, reason: str) -> Refusal:
    return Refusal(Mark(kind, entity["id"], entity["version"]), "", reason)


def _may_administer(user: Entity | None, group_id: int) -> bool:
    return user is not None and group_id in user["group_ids"] and user["role"] != "user"
