"""Debian's PostgreSQL 15, if it is installed; unlike the bundled server, it has pg_trgm."""

from pathlib import Path
from typing import Final

from devserver.servers import Postgres

PROGRAMS: Final = Path("/usr/lib/postgresql/15/bin")
TRIGRAMS: Final = Path("/usr/share/postgresql/15/extension/pg_trgm.control")


class DebianPostgres(Postgres):
    """A private server with Debian's programs (`apt-get install postgresql-15`)."""

    @staticmethod
    def is_installed() -> bool:
        return (PROGRAMS / "postgres").exists() and TRIGRAMS.exists()

    def _program(self, name: str) -> str:
        return str(PROGRAMS / name)
