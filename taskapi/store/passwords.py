"""Salted password hashes; nothing else of a password is kept anywhere."""

from typing import Final

from werkzeug.security import check_password_hash, generate_password_hash

METHOD: Final = "scrypt:32768:8:1"
"""About 80 ms and 32 MiB a check: werkzeug's default, named so that an update cannot change it."""
_NOBODYS: Final = generate_password_hash("nobody has this password", METHOD)


def hash_password(password: str) -> str:
    """Return a new salted hash, its parameters in the string."""
    return generate_password_hash(password, METHOD)


def is_password(hashed: str | None, password: str) -> bool:
    """Whether the password belongs to the hash; takes as long where there is no hash."""
    matches = check_password_hash(hashed or _NOBODYS, password)
    return matches and hashed is not None
