"""A query of tasks: its conditions, its order, and the place where a page of it ends."""

import base64
import datetime
from binascii import Error as MalformedBase64
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NamedTuple

import orjson

from taskapi.store.codec import Entity, bucket
from taskapi.store.indexes import fold
from taskapi.store.queries import ALL_BUCKETS, Reach

BETWEEN: Final = "\0"
"""A character that no text has: a query must not match parts of two fields."""
Key = int | str | None
"""What tasks are sorted by; None, for a task without deadline, comes last in both directions."""


class Facts(NamedTuple):
    """The fields of a task that queries use.

    Attributes:
        title: folded.
        text: title and information, folded, with BETWEEN between them.
    """

    id: int
    user_id: int
    group_id: int
    bucket: int
    deadline: str | None
    created_at: str
    updated_at: str
    title: str
    text: str


class Place(NamedTuple):
    """The key and the id of a task: where it stands in an order."""

    key: Key
    id: int


class Span(NamedTuple):
    """An inclusive range of dates or times as text; None for no limit."""

    first: str | None = None
    last: str | None = None

    def has(self, value: str) -> bool:
        """Return whether the value is in the range."""
        return (self.first is None or value >= self.first) and (
            self.last is None or value <= self.last
        )


ALWAYS: Final = Span()


@dataclass(frozen=True, slots=True)
class TaskQuery:
    """The conditions that tasks must meet, and their order.

    Attributes:
        user_id: only tasks of this user.
        group_id: only tasks in this group.
        buckets: only tasks with these statuses and priorities.
        text: folded; only tasks whose title or information contains it.
        due: only tasks whose deadline is in this range; see `has_deadline`.
        has_deadline: only tasks with, or without, a deadline; None for both.
    """

    reach: Reach
    user_id: int | None = None
    group_id: int | None = None
    buckets: tuple[int, ...] = ALL_BUCKETS
    text: str = ""
    due: Span = ALWAYS
    has_deadline: bool | None = None
    created: Span = ALWAYS
    updated: Span = ALWAYS
    sort: str = "id"
    is_descending: bool = False

    @property
    def needs_postgres(self) -> bool:
        """Whether the sorted sets in Redis are not enough, so that PostgreSQL is used."""
        conditions = (self.due, self.created, self.updated)
        is_plain = all(span == ALWAYS for span in conditions) and self.has_deadline is None
        return not is_plain or bool(self.text) or (self.sort, self.is_descending) != ("id", False)

    def matches(self, task: Facts) -> bool:
        """Return whether a task meets all conditions."""
        return (
            task.bucket in self.buckets
            and self.user_id in (None, task.user_id)
            and self.group_id in (None, task.group_id)
            and self.reach.includes(task.user_id, task.group_id)
            and self.has_deadline in (None, task.deadline is not None)
            and (self.due == ALWAYS or (task.deadline is not None and self.due.has(task.deadline)))
            and self.created.has(task.created_at)
            and self.updated.has(task.updated_at)
            and self.text in task.text
        )

    def place(self, task: Facts) -> Place:
        """Return where a task stands in the order."""
        key: Key = task.bucket % 3 + 1 if self.sort == "priority" else getattr(task, self.sort)
        return Place(key, task.id)

    def is_after(self, one: Place, other: Place | None) -> bool:
        """Return whether a place comes after another one; None is before all."""
        if other is None:
            return True
        if one.key == other.key:
            return one.id > other.id
        if one.key is None or other.key is None:
            return one.key is None
        is_greater: bool = one.key > other.key  # type: ignore[operator]
        return is_greater != self.is_descending

    def in_order(self, places: Iterable[Place]) -> list[Place]:
        """Return places in order, each once."""
        by_id = sorted({*places}, key=lambda place: place.id)
        with_key = [place for place in by_id if place.key is not None]
        with_key.sort(key=lambda place: place.key, reverse=self.is_descending)  # type: ignore[arg-type, return-value]
        return with_key + [place for place in by_id if place.key is None]

    def cursor(self, place: Place) -> int | str:
        """Return the value of `after` for the page that begins after this place."""
        if not self.is_descending and self.sort == "id":
            return place.id
        order = f"-{self.sort}" if self.is_descending else self.sort
        return base64.urlsafe_b64encode(orjson.dumps([order, *place])).decode().rstrip("=")


def place_of(cursor: str, order: str) -> Place | None:
    """Return the place of a `TaskQuery.cursor`; None if it is none, or of another order."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        named, key, task_id = orjson.loads(text)
    except (MalformedBase64, ValueError, TypeError):
        return None
    is_id = type(task_id) is int and 0 < task_id < 2**63
    is_place = named == order and is_id and _is_key(order.lstrip("-"), key)
    return Place(key, task_id) if is_place else None


def _is_key(sort: str, key: object) -> bool:
    """Return whether tasks can have this key; PostgreSQL must be able to read it."""
    if sort in ("id", "priority"):
        return type(key) is int and 0 < key < (2**63 if sort == "id" else 4)
    if not isinstance(key, str):
        return sort == "deadline" and key is None
    if sort == "title":
        return "\0" not in key
    with suppress(ValueError):
        if sort == "deadline":
            return datetime.date.fromisoformat(key).isoformat() == key
        time = datetime.datetime.fromisoformat(key.removesuffix("Z"))
        return f"{time.isoformat()}Z" == key and time.tzinfo is None
    return False


def facts_of(task: Entity) -> Facts:
    """Return the fields of a task that queries use."""
    title = fold(task["title"])
    return Facts(
        *(task["id"], task["user_id"], task["group_id"]),
        *(bucket(task["status"], task["priority"]), task["deadline"]),
        *(task["created_at"], task["updated_at"]),
        *(title, f"{title}{BETWEEN}{fold(task['information'])}"),
    )
