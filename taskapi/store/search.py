"""Substring search that ignores case; the entities in Redis decide what matches."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final, NamedTuple

from orjson import dumps

from taskapi.errors import Damaged
from taskapi.store import codec, queries, scripts
from taskapi.store.codec import Entity
from taskapi.store.indexes import fold
from taskapi.store.keys import Kind
from taskapi.store.numbers import is_number
from taskapi.store.queries import CHUNK, Scope
from taskapi.store.session import Session

FIELDS: Final = {
    Kind.USER: ("full_name", "email", "number"),
    Kind.TASK: ("title", "information"),
}
"""The searched fields of each kind."""
DIRTY_MOST: Final = 20_000
"""Marks read at once, about 4 ms of Redis' time; with more marks a scan is as fast."""


class Results(NamedTuple):
    """A page of results by id, and the id after which the next page begins."""

    results: list[Any]
    size: int
    next_after: int | None


class DirtyTasks(NamedTuple):
    """Ids of the tasks that changed since the last pass, ascending.

    A PostgreSQL of this installation has all other changes, if it has every change up to `synced`.
    """

    ids: list[int]
    installation: str
    synced: int


def scan(session: Session, scope: Scope, text: str, after: int) -> Iterator[Entity]:
    """Yield all matches in scope above `after`, read in short chunks."""
    for chunk in queries.chunks(session, scope, after):
        yield from _matching(chunk, scope.kind, text)


def check(session: Session, scope: Scope, ids: list[int], text: str) -> Iterator[Entity]:
    """Yield the tasks with these ids that are in scope and match, as they are now."""
    for start in range(0, len(ids), CHUNK):
        candidates = Scope(scope.kind, ids=tuple(ids[start : start + CHUNK]), within=scope.sources)
        for chunk in queries.chunks(session, candidates):
            yield from _matching(chunk, scope.kind, text)


def dirty_tasks(session: Session) -> DirtyTasks | None:
    """Return the tasks that changed since the last pass.

    None if there are too many, or if `synced` cannot be read.
    """
    keys = session.keys
    (reply,) = session.read(("EVALSHA", scripts.DIRTY_TASKS, 1, keys.meta, keys.dirty, DIRTY_MOST))
    if reply is None:
        return None
    ids, installation, synced = reply
    if not is_number(synced):
        return None
    sorted_ids = sorted(map(int, ids.split(b","))) if ids else []
    return DirtyTasks(sorted_ids, installation.decode(errors="replace"), int(synced))


def first(matches: Iterator[Entity], limit: int | None) -> Results:
    """Return at most `limit` matches, and the id of the last one if more follow."""
    results: list[Entity] = []
    for entity in matches:
        if len(results) == limit:
            return Results(results, limit, results[-1]["id"])
        results.append(entity)
    return Results(results, len(results), None)


def _matching(chunk: bytes, kind: Kind, text: str) -> Iterator[Entity]:
    """Yield matches; entities whose JSON does not contain the text are not decoded."""
    wanted = fold(text)
    escaped = dumps(wanted)[1:-1].decode()
    for json in codec.split(chunk):
        # Folding can merge the n of an escape \n with a combining mark that follows: decode first.
        if b"\\" in json or escaped in fold(json.decode(errors="replace")):
            with suppress(Damaged):
                entity = codec.decode(kind, json)
                if any(wanted in fold(entity[name]) for name in FIELDS[kind]):
                    yield entity
