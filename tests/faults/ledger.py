"""The writes acknowledged to clients, compared with the stores at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

Entity = dict[str, Any]
Key = tuple[str, int]
KINDS = ("user", "group", "task")
MARK = {"user": "number", "group": "name", "task": "information"}
"""For each kind, a field that has a different value in each create and never changes."""


@dataclass
class Open:
    """An operation without an answer: it changed all of its entities, or none."""

    keys: list[Key]
    fields: Entity | None
    """The fields that it sets; None for a delete."""


@dataclass
class Ledger:
    """The last acknowledged write of each entity, and operations whose outcome is unknown.

    A client writes only to its own entities, and never again to one whose state is unknown.
    """

    known: dict[Key, Entity | None] = field(default_factory=dict)
    opened: dict[Key, Open] = field(default_factory=dict)
    unanswered_creates: set[tuple[str, str]] = field(default_factory=set)
    acknowledged: int = 0
    unanswered: int = 0
    duplicated: list[str] = field(default_factory=list)

    def created(self, kind: str, entity: Entity) -> None:
        key = kind, entity["id"]
        if key in self.known:
            self.duplicated.append(f"{key} was given out twice")
        self.known[key] = entity
        self.acknowledged += 1

    def updated(self, kind: str, entities: Iterable[Entity]) -> None:
        self.known |= {(kind, entity["id"]): entity for entity in entities}
        self.acknowledged += 1

    def deleted(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self.known[key] = None
            self.opened.pop(key, None)
        self.acknowledged += 1

    def open_create(self, kind: str, mark: str) -> None:
        self.unanswered_creates.add((kind, mark))
        self.unanswered += 1

    def open_change(self, keys: list[Key], fields: Entity | None) -> None:
        self.opened |= dict.fromkeys(keys, Open(keys, fields))
        self.unanswered += 1


@dataclass
class Verdict:
    """Broken guarantees, one sentence each."""

    lost: list[str]
    resurrected: list[str]
    duplicated: list[str]
    torn: list[str]

    @property
    def all(self) -> list[str]:
        return [*self.lost, *self.resurrected, *self.duplicated, *self.torn]


def judge(ledger: Ledger, final: dict[Key, Entity]) -> Verdict:
    """Compare the ledger with all entities in `final` that its clients wrote."""
    verdict = Verdict([], [], list(ledger.duplicated), [])
    for key, known in ledger.known.items():
        if known is None:
            verdict.resurrected += [f"{key} is back: {final[key]}"] if key in final else []
        elif key not in ledger.opened and final.get(key) != known:
            verdict.lost.append(f"{key} is {final.get(key)}, not {known}")
    for operation in {id(opened): opened for opened in ledger.opened.values()}.values():
        verdict.torn += _torn(operation, ledger, final)
    verdict.duplicated += _duplicated(ledger, final)
    return verdict


def _torn(operation: Open, ledger: Ledger, final: dict[Key, Entity]) -> Iterator[str]:
    """Report an operation done in part, or whose entities have another state than expected."""
    keys = [key for key in operation.keys if ledger.known[key] is not None]
    is_done = [_is_done(operation, ledger.known[key], final.get(key)) for key in keys]
    if len(set(is_done)) > 1 or None in is_done:
        states = [final.get(key) for key in keys]
        yield f"{operation} ended as {states}, began as {[ledger.known[key] for key in keys]}"


def _is_done(operation: Open, before: Entity | None, after: Entity | None) -> bool | None:
    """Return whether the operation changed this entity; None if the entity has another state."""
    if after == before:
        return False
    if after is None or operation.fields is None or before is None:
        return True if after is None and operation.fields is None else None
    stamps = {name: after[name] for name in ("version", "updated_at")}
    is_intended = after == {**before, **operation.fields, **stamps}
    return True if is_intended and after["version"] > before["version"] else None


def _duplicated(ledger: Ledger, final: dict[Key, Entity]) -> Iterator[str]:
    """Report creates that happened twice, and entities that no client created."""
    marks = Counter((kind, entity[MARK[kind]]) for (kind, _), entity in final.items())
    yield from (f"{mark} is there {times} times" for mark, times in marks.items() if times > 1)
    for (kind, entity_id), entity in final.items():
        is_asked_for = (kind, entity[MARK[kind]]) in ledger.unanswered_creates
        if (kind, entity_id) not in ledger.known and not is_asked_for:
            yield f"nobody created {entity}"
