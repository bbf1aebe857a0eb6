"""The store's description of itself, and the status that the worker publishes."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from taskapi.store import scripts
from taskapi.store.connection import Command, Store
from taskapi.store.keys import Kind

_FIELDS: Final = ("epoch", "state", "installation", "opened", "confirmed", "version", "synced")
_RESTORE: Final = ("former", "saved")
_NEXT: Final = tuple(f"next:{kind}" for kind in Kind)

SAVED: Final = "yes"


class State(StrEnum):
    """READY serves reads and writes, FENCED only reads, RESTORING and CHECKING neither.

    A store is CHECKING, which is not stored, if it is READY but not open since a start of Redis.
    """

    READY = "ready"
    CHECKING = "checking"
    RESTORING = "restoring"
    FENCED = "fenced"


@dataclass(frozen=True, slots=True)
class Meta:
    """A store's description; all fields are empty or zero in an empty store.

    Attributes:
        opened: run id of the start of Redis that is served; empty until it is checked.
        confirmed: run id of the start that PostgreSQL knew last.
        version: the last version issued.
        synced: PostgreSQL has every change up to this version.
        former: the state before a restore that has changed nothing in Redis yet.
        is_saved: what only Redis had is saved, so that a restore may clear it.
        ids: the last id issued, by kind.
    """

    epoch: int
    state: str
    installation: str
    opened: str
    confirmed: str
    version: int
    synced: int
    former: str
    is_saved: bool
    ids: dict[Kind, int]


def read(store: Store) -> Meta:
    """Return the store's description."""
    (reply,) = store.connection.execute(("HMGET", store.keys.meta, *_FIELDS, *_RESTORE, *_NEXT))
    epoch, state, installation, opened, confirmed, version, synced, former, saved, *ids = (
        value.decode() if value else "" for value in reply
    )
    return Meta(
        epoch=int(epoch or 0),
        state=state,
        installation=installation,
        opened=opened,
        confirmed=confirmed,
        version=int(version or 0),
        synced=int(synced or 0),
        former=former,
        is_saved=saved == SAVED,
        ids={kind: int(value or 0) for kind, value in zip(Kind, ids, strict=True)},
    )


def write(store: Store, **fields: str) -> None:
    """Set fields of the store's description, even when Redis is full."""
    store.connection.execute(_write(store.keys.meta, fields))


def sizes(store: Store) -> dict[Kind, int]:
    """Return how many entities of each kind there are."""
    keys = store.keys
    numbers = store.connection.execute(
        ("ZCARD", keys.users), ("ZCARD", keys.groups), ("ZCARD", keys.tasks)
    )
    return dict(zip(Kind, numbers, strict=True))


def publish_status(store: Store, fields: Mapping[str, object]) -> None:
    """Set fields shown by `/admin/status`; None removes a field."""
    removed = [name for name, value in fields.items() if value is None]
    kept = {name: str(value) for name, value in fields.items() if value is not None}
    commands = [("HDEL", store.keys.sync, *removed)] if removed else []
    store.connection.execute(*commands, *([_write(store.keys.sync, kept)] if kept else []))


def read_status(store: Store, *others: Command) -> tuple[str, dict[str, str], float, int]:
    """Return the state, the published fields, the time of Redis, and the size of the quarantine.

    Raises what `others` raise, which are sent with it.

    The state is empty in an empty store. Times in the fields are by the clock of Redis too, in
    seconds.

    Raises:
        Damaged: one of these cannot be read, or changes cannot be marked.
    """
    (epoch, word, opened), reply, now, refused, *_ = store.connection.execute(
        ("HMGET", store.keys.meta, "epoch", "state", "opened"),
        ("HGETALL", store.keys.sync),
        ("TIME",),
        ("HLEN", store.keys.quarantine),
        ("ZCARD", store.keys.dirty),
        *others,
    )
    words = [word.decode() for word in reply]
    published = dict(zip(words[::2], words[1::2], strict=True))
    state = word.decode() if epoch and word else ""
    if state == State.READY and not opened:
        state = State.CHECKING
    return state, published, seconds(now), refused


def now(store: Store) -> float:
    """Return the time of Redis in seconds: one clock for all processes of an installation."""
    (reply,) = store.connection.execute(("TIME",))
    return seconds(reply)


def seconds(reply: list[bytes]) -> float:
    """Return the seconds in a reply to TIME."""
    return int(reply[0]) + int(reply[1]) / 1_000_000


def _write(key: str, fields: Mapping[str, str]) -> Command:
    return ("EVALSHA", scripts.SET_FIELDS, 1, key, *itertools.chain(*fields.items()))
