"""Putting back changes that Redis lost, unless they conflict with changes made since."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import chain, count
from typing import Final

import orjson

from taskapi.store import quarantine, session
from taskapi.store.chunks import Mark
from taskapi.store.codec import Entity, references
from taskapi.store.connection import Store
from taskapi.store.indexes import Write, fold, merged, reindex
from taskapi.store.keys import EntityRef, Kind
from taskapi.store.loading import SCAN, Loader, batches, commands
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
Found = dict[EntityRef, Entity | None]
"""Entities as they are now or will be afterwards; None if they do not exist."""
FindLost = Callable[[Iterable[Kind], Sequence[int]], Iterator[Change]]
"""Yields the lost changes of these kinds with these ids; with any id if there are no ids.

Those of users come before those of groups.
"""


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

    A change that no longer fits goes into quarantine: the store's own changes win. Everything is
    read in batches; only the ids of users and groups in quarantine are held in memory.
    """

    def __init__(self, store: Store, loader: Loader, find_lost: FindLost) -> None:
        self._store, self._keys, self._loader = store, store.keys, loader
        self._find_lost = find_lost
        self._refused: set[EntityRef] = set()

    def run(self) -> None:
        """Put everything back; raises NewEpoch when another restore has started."""
        while self._refuse_conflicts():
            pass  # without these changes, others may not fit any more
        # Tasks first: the delete of a user or group removes the indexes of its tasks.
        for batch in batches(self._find_lost((Kind.TASK,), ())):
            self._put_back_tasks(dict(batch))
        free = {("HDEL", self._keys.emails), ("HDEL", self._keys.names)}
        for lost in self._lost():  # free all names before they are used
            writes = self._writes(lost, self._read(lost))
            self._run(write for write in writes if write[:2] in free)
        for lost in self._lost():
            stored = self._read(lost)
            writes = self._writes(lost, stored)
            self._run(write for write in writes if write[:2] not in free)
            self._run(self._set_administers(lost, stored))

    def _run(self, writes: Iterable[Write]) -> None:
        for batch in batches(writes):
            self._loader.run(batch)

    def _lost(self) -> Iterator[Lost]:
        """Yield lost users and groups that are not in quarantine, in batches."""
        changes = self._find_lost((Kind.USER, Kind.GROUP), ())
        for batch in batches(each for each in changes if each[0] not in self._refused):
            yield dict(batch)

    def _refuse_conflicts(self) -> bool:
        """Move changes of users and groups to quarantine; return whether there were any."""
        before = len(self._refused)
        for lost in self._lost():
            refusals = [*self._refusals(lost)]
            self._refuse(refusals)
            self._refused |= {(Kind(mark.kind), mark.id) for mark, *_ in refusals}
        return len(self._refused) > before

    def _put_back_tasks(self, lost: Lost) -> None:
        finals = self._finals(_referred(lost))
        unfit = [task for task in _entities(lost) if not _has_references(task, finals)]
        self._refuse([_refusal(Kind.TASK, task, UNFIT) for task in unfit])
        for task in unfit:
            del lost[Kind.TASK, task["id"]]
        self._loader.run(merged(self._writes(lost, self._read(lost))))

    def _refuse(self, refusals: list[Refusal]) -> None:
        marks = [mark for mark, *_ in refusals]
        self._loader.run([("ZADD", self._keys.dirty, str(m.version), str(m)) for m in marks])
        quarantine.add(self._store, refusals)

    def _refusals(self, lost: Lost) -> Iterator[Refusal]:
        holders = self._holders(lost)
        stored, finals = self._read(lost), self._finals(chain(_referred(lost), holders.values()))
        needed = self._needed(lost, stored)
        for ref, each in lost.items():
            kind, holder = ref[0], finals[holders[ref]] if ref in holders else None
            if isinstance(each, Mark):
                if ref in needed:
                    yield Refusal(each, "", NEEDED)
            elif holder and self._name(kind, holder) == self._name(kind, each):
                yield _refusal(kind, each, TAKEN)
            elif not self._fits(kind, each, stored[ref], finals):
                yield _refusal(kind, each, UNFIT)

    def _holders(self, lost: Lost) -> dict[EntityRef, EntityRef]:
        """Return which other entities have the names or e-mail addresses of the lost ones now."""
        new = {ref: each for ref, each in lost.items() if isinstance(each, dict)}
        reads = (("HGET", *self._name(kind, each)) for (kind, _), each in new.items())
        found = zip(new, self._store.connection.execute(*reads), strict=True)
        holders = {ref: (ref[0], int(holder)) for ref, holder in found if holder}
        return {ref: holder for ref, holder in holders.items() if holder != ref}

    def _name(self, kind: Kind, entity: Entity) -> tuple[str, str]:
        """Return the index and the field in it that belong to one entity only."""
        if kind is Kind.USER:
            return self._keys.emails, fold(entity["email"])
        return self._keys.names, fold(entity["name"])

    def _fits(self, kind: Kind, new: Entity, stored: Entity | None, finals: Found) -> bool:
        """Return whether all references will exist, and all admins may administer their groups."""
        if not _has_references(new, finals):
            return False
        if kind is Kind.GROUP:
            return _may_administer(finals[Kind.USER, new["admin_id"]], new["id"])
        group_ids = (stored or {}).get("administers", [])
        barred = (group_id for group_id in group_ids if not _may_administer(new, group_id))
        for batch in batches(barred):
            groups = self._finals((Kind.GROUP, group_id) for group_id in batch).values()
            if any(group["admin_id"] == new["id"] for group in groups if group):
                return False
        return True

    def _needed(self, lost: Lost, stored: Found) -> set[EntityRef]:
        """Return the deleted users and groups of `lost` that other entities will still refer to."""
        deletes = {ref for ref, each in lost.items() if isinstance(each, Mark)}
        others = chain.from_iterable(self._referring(ref, stored[ref]) for ref in deletes)
        needed = set[EntityRef]()
        for batch in batches(others):
            finals = self._finals(ref for ref in batch if ref[0] is not Kind.TASK).values()
            tasks = self._final_tasks([ref for ref in batch if ref[0] is Kind.TASK])
            for final in chain(finals, tasks):
                needed |= deletes.intersection(references(final) if final else ())
        return needed

    def _referring(self, ref: EntityRef, stored: Entity | None) -> Iterator[EntityRef]:
        """Yield the entities of the store that refer to this user or group now."""
        (kind, entity_id), keys = ref, self._keys
        if kind is Kind.USER:
            yield from ((Kind.GROUP, i) for i in (stored or {}).get("administers", []))
            yield from ((Kind.TASK, i) for i in self._ids(keys.user_tasks(entity_id)))
        else:
            yield from ((Kind.USER, i) for i in self._ids(keys.members(entity_id)))
            yield from ((Kind.TASK, i) for i in self._ids(keys.group_tasks(entity_id)))

    def _ids(self, key: str) -> Iterator[int]:
        """Yield the ids in a sorted set, which does not change meanwhile."""
        for start in count(0, SCAN):
            (ids,) = self._store.connection.execute(("ZRANGE", key, start, start + SCAN - 1))
            yield from map(int, ids)
            if len(ids) < SCAN:
                return

    def _writes(self, lost: Lost, stored: Found) -> Iterator[Write]:
        """Yield the commands that put these entities and deletes back, without `administers`."""
        for (kind, entity_id), each in lost.items():
            old = stored[kind, entity_id]
            if isinstance(each, dict):
                new = {**each, "administers": []} if kind is Kind.USER else each
                yield from commands(self._keys, kind, old, new)
            elif old:
                yield from reindex(self._keys, kind, old, None)
                yield ("UNLINK", self._keys.entity(kind, entity_id))
            yield ("ZREM", self._keys.dirty, f"{kind}:{entity_id}")  # the mark of an older change

    def _set_administers(self, lost: Lost, stored: Found) -> Iterator[Write]:
        """Yield commands that set `administers` of the admins before and after these changes."""
        before, after = defaultdict[int, set[int]](set), defaultdict[int, set[int]](set)
        for (kind, entity_id), each in lost.items():
            if kind is Kind.GROUP:
                if old := stored[kind, entity_id]:
                    before[old["admin_id"]].add(entity_id)
                if isinstance(each, dict):
                    after[each["admin_id"]].add(entity_id)
        for (kind, user_id), user in self._read([(Kind.USER, i) for i in before | after]).items():
            if user:
                kept = set(user.get("administers", [])) - before[user_id]
                held, key = kept | after[user_id], self._keys.entity(kind, user_id)
                if held:
                    yield ("HSET", key, "administers", orjson.dumps(sorted(held)).decode())
                else:
                    yield ("HDEL", key, "administers")

    def _final_tasks(self, refs: list[EntityRef]) -> Iterator[Entity | None]:
        """Yield tasks of the store as they will be afterwards."""
        ids = [task_id for _, task_id in refs]
        lost = dict(self._find_lost((Kind.TASK,), ids)) if ids else {}
        finals = self._finals(_referred(lost))
        for ref, stored in self._read(refs).items():
            new = lost.get(ref)
            if not isinstance(new, Mark):
                yield new if new and _has_references(new, finals) else stored

    def _finals(self, refs: Iterable[EntityRef]) -> Found:
        """Return these users and groups as they will be afterwards."""
        finals = self._read({*refs})
        for kind in (Kind.USER, Kind.GROUP):
            if ids := [entity_id for of_kind, entity_id in finals if of_kind is kind]:
                lost = (
                    each for each in self._find_lost((kind,), ids) if each[0] not in self._refused
                )
                finals |= {ref: None if isinstance(each, Mark) else each for ref, each in lost}
        return finals

    def _read(self, refs: Collection[EntityRef]) -> Found:
        """Read entities of the store in one call."""
        replies = self._store.connection.execute(*(session.fetch(self._keys, *ref) for ref in refs))
        return {ref: session.entity(*ref, each) for ref, each in zip(refs, replies, strict=True)}


def _entities(lost: Lost) -> list[Entity]:
    return [each for each in lost.values() if isinstance(each, dict)]


def _referred(lost: Lost) -> Iterator[EntityRef]:
    """Yield what lost entities refer to."""
    return chain.from_iterable(map(references, _entities(lost)))


def _has_references(entity: Entity, finals: Found) -> bool:
    return all(finals[ref] for ref in references(entity))


def _refusal(kind: Kind, entity: Entity, reason: str) -> Refusal:
    return Refusal(Mark(kind, entity["id"], entity["version"]), "", reason)


def _may_administer(user: Entity | None, group_id: int) -> bool:
    return user is not None and group_id in user["group_ids"] and user["role"] != "user"
