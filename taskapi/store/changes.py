"""Chunks of changed entities for the sync pass, and of all entities for the backup."""

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import orjson

from taskapi.errors import AlreadyRunning, Damaged, NewEpoch, Unavailable
from taskapi.store import meta, scripts
from taskapi.store.chunks import Chunk, Mark, parse
from taskapi.store.connection import Store
from taskapi.store.keys import Kind
from taskapi.store.meta import Meta
from taskapi.store.numbers import number
from taskapi.store.prefetch import prefetch

CHUNK: Final = 2000
"""Entities read in one call: about 8 ms of Redis' time."""
CHUNK_BYTES: Final = 2_000_000
"""A call stops once its JSON and tokens have this size, but returns all of one version."""
MARKS_MOST: Final = 10_000
"""Marks counted in one call."""
PIN_SECONDS: Final = 60
"""How long a pin stays after a backup that crashed."""


def changed(store: Store, *, with_quarantine: bool = False) -> Iterator[Chunk]:
    """Yield the changes that PostgreSQL may not have, oldest first.

    An entity that changes meanwhile is yielded again, so all chunks together are the state at the
    last chunk. The iteration ends, because reading is faster than writing.
    """
    yield from _walk(store, store.keys.dirty, None, skips=not with_quarantine)


def everything(store: Store, kind: Kind) -> Iterator[Chunk]:
    """Yield all entities of a kind; one that changes meanwhile may be missing, old or new."""
    yield from _walk(store, store.keys.index(kind), kind)


def require_whole(store: Store) -> None:
    """Raise Damaged if an index that names all entities of a kind has lost some of them."""
    keys = store.keys
    users = keys.users, keys.emails, keys.full_names
    others = keys.groups, keys.names, keys.tasks, keys.counts
    (sizes,) = store.connection.execute(("EVALSHA", scripts.TOTALS, 7, *users, *others))
    if not len({*sizes[:3]}) == len({*sizes[3:5]}) == len({*sizes[5:]}) == 1:
        raise Damaged("its indexes and counters name different numbers of entities")


def find_damage(store: Store) -> str | None:
    """Return what `require_whole` says, None if it finds nothing."""
    try:
        require_whole(store)
    except Damaged as error:
        return str(error)
    return None


def count(store: Store) -> dict[Kind, int]:
    """Return how many entities of each kind are marked."""
    counts: Counter[bytes] = Counter()
    for start in itertools.count(0, MARKS_MOST):
        (marks,) = store.connection.execute(
            ("ZRANGE", store.keys.dirty, start, start + MARKS_MOST - 1)
        )
        counts.update(mark[:1] for mark in marks)
        if len(marks) < MARKS_MOST:
            break
    return {kind: counts[kind.encode()] for kind in Kind}


def mark_everything(store: Store) -> None:
    """Mark every entity, so that the next pass copies everything."""
    walks = (everything(store, kind) for kind in Kind)
    for chunk in prefetch(itertools.chain.from_iterable(walks)):
        words = [word for mark in chunk.marks for word in (mark.version, str(mark))]
        if words:
            store.connection.execute(("ZADD", store.keys.dirty, "NX", *words))


def size(store: Store) -> int:
    """Return how many entities are marked."""
    (marks,) = store.connection.execute(("ZCARD", store.keys.dirty))
    return int(marks)


def issue_version(store: Store) -> int:
    """Return a new version; every change until now has a lower one."""
    call = ("EVALSHA", scripts.EVEN_WHEN_FULL, 1, store.keys.meta, "HINCRBY", "version", 1)
    (version,) = store.connection.execute(call)
    return int(version)


def marked(store: Store, *marks: Mark) -> list[Mark]:
    """Return those of the marks that exist, with their present versions."""
    (scores,) = store.connection.execute(("ZMSCORE", store.keys.dirty, *map(str, marks)))
    pairs = zip(marks, scores, strict=True)
    return [
        mark._replace(version=number(score, f"the version of the mark {mark} is not a number"))
        for mark, score in pairs
        if score is not None
    ]


def size_above(store: Store, version: int) -> int:
    """Return how many entities have a mark above a version."""
    (marks,) = store.connection.execute(("ZCOUNT", store.keys.dirty, f"({version}", "+inf"))
    return int(marks)


def oldest_seconds(store: Store) -> float | None:
    """Return the age of the oldest change that PostgreSQL may not have, 0 if there is none.

    Versions only grow: after the clock of Redis was set back they are ahead of it. Such a version
    does not tell the age of its change: the result is None.
    """
    oldest = ("ZRANGE", store.keys.dirty, 0, 0, "WITHSCORES")
    first, now = store.connection.execute(oldest, ("TIME",))
    if not first:
        return 0.0
    age = meta.seconds(now) - float(first[1]) / 1_000_000
    return age if age >= 0 else None


def acknowledge(store: Store, redis: Meta, last: str) -> None:
    """Remove the marks up to version `last`, except in quarantine or above the pin of a backup.

    Raises:
        NewEpoch: the store was restored or restarted since `redis` was read; no more marks are
            removed.
    """
    query = {
        "root": store.keys.root,
        "epoch": str(redis.epoch),
        "opened": redis.opened,
        "last": last,
        "limit": CHUNK,
    }
    follows, kept = 1, 0
    while follows:
        ((follows, kept),) = _call(store, scripts.ACKNOWLEDGE, {**query, "skip": kept})
        if follows < 0:
            raise NewEpoch


class Pin:
    """Keeps the marks of all changes from now on, while a backup copies entities.

    A pin that is not renewed expires, so that after a crash of the backup the marks can go.
    """

    def __init__(self, store: Store, *, takes_over: bool = False) -> None:
        """Set the pin; raises AlreadyRunning if there is one, unless `takes_over` is set."""
        self._store, self._key = store, store.keys.pin
        self.version = str((meta.inspect if takes_over else meta.read)(store).version)
        condition = () if takes_over else ("NX",)
        words = ("SET", self.version, *condition, "EX", PIN_SECONDS)
        (reply,) = store.connection.execute(
            ("EVALSHA", scripts.EVEN_WHEN_FULL, 1, self._key, *words)
        )
        if reply is None:
            raise AlreadyRunning("A backup is being written: try again in a minute.")

    def renew(self) -> None:
        """Extend the pin; raises Unavailable if it has expired or was taken over."""
        held, _ = self._store.connection.execute(
            ("GET", self._key), ("EXPIRE", self._key, PIN_SECONDS)
        )
        if held is None or held != self.version.encode():
            raise Unavailable("The backup took too long, or a restore began: try again.")

    def drop(self) -> None:
        """Remove the pin."""
        self._store.connection.execute(("DEL", self._key))


def _walk(store: Store, key: str, kind: Kind | None, *, skips: bool = False) -> Iterator[Chunk]:
    limits = {"limit": CHUNK, "bytes": CHUNK_BYTES}

    def read(after: str) -> Chunk:
        query = {"root": store.keys.root, "set": key, "kind": kind or False, "after": after}
        (reply,) = _call(store, scripts.READ_CHUNK, {**query, **limits, "skip": skips})
        return parse(*reply)

    chunk = read("-inf")
    while not chunk.is_last:
        yield chunk
        chunk = read(chunk.last)
    yield chunk


def _call(store: Store, script: str, query: dict[str, Any]) -> list[Any]:
    return store.connection.execute(("EVALSHA", script, 1, store.keys.meta, orjson.dumps(query)))
