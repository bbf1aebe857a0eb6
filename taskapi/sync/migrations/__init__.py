"""Numbered changes of PostgreSQL's schema: files that run in order, and never backwards.

A file must be able to run again (IF NOT EXISTS, IF EXISTS): if a table is missing, all files run.

A new column needs a DEFAULT, because older programs still write rows during a rolling restart.
In its schema, the field then has `metadata={"added": NUMBER}`.
"""

import logging
from pathlib import Path
from typing import Final

from taskapi.errors import DatabaseUnreachable, Unavailable
from taskapi.sync.postgres import LOCK_WAIT, Database

FOREIGN: Final = (
    "The database has tables of another program ({}): set DATABASE_URL to a database of its own."
)
LOCK_TIMEOUT: Final = "5s"
"""How long a migration waits for the readers and writers of a table."""
FILES: Final = {int(path.name[:4]): path for path in Path(__file__).parent.glob("[0-9]*.sql")}
NEWEST: Final = max(FILES)
TABLES: Final = ("sync_state", "users", "groups", "memberships", "tasks", "tombstones")
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS migrations (
    number     integer     PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


_SEARCH: Final = """
CREATE EXTENSION IF NOT EXISTS pg_trgm;
CREATE INDEX tasks_search ON tasks USING gin (folded gin_trgm_ops);
"""
_LACKS_INDEX: Final = """
SELECT to_regclass('tasks_search') IS NULL
   AND EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_trgm')
"""
"""Whether the index of searches does not exist but may be created."""
_FOREIGN: Final = """
SELECT name
  FROM (VALUES ('sync_state', 'epoch'), ('users', 'email_key'), ('groups', 'name_key'),
               ('memberships', 'group_id'), ('tasks', 'folded'), ('tombstones', 'kind')
       ) AS ours (name, part)
 WHERE to_regclass(name) IS NOT NULL
   AND NOT EXISTS (SELECT FROM pg_attribute
                    WHERE attrelid = to_regclass(name) AND attname = part AND NOT attisdropped)
"""
"""Tables with one of our names that lack a column which all of ours have had from the beginning."""
log = logging.getLogger("taskapi")


class NewerSchema(Unavailable):
    """A newer program has migrated PostgreSQL; this one must not write there."""

    def __init__(self, number: int) -> None:
        super().__init__(
            f"PostgreSQL has schema {number} and this program knows {NEWEST}: a newer program "
            "migrated it. Upgrade this program; until then it serves requests but does not sync."
        )


def migrate(db: Database) -> None:
    """Apply the migrations that are missing; the caller holds the lock.

    Raises:
        NewerSchema: a newer program migrated this database.
        DatabaseUnreachable: a table is another program's or stayed locked for LOCK_TIMEOUT, or a
            permission is missing.
    """
    require_known(db)
    if foreign := foreign_tables(db):
        raise DatabaseUnreachable(FOREIGN.format(", ".join(foreign)))
    current = 0 if missing_tables(db) else applied(db)
    if current == NEWEST:
        return
    db.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
    db.execute(_TABLE)
    for number in range(current + 1, NEWEST + 1):
        db.execute(FILES[number].read_text())
        db.execute("INSERT INTO migrations VALUES (%s) ON CONFLICT DO NOTHING", (number,))
    db.execute(f"SET LOCAL lock_timeout = '{LOCK_WAIT}'")


def index_searches(db: Database) -> None:
    """Create the index of searches; if PostgreSQL or the role cannot, log that."""
    ((lacks_index,),) = db.rows(_LACKS_INDEX)
    if not lacks_index:
        return
    db.execute(f"SAVEPOINT search; SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
    try:
        db.execute(_SEARCH)
    except DatabaseUnreachable as error:
        db.execute("ROLLBACK TO search")
        log.info("Searches use no index: %s", error)
    db.execute(f"SET LOCAL lock_timeout = '{LOCK_WAIT}'")


def require_known(db: Database) -> None:
    """Raise NewerSchema if a newer program migrated this database."""
    if (current := applied(db)) > NEWEST:
        raise NewerSchema(current)


def missing_tables(db: Database) -> list[str]:
    """Return which of TABLES do not exist."""
    rows = db.rows(
        "SELECT name FROM unnest(%s) AS name WHERE to_regclass(name) IS NULL", (list(TABLES),)
    )
    return [name for (name,) in rows]


def foreign_tables(db: Database) -> list[str]:
    """Return which tables have the name of one of TABLES, but are another program's."""
    if applied(db):
        return []
    return [name for (name,) in db.rows(_FOREIGN)]


def applied(db: Database) -> int:
    """Return the number of the last migration, 0 for a database from before migrations."""
    ((has_table,),) = db.rows("SELECT to_regclass('migrations') IS NOT NULL")
    if not has_table:
        return 0
    ((number,),) = db.rows("SELECT coalesce(max(number), 0) FROM migrations")
    return int(number)
