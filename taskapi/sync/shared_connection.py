"""Queries that requests send to PostgreSQL: each gets its rows or an error before a deadline.

`statement_timeout` is enforced by the server, so it does not hold when the server is silent. The
connections here are asynchronous, and this process waits for them with a limit of its own.
"""

import select
import threading
import time
from contextlib import closing
from typing import Any, Final

import psycopg2
from psycopg2 import extensions

from taskapi.config import Settings
from taskapi.errors import DatabaseUnreachable
from taskapi.sync.postgres_errors import AWAY, Silent, TookTooLong, translated

ANSWER_SECONDS: Final = 1.0
"""How long a request waits for PostgreSQL in all."""
TURN_SECONDS: Final = 0.05
"""A request waits for a busy connection until its query runs for this long; then it gets Silent."""
SILENT_SECONDS: Final = 5.0
"""How long PostgreSQL is not asked after it did not answer."""
IDLE_SECONDS: Final = 10.0
"""After how long without a query the connection is closed."""
KNOWN_SECONDS: Final = 5.0
"""After this time, PostgreSQL is asked again whether it works."""
NOT_KNOWN: Final = "It is not known at this moment whether PostgreSQL answers."

_LIMITS: Final = (
    "SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ ONLY; "
    "SET LOCAL statement_timeout = {milliseconds}; "
)
"""Sent in one message with the query: they apply to that transaction only, behind a pooler too."""


class SharedConnection:
    """One connection for all requests of a process, used by one request at a time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._turn = threading.Lock()
        self._connection: extensions.connection | None = None
        self._asked_at = self._used_at = self._known_at = self._silent_until = 0.0
        self._problem = ""

    def rows(
        self, statement: str, values: tuple[Any, ...] = (), deadline: float | None = None
    ) -> list[tuple[Any, ...]]:
        """Return the rows of a SELECT.

        Args:
            deadline: a `time.monotonic()`; by default ANSWER_SECONDS from now.

        Raises:
            Silent: PostgreSQL did not answer now or a moment ago, or another query is running.
            TookTooLong: this statement takes too long.
            DatabaseUnreachable: PostgreSQL is unreachable or refuses the statement.
        """
        deadline = deadline or time.monotonic() + ANSWER_SECONDS
        turn_seconds = self._asked_at + TURN_SECONDS - time.monotonic()
        if not self._turn.acquire(timeout=max(0.0, turn_seconds)):
            raise Silent(NOT_KNOWN)
        self._asked_at = time.monotonic()
        try:
            rows = self._rows(statement, values, deadline)
        except TookTooLong:
            raise  # only this statement is slow: the connection works
        except DatabaseUnreachable as error:
            self._learn(str(error))
            raise
        else:
            self._learn("")
            return rows
        finally:
            self._turn.release()

    def status(self) -> tuple[str, str]:
        """Return `connected`, `error` or `unknown`, and why it is not `connected`.

        It is `unknown` if PostgreSQL did not answer in time, or the connection is busy.
        """
        try:
            self.rows("SELECT 1")
        except Silent as error:
            has_just_answered = time.monotonic() < self._known_at + ANSWER_SECONDS
            if has_just_answered and not self._problem:
                return "connected", ""
            return "unknown", str(error)
        except DatabaseUnreachable as error:
            return "error", str(error)
        return "connected", ""

    def problem(self, wait_seconds: float) -> str:
        """Return why PostgreSQL cannot be used, as far as known; empty if it answers.

        PostgreSQL is asked in the background. The caller waits at most `wait_seconds`.
        """
        if time.monotonic() > self._known_at + KNOWN_SECONDS:
            thread = threading.Thread(target=self.status, daemon=True)
            thread.start()
            thread.join(wait_seconds)
        is_known = time.monotonic() < self._known_at + 2 * KNOWN_SECONDS
        return self._problem if is_known else NOT_KNOWN

    def _rows(
        self, statement: str, values: tuple[Any, ...], deadline: float
    ) -> list[tuple[Any, ...]]:
        if time.monotonic() < self._silent_until:
            raise Silent(AWAY)
        is_reused = self._connection is not None
        try:
            self._connection = self._connection or self._connect(deadline)
            rows = fetch(self._connection, statement, values, deadline)
        except Silent:
            self._silent_until = time.monotonic() + SILENT_SECONDS
            self._drop()
            raise
        except DatabaseUnreachable:
            if self._connection is None or not self._connection.closed:
                raise
            self._drop()
            if not is_reused:
                raise
            return self._rows(statement, values, deadline)
        self._used_at = time.monotonic()
        return rows

    def _connect(self, deadline: float) -> extensions.connection:
        connection = connect(self._settings, deadline)
        self._used_at = time.monotonic()
        threading.Thread(target=self._close_when_idle, args=(connection,), daemon=True).start()
        return connection

    def _close_when_idle(self, connection: extensions.connection) -> None:
        while (left := self._used_at + IDLE_SECONDS - time.monotonic()) > 0:
            time.sleep(left)
        with self._turn:
            if self._connection is connection:
                self._drop()

    def _drop(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None

    def _learn(self, problem: str) -> None:
        self._problem, self._known_at = problem, time.monotonic()


def ask_once(settings: Settings, statement: str, values: tuple[Any, ...] = ()) -> list[Any]:
    """Return the rows of a SELECT over a new connection; raises as `SharedConnection.rows` does."""
    deadline = time.monotonic() + ANSWER_SECONDS
    with closing(connect(settings, deadline)) as connection:
        return fetch(connection, statement, values, deadline)


def connect(settings: Settings, deadline: float) -> extensions.connection:
    """Return a new asynchronous connection; only the look-up of a host name is not limited."""
    with translated():
        connection = psycopg2.connect(
            settings.database_url,
            async_=True,
            client_encoding="utf8",
            application_name="taskapi",
        )
        try:
            _wait(connection, deadline)
        except (psycopg2.Error, Silent):
            connection.close()
            raise
        return connection


def fetch(
    connection: extensions.connection, statement: str, values: tuple[Any, ...], deadline: float
) -> list[tuple[Any, ...]]:
    """Return the rows of a SELECT; PostgreSQL cancels it shortly before the deadline."""
    milliseconds = max(1, int((deadline - time.monotonic()) * 900))
    with translated(), connection.cursor() as cursor:
        cursor.execute(_LIMITS.format(milliseconds=milliseconds) + statement, values or None)
        _wait(connection, deadline)
        return cursor.fetchall()


def _wait(connection: extensions.connection, deadline: float) -> None:
    """Wait until PostgreSQL has answered; raises Silent at the deadline."""
    while (state := connection.poll()) != extensions.POLL_OK:
        poller = select.poll()
        events = select.POLLIN if state == extensions.POLL_READ else select.POLLOUT
        poller.register(connection.fileno(), events)
        left_ms = max(0.0, (deadline - time.monotonic()) * 1000)
        if not poller.poll(left_ms):
            raise Silent(AWAY)
