"""The steps of a pass, a restore, a backup or a request: each exchange with a store is a step.

The name of a step begins with the store. A pass reads from one store while it writes to the other,
so only the steps of one store have the same order each time.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any

import psycopg2
from psycopg2 import extensions

from taskapi.store import scripts
from taskapi.store.connection import Connection

STORES = ("SQL", "Redis")
Act = Callable[[], Any]
Patch = Callable[[Any, str, Any], None]
_SCRIPTS = {value: name.lower() for name, value in vars(scripts).items() if isinstance(value, str)}


def watch(patch: Patch, after: Callable[[str], None]) -> None:
    """Call `after` with the step's name after every step from now on."""

    class Cursor(extensions.cursor):
        def execute(self, query: Any, values: Any = None) -> None:
            super().execute(query, values)
            after(f"SQL {' '.join(str(query).split())[:60]}")

        def copy_expert(self, sql: Any, file: Any, size: int = 8192) -> None:
            super().copy_expert(sql, file, size)
            after(f"SQL {sql[:60]}")

    class PostgresConnection(extensions.connection):
        def commit(self) -> None:
            super().commit()
            after("SQL COMMIT")

    connect, execute = psycopg2.connect, Connection.execute

    def watched_connect(*args: Any, **kwargs: Any) -> Any:
        connection = connect(*args, connection_factory=PostgresConnection, **kwargs)
        connection.cursor_factory = Cursor
        after("SQL connected")
        return connection

    def watched_execute(self: Connection, *commands: Any, **options: Any) -> Any:
        replies = execute(self, *commands, **options)
        after(f"Redis {_name(commands[0])}")
        return replies

    patch(psycopg2, "connect", watched_connect)
    patch(Connection, "execute", watched_execute)


def _name(command: Any) -> str:
    if command[0] == "EVALSHA":
        script = _SCRIPTS[command[1]]
        return f"{script} {command[4]}" if script == "even_when_full" else script
    return " ".join(str(word).rpartition(":")[2] for word in command[:3])


_OTHERS = ThreadPoolExecutor(1)
"""The thread of an intruder: it has a connection of its own, as another client would."""


class Intruder:
    """Runs `act` once, after the n-th of the steps whose names begin with `kind`."""

    def __init__(self, patch: Patch, step: int, act: Act, kind: str = "") -> None:
        self._left, self._act, self._kind = step, act, kind
        self._lock = Lock()
        self.where = ""
        watch(patch, self._after)

    def _after(self, name: str) -> None:
        if self.where or not name.startswith(self._kind):
            return
        with self._lock:  # a pass works in two threads
            self._left -= 1
            is_now = self._left == 0
        if is_now:
            self.where = name
            _OTHERS.submit(self._act).result()
