"""Checks of this machine: secrets, the port, the backup folder."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final
from urllib.parse import unquote, urlsplit

from taskapi.config import Settings, is_loopback
from taskapi.doctor.finding import Finding, finding
from taskapi.doctor.ports import PortError, check_free, health_at
from taskapi.environment import DEFAULT_POSTGRES_PASSWORD

PROBE_BYTES: Final = 16 << 10
"""Size of the file that is written to test the backup folder."""


def examine(settings: Settings) -> Iterator[Finding]:
    """Yield a finding for each check."""
    yield from _secrets(settings)
    yield _port(settings.server_host, settings.server_port)
    yield _backups(settings.backup_dir)


def _secrets(settings: Settings) -> Iterator[Finding]:
    yield finding(
        "owner password",
        "the default of the public guide" if settings.is_default_password else "not the default",
        warn="set OWNER_PASSWORD" if settings.is_default_password else "",
    )
    url = urlsplit(settings.database_url)
    remedy = "set POSTGRES_PASSWORD, and change it in PostgreSQL"
    is_default = unquote(url.password or "") == DEFAULT_POSTGRES_PASSWORD
    host = url.hostname or "localhost"
    is_here = is_loopback(host) or host.startswith("%2f")  # a folder with a socket
    yield finding(
        "postgresql password",
        "the default of the public guide" if is_default else "not the default",
        fail=remedy if is_default and not is_here else "",
        warn=remedy if is_default else "",
    )
    for path in (*settings.secret_files, Path(".env")):
        with suppress(FileNotFoundError):
            yield _secret_file(path, path.stat().st_mode & 0o777)


def _secret_file(path: Path, mode: int) -> Finding:
    return finding(
        "secret file",
        f"{path} has mode {mode:04o}",
        fail=f"others may change it: chmod 600 {path}" if mode & 0o022 else "",
        warn=f"others may read it: chmod 600 {path}" if mode & 0o004 else "",
    )


def _port(host: str, port: int) -> Finding:
    where, health = f"{host}:{port}", health_at(host, port)
    if health in ("healthy", "degraded", "unhealthy"):
        remedy = "" if health == "healthy" else "see its /health and /admin/status"
        fail = remedy if health == "unhealthy" else ""
        return finding("port", f"a taskapi at {where} is {health}", fail=fail, warn=remedy)
    try:
        check_free(host, port)
    except PortError as error:
        return finding("port", f"taskapi cannot listen on {where}", fail=str(error).rstrip("."))
    return finding("port", f"{where} is free")


def _backups(folder: Path) -> Finding:
    """Write a temporary file to the folder, or to its nearest parent that exists."""
    nearest = next(path for path in (folder, *folder.parents) if os.path.exists(path))
    try:
        with TemporaryFile(dir=nearest) as file:
            file.write(os.urandom(PROBE_BYTES))  # random: zeros may take no space
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return finding(
            "backups",
            f"{folder} cannot be written: {error.strerror}",
            fail="free some space, let this user create and write that folder, or set BACKUP_DIR",
        )
    return finding("backups", f"{folder} can be written")
