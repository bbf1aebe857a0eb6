"""The secret key for digests of credentials, which all web processes of a machine share."""

import logging
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final

KEY_FILE: Final = "credentials.key"
KEY_BYTES: Final = 32
log = logging.getLogger("taskapi")


def shared_key(folder: Path) -> bytes | None:
    """Return the random key in this folder; the first process makes it.

    It is in neither store, so that somebody who can read only Redis cannot use a digest.

    Returns:
        None if the key cannot be used; the log says why.
    """
    file = folder / KEY_FILE
    try:
        if not os.path.lexists(file):
            _make(file)
        return _read(file)
    except OSError as error:
        log.warning("Passwords are remembered by each web process alone: %s", error)
        return None


def _make(file: Path) -> None:
    """Write a new key, unless another process does; nobody sees a part of it."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=file.parent) as new:  # only its owner may read it
        new.write(secrets.token_bytes(KEY_BYTES))
        new.flush()
        os.fsync(new.fileno())
        with suppress(FileExistsError):
            os.link(new.name, file)


def _read(file: Path) -> bytes:
    """Return the key; raises OSError if it is malformed, or others can read or write the file."""
    with open(file, "rb", opener=_open) as opened:
        status, key = os.fstat(opened.fileno()), opened.read(KEY_BYTES + 1)
    is_private = status.st_uid == os.geteuid() and not status.st_mode & 0o077
    if not stat.S_ISREG(status.st_mode) or not is_private or len(key) != KEY_BYTES:
        raise OSError(f"delete {file}: it must be a file of {KEY_BYTES} bytes with mode 0600")
    return key


def _open(path: str, flags: int) -> int:
    """Open a file without following a link, and without waiting for the other end of a pipe."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
