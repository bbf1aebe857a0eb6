"""What a store says of itself: whose it is, in which state, and how its copy fares."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from taskapi.store import scripts
from taskapi.store.connection import Command, Store
from taskapi.store.keys import Kind

_FIELDS: Final = ("epoch", "state", "installation", "run", "version", "synced")
_NEXT: Final = tuple(f"next:{kind}" for kind in Kind)


class State(StrEnum):
    """Whether a store serves: all, nobody, or readers only."""

    READY = "ready"
    RESTORING = "restoring"
    FENCED = "fenced"


@dataclass(frozen=True, slots=True)
class Meta:
    """A store's description; every field is empty or zero in an empty store.

    Attributes:
        run: which start of which server it was last met on.
        version: the last one given out.
        synced: the version up to which PostgreSQL has everything.
        ids: the last id given out, of each kind.
    """

    epoch: int
    state: str
    installation: str
    run: str
    version: int
    synced: int
    ids: dict[Kind, int]


def read(store: Store) -> Meta:
    """Return the store's description."""
    (reply,) = store.connection.execute(("HMGET", store.keys.meta, *_FIELDS, *_NEXT))
    epoch, state, installation, run, version, synced, *ids = (
        value.decode() if value else "" for value in reply
    )
    return Meta(
        epoch=int(epoch or 0),
        state=state,
        installation=installation,
        run=run,
        version=int(version or 0),
        synced=int(synced or 0),
        ids={kind: int(value or 0) for kind, value in zip(Kind, ids, strict=True)},
    )


def write(store: Store, **fields: str) -> None:
    """Set fields of the store's description, when Redis is full too."""
    store.connection.execute(_write(store.keys.meta, fields))


def sizes(store: Store) -> dict[Kind, int]:
    """Return how many entities of each kind there are."""
    keys = store.keys
    found = store.connection.execute(
        ("ZCARD", keys.users), ("ZCARD", keys.groups), ("ZCARD", keys.tasks)
    )
    return dict(zip(Kind, found, strict=True))


def publish_status(store: Store, fields: Mapping[str, object]) -> None:
    """Leave word for the status; None takes a word back."""
    gone = [name for name, value in fields.items() if value is None]
    kept = {name: str(value) for name, value in fields.items() if value is not None}
    commands = [("HDEL", store.keys.sync, *gone)] if gone else []
    store.connection.execute(*commands, *([_write(store.keys.sync, kept)] if kept else []))


def read_status(store: Store) -> tuple[str, dict[str, str]]:
    """Return the state, empty in an empty store, and what `tell` left: one round trip."""
    (epoch, state), words = store.connection.execute(
        ("HMGET", store.keys.meta, "epoch", "state"), ("HGETALL", store.keys.sync)
    )
    told = [word.decode() for word in words]
    return state.decode() if epoch and state else "", dict(zip(told[::2], told[1::2], strict=True))


def _write(key: str, fields: Mapping[str, str]) -> Command:
    return ("EVALSHA", scripts.WRITE, 1, key, *itertools.chain(*fields.items()))
