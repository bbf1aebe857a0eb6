"""A connection to PostgreSQL for passes, restores and other work that may take long."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from types import TracebackType
from typing import Any, Final, Self

import psycopg2
from psycopg2 import extensions

from taskapi.config import Settings
from taskapi.errors import AlreadyRunning
from taskapi.sync.call_watch import CallWatch
from taskapi.sync.postgres_errors import RowsRefused, TableLocked, translated

CONNECT_SECONDS: Final = 2
KEEPALIVE: Final[dict[str, Any]] = {
    "tcp_user_timeout": 20_000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
}
"""A broken network ends a connection after 20 s. The first value is in milliseconds."""
LOCK_WAIT: Final = "10s"
"""How long a statement waits for the lock of a table or row."""
LOCK: Final = 0x7A5C_A911_5E1F
"""The advisory lock for moving data between the stores."""
FORCE_SECONDS: Final = 30.0
"""How long an action of the owner waits for a pass that is running."""
ROWS: Final = 2000
"""Rows fetched at once."""

_BEGIN: Final = f"""
SET LOCAL lock_timeout = '{LOCK_WAIT}';
SELECT set_config(name, wanted, TRUE)
  FROM pg_settings
  JOIN (VALUES ('statement_timeout', '0'), ('idle_in_transaction_session_timeout', '0'),
               ('transaction_timeout', '0'), ('tcp_keepalives_idle', '10'),
               ('tcp_keepalives_interval', '5'), ('tcp_keepalives_count', '2'),
               ('tcp_user_timeout', '20000')) AS wishes (name, wanted) USING (name);
SELECT pg_backend_pid();
"""
"""0 is no limit. `transaction_timeout` exists since PostgreSQL 17. The `tcp_` settings let
PostgreSQL end a session, and its locks, 20 s after the machine of its client has vanished."""
_LOCK: Final = f"""
SET LOCAL lock_timeout = %s;
SELECT pg_advisory_xact_lock(%s);
SET LOCAL lock_timeout = '{LOCK_WAIT}';
"""


class Database:
    """One connection. As a context manager it commits at the end, or rolls back after an error.

    Every transaction asks for its isolation level and sets its limits, so that the defaults of the
    database and the role do not matter and a pooler may run each transaction on another server
    connection.

    Raises:
        DatabaseUnreachable: from every method, when PostgreSQL is unreachable or silent, or cannot
            write.
        RowsRefused: from every method, for values and references that it refuses.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        with translated():
            self._connection = psycopg2.connect(
                settings.database_url,
                connect_timeout=CONNECT_SECONDS,
                client_encoding="utf8",
                application_name="taskapi",
                **KEEPALIVE,
            )
        self._connection.set_session(isolation_level=extensions.ISOLATION_LEVEL_READ_COMMITTED)
        self._watch = CallWatch(settings, self._connection)
        self._streams = itertools.count()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.commit()
        finally:
            self._watch.close()
            self._connection.close()

    def another(self) -> "Database":
        """Return a new connection to the same database."""
        return Database(self._settings)

    def execute(self, statement: str, values: tuple[Any, ...] = ()) -> int:
        """Run a statement; return the number of rows that it affected."""
        with self._cursor() as cursor:
            cursor.execute(statement, values or None)
            return int(cursor.rowcount)

    def rows(self, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a small result."""
        with self._cursor() as cursor:
            cursor.execute(statement, values or None)
            return cursor.fetchall()

    def stream(self, statement: str) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a result of any size, which are fetched ROWS at a time."""
        name = f"stream_{next(self._streams)}"  # several may be open at once
        self.execute(f"DECLARE {name} CURSOR FOR {statement}")
        while rows := self.rows(f"FETCH {ROWS} FROM {name}"):
            yield from rows
        self.execute(f"CLOSE {name}")

    def copy(self, table: str, columns: str, lines: bytes) -> None:
        """Append rows in COPY's text format, each with its line end."""
        with self._cursor() as cursor:
            cursor.copy_expert(f"COPY {table} ({columns}) FROM STDIN", BytesIO(lines), 1 << 18)

    def commit(self) -> None:
        """Commit the transaction."""
        with self._watch.call(), translated():
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

    @contextmanager
    def _cursor(self) -> Iterator[extensions.cursor]:
        """Yield a cursor for one watched call, in a transaction that has its limits."""
        with self._watch.call(), translated(), self._connection.cursor() as cursor:
            if self._connection.status == extensions.STATUS_READY:
                cursor.execute(_BEGIN)
                ((self._watch.pid,),) = cursor.fetchall()
            yield cursor
