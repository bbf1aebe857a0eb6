"""The credentials of a request, and a memory of those that were verified recently."""

import hmac
import secrets
import time
from dataclasses import dataclass
from typing import Final

from flask import Request

from taskapi.errors import Unauthenticated

REMEMBERED_SECONDS: Final = 60.0
REMEMBERED_MOST: Final = 10_000
OWNER_HEADER: Final = "X-Owner-Password"


@dataclass(frozen=True, slots=True)
class Credentials:
    """The credentials in a request, not verified.

    Attributes:
        owner_password: the owner header; None without one.
        login: the id or e-mail address of Basic credentials; None without them.
        password: the password of Basic credentials.
    """

    owner_password: bytes | None
    login: str | None
    password: str


def credentials_of(request: Request) -> Credentials:
    """Return a request's credentials; raises Unauthenticated for none and for malformed ones."""
    header = request.headers.get(OWNER_HEADER)
    owner_password = None if header is None else header.encode("latin-1")
    if "Authorization" not in request.headers:
        if owner_password is None:
            raise Unauthenticated
        return Credentials(owner_password, None, "")
    basic = request.authorization
    if basic is None or basic.type != "basic":
        raise Unauthenticated
    login, password = basic.username or "", basic.password or ""
    if "\0" in login + password:
        raise Unauthenticated
    return Credentials(owner_password, login, password)


class VerifiedCredentials:
    """Keyed digests of the credentials verified within the last minute, in memory only."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)
        self._until: dict[bytes, float] = {}

    def digest(self, user_id: int, password_hash: bytes, password: str) -> bytes:
        """Return a digest that is valid as long as the stored hash stays the same."""
        message = b"%d|%b|%b" % (user_id, password_hash, password.encode())
        return hmac.digest(self._secret, message, "sha256")

    def holds(self, digest: bytes) -> bool:
        return self._until.get(digest, 0.0) > time.monotonic()

    def add(self, digest: bytes) -> None:
        if len(self._until) >= REMEMBERED_MOST:
            self._until.clear()
        self._until[digest] = time.monotonic() + REMEMBERED_SECONDS
