"""Putting back changes that Redis lost, unless they conflict with changes made since."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

import orjson

from taskapi.store import quarantine
from taskapi.store.chunks import Mark
from taskapi.store.codec import Entity
from taskapi.store.conflicts import Conflicts, FindLost, Found, Lost
from taskapi.store.connection import Store
from taskapi.store.indexes import Write, merged, reindex
from taskapi.store.keys import Kind
from taskapi.store.loading import Loader, batches, commands
from taskapi.store.numbers import number
from taskapi.store.quarantine import Refusal


def newer(store: Store, kind: Kind, entities: Iterable[Entity]) -> Iterator[Entity]:
    """Yield the entities that are newer than those of the store and than its deletes."""
    for batch in batches(entities):
        keys, marks = store.keys, [f"{kind}:{each['id']}" for each in batch]
        reads = [("HGET", keys.entity(kind, each["id"]), "version") for each in batch]
        *versions, deletes = store.connection.execute(*reads, ("ZMSCORE", keys.tombstones, *marks))
        for each, version, delete in zip(batch, versions, deletes, strict=True):
            known = number(version or b"0", f"the version of a {kind.noun} is not a number")
            deleted = number(
                delete or b"0", f"the version of a {kind.noun} tombstone is not a number"
            )
            if each["version"] > max(known, deleted):
                yield each


def missing_deletes(store: Store, deletes: Iterable[Mark]) -> Iterator[Mark]:
    """Yield the deletes whose entity is in the store, in an older version."""
    for batch in batches(deletes):
        reads = (("HGET", store.keys.entity(Kind(m.kind), m.id), "version") for m in batch)
        for mark, version in zip(batch, store.connection.execute(*reads), strict=True):
            known = number(version or b"0", f"the version of {mark} is not a number")
            if version is not None and known < mark.version:
                yield mark


class Reconciliation:
    """Puts entities and deletes back into a store while clients are blocked.

    A change that no longer fits goes into quarantine: the store's own changes win. Everything is
    read in batches; only the ids of users and groups in quarantine are held in memory.
    """

    def __init__(self, store: Store, loader: Loader, find_lost: FindLost) -> None:
        self._store, self._keys, self._loader = store, store.keys, loader
        self._conflicts = Conflicts(store, find_lost)

    def run(self) -> None:
        """Put everything back; raises NewEpoch when another restore has started."""
        while self._refuse_conflicts():
            pass  # without these changes, others may not fit any more
        # Tasks first: the delete of a user or group removes the indexes of its tasks.
        for lost in self._conflicts.lost_tasks():
            self._put_back_tasks(lost)
        free = {("HDEL", self._keys.emails), ("HDEL", self._keys.names)}
        for lost in self._conflicts.lost():  # free all names before they are used
            writes = self._writes(lost, self._conflicts.read(lost))
            self._run(write for write in writes if write[:2] in free)
        for lost in self._conflicts.lost():
            stored = self._conflicts.read(lost)
            writes = self._writes(lost, stored)
            self._run(write for write in writes if write[:2] not in free)
            self._run(self._set_administers(lost, stored))

    def _run(self, writes: Iterable[Write]) -> None:
        for batch in batches(writes):
            self._loader.run(batch)

    def _refuse_conflicts(self) -> bool:
        """Move changes of users and groups to quarantine; return whether there were any."""
        refused = self._conflicts.refused
        before = len(refused)
        for lost in self._conflicts.lost():
            refusals = [*self._conflicts.among(lost)]
            self._refuse(refusals)
            refused |= {(Kind(mark.kind), mark.id) for mark, *_ in refusals}
        return len(refused) > before

    def _put_back_tasks(self, lost: Lost) -> None:
        refusals = [*self._conflicts.among_tasks(lost)]
        self._refuse(refusals)
        for mark, *_ in refusals:
            del lost[Kind.TASK, mark.id]
        self._loader.run(merged(self._writes(lost, self._conflicts.read(lost))))

    def _refuse(self, refusals: list[Refusal]) -> None:
        marks = [mark for mark, *_ in refusals]
        self._loader.run([("ZADD", self._keys.dirty, str(m.version), str(m)) for m in marks])
        quarantine.add(self._store, refusals)

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
        for (kind, user_id), user in self._conflicts.read(
            [(Kind.USER, i) for i in before | after]
        ).items():
            if user:
                kept = set(user.get("administers", [])) - before[user_id]
                held, key = kept | after[user_id], self._keys.entity(kind, user_id)
                if held:
                    yield ("HSET", key, "administers", orjson.dumps(sorted(held)).decode())
                else:
                    yield ("HDEL", key, "administers")
