"""Facts about the PostgreSQL server, for the doctor."""

from dataclasses import dataclass
from typing import Final

from taskapi.sync.migrations import TABLES
from taskapi.sync.postgres import Database

_LOOK: Final = """
SELECT current_setting('server_version_num')::int,
       extract(epoch FROM clock_timestamp())::float8,
       ARRAY(SELECT name FROM unnest(%s) AS name WHERE to_regclass(name) IS NOT NULL),
       EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_trgm')
"""


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """Facts about the server and the database of the service.

    Attributes:
        version: major and minor.
        clock_seconds: the server's time.
        tables: the tables of the service that exist.
        missing: the tables of the service that do not exist.
        has_trigrams: whether searches can use an index.
    """

    version: tuple[int, int]
    clock_seconds: float
    tables: list[str]
    missing: list[str]
    has_trigrams: bool


def look(db: Database) -> PostgresServer:
    """Return the facts about the server and the database."""
    ((number, clock, tables, has_trigrams),) = db.rows(_LOOK, (list(TABLES),))
    missing = [name for name in TABLES if name not in tables]
    return PostgresServer(divmod(number, 10_000), clock, tables, missing, has_trigrams)
