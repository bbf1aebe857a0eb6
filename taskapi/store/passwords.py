"""Salted password hashes: the only stored form of a password."""

import ctypes
import re
from typing import Final

from argon2 import PasswordHasher, Type
from argon2.exceptions import HashingError, VerificationError, VerifyMismatchError
from werkzeug.security import check_password_hash

from taskapi.errors import Unavailable

HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1, type=Type.ID)
"""Argon2id with the parameters of OWASP's Password Storage Cheat Sheet: 19 MiB, two passes."""
_LARGE_BYTES: Final = 4 * 2**20
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Numbers of malloc.h of glibc; see mallopt(3)."""
_PREFIX: Final = "$argon2id$"
_DUMMY_HASH: Final = f"{_PREFIX}v=19$m=19456,t=2,p=1${'A' * 22}${'A' * 43}"
"""Takes as long to check as a hash of today, and matches no password."""
_FORMS: Final = re.compile(
    rb"\$argon2id\$v=19\$m=\d{1,6},t=\d{1,2},p=\d{1,2}\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+"
    rb"|(scrypt:\d{1,6}:\d:\d|pbkdf2:sha\d{1,3}:\d{1,7})\$[!-#%-~ ]+\$[0-9a-f]{2,}"
)
"""Today's form, and those of older installations.

With higher parameters, which only a damaged hash has, a check would take minutes.
"""
NO_CHECK: Final = "The password cannot be checked: memory is short, or its hash cannot be used."
NO_HASH: Final = "The password cannot be hashed, because memory is short: try again."


def return_memory() -> None:
    """Let this process return the memory of each hash to the system at once.

    Otherwise glibc keeps 19 MiB for each thread that ever made a hash. Other C libraries have no
    such setting.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
            mallopt(option, _LARGE_BYTES)


def hash_password(password: str) -> str:
    """Return a new salted hash that contains its parameters.

    Raises:
        Unavailable: memory is short.
    """
    try:
        return HASHER.hash(password)
    except HashingError as error:
        raise Unavailable(NO_HASH) from error


def is_password(hashed: str | None, password: str) -> bool:
    """Return whether the password matches the hash; without a hash it takes the same time.

    Raises:
        Unavailable: memory is short, or the parameters of the hash cannot be used.
    """
    try:
        if hashed and not hashed.startswith(_PREFIX):
            return check_password_hash(hashed, password)
        HASHER.verify(hashed or _DUMMY_HASH, password)
    except VerifyMismatchError:
        return False
    except (VerificationError, ValueError, MemoryError) as error:
        raise Unavailable(NO_CHECK) from error
    return hashed is not None


def is_old(hashed: str) -> bool:
    """Return whether a hash was made by another method or with other parameters than today's."""
    return not hashed.startswith(_PREFIX) or HASHER.check_needs_rehash(hashed)


def is_hash(stored: bytes | None) -> bool:
    """Return whether this has the form of a password hash."""
    return _FORMS.fullmatch(stored or b"") is not None
