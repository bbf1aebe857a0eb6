"""Debian's PostgreSQL 15 with its contrib, where it is installed: it has pg_trgm."""

import subprocess
from pathlib import Path
from typing import IO, Final

from devserver import servers

PROGRAMS: Final = Path("/usr/lib/postgresql/15/bin")
TRIGRAMS: Final = Path("/usr/share/postgresql/15/extension/pg_trgm.control")


class DebianPostgres(servers.Postgres):
    """The same private server from other programs (`apt-get install postgresql-15`)."""

    @staticmethod
    def is_installed() -> bool:
        return (PROGRAMS / "postgres").exists() and TRIGRAMS.exists()

    def _command(self) -> list[str]:
        return _debians(super()._command())

    def _run(self, log: IO[str], command: list[str], script: str = "") -> None:
        argv = _debians(servers._unprivileged(*command))
        if subprocess.run(argv, input=script, check=False, **self._surroundings(log)).returncode:
            raise self._failure("cannot be set up")


def _debians(command: list[str]) -> list[str]:
    """Return the command with PostgreSQL's program, found by its folder, taken from Debian's."""
    return [
        str(PROGRAMS / Path(word).name) if "/pginstall/bin/" in word else word for word in command
    ]
