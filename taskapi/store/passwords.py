"""Salted password hashes: the only stored form of a password."""

import re
from typing import Final

from werkzeug.security import check_password_hash, generate_password_hash

METHOD: Final = "scrypt:32768:8:1"
"""werkzeug's default, pinned: a check takes about 80 ms and 32 MiB."""
_DUMMY_HASH: Final = f"{METHOD}$no user has it$" + "0" * 128
"""Takes as long to check as a real hash, and matches no password."""
_FORM: Final = re.compile(
    rb"(scrypt:\d{1,6}:\d:\d|pbkdf2:sha\d{1,3}:\d{1,7})\$[!-#%-~ ]+\$[0-9a-f]{2,}"
)
"""With higher parameters, which only a damaged hash has, a check would take minutes."""


def hash_password(password: str) -> str:
    """Return a new salted hash that contains its parameters."""
    return generate_password_hash(password, METHOD)


def is_password(hashed: str | None, password: str) -> bool:
    """Return whether the password matches the hash; without a hash it takes the same time."""
    try:
        matches = check_password_hash(hashed or _DUMMY_HASH, password)
    except ValueError:  # its parameters cannot be used
        return False
    return matches and hashed is not None


def is_hash(stored: bytes | None) -> bool:
    """Return whether this has the form of a password hash."""
    return _FORM.fullmatch(stored or b"") is not None
