"""Facts about the PostgreSQL server, for the doctor."""

from dataclasses import dataclass
from typing import Final

from taskapi.sync.postgres import Database

_LOOK: Final = """
SELECT current_setting('server_version_num')::int,
       extract(epoch FROM clock_timestamp())::float8,
       EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_trgm')
"""


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """Facts about the server and the database of the service.

    Attributes:
        version: major and minor.
        clock_seconds: the server's time.
        has_trigrams: whether searches can use an index.
    """

    version: tuple[int, int]
    clock_seconds: float
    has_trigrams: bool


def look(db: Database) -> PostgresServer:
    """Return the facts about the server and the database."""
    ((number, clock, has_trigrams),) = db.rows(_LOOK)
    return PostgresServer(divmod(number, 10_000), clock, has_trigrams)
