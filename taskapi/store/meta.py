"""The store's description of itself, and the status that the worker publishes."""

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from taskapi.errors import Damaged
from taskapi.store import scripts
from taskapi.store.connection import Command, Store
from taskapi.store.keys import Kind
from taskapi.store.numbers import is_number

_TEXTS: Final = ("state", "installation", "opened", "confirmed", "unconfirmed", "former", "saved")
_NEXT: Final = tuple(f"next:{kind}" for kind in Kind)
_NUMBERS: Final = ("epoch", "version", "synced", *_NEXT)
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_STATUS_NUMBERS: Final = {
    *("beat", "since", "last_sync", "last_duration", "failures", "passes", "failed_passes"),
}
_DECIMAL: Final = re.compile(r"[0-9]{1,11}(\.[0-9]+)?")

SAVED: Final = "yes"
UNKNOWN: Final = -1
"""The epoch if it cannot be read; not 0, which is the epoch of an empty store."""


class State(StrEnum):
    """READY serves reads and writes, FENCED only reads, RESTORING and CHECKING neither.

    CHECKING is never stored: a READY store is CHECKING until a start of Redis was checked.
    """

    READY = "ready"
    CHECKING = "checking"
    RESTORING = "restoring"
    FENCED = "fenced"


@dataclass(frozen=True, slots=True)
class Meta:
    """A store's description; all fields are empty or zero in an empty store.

    Attributes:
        epoch: counts how often Redis was restored.
        opened: run id of the start of Redis that is served; empty until it is checked.
        confirmed: run id of the start that PostgreSQL knew last.
        unconfirmed: run ids of the starts served since then; PostgreSQL may know one of them.
        version: the last version issued.
        synced: PostgreSQL has every change up to this version.
        former: the state before a restore that has changed nothing in Redis yet.
        is_saved: what only Redis had is saved, so that a restore may clear it.
        ids: the last id issued, by kind.
        damaged: the names of the fields that cannot be read; `epoch` is then UNKNOWN, and other
            numbers are 0.
    """

    epoch: int
    state: str
    installation: str
    opened: str
    confirmed: str
    unconfirmed: tuple[str, ...]
    version: int
    synced: int
    former: str
    is_saved: bool
    ids: dict[Kind, int]
    damaged: tuple[str, ...] = ()


def read(store: Store) -> Meta:
    """Return the store's description; raises Damaged if a field cannot be read."""
    return _require_readable(inspect(store))


def inspect(store: Store) -> Meta:
    """Return what can be read of the store's description, for repairs and restores."""
    (reply,) = store.connection.execute(_read(store))
    return _parse(reply)


def unreadable(field: str) -> Damaged:
    """Return the error for a field of the description."""
    return Damaged(f"the field {field} of its key meta cannot be read")


def is_state(stored: str) -> bool:
    """Return whether this is a state that is stored: any but CHECKING."""
    return stored in list(State) and stored != State.CHECKING


def _read(store: Store) -> Command:
    return ("HMGET", store.keys.meta, *_NUMBERS, *_TEXTS)


def _parse(reply: list[bytes | None]) -> Meta:
    stored = dict(zip((*_NUMBERS, *_TEXTS), reply, strict=True))
    numbers = {name: stored[name] or b"0" for name in _NUMBERS}
    damaged = [name for name, value in numbers.items() if not is_number(value)]
    numbers |= dict.fromkeys(damaged, b"0")
    texts = {name: (stored[name] or b"").decode(errors="replace") for name in _TEXTS}
    if not is_state(texts["state"]) and (stored["state"] or stored["epoch"]):
        damaged.append("state")
    if stored["installation"] and not _UUID.fullmatch(texts["installation"]):
        damaged.append("installation")
    return Meta(
        epoch=UNKNOWN if "epoch" in damaged else int(numbers["epoch"]),
        state=texts["state"],
        installation=texts["installation"],
        opened=texts["opened"],
        confirmed=texts["confirmed"],
        unconfirmed=tuple(texts["unconfirmed"].split()),
        version=int(numbers["version"]),
        synced=int(numbers["synced"]),
        former=texts["former"],
        is_saved=texts["saved"] == SAVED,
        ids={kind: int(numbers[f"next:{kind}"]) for kind in Kind},
        damaged=tuple(damaged),
    )


def _require_readable(description: Meta) -> Meta:
    if description.damaged:
        raise unreadable(description.damaged[0])
    return description


def write(store: Store, **fields: str) -> None:
    """Set fields of the store's description, even when Redis is full."""
    store.connection.execute(_write(store.keys.meta, fields))


def forget(store: Store) -> None:
    """Make clients that follow changes begin again; no commit may run meanwhile."""
    (version,) = store.connection.execute(("HINCRBY", store.keys.meta, "version", 1))
    write(store, forgotten=str(version))


def sizes(store: Store) -> dict[Kind, int]:
    """Return how many entities of each kind there are."""
    numbers = store.connection.execute(*(("ZCARD", store.keys.index(kind)) for kind in Kind))
    return dict(zip(Kind, numbers, strict=True))


def publish_status(store: Store, fields: Mapping[str, object]) -> None:
    """Set fields shown by `/admin/status`; None removes a field."""
    removed = [name for name, value in fields.items() if value is None]
    kept = {name: str(value) for name, value in fields.items() if value is not None}
    commands = [("HDEL", store.keys.sync, *removed)] if removed else []
    store.connection.execute(*commands, *([_write(store.keys.sync, kept)] if kept else []))


def count(store: Store, field: str) -> None:
    """Add one to a published number; one that cannot be read begins again."""
    (stored,) = store.connection.execute(("HGET", store.keys.sync, field))
    number = int(stored) if stored and is_number(stored) else 0
    publish_status(store, {field: number + 1})


def read_status(store: Store, *others: Command) -> tuple[str, dict[str, str], float, int]:
    """Return the state, the published fields, the time of Redis, and the size of the quarantine.

    The state is empty in an empty store. Times in the fields are by the clock of Redis too, in
    seconds. A published number that cannot be read is left out.

    Raises:
        Damaged: one of these cannot be read, or the key of the marks has the wrong type.
        Any error of `others`: commands that are sent in the same round trip, to see if they fail.
    """
    description, reply, now, refused, *_ = store.connection.execute(
        _read(store),
        ("HGETALL", store.keys.sync),
        ("TIME",),
        ("HLEN", store.keys.quarantine),
        ("ZCARD", store.keys.dirty),
        *others,
    )
    redis = _require_readable(_parse(description))
    state = redis.state if redis.epoch else ""
    if state == State.READY and not redis.opened:
        state = State.CHECKING
    return state, _published(reply), seconds(now), refused


def _published(reply: list[bytes]) -> dict[str, str]:
    words = [word.decode(errors="replace") for word in reply]
    fields = zip(words[::2], words[1::2], strict=True)
    return {n: v for n, v in fields if n not in _STATUS_NUMBERS or _DECIMAL.fullmatch(v)}


def now(store: Store) -> float:
    """Return the time of Redis in seconds: one clock for all processes of an installation."""
    (reply,) = store.connection.execute(("TIME",))
    return seconds(reply)


def seconds(reply: list[bytes]) -> float:
    """Return the seconds in a reply to TIME."""
    return int(reply[0]) + int(reply[1]) / 1_000_000


def _write(key: str, fields: Mapping[str, str]) -> Command:
    return ("EVALSHA", scripts.EVEN_WHEN_FULL, 1, key, "HSET", *itertools.chain(*fields.items()))
