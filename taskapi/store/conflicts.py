"""Which changes that Redis lost conflict with changes made since."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import chain, count
from typing import Final

from taskapi.store import session
from taskapi.store.chunks import Mark
from taskapi.store.codec import Entity, references
from taskapi.store.connection import Store
from taskapi.store.indexes import fold
from taskapi.store.keys import EntityRef, Kind
from taskapi.store.loading import SCAN, batches
from taskapi.store.quarantine import Refusal

TAKEN: Final = "Redis lost this change, and another entity has its name or e-mail address now"
UNFIT: Final = "Redis lost this change, and it conflicts with later changes"
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


class Conflicts:
    """Compares lost changes with the store; everything is read in batches.

    Attributes:
        refused: the users and groups whose lost changes are in quarantine.
    """

    def __init__(self, store: Store, find_lost: FindLost) -> None:
        self._store, self._keys, self._find_lost = store, store.keys, find_lost
        self.refused: set[EntityRef] = set()

    def lost(self) -> Iterator[Lost]:
        """Yield changes of users and groups that are not in quarantine, in batches."""
        changes = self._find_lost((Kind.USER, Kind.GROUP), ())
        for batch in batches(each for each in changes if each[0] not in self.refused):
            yield dict(batch)

    def lost_tasks(self) -> Iterator[Lost]:
        """Yield changes of tasks, in batches."""
        yield from map(dict, batches(self._find_lost((Kind.TASK,), ())))

    def among(self, lost: Lost) -> Iterator[Refusal]:
        """Yield the changes of users and groups that conflict with the store."""
        holders = self._holders(lost)
        stored, finals = self.read(lost), self._finals(chain(_referred(lost), holders.values()))
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

    def among_tasks(self, lost: Lost) -> Iterator[Refusal]:
        """Yield the changes of tasks whose user or group will not exist."""
        finals = self._finals(_referred(lost))
        for task in _entities(lost):
            if not _has_references(task, finals):
                yield _refusal(Kind.TASK, task, UNFIT)

    def read(self, refs: Collection[EntityRef]) -> Found:
        """Read entities of the store in one call."""
        replies = self._store.connection.execute(*(session.fetch(self._keys, *ref) for ref in refs))
        return {ref: session.entity(*ref, each) for ref, each in zip(refs, replies, strict=True)}

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

    def _final_tasks(self, refs: list[EntityRef]) -> Iterator[Entity | None]:
        """Yield tasks of the store as they will be afterwards."""
        ids = [task_id for _, task_id in refs]
        lost = dict(self._find_lost((Kind.TASK,), ids)) if ids else {}
        finals = self._finals(_referred(lost))
        for ref, stored in self.read(refs).items():
            new = lost.get(ref)
            if not isinstance(new, Mark):
                yield new if new and _has_references(new, finals) else stored

    def _finals(self, refs: Iterable[EntityRef]) -> Found:
        """Return these users and groups as they will be afterwards."""
        finals = self.read({*refs})
        for kind in (Kind.USER, Kind.GROUP):
            if ids := [entity_id for of_kind, entity_id in finals if of_kind is kind]:
                lost = (
                    each for each in self._find_lost((kind,), ids) if each[0] not in self.refused
                )
                finals |= {ref: None if isinstance(each, Mark) else each for ref, each in lost}
        return finals


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
