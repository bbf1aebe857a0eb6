"""Substring search that ignores case; the entities in Redis decide what matches."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final, NamedTuple

from orjson import dumps

from taskapi.errors import Damaged
from taskapi.store import codec, queries
from taskapi.store.codec import Entity
from taskapi.store.indexes import fold
from taskapi.store.keys import Kind
from taskapi.store.queries import Reach, Scope
from taskapi.store.session import Session

FIELDS: Final = {
    Kind.USER: ("full_name", "email", "number"),
    Kind.TASK: ("title", "information"),
}
"""The searched fields of each kind."""


class Results(NamedTuple):
    """A page of results by id, and the id after which the next page begins."""

    results: list[Any]
    size: int
    next_after: int | None


def scan(session: Session, scope: Scope, text: str, after: int) -> Iterator[Entity]:
    """Yield all matches in scope above `after`, read in short chunks."""
    for chunk in queries.chunks(session, scope, after):
        yield from _matching(chunk, scope.kind, text)


def check(session: Session, reach: Reach, ids: list[int], text: str) -> Iterator[Entity]:
    """Yield the tasks with these ids that are within reach and match, as they are now."""
    for chunk in queries.chunks(session, Scope(Kind.TASK, ids=tuple(ids))):
        for task in _matching(chunk, Kind.TASK, text):
            if reach.includes(task["user_id"], task["group_id"]):
                yield task


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
