"""Credentials as a request carries them, and those remembered as right."""

import base64
import binascii
import hmac
import secrets
import time
from dataclasses import dataclass
from typing import Final

from werkzeug.datastructures import Headers

from taskapi.errors import Unauthenticated

REMEMBERED_SECONDS: Final = 60.0
REMEMBERED_MOST: Final = 10_000
OWNER_HEADER: Final = "X-Owner-Password"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request says of who sends it, unchecked; the header's password as bytes."""

    header: bytes | None
    login: str | None
    password: str | None


def credentials_of(headers: Headers) -> Credentials:
    """Read a request's credentials; raises Unauthenticated where there are none, or odd ones."""
    header = headers.get(OWNER_HEADER)
    basic = headers.get("Authorization")
    login, password = _basic(basic) if basic is not None else (None, None)
    if header is None and login is None:
        raise Unauthenticated
    return Credentials(None if header is None else header.encode("latin-1"), login, password)


def _basic(header: str) -> tuple[str, str]:
    scheme, _, encoded = header.partition(" ")
    try:
        pair = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise Unauthenticated from None
    login, colon, password = pair.partition(":")
    if scheme.lower() != "basic" or not colon or "\0" in pair:
        raise Unauthenticated
    return login, password


class VerifiedCredentials:
    """Credentials found right within the last minute: digests only, of no use elsewhere."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)
        self._until: dict[bytes, float] = {}

    def digest(self, user_id: int, stored: bytes, password: str) -> bytes:
        """Return what stands for this password as long as the stored hash is this one."""
        message = b"%d|%b|%b" % (user_id, stored, password.encode())
        return hmac.digest(self._secret, message, "sha256")

    def holds(self, digest: bytes) -> bool:
        return self._until.get(digest, 0.0) > time.monotonic()

    def keep(self, digest: bytes) -> None:
        if len(self._until) >= REMEMBERED_MOST:
            self._until.clear()
        self._until[digest] = time.monotonic() + REMEMBERED_SECONDS
