"""Debian's PgBouncer in transaction mode in front of a PostgreSQL server."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from devserver.servers import AS_NOBODY, Postgres, free_port
from tests.faults.site import through
from tests.operations.nginx import program
from tests.support import eventually

POOL_SIZE = 6
"""Connections to PostgreSQL for each database."""
CONFIGURATION = """
[databases]
* = host=127.0.0.1 port={server_port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = {pool_size}
max_client_conn = {most_clients}
server_login_retry = 1
"""


class PgBouncer:
    """A PgBouncer; `url` is the address of PostgreSQL through it."""

    def __init__(self, folder: Path, postgres: Postgres, most_clients: int = 100) -> None:
        self.port = free_port()
        parts = urlsplit(postgres.url)
        self.url = through(self.port, postgres.url)
        folder.mkdir()
        (folder / "users").write_text(f'"{parts.username}" "{parts.password}"\n')
        self._file, self._log = folder / "pgbouncer.ini", folder / "log"
        self._file.write_text(
            CONFIGURATION.format(
                server_port=postgres.port,
                port=self.port,
                folder=folder,
                pool_size=POOL_SIZE,
                most_clients=most_clients,
            )
        )

    @contextlib.contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """Run it until the end of the block; yield its process."""
        command = [program("pgbouncer", "pgbouncer"), str(self._file)]
        if os.geteuid() == 0:  # it refuses to run as root
            command = ["setpriv", *AS_NOBODY, *command]
        with self._log.open("wb") as log, subprocess.Popen(command, stderr=log) as process:
            try:
                eventually(lambda: self._listens(process))
                yield process
            finally:
                process.kill()

    def _listens(self, process: subprocess.Popen[bytes]) -> bool:
        assert process.poll() is None, self._log.read_text()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port)).close()
            return True
        return False
