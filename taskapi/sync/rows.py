"""Entities as rows: how a chunk is written to PostgreSQL, and how everything is read back."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import orjson
from marshmallow.fields import Field

from schemas.fields import StrictBoolean, StrictInteger
from schemas.times import Day, Timestamp
from schemas.users import GroupIds, WorkTimes
from taskapi.store.chunks import Chunk, Mark
from taskapi.store.codec import SCHEMAS, Entity
from taskapi.store.indexes import fold
from taskapi.store.keys import Kind
from taskapi.sync.postgres import Database
from taskapi.sync.postgres_errors import RowsRefused
from taskapi.sync.shared_connection import SharedConnection

_STAGES: Final = """
CREATE TEMP TABLE new_users  (LIKE users)  ON COMMIT DROP;
CREATE TEMP TABLE new_groups (LIKE groups) ON COMMIT DROP;
CREATE TEMP TABLE new_tasks  (LIKE tasks)  ON COMMIT DROP;
CREATE TEMP TABLE new_memberships (LIKE memberships) ON COMMIT DROP;
CREATE TEMP TABLE new_tombstones (kind "char", id bigint, version bigint) ON COMMIT DROP;
"""
_UPSERT: Final = """
INSERT INTO {table} AS old ({columns})
SELECT {columns}
  FROM new_{table} AS new
 WHERE NOT EXISTS (SELECT FROM tombstones WHERE kind = '{kind}' AND id = new.id)
    ON CONFLICT (id) DO UPDATE
   SET ({columns}) = ROW({excluded})
 WHERE excluded.version > old.version
"""
_REFUSED: Final = """
SELECT '{kind}', new.id, new.version
  FROM new_{table} AS new
  LEFT JOIN {table} AS old USING (id)
 WHERE old.version IS DISTINCT FROM new.version
"""
_MEMBERSHIPS: Final = """
DELETE FROM memberships AS old
 USING new_users AS new JOIN users USING (id, version)
 WHERE old.user_id = new.id
   AND NOT EXISTS (SELECT FROM new_memberships AS kept
                    WHERE kept.user_id = old.user_id AND kept.group_id = old.group_id);
INSERT INTO memberships
SELECT m.*
  FROM new_memberships AS m JOIN new_users AS new ON new.id = m.user_id
  JOIN users USING (id, version)
    ON CONFLICT DO NOTHING;
"""
_TOMBSTONES: Final = """
INSERT INTO tombstones AS old (kind, id, version)
SELECT kind, id, version FROM new_tombstones
    ON CONFLICT (kind, id) DO UPDATE SET version = excluded.version, deleted_at = now()
 WHERE excluded.version > old.version;
DELETE FROM memberships USING new_tombstones AS gone WHERE kind = 'u' AND user_id = gone.id;
"""
_DELETE: Final = """
DELETE FROM {table} AS old
 USING new_tombstones AS gone
 WHERE gone.kind = '{kind}' AND gone.id = old.id AND gone.version > old.version
"""

Lines = list[tuple[str, str, bytes]]
"""Table, columns and rows in COPY's text format."""
_NULL: Final = "\ud800"
"""Stands for NULL until a line is escaped: no text has a lone surrogate."""


class Copied(NamedTuple):
    """Rows written and deleted by table; `refused` are entities with a newer row or a tombstone."""

    written: dict[str, int]
    deleted: dict[str, int]
    refused: list[Mark]


def prepare(db: Database) -> None:
    """Create the temporary tables of `copy`, for the rest of this transaction."""
    db.execute(_STAGES)


def copy(db: Database, chunk: Chunk, staged: Lines | None = None) -> Copied:
    """Copy the entities of a chunk that are newer than their rows into the tables.

    Args:
        staged: the `lines` of the chunk, if they exist already.

    Raises:
        RowsRefused: PostgreSQL cannot store some of the rows.
    """
    done, staged = Copied({}, {}, []), staged or lines(chunk)
    for stage in staged:
        db.copy(*stage)
    for kind, entities in chunk.entities.items():
        plan = _PLANS[kind]
        done.written[plan.table] = db.execute(plan.upsert) if entities else 0
        if done.written[plan.table] < len(entities):
            done.refused.extend(Mark(*row) for row in db.rows(plan.refused))
    if chunk.entities[Kind.USER]:
        db.execute(_MEMBERSHIPS)
    if chunk.deleted:
        db.execute(_TOMBSTONES)
    for plan in _PLANS.values():
        done.deleted[plan.table] = db.execute(plan.delete) if chunk.deleted else 0
    if staged:
        db.execute(f"TRUNCATE {', '.join(table for table, *_ in staged)}")
    return done


def lines(chunk: Chunk) -> Lines:
    """Return the COPY lines of a chunk.

    Raises:
        RowsRefused: an entity cannot be written as a row.
    """
    plans = [(_PLANS[kind], entities) for kind, entities in chunk.entities.items()]
    deletes = (f"{mark.kind}\t{mark.id}\t{mark.version}\n" for mark in chunk.deleted)
    try:
        users = chunk.entities[Kind.USER]
        pairs = (f"{user['id']}\t{group}\n" for user in users for group in user["group_ids"])
        parts = [(f"new_{p.table}", p.columns, "".join(map(p.line, part))) for p, part in plans]
        parts.append(("new_memberships", "user_id, group_id", "".join(pairs)))
        parts.append(("new_tombstones", "kind, id, version", "".join(deletes)))
        return [(table, columns, text.encode()) for table, columns, text in parts if text]
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        raise RowsRefused("", f"it cannot be written as a row ({error!r})") from error


