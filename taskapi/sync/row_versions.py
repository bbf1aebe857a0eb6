"""What PostgreSQL has, for comparing it with Redis."""

from collections.abc import Iterator, Sequence
from typing import Final

from taskapi.store.codec import Entity
from taskapi.store.keys import Kind
from taskapi.sync import rows
from taskapi.sync.postgres import Database

CHUNK: Final = 2000
"""Rows read at once."""


def begin(db: Database, *, read_only: bool) -> None:
    """Begin a transaction in which each statement sees what is committed by then."""
    mode = "READ ONLY" if read_only else "READ WRITE"
    db.execute(f"SET TRANSACTION ISOLATION LEVEL READ COMMITTED, {mode}")


def of(db: Database, kind: Kind, ids: Sequence[int]) -> dict[int, int]:
    """Return the versions of these rows, as far as they exist."""
    statement = f"SELECT id, version FROM {kind.plural} WHERE id = ANY(%s)"
    return dict(db.rows(statement, (list(ids),)))


def all_ids(db: Database, kind: Kind) -> Iterator[int]:
    """Yield the ids of all rows, from many short statements."""
    statement = f"SELECT id FROM {kind.plural} WHERE id > %s ORDER BY id LIMIT {CHUNK}"
    last = 0
    while chunk := [row[0] for row in db.rows(statement, (last,))]:
        yield from chunk
        last = chunk[-1]


def highest(db: Database, kind: Kind) -> tuple[int, int]:
    """Return the highest id and the highest version of all rows; 0 if there are none."""
    statement = f"SELECT coalesce(max(id), 0), coalesce(max(version), 0) FROM {kind.plural}"
    ((entity_id, version),) = db.rows(statement)
    return entity_id, version


def find(db: Database, kind: Kind, entity_id: int) -> Entity | None:
    """Return an entity, users with hidden values; None if PostgreSQL does not have it."""
    return read(db, kind, [entity_id]).get(entity_id)


def read(db: Database, kind: Kind, ids: Sequence[int]) -> dict[int, Entity]:
    """Return the entities with these ids, as far as they exist; users with hidden values."""
    return {entity["id"]: entity for entity in rows.read(db, kind, only=ids)} if ids else {}
