"""Chunks of changed entities for the sync pass, and of all entities for the backup."""

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import orjson

from taskapi.errors import AlreadyRunning, NewEpoch, Unavailable
from taskapi.store import meta, scripts
from taskapi.store.codec import Entity, decode_list
from taskapi.store.connection import Store
from taskapi.store.keys import Kind
from taskapi.store.meta import Meta
from taskapi.store.prefetch import prefetch

CHUNK: Final = 2000
"""Entities read in one call: about 8 ms of Redis' time."""
MARKS_MOST: Final = 10_000
"""Marks counted in one call."""
PIN_SECONDS: Final = 60
"""How long a pin stays after a backup that crashed."""


class Mark(NamedTuple):
    """The kind, id and version of a changed or deleted entity."""

    kind: str
    id: int
    version: int

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}"


@dataclass(frozen=True, slots=True)
class Chunk:
    """Entities as they were at one instant.

    Attributes:
        users: each with its `password_hash`.
        inconsistent: marks with neither an entity nor a tombstone of their version.
        last: the score up to which everything was read; empty if there was nothing.
        is_last: nothing followed at that instant.
        sizes: the number of entities of each kind at that instant.
    """

    users: list[Entity]
    groups: list[Entity]
    tasks: list[Entity]
    deleted: list[Mark]
    inconsistent: list[Mark]
    last: str = ""
    is_last: bool = True
    sizes: dict[Kind, int] = field(default_factory=dict)

    @property
    def marks(self) -> list[Mark]:
        """The marks of all entities and deletes."""
        parts = zip(Kind, (self.users, self.groups, self.tasks), strict=True)
        alive = [Mark(kind, e["id"], e["version"]) for kind, part in parts for e in part]
        return alive + self.deleted

    def rows(self) -> "Iterator[Chunk]":
        """Yield a chunk for each entity and each delete."""
        for name in ("users", "groups", "tasks", "deleted"):
            for each in getattr(self, name):
                row = Chunk([], [], [], [], [])
                getattr(row, name).append(each)
                yield row


def changed(store: Store, *, with_quarantine: bool = False) -> Iterator[Chunk]:
    """Yield the changes that PostgreSQL may not have, oldest first.

    An entity that changes meanwhile is yielded again, so all chunks together are the state at the
    last chunk. The iteration ends, because reading is faster than writing.
    """
    yield from _walk(store, store.keys.dirty, None, skips=not with_quarantine)


def everything(store: Store) -> Iterator[Chunk]:
    """Yield all entities; those that change meanwhile may be missing, old or new."""
    sets = {
        Kind.USER: store.keys.users,
        Kind.GROUP: store.keys.groups,
        Kind.TASK: store.keys.tasks,
    }
    for kind, key in sets.items():
        yield from _walk(store, key, kind)


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
    for chunk in prefetch(everything(store)):
        words = [word for mark in chunk.marks for word in (mark.version, str(mark))]
        if words:
            store.connection.execute(("ZADD", store.keys.dirty, "NX", *words))


def size(store: Store) -> int:
    """Return how many entities are marked."""
    (number,) = store.connection.execute(("ZCARD", store.keys.dirty))
    return int(number)


def marked(store: Store, *marks: Mark) -> list[Mark]:
    """Return those of the marks that exist, with their present versions."""
    (scores,) = store.connection.execute(("ZMSCORE", store.keys.dirty, *map(str, marks)))
    pairs = zip(marks, scores, strict=True)
    return [mark._replace(version=int(score)) for mark, score in pairs if score is not None]


def size_above(store: Store, version: int) -> int:
    """Return how many entities have a mark above a version."""
    (number,) = store.connection.execute(("ZCOUNT", store.keys.dirty, f"({version}", "+inf"))
    return int(number)


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
    """Remove the marks up to version `last`; PostgreSQL has them, or they are in quarantine.

    Raises:
        NewEpoch: the store was restored or restarted since `redis` was read; no more marks are
            removed.
    """
    query = {"root": store.keys.root, "epoch": str(redis.epoch), "run": redis.run, "last": last}
    follows, kept = 1, 0
    while follows:
        step = {**query, "skip": kept, "limit": CHUNK}
        (reply,) = _call(store, scripts.ACKNOWLEDGE, step)
        follows, *rest = reply
        if follows < 0:
            raise NewEpoch
        (kept,) = rest


class Pin:
    """Keeps the marks of all changes from now on, while a backup copies entities.

    A pin that is not renewed expires, so that after a crash of the backup the marks can go.
    """

    def __init__(self, store: Store, *, takes_over: bool = False) -> None:
        """Set the pin; raises AlreadyRunning if there is one, unless `takes_over` is set."""
        self._store, self._key = store, store.keys.pin
        self.version = str(meta.read(store).version)
        condition = () if takes_over else ("NX",)
        set_pin = ("SET", self._key, self.version, *condition, "EX", PIN_SECONDS)
        (reply,) = store.connection.execute(set_pin)
        if reply is None:
            raise AlreadyRunning("A backup is being written: try again in a minute.")

    def renew(self) -> None:
        """Extend the pin; raises Unavailable if it has expired or was taken over."""
        held, _ = self._store.connection.execute(
            ("GET", self._key), ("EXPIRE", self._key, PIN_SECONDS)
        )
        if held is None or held.decode() != self.version:
            raise Unavailable("The backup took too long between two steps: try again.")

    def drop(self) -> None:
        """Remove the pin."""
        self._store.connection.execute(("DEL", self._key))


def _walk(store: Store, key: str, kind: Kind | None, *, skips: bool = False) -> Iterator[Chunk]:
    def read(after: str) -> Chunk:
        query = {"root": store.keys.root, "set": key, "kind": kind or False, "after": after}
        (reply,) = _call(store, scripts.CHANGES, {**query, "limit": CHUNK, "skip": skips})
        return _chunk(*reply)

    chunk = read("-inf")
    while not chunk.is_last:
        yield chunk
        chunk = read(chunk.last)
    yield chunk


def _call(store: Store, script: str, query: dict[str, Any]) -> list[Any]:
    return store.connection.execute(("EVALSHA", script, 1, store.keys.meta, orjson.dumps(query)))


def _chunk(  # in the order of the script's result
    last: bytes,
    follows: int,
    sizes: list[int],
    users: bytes,
    password_hashes: list[bytes],
    groups: bytes,
    tasks: bytes,
    deleted: bytes,
    inconsistent: bytes,
) -> Chunk:
    user_list = decode_list(Kind.USER, users)
    for user, password_hash in zip(user_list, password_hashes, strict=True):
        user["password_hash"] = password_hash.decode()
    return Chunk(
        users=user_list,
        groups=decode_list(Kind.GROUP, groups),
        tasks=decode_list(Kind.TASK, tasks),
        deleted=_marks(deleted),
        inconsistent=_marks(inconsistent),
        last=last.decode(),
        is_last=not follows,
        sizes=dict(zip(Kind, sizes, strict=True)),
    )


def _marks(joined: bytes) -> list[Mark]:
    words = (mark.split(":") for mark in joined.decode().split(",") if mark)
    return [Mark(kind, int(key_id), int(version)) for kind, key_id, version in words]
