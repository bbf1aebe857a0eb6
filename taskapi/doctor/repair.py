"""`python -m taskapi check --repair`: repair step by step, each write only if nothing changed."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import orjson

from taskapi.doctor.consistency import examine
from taskapi.doctor.differences import Administering, Difference, Step, Stores, named
from taskapi.errors import Damaged, Stale
from taskapi.store import changes, consistency, meta, tokens
from taskapi.store import session as sessions
from taskapi.store.codec import Entity, references
from taskapi.store.consistency import WRONG_TYPE, Removal, Repair
from taskapi.store.indexes import fold
from taskapi.store.keys import EntityRef, Kind
from taskapi.store.numbers import is_number
from taskapi.sync import row_versions

BATCH: Final = 100
"""Repairs done in one call."""
NAMES: Final = {Kind.USER: "email", Kind.GROUP: "name"}
"""Kind -> the field whose values are unique."""


def repair(stores: Stores) -> tuple[list[Difference], list[Difference]]:
    """Repair what can be repaired; return the differences that were found, and those that remain.

    The caller holds the lock for moving data between the stores, so no pass and no restore runs.

    Raises:
        NotReady, Unavailable: a store is not ready, or unreachable.
    """
    differences = examine(stores)
    found = {each.identity: each for each in differences}
    reasons: dict[str, str] = {}
    for step in Step:
        todo = [each for each in differences if each.step is step and each.repair]
        if todo:
            reasons |= _apply(stores, todo)
            differences = examine(stores)
            found |= {each.identity: each for each in differences}
    meta.publish_status(stores.store, {"damage": changes.find_damage(stores.store)})
    remaining = [
        each._replace(remedy=reasons.get(each.subject, each.remedy)) for each in differences
    ]
    return [*found.values()], remaining


def _apply(stores: Stores, differences: list[Difference]) -> dict[str, str]:
    """Repair; return why an entity cannot be taken from PostgreSQL, by subject."""
    repairs = [each.repair for each in differences]
    writes = [each for each in repairs if isinstance(each, Repair)]
    for start in range(0, len(writes), BATCH):
        consistency.mend(stores.store, writes[start : start + BATCH])
    _duties(stores, [each for each in repairs if isinstance(each, Administering)])
    consistency.remove(stores.store, [each for each in repairs if isinstance(each, Removal)])
    refs = {
        each for each in repairs if each and not isinstance(each, Repair | Removal | Administering)
    }
    reasons = {}
    for ref in sorted(refs, key=lambda ref: (list(Kind).index(ref[0]), ref[1])):
        if reason := _put_back(stores, ref, refs):
            refs.discard(ref)  # what refers to it cannot be put back either
            reasons[named(ref)] = f"it cannot be taken from PostgreSQL: {reason}"
    return reasons


def _duties(stores: Stores, duties: list[Administering]) -> None:
    """Repair duties one by one: a user may have several that are wrong."""
    for duty in duties:
        key, group = stores.keys.entity(Kind.USER, duty.user_id), {duty.group_id}
        read = ("HGET", key, "administers")
        (held,) = consistency.look(stores.store, [read])
        try:
            before = {*sessions.ids_of(held or b"[]")}
        except ValueError:  # damaged meanwhile: `examine` reports it
            continue
        kept = before | group if duty.is_held else before - group
        text = orjson.dumps(sorted(kept)).decode()
        write = ("HSET", key, "administers", text) if kept else ("HDEL", key, "administers")
        consistency.mend(stores.store, [Repair([(read, consistency.text_of(held))], [write])])


def _put_back(stores: Stores, ref: EntityRef, refs: set[EntityRef]) -> str:
    """Take an entity from PostgreSQL; return why not if it conflicts with what Redis has."""
    entity = row_versions.find(stores.db, *ref)
    if entity is None:
        return "it is gone there"
    if obstacle := next(_obstacles(stores, ref, entity, refs), ""):
        return obstacle
    session = sessions.begin(stores.store)
    try:
        session.open()
        consistency.put_back(session, ref[0], entity)
    except (Stale, Damaged) as error:
        return str(error) or "it has changed meanwhile"
    return ""


def _obstacles(
    stores: Stores, ref: EntityRef, entity: Entity, refs: set[EntityRef]
) -> Iterator[str]:
    """Yield the parents that are missing and not put back, and another owner of the name.

    Tokens that cannot be read are an obstacle too.
    """
    if ref[0] is Kind.USER and not tokens.are_tokens(entity["tokens"]):
        yield "its tokens there cannot be read"
    parents = [parent for parent in references(entity) if parent not in refs]
    exist = consistency.look(
        stores.store, [("EXISTS", stores.keys.entity(*each)) for each in parents]
    )
    for parent, exists in zip(parents, exist, strict=True):
        if not exists:
            yield f"{named(parent)} does not exist"
    if ref[0] is not Kind.TASK and (holder := _holder(stores, ref[0], entity)) not in (0, ref[1]):
        yield f"{ref[0].noun} {holder} has its {NAMES[ref[0]]} now"


def _holder(stores: Stores, kind: Kind, entity: Entity) -> int:
    """Return the id of the user or group that has the entity's e-mail address or name; 0 for none.

    The holder is read too, because the entry of the index may be a wrong one that is removed later.
    """
    keys, field = stores.keys, NAMES[kind]
    index, name = keys.emails if kind is Kind.USER else keys.names, fold(entity[field])
    (stored,) = consistency.look(stores.store, [("HGET", index, name)])
    if not stored or not is_number(stored):
        return 0
    (reply,) = consistency.look(stores.store, [sessions.fetch(keys, kind, int(stored))])
    if reply != WRONG_TYPE:
        with suppress(Damaged):  # an entity that cannot be read may have the name
            other = sessions.entity(kind, int(stored), reply)
            return int(stored) if other and fold(other[field]) == name else 0
    return int(stored)