def read(db: Database, kind: Kind, above: int = -1, only: Sequence[int] = ()) -> Iterator[Entity]:
    """Yield the entities of a kind above a version; if `only` is not empty, only those ids.

    Users have the values in `codec.HIDDEN` too. Tasks are in the order of users: they load faster.
    """
    plan, order = _PLANS[kind], "user_id, id" if kind is Kind.TASK else "id"
    for row in db.stream(f"{plan.select} WHERE {_condition(above, only)} ORDER BY {order}"):
        yield dict(zip(plan.names, row, strict=True))


def read_through(db: Database) -> None:
    """Read everything once, to find damaged rows before Redis is cleared."""
    for plan in _PLANS.values():
        db.rows(f"SELECT count(each::text) FROM ({plan.select}) AS each")


def tombstones(db: Database, kind: Kind, above: int, only: Sequence[int] = ()) -> Iterator[Mark]:
    """Yield the deletes of a kind above a version; if `only` is not empty, only those ids."""
    condition = f"kind = '{kind}' AND {_condition(above, only)}"
    for row in db.stream(f"SELECT kind::text, id, version FROM tombstones WHERE {condition}"):
        yield Mark(*row)


def _condition(above: int, only: Sequence[int]) -> str:
    ids = f" AND id = ANY (ARRAY{list(only)})" if only else ""
    return f"version > {above}{ids}"


def clear(db: Database) -> None:
    """Delete all rows; takes effect on commit."""
    db.execute("TRUNCATE sync_state, users, groups, memberships, tasks, tombstones")


def count(db: Database | SharedConnection) -> dict[Kind, int]:
    """Return how many entities of each kind there are."""
    counts = ", ".join(f"(SELECT count(*) FROM {kind.plural})" for kind in Kind)
    (numbers,) = db.rows(f"SELECT {counts}")
    return dict(zip(Kind, numbers, strict=True))


_TEXT: Final = "".__add__
_TO_TEXT: Final[dict[type[Field[Any]], Callable[[Any], str]]] = {
    StrictInteger: int.__repr__,
    StrictBoolean: bool.__repr__,
}
"""Field class -> value to text; like _TEXT, raises TypeError for a value of another type."""


class _Column(NamedTuple):
    """A field's SELECT expression, and a function that returns its value as text for COPY."""

    select: str
    to_text: Callable[[Any], str]


def _column(field: Field[Any], name: str) -> _Column:
    if isinstance(field, Timestamp):
        time = f"""to_char({name} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')"""
        return _Column(time, _TEXT)
    if isinstance(field, Day):
        day = f"to_char({name}, 'YYYY-MM-DD')"
        return _Column(day, lambda value: _NULL if value is None else _TEXT(value))
    if isinstance(field, WorkTimes):
        return _Column(name, lambda times: orjson.dumps(times).decode())
    if isinstance(field, GroupIds):
        member_of = "SELECT group_id FROM memberships WHERE user_id = users.id ORDER BY 1"
        return _Column(f"ARRAY({member_of})", str)
    return _Column(name, _TO_TEXT.get(type(field), _TEXT))


_DERIVED: Final[dict[Kind, dict[str, Callable[[Entity], str]]]] = {
    Kind.USER: {
        "password_hash": lambda user: user["password_hash"],
        "tokens": lambda user: orjson.dumps(user["tokens"]).decode(),
        "email_key": lambda user: fold(user["email"]),
    },
    Kind.GROUP: {"name_key": lambda group: fold(group["name"])},
    Kind.TASK: {"folded": lambda task: fold(f"{task['title']}\n{task['information']}")},
}
"""Columns that no client sees, made from the entity."""
_ADMINISTERS: Final = "ARRAY(SELECT id FROM groups WHERE admin_id = users.id ORDER BY 1)"
_HIDDEN_COLUMNS: Final[dict[Kind, dict[str, str]]] = {
    Kind.USER: {"password_hash": "password_hash", "tokens": "tokens", "administers": _ADMINISTERS}
}
"""Columns that `read` yields besides the fields that a client sees."""


class _Plan:
    """How entities of one kind are written and read, made from their schema."""

    def __init__(self, kind: Kind) -> None:
        fields = SCHEMAS[kind].dump_fields
        columns = {name: _column(field, name) for name, field in fields.items()}
        selected = {name: column.select for name, column in columns.items()}
        selected |= _HIDDEN_COLUMNS.get(kind, {})
        self.table, self.names = kind.plural, tuple(selected)
        self.select = f"SELECT {', '.join(selected.values())} FROM {self.table}"
        # memberships have a table of their own
        copied = [name for name in columns if not isinstance(fields[name], GroupIds)]
        self._to_text = {name: columns[name].to_text for name in copied}
        self._derived = _DERIVED[kind]
        stored = [*self._to_text, *self._derived]
        self.columns = ", ".join(stored)
        excluded = ", ".join(f"excluded.{name}" for name in stored)
        names = {"table": self.table, "kind": kind.value, "columns": self.columns}
        self.upsert = _UPSERT.format(**names, excluded=excluded)
        self.refused, self.delete = _REFUSED.format(**names), _DELETE.format(**names)

    def line(self, entity: Entity) -> str:
        """Return a line of COPY's text format; until it is escaped, NUL is between the values."""
        values = [to_text(entity[name]) for name, to_text in self._to_text.items()]
        values += [derive(entity) for derive in self._derived.values()]
        text = "\0".join(values).replace("\\", "\\\\").replace("\t", "\\t")
        text = text.replace("\n", "\\n").replace("\r", "\\r").replace("\0", "\t")
        return text.replace(_NULL, r"\N") + "\n"


_PLANS: Final = {kind: _Plan(kind) for kind in Kind}
