"""Who is calling: credentials, checked against the store before any view runs."""

import base64
import binascii
import hashlib
import hmac
import logging
import re
import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from flask import Flask, Request, current_app, g, request

from taskapi import policy
from taskapi.config import Settings
from taskapi.errors import Unauthenticated, Unavailable
from taskapi.passwords import is_password
from taskapi.policy import Caller
from taskapi.store import failures, memberships, session
from taskapi.store.codec import Entity
from taskapi.store.keys import Kind
from taskapi.store.link import Command, Store
from taskapi.store.session import Session
from taskapi.store.users import SYSTEM_OWNER

REMEMBERED_SECONDS: Final = 60.0
REMEMBERED_MOST: Final = 10_000
TURN_SECONDS: Final = 2.0
OWNER_HEADER: Final = "X-Owner-Password"
NOBODY: Final = 0
NAMED: Final = {"user_id": Kind.USER, "group_id": Kind.GROUP, "task_id": Kind.TASK}
EMERGENCY_OWNER: Final = Caller(SYSTEM_OWNER, "owner", frozenset(), ())
_ID = re.compile(r"[1-9][0-9]{0,15}")
log = logging.getLogger("taskapi")


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request says of who sends it, unchecked; the header's password as bytes."""

    header: bytes | None
    login: str | None
    password: str | None


def claim_of(request: Request) -> Claim:
    """Read a request's credentials; raises Unauthenticated where there are none, or odd ones."""
    header = request.headers.get(OWNER_HEADER)
    basic = request.headers.get("Authorization")
    login, password = _basic(basic) if basic is not None else (None, None)
    if header is None and login is None:
        raise Unauthenticated
    return Claim(None if header is None else header.encode("latin-1"), login, password)


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


@dataclass(frozen=True, slots=True)
class Service:
    """What the views of one application share."""

    settings: Settings
    store: Store
    authenticator: "Authenticator"


def install(app: Flask, settings: Settings, store: Store) -> None:
    """Give an application its store and its way to know callers."""
    app.extensions["taskapi"] = Service(settings, store, Authenticator(settings, store))


def service() -> Service:
    """Return what this request's application shares."""
    found: Service = current_app.extensions["taskapi"]
    return found


def authenticate() -> None:
    """Set `g.caller`, `g.session`, and what the path names: `g.found` decoded, `g.json` as it is.

    Raises as `Authenticator` does; an owner's header opens /admin even without a store.
    """
    named = [(name, value) for name, value in (request.view_args or {}).items() if name in NAMED]
    shared, claim = service(), claim_of(request)
    keys = shared.store.keys
    targets = [session.fetch(keys, NAMED[name], value) for name, value in named]
    try:
        found = shared.authenticator(claim, request.remote_addr or "", targets)
    except Unavailable:
        if request.blueprint != "admin" or not shared.authenticator.is_owner_header(claim):
            raise
        g.caller = EMERGENCY_OWNER
        return
    g.session, g.caller, replies = found
    pairs = [(NAMED[name], reply) for (name, _), reply in zip(named, replies, strict=True)]
    g.found = {kind: session.entity(reply) for kind, reply in pairs}
    g.json = {kind: reply[0] for kind, reply in pairs}
    if request.if_match:
        _expect(g.session, g.found)


def _expect(view: Session, found: dict[Kind, Entity | None]) -> None:
    """Let the session change only the version that If-Match names, of what the path is about."""
    target = next((found[kind] for kind in reversed(Kind) if kind in found), None)
    if target is not None:
        view.wanted, view.actual = request.if_match, str(target["version"])


class Memory:
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


