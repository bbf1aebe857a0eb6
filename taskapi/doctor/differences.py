"""Differences between what must be the same, and how each is repaired."""

from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
from itertools import chain, groupby, islice
from typing import Any, Final, NamedTuple, TypeVar

from taskapi.store.connection import Command, Store
from taskapi.store.consistency import Removal, Repair, look
from taskapi.store.keys import EntityRef, Keys
from taskapi.sync.postgres import Database

SHOWN_MOST: Final = 5
"""The maximum number of entities named in one line."""

Item = TypeVar("Item")


class Stores(NamedTuple):
    """Both stores, as the checks read them."""

    store: Store
    db: Database

    @property
    def keys(self) -> Keys:
        return self.store.keys

    def look(
        self, items: Iterable[Item], reads_of: Callable[[Item], Sequence[Command]]
    ) -> list[tuple[Item, list[Any]]]:
        """Return each item with the replies to its reads; all are read at one instant."""
        reads = [(item, reads_of(item)) for item in items]
        replies = iter(look(self.store, [*chain.from_iterable(each for _, each in reads)]))
        return [(item, [*islice(replies, len(each))]) for item, each in reads]


class Step(IntEnum):
    """The order of repairs: each step relies on those before it."""

    KEYS = 0
    MARKS = 1
    DESCRIPTION = 2
    ENTITIES = 3
    INDEXES = 4
    COUNTERS = 5


class Administering(NamedTuple):
    """Add a group to the field `administers` of a user's key, or remove it."""

    user_id: int
    group_id: int
    is_held: bool


class Difference(NamedTuple):
    """What is wrong with a subject.

    Attributes:
        subject: an entity, or a key without the prefix.
        detail: the entity that the problem is about, if the subject is a key.
        repair: writes, or the entity to take from PostgreSQL; None if it cannot be repaired.
    """

    subject: str
    problem: str
    remedy: str
    step: Step
    detail: str = ""
    repair: Repair | Removal | Administering | EntityRef | None = None

    @property
    def identity(self) -> tuple[str, str, str]:
        """The same for one difference in two looks."""
        return self.subject, self.problem, self.detail


def named(ref: EntityRef) -> str:
    """Return the words for an entity: task 5."""
    kind, entity_id = ref
    return f"{kind.noun} {entity_id}"


def guard_of(keys: Keys, ref: EntityRef, version: int) -> tuple[Command, str]:
    """Return the guard that an entity still has this version."""
    return ("HGET", keys.entity(*ref), "version"), str(version)


def lines(differences: list[Difference]) -> list[str]:
    """Return a line for each subject and problem, with all its details."""
    ordered = sorted(differences, key=lambda each: (each.step, each[:3], _number(each.detail)))
    return [_line([*same]) for _, same in groupby(ordered, key=lambda each: each[:3])]


def _number(detail: str) -> int:
    word = detail.rpartition(" ")[2]
    return int(word) if word.isdecimal() else 0


def _line(same: list[Difference]) -> str:
    subject, problem, remedy, *_ = same[0]
    shown = ", ".join(each.detail for each in same[:SHOWN_MOST])
    if len(same) > SHOWN_MOST:
        shown += f" and {len(same) - SHOWN_MOST} more"
    words = f"{problem}: {shown}" if shown else problem
    return f"{subject}: {words} – {remedy}"  # noqa: RUF001
