"""Faults of PostgreSQL that last as long as a block: silence, a lock, no free connection."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg2

from devserver.servers import Server
from tests.faults.site import through
from tests.support import Installation


@contextlib.contextmanager
def frozen(server: Server) -> Iterator[None]:
    """Stop all processes of a server: the kernel accepts connections, but nothing answers."""
    assert server._process
    main = server._process.pid
    os.kill(main, signal.SIGSTOP)  # first, so that it starts no more processes
    children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
    processes = [*map(int, children), main]
    try:
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        yield
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)


@contextlib.contextmanager
def locked(
    installation: Installation, table: str = "tasks", server: Server | None = None
) -> Iterator[None]:
    """Hold the strongest lock of a table, as ALTER TABLE or VACUUM FULL do.

    Args:
        server: connect to it directly, not through a pooler.
    """
    url = installation.settings.database_url
    connection = psycopg2.connect(through(server.port, url) if server else url)
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield


@contextlib.contextmanager
def crowded(installation: Installation) -> Iterator[None]:
    """Use all connections that the server has."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(psycopg2.OperationalError):
            while True:
                connection = psycopg2.connect(installation.settings.database_url)
                stack.enter_context(contextlib.closing(connection))
        yield