class Authenticator:
    """Finds the caller of each request; one for each process."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._store = store
        self._owner = hashlib.sha256(settings.owner_password.encode()).digest()
        self._memory = Memory()
        self._turn = threading.Lock()
        self._ids: dict[str, int] = {}

    def is_owner_header(self, claim: Claim) -> bool:
        """Whether the header, alone, is the owner's."""
        if claim.header is None or claim.login is not None:
            return False
        return hmac.compare_digest(hashlib.sha256(claim.header).digest(), self._owner)

    def __call__(
        self, claim: Claim, address: str, targets: Sequence[Command]
    ) -> tuple[Session, Caller, list[Any]]:
        """Return this request's session, its caller, and the replies to `targets`.

        Raises:
            Unauthenticated: no or wrong credentials, one answer for every reason.
            TooManyFailures: the account or the address is held up.
            Unavailable: the store is away or not ready, or too many first log-ins wait.
        """
        view = session.begin(self._store)
        if claim.header is not None:
            caller = self._header_caller(view, claim, address, targets)
            if claim.login is None:
                return caller
        found = self._basic_caller(view, claim, address, targets)
        if claim.header is not None and found[1].id != SYSTEM_OWNER:
            raise Unauthenticated
        return found

    def _header_caller(
        self, view: Session, claim: Claim, address: str, targets: Sequence[Command]
    ) -> tuple[Session, Caller, list[Any]]:
        bucket = failures.Bucket(view.keys, "owner", address)
        user, _, counts, replies = _load(view, SYSTEM_OWNER, bucket, targets)
        bucket.require_open(view, counts)
        is_right = hmac.compare_digest(hashlib.sha256(claim.header or b"").digest(), self._owner)
        if not is_right or user is None:
            bucket.count(view)
            raise _refusal("owner header", address)
        bucket.clear(view, counts)
        return view, policy.caller_of(user), replies

    def _basic_caller(
        self, view: Session, claim: Claim, address: str, targets: Sequence[Command]
    ) -> tuple[Session, Caller, list[Any]]:
        login, password = claim.login or "", claim.password or ""
        user_id = self._user_id(view, login)
        bucket = failures.Bucket(view.keys, str(user_id or login.lower()), address)
        user, stored, counts, replies = _load(view, user_id, bucket, targets)
        if "@" in login and user_id != NOBODY and not _has_email(user, login):
            del self._ids[login.lower()]  # the address changed hands since it was remembered
            return self._basic_caller(view, claim, address, targets)
        bucket.require_account_open(view, counts)
        digest = self._memory.digest(user_id, stored or b"", password)
        if user is None or stored is None or not self._memory.holds(digest):
            bucket.require_open(view, counts)
            self._check(view, bucket, stored, digest, password)
        if user is None:
            raise Unauthenticated
        return view, policy.caller_of(user), replies

    def _check(
        self,
        view: Session,
        bucket: failures.Bucket,
        stored: bytes | None,
        digest: bytes,
        password: str,
    ) -> None:
        """Compare a password with the stored hash, one at a time in each process."""
        if not self._turn.acquire(timeout=TURN_SECONDS):
            raise Unavailable("Too many first log-ins at this moment: try again.", code="busy")
        try:
            if stored is not None and self._memory.holds(digest):
                return
            bucket.count(view)
            is_right = is_password(stored.decode() if stored else None, password)
        finally:
            self._turn.release()
        if not is_right:
            raise _refusal(bucket.account, bucket.address)
        bucket.forgive(view)
        self._memory.keep(digest)
        log.info("Log-in user=%s address=%s", bucket.account, bucket.address)

    def _user_id(self, view: Session, login: str) -> int:
        if _ID.fullmatch(login):
            return int(login)
        if "@" not in login or not login.isascii():
            return NOBODY
        email = login.lower()
        if email not in self._ids:
            (found,) = view.link.trip(("HGET", view.keys.emails, email))
            if found is None:
                return NOBODY
            if len(self._ids) >= REMEMBERED_MOST:
                self._ids.clear()
            self._ids[email] = int(found)
        return self._ids[email]


def _load(
    view: Session, user_id: int, bucket: failures.Bucket, targets: Sequence[Command]
) -> tuple[Entity | None, bytes | None, list[bytes | None], list[Any]]:
    """Do the request's first trip: the caller, their hash, the failures, what the path names."""
    reply, stored, counts, *replies = view.open(
        session.fetch(view.keys, Kind.USER, user_id),
        ("GET", view.keys.secret(user_id)),
        bucket.read,
        *targets,
    )
    user = session.entity(reply)
    if user is not None:
        view.rights = memberships.rights(view.keys, user)
    return user, stored, counts, replies


def _has_email(user: Entity | None, login: str) -> bool:
    return user is not None and user["email"].lower() == login.lower()


def _refusal(account: str, address: str) -> Unauthenticated:
    log.warning("Log-in refused account=%r address=%s", account[:80], address)
    return Unauthenticated()
