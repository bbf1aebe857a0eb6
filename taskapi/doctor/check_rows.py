"""Checks of entities against their rows in PostgreSQL: versions, fields, password hashes."""

from collections.abc import Iterator

from taskapi.doctor.check_keys import TAKEN
from taskapi.doctor.differences import SHOWN_MOST, Difference, Step, Stores, guard_of, named
from taskapi.store.codec import Entity
from taskapi.store.consistency import Repair
from taskapi.store.keys import EntityRef, Kind
from taskapi.sync import row_versions


def compare_rows(stores: Stores, kind: Kind, found: dict[int, Entity]) -> Iterator[Difference]:
    """Compare entities that have no mark with their rows.

    An entity and a row with the same version must have the same values.

    Args:
        found: the entities by id; users with `password_hash` and `tokens`, unless they cannot be
            read.
    """
    rows = row_versions.read(stores.db, kind, [*found])
    for entity_id, entity in found.items():
        ref, row = (kind, entity_id), rows.get(entity_id)
        if row is None or row["version"] < entity["version"]:
            state = "has an older version" if row else "does not have it"
            yield _uncopied(stores, ref, entity["version"], state)
        elif row["version"] > entity["version"]:
            remedy = "the next pass puts it back if Redis lost data; else action=restore"
            yield Difference(named(ref), "PostgreSQL has a newer version", remedy, Step.MARKS)
        elif names := _differing(entity, row):
            detail = ", ".join(names[:SHOWN_MOST])
            problem = "differs from PostgreSQL in"
            yield Difference(named(ref), problem, TAKEN, Step.ENTITIES, detail, ref)


def _uncopied(stores: Stores, ref: EntityRef, version: int, state: str) -> Difference:
    """Return the difference for an entity that must have a mark."""
    mark = f"{ref[0]}:{ref[1]}"
    guards = [guard_of(stores.keys, ref, version), (("ZSCORE", stores.keys.dirty, mark), "")]
    repair = Repair(guards, [("ZADD", stores.keys.dirty, str(version), mark)])
    problem = f"PostgreSQL {state}, and no pass will copy it"
    remedy = "--repair marks it for the next pass"
    return Difference(named(ref), problem, remedy, Step.MARKS, repair=repair)


def _differing(entity: Entity, row: Entity) -> list[str]:
    """Return the fields that differ, except `administers`, which is derived from the groups."""
    left_out = {"administers"} | ({"password_hash", "tokens"} - entity.keys())
    return [name for name in row if name not in left_out and entity[name] != row[name]]
