"""Substring search, whatever the case, by a scan in chunks that hold up nobody else."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from taskapi.store import queries
from taskapi.store.codec import Entity
from taskapi.store.indexes import fold
from taskapi.store.queries import Scope
from taskapi.store.session import Session

USER_FIELDS = ("full_name", "email", "number")
TASK_FIELDS = ("title", "information")


class Found(NamedTuple):
    """Part of the results, in order of id, and where the next part begins."""

    results: list[Any]
    size: int
    next_after: int | None


def users(session: Session, scope: Scope, text: str, after: int, limit: int | None) -> Found:
    """Return the users in scope whose name, e-mail or number contains the text."""
    found, next_after = _first(_matches(session, scope, USER_FIELDS, text, after), limit)
    return Found(found, len(found), next_after)


def tasks(session: Session, scope: Scope, text: str, after: int, limit: int | None) -> Found:
    """Return the tasks in scope whose title or information contains the text."""
    found, next_after = _first(_matches(session, scope, TASK_FIELDS, text, after), limit)
    shown = [{"user_id": task["user_id"], "task": task} for task in found]
    return Found(shown, len(shown), next_after)


def _matches(
    session: Session, scope: Scope, fields: tuple[str, ...], text: str, after: int
) -> Iterator[Entity]:
    wanted = fold(text)
    for chunk in queries.chunks(session, scope, after):
        for entity in chunk:
            if any(wanted in fold(entity[name]) for name in fields):
                yield entity


def _first(matches: Iterator[Entity], limit: int | None) -> tuple[list[Entity], int | None]:
    """Return at most `limit` matches, and the id of the last one if more follow."""
    found: list[Entity] = []
    for entity in matches:
        if len(found) == limit:
            return found, found[-1]["id"]
        found.append(entity)
    return found, None
