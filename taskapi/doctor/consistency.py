"""`python -m taskapi check`: compare entities, indexes, counters, marks and PostgreSQL.

It runs while requests are served. Everything about one entity is read at one instant, and a
difference counts only if a second look finds it too. The memory that it needs grows only with the
differences.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from taskapi.doctor.check_entities import check_entities
from taskapi.doctor.check_keys import (
    KINDS,
    Counter,
    IndexEntry,
    check_counters,
    check_index,
    check_names,
    check_owners,
    check_pin,
    check_types,
    ref_of,
)
from taskapi.doctor.check_marks import check_deletes, check_lost_rows, check_marks
from taskapi.doctor.check_meta import check_description
from taskapi.doctor.differences import Difference, Stores
from taskapi.errors import NotReady
from taskapi.store import meta
from taskapi.store.consistency import is_utf8, members
from taskapi.store.keys import Kind
from taskapi.store.loading import SCAN, scan
from taskapi.store.meta import State
from taskapi.sync import row_versions

BATCH: Final = 200
"""Items examined in one call: about 3 ms of Redis' time."""
WALKED: Final = {*KINDS, "counts", "dirty", "tombs", "deleting"}
"""First words of the keys whose members are checked."""
PAUSE_SECONDS: Final = 0.3
"""Between the first and the second look."""

Check = Callable[[Stores, list[Any]], Iterator[Difference]]


def examine(stores: Stores) -> list[Difference]:
    """Return the differences that two looks have found, and those of the store's description.

    Raises:
        NotReady: Redis is empty or being restored.
        Unavailable: a store is unreachable.
    """
    redis = meta.inspect(stores.store)
    if not redis.epoch or redis.state == State.RESTORING:
        raise NotReady("Redis is empty or being restored: there is nothing to check yet.")
    examination = _Examination(stores)
    examination.walk()
    if examination.suspicious:
        time.sleep(PAUSE_SECONDS)
    confirmed: dict[Any, Difference] = {}
    for check, batch, seen in examination.suspicious:
        before = {each.identity for each in seen}
        again = {each.identity: each for each in check(stores, batch)}
        confirmed |= {identity: each for identity, each in again.items() if identity in before}
    return [*confirmed.values(), *check_description(stores, examination.last_ids)]


class _Examination:
    """One walk over all keys and rows, in batches.

    Attributes:
        suspicious: the batches with differences, and these.
        last_ids: the highest id of each kind.
    """

    def __init__(self, stores: Stores) -> None:
        self._stores, self._keys = stores, stores.keys
        self._waiting: dict[Check, list[Any]] = {}
        self.suspicious: list[tuple[Check, list[Any], list[Difference]]] = []
        self.last_ids = dict.fromkeys(Kind, 0)

    def walk(self) -> None:
        """Look at everything once."""
        for names in self._names():
            for name in names:
                self._add(check_types, name)
                self._add(check_owners, name)
                if name == "pin":
                    self._add(check_pin, name)
                if ref := ref_of(name):
                    self.last_ids[ref[0]] = max(self.last_ids[ref[0]], ref[1])
                    self._add(check_entities, ref)
            self._add_members([name for name in names if ref_of(name) is None])
        for kind in Kind:
            for entity_id in row_versions.all_ids(self._stores.db, kind):
                self._add(check_lost_rows, (kind, entity_id))
        for check, batch in self._waiting.items():
            self._check(check, batch)

    def _add(self, check: Check, item: Any) -> None:
        batch = self._waiting.setdefault(check, [])
        batch.append(item)
        if len(batch) == BATCH:
            self._check(check, batch)
            self._waiting[check] = []

    def _check(self, check: Check, batch: list[Any]) -> None:
        if seen := [*check(self._stores, batch)]:
            self.suspicious.append((check, batch, seen))

    def _names(self) -> Iterator[list[str]]:
        """Yield the names of all keys, without the prefix."""
        for keys in scan(self._stores.store):
            yield [key.decode(errors="replace").removeprefix(self._keys.root) for key in keys]

    def _add_members(self, names: list[str]) -> None:
        """Add what indexes, counters and marks hold."""
        walked = [self._keys.root + name for name in names if name.split(":")[0] in WALKED]
        for key, member, value in members(self._stores.store, walked, SCAN):
            self._add_member(key, member, value)

    def _add_member(self, key: str, member: str, value: str) -> None:
        word, _, owner = key.removeprefix(self._keys.root).partition(":")
        if not is_utf8(member):
            self._add(check_names, IndexEntry(key, member, value))
            return
        if word in KINDS:
            self._add(check_index, IndexEntry(key, member, value))
        if word in ("dirty", "tombs"):
            self._add(check_marks, member)
        if word == "deleting":
            self._add(check_deletes, member)
        if word in ("users", "members", "counts"):
            counter = self._keys.group_counts(owner) if owner else self._keys.counts
            self._add(check_counters, Counter(counter, member))
