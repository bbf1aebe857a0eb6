"""Facts about the PostgreSQL server, for the doctor."""

from dataclasses import dataclass
from typing import Final

from taskapi.errors import Unusable
from taskapi.sync.postgres import Database

_LOOK: Final = """
SELECT current_setting('server_version_num')::int,
       extract(epoch FROM clock_timestamp())::float8,
       EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_trgm'),
       current_setting('server_encoding'),
       current_setting('default_transaction_read_only') = 'on' OR pg_is_in_recovery(),
       has_schema_privilege(current_schema(), 'CREATE')
"""
_ENCODING: Final = (
    "The database has the encoding {}, which lacks characters: create it with ENCODING 'UTF8' and "
    "TEMPLATE template0."
)


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """Facts about the server and the database of the service.

    Attributes:
        version: major and minor.
        clock_seconds: the server's time.
        has_trigrams: whether searches can use an index.
        encoding: of the database.
        is_read_only: whether it takes no changes.
        may_create: whether the role may create tables; None if there is no schema for them.
    """

    version: tuple[int, int]
    clock_seconds: float
    has_trigrams: bool
    encoding: str
    is_read_only: bool
    may_create: bool | None

    @property
    def wrong_encoding(self) -> str:
        """Why the database cannot hold all texts, and what to do; empty if it can."""
        return "" if self.encoding == "UTF8" else _ENCODING.format(self.encoding)


def look(db: Database) -> PostgresServer:
    """Return the facts about the server and the database."""
    ((number, *facts),) = db.rows(_LOOK)
    return PostgresServer(divmod(number, 10_000), *facts)


def require_utf8(db: Database) -> None:
    """Raise Unusable if the database cannot hold all texts."""
    if problem := look(db).wrong_encoding:
        raise Unusable(problem)
