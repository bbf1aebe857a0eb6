"""A connection to PostgreSQL for passes, restores and other work that may take long."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from types import TracebackType
from typing import Any, Final, Self

import psycopg2
from psycopg2 import extensions

from taskapi.config import Settings
from taskapi.errors import AlreadyRunning
from taskapi.sync.postgres_errors import RowsRefused, TableLocked, translated

log = logging.getLogger("taskapi")

CONNECT_SECONDS: Final = 2
SILENCE_MS: Final = 20_000
"""How long sent data may stay unacknowledged before the connection counts as broken."""
LOCK: Final = 0x7A5C_A911_5E1F
"""The advisory lock for moving data between the stores."""
ROWS: Final = 2000
"""Rows fetched at once."""

_LOCK: Final = """
SET LOCAL lock_timeout = %s;
SELECT pg_advisory_xact_lock(%s);
SET LOCAL lock_timeout = 0;
"""


class Database:
    """One connection. As a context manager it commits at the end, or rolls back after an error.

    Raises:
        DatabaseUnreachable: from every method, when PostgreSQL is away or cannot write.
        RowsRefused: from every method, for values and references that it refuses.
    """

    def __init__(self, settings: Settings) -> None:
        with translated():
            self._connection = psycopg2.connect(
                settings.database_url,
                connect_timeout=CONNECT_SECONDS,
                tcp_user_timeout=SILENCE_MS,
                client_encoding="utf8",
                application_name="taskapi",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.commit()
        finally:
            self._connection.close()

    def execute(self, statement: str, values: tuple[Any, ...] = ()) -> int:
        """Run a statement; return the number of rows that it affected."""
        with translated(), self._connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return int(cursor.rowcount)

    def rows(self, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a small result."""
        with translated(), self._connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return cursor.fetchall()

    def stream(self, statement: str) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a result of any size; ROWS are fetched at once."""
        with translated(), self._connection.cursor("stream") as cursor:
            cursor.itersize = ROWS
            cursor.execute(statement)
            yield from cursor

    def copy(self, table: str, columns: str, lines: bytes) -> None:
        """Append rows in COPY's text format, each with its line end."""
        with translated(), self._connection.cursor() as cursor:
            cursor.copy_expert(f"COPY {table} ({columns}) FROM STDIN", BytesIO(lines), 1 << 18)

    def commit(self) -> None:
        """Commit the transaction."""
        with translated():
            self._connection.commit()

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Roll back only the statements in this block when PostgreSQL refuses a row."""
        self.execute("SAVEPOINT part")
        try:
            yield
        except RowsRefused:
            self.execute("ROLLBACK TO part; RELEASE part")
            raise
        self.execute("RELEASE part")

    def lock(self, wait_seconds: float = 0.0) -> None:
        """Hold the lock for moving data between the stores until this transaction ends.

        Raises:
            AlreadyRunning: another process still holds the lock after `wait_seconds`.
        """
        try:
            self.execute(_LOCK, (f"{wait_seconds + 0.001}s", LOCK))
        except TableLocked:
            raise AlreadyRunning(
                "Another sync, restore or start is running: try again when it is done."
            ) from None

    def freeze(self) -> None:
        """Begin a read-only transaction that sees the database as it is now."""
        self.commit()
        level = extensions.ISOLATION_LEVEL_REPEATABLE_READ
        self._connection.set_session(isolation_level=level, readonly=True)
