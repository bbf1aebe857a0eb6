"""Breaking calls to PostgreSQL that will never return, for example over a half-open connection."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from psycopg2 import extensions

from taskapi.config import Settings
from taskapi.errors import DatabaseUnreachable
from taskapi.sync.postgres_errors import FULL
from taskapi.sync.shared_connection import ask_once

LOOK_SECONDS: Final = 1.0
"""How often a call is checked."""
QUIET_SECONDS: Final = 10.0
"""How long a call may take before PostgreSQL is asked whether it works on the call."""
SILENT_SECONDS: Final = 20.0
"""After how long without a sign of work a call is broken."""
_IS_WORKING: Final = """
SELECT 1
  FROM pg_stat_activity
 WHERE pid = %s AND state = 'active' AND wait_event_type IS DISTINCT FROM 'Client'
"""
"""A backend with the wait event `Client` waits for the service: it does not work on the call."""
_TERMINATE: Final = """
SELECT pg_terminate_backend(pid)
  FROM pg_stat_activity
 WHERE pid = %s AND usename = current_user AND application_name = 'taskapi'
"""


class CallWatch:
    """Breaks the connection if a call does not return and PostgreSQL does not work on it.

    Attributes:
        pid: the backend of the present transaction; behind a pooler, each may have another one.
    """

    def __init__(self, settings: Settings, connection: extensions.connection) -> None:
        self.pid = 0
        self._settings, self._connection = settings, connection
        self._is_calling = False
        self._seen_at = 0.0
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @contextmanager
    def call(self) -> Iterator[None]:
        """Watch the block, which is one call."""
        self._seen_at, self._is_calling = time.monotonic(), True
        try:
            yield
        finally:
            self._is_calling = False

    def close(self) -> None:
        """End the watch; afterwards the connection may be closed."""
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(LOOK_SECONDS):
            quiet_seconds = time.monotonic() - self._seen_at if self._is_calling else 0.0
            if quiet_seconds > SILENT_SECONDS:
                self._break()
                return
            if quiet_seconds > QUIET_SECONDS and self._is_working():
                self._seen_at = time.monotonic()

    def _is_working(self) -> bool:
        try:
            return bool(ask_once(self._settings, _IS_WORKING, (self.pid,)))
        except DatabaseUnreachable as error:
            return str(error) == FULL  # it answers others, so it may work for this call

    def _break(self) -> None:
        """End the call as if PostgreSQL had closed the connection, and then terminate its backend.

        Over a half-open connection PostgreSQL does not notice that the client is gone, and its
        session would keep its locks.
        """
        with socket.socket(fileno=os.dup(self._connection.fileno())) as shared:
            shared.shutdown(socket.SHUT_RDWR)
        with suppress(DatabaseUnreachable):
            ask_once(self._settings, _TERMINATE, (self.pid,))
