"""The store as the sync pass and the backup see it: chunks of entities, oldest change first."""

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import orjson

from taskapi.errors import AlreadyRunning, NewEpoch, Unavailable
from taskapi.store import meta, scripts
from taskapi.store.codec import Entity, decode_list
from taskapi.store.keys import Kind
from taskapi.store.link import Store

CHUNK: Final = 2000
"""Entities read in one call, about 8 ms of Redis' time."""
MARKS: Final = 10_000
"""Marks counted in one call."""
PIN_SECONDS: Final = 60
"""How long a pin outlives a backup that died."""


class Deleted(NamedTuple):
    """What is left of a deleted entity."""

    kind: str
    id: int
    version: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """Entities as they were at one instant.

    Attributes:
        users: each with its password hash as `secret`.
        odd: marks that fit neither an entity nor a tombstone.
        last: the score up to which everything was read.
        is_last: nothing followed at that instant.
        sizes: how many entities of each kind there were at that instant.
    """

    users: list[Entity]
    groups: list[Entity]
    tasks: list[Entity]
    deleted: list[Deleted]
    odd: list[str]
    last: str = ""
    is_last: bool = True
    sizes: dict[Kind, int] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether there was nothing to read."""
        return not (self.users or self.groups or self.tasks or self.deleted or self.odd)


def changed(store: Store) -> Iterator[Chunk]:
    """Yield what changed and PostgreSQL may not have, oldest change first.

    What changes meanwhile is read again, so all chunks together are the state at the last one;
    there is a last one, because reading is faster than writing.
    """
    yield from _walk(store, store.keys.dirty, None)


def everything(store: Store) -> Iterator[Chunk]:
    """Yield all entities; what changes meanwhile may be missing or in either state."""
    sets = {
        Kind.USER: store.keys.users,
        Kind.GROUP: store.keys.groups,
        Kind.TASK: store.keys.tasks,
    }
    for kind, key in sets.items():
        yield from _walk(store, key, kind)


def count(store: Store) -> dict[Kind, int]:
    """Return how many entities of each kind are marked."""
    found: Counter[bytes] = Counter()
    for start in itertools.count(0, MARKS):
        (marks,) = store.link.trip(("ZRANGE", store.keys.dirty, start, start + MARKS - 1))
        found.update(mark[:1] for mark in marks)
        if len(marks) < MARKS:
            break
    return {kind: found[kind.encode()] for kind in Kind}


def acknowledge(store: Store, epoch: str, lasts: list[str], keep: list[str]) -> None:
    """Forget the marks of chunks that PostgreSQL has committed, but for those to `keep`.

    Args:
        lasts: where each chunk ended, in order.

    Raises:
        NewEpoch: the store was restored meanwhile; nothing more is forgotten.
    """
    for after, last in zip(["-inf", *lasts], lasts, strict=False):
        query = {
            "root": store.keys.root,
            "epoch": epoch,
            "after": after,
            "last": last,
            "keep": keep,
        }
        (reply,) = _call(store, scripts.ACKNOWLEDGE, query)
        if reply != b"OK":
            raise NewEpoch


class Pin:
    """Keeps the marks of all that changes from now on, for a backup that copies entities meanwhile.

    It runs out when it is not renewed, so that a backup that died holds nothing up for long.
    """

    def __init__(self, store: Store) -> None:
        """Raises AlreadyRunning when there is one."""
        self._store, self._key = store, store.keys.pin
        self.version = str(meta.read(store).version)
        (reply,) = store.link.trip(("SET", self._key, self.version, "NX", "EX", PIN_SECONDS))
        if reply is None:
            raise AlreadyRunning("A backup is being written: try again in a minute.")

    def renew(self) -> None:
        """Keep it for another while; raises Unavailable when it has run out."""
        held, _ = self._store.link.trip(("GET", self._key), ("EXPIRE", self._key, PIN_SECONDS))
        if held is None or held.decode() != self.version:
            raise Unavailable("The backup took too long between two steps: try again.")

    def drop(self) -> None:
        """Let marks go again."""
        self._store.link.trip(("DEL", self._key))


def _walk(store: Store, key: str, kind: Kind | None) -> Iterator[Chunk]:
    after, is_last = "-inf", False
    while not is_last:
        query = {
            "root": store.keys.root,
            "set": key,
            "kind": kind or False,
            "after": after,
            "limit": CHUNK,
        }
        (reply,) = _call(store, scripts.CHANGES, query)
        chunk = _chunk(*reply)
        after, is_last = chunk.last, chunk.is_last
        yield chunk


def _call(store: Store, script: str, query: dict[str, Any]) -> list[Any]:
    return store.link.trip(("EVALSHA", script, 1, store.keys.meta, orjson.dumps(query)))


def _chunk(  # in the order of the script's result
    last: bytes,
    follows: int,
    sizes: list[int],
    users: bytes,
    secrets: list[bytes],
    groups: bytes,
    tasks: bytes,
    deleted: bytes,
    odd: bytes,
) -> Chunk:
    people = decode_list(users)
    for user, secret in zip(people, secrets, strict=True):
        user["secret"] = secret.decode()
    gone = (mark.split(":") for mark in deleted.decode().split(",") if mark)
    return Chunk(
        users=people,
        groups=decode_list(groups),
        tasks=decode_list(tasks),
        deleted=[Deleted(kind, int(key_id), int(version)) for kind, key_id, version in gone],
        odd=odd.decode().split(",") if odd else [],
        last=last.decode(),
        is_last=not follows,
        sizes=dict(zip(Kind, sizes, strict=True)),
    )
