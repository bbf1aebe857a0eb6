"""The credentials of a request, and a cache of their digests."""

import re
from base64 import b64decode
from collections import OrderedDict
from typing import Final, NamedTuple

from flask import Request
from werkzeug.datastructures import Authorization

from taskapi.errors import Unauthenticated
from taskapi.store import tokens

REMEMBERED_MOST: Final = 10_000
"""Digests take about 200 bytes each."""
OWNER_HEADER: Final = "HTTP_X_OWNER_PASSWORD"
"""The name of the header X-Owner-Password in a WSGI environment."""
_TOKEN: Final = re.compile(r"tk_([1-9][0-9]{0,15})_[0-9a-f]{64}")


class SentToken(NamedTuple):
    """The user that a token names, and the digest by which the token is found."""

    user_id: int
    sha256: str


class Credentials(NamedTuple):
    """The credentials in a request, not verified.

    Attributes:
        owner_password: the owner header; None without one.
        login: the id or e-mail address of Basic credentials; None without them.
        password: the password of Basic credentials.
        token: a Bearer token; None without one.
    """

    owner_password: bytes | None
    login: str | None
    password: str
    token: SentToken | None = None

    @property
    def name(self) -> str | None:
        """What identifies the user of these credentials; it contains no secret."""
        return self.token.sha256 if self.token else self.login


def credentials_of(request: Request) -> Credentials:
    """Return a request's credentials; raises Unauthenticated for none and for malformed ones."""
    environ = request.environ
    header = environ.get(OWNER_HEADER)
    owner_password = None if header is None else header.encode("latin-1")
    if "HTTP_AUTHORIZATION" not in environ:
        if owner_password is None:
            raise Unauthenticated
        return Credentials(owner_password, None, "")
    try:
        sent = request.authorization
    except ValueError:  # werkzeug raises it for Base64 that is not ASCII
        raise Unauthenticated from None
    if sent is not None and sent.type == "bearer":
        return Credentials(owner_password, None, "", _sent_token(sent.token or ""))
    sent = sent or _latin_1(environ["HTTP_AUTHORIZATION"])
    if sent is None or sent.type != "basic":
        raise Unauthenticated
    login, password = sent.username or "", sent.password or ""
    if "\0" in login + password:
        raise Unauthenticated
    return Credentials(owner_password, login, password)


def _latin_1(header: str) -> Authorization | None:
    """Return Basic credentials that are not UTF-8: python-requests sends Latin-1."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        sent = b64decode(encoded.strip(), validate=True).decode("latin-1")
    except ValueError:
        return None
    login, _, password = sent.partition(":")
    return Authorization("basic", {"username": login, "password": password})


def _sent_token(secret: str) -> SentToken:
    match = _TOKEN.fullmatch(secret)
    if match is None:
        raise Unauthenticated
    return SentToken(int(match[1]), tokens.digest(secret))


class Digests:
    """Digests of credentials, each with a time; the least recently used one goes first."""

    def __init__(self) -> None:
        self._times: OrderedDict[str, float] = OrderedDict()

    def use(self, digest: str) -> float:
        """Return the time of a digest, 0 if it is not known, and mark it as recently used."""
        try:
            self._times.move_to_end(digest)
            return self._times[digest]
        except KeyError:  # it was never there, or another thread has just removed it
            return 0.0

    def add(self, digest: str, seconds: float) -> None:
        """Add a digest, or change its time: seconds of the monotonic clock."""
        self._times[digest] = seconds
        if len(self._times) > REMEMBERED_MOST:
            self._times.popitem(last=False)
