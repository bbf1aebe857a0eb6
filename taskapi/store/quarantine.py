"""Changes that PostgreSQL refused: skipped until the entity changes, and shown to the owner."""

from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import orjson

from taskapi.errors import Damaged
from taskapi.store import scripts
from taskapi.store.chunks import Mark
from taskapi.store.connection import Store
from taskapi.store.keys import Kind

MISSING_PARENT: Final = "23503"
"""PostgreSQL's foreign_key_violation."""


class Refusal(NamedTuple):
    """A refused change; `sqlstate` is empty if the service itself refused it."""

    mark: Mark
    sqlstate: str
    reason: str


def add(store: Store, refusals: Iterable[Refusal]) -> None:
    """Skip these changes until their entities change again."""
    since = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    fields: list[Any] = []
    for mark, sqlstate, reason in refusals:
        entry = {"version": str(mark.version), "sqlstate": sqlstate, "reason": reason}
        fields += [str(mark), orjson.dumps({**entry, "since": since})]
    if fields:
        call = ("EVALSHA", scripts.EVEN_WHEN_FULL, 1, store.keys.quarantine, "HSET", *fields)
        store.connection.execute(call)


def read(store: Store) -> list[dict[str, Any]]:
    """Return the entries: type, id, version, sqlstate, reason, since; raises Damaged."""
    return list(_entries(store).values())


def marks(store: Store) -> set[Mark]:
    """Return the marks of all entries; raises Damaged."""
    entries = _entries(store).items()
    return {Mark(mark[:1], int(mark[2:]), int(entry["version"])) for mark, entry in entries}


def contains(store: Store, mark: Mark) -> bool:
    """Return whether this version of an entity is in quarantine."""
    (text,) = store.connection.execute(("HGET", store.keys.quarantine, str(mark)))
    with suppress(ValueError, LookupError, TypeError):
        return bool(orjson.loads(text or b"")["version"] == str(mark.version))
    return False


def review(store: Store) -> None:
    """Remove the entries of entities that have changed.

    If there are any, remove those with a missing parent too: it may exist now.
    A damaged quarantine is removed: the next pass finds again what PostgreSQL refuses.
    """
    try:
        entries = _entries(store)
    except Damaged:
        return release(store)
    if not entries:
        return
    (scores,) = store.connection.execute(("ZMSCORE", store.keys.dirty, *entries))
    changed = {
        mark
        for (mark, entry), score in zip(entries.items(), scores, strict=True)
        if score is None or float(score) != float(entry["version"])
    }
    orphans = {mark for mark, entry in entries.items() if entry["sqlstate"] == MISSING_PARENT}
    if changed:
        store.connection.execute(("HDEL", store.keys.quarantine, *changed | orphans))


def release(store: Store) -> None:
    """Remove all entries, so that everything is tried again."""
    store.connection.execute(("UNLINK", store.keys.quarantine))


def _entries(store: Store) -> dict[str, dict[str, Any]]:
    (reply,) = store.connection.execute(("HGETALL", store.keys.quarantine))
    pairs = zip(reply[::2], reply[1::2], strict=True)
    try:
        return {mark.decode(): _entry(mark.decode(), orjson.loads(text)) for mark, text in pairs}
    except (ValueError, LookupError, TypeError) as error:
        raise Damaged("the quarantine cannot be read") from error


def _entry(mark: str, stored: dict[str, str]) -> dict[str, Any]:
    names = ("version", "sqlstate", "reason", "since")
    named = {"type": Kind(mark[:1]).noun, "id": int(mark[2:])}
    int(stored["version"])  # a version that is no number is damage
    return named | {name: stored[name] for name in names}
