"""Who is calling: credentials, checked against the store before any view runs."""

import hashlib
import hmac
import logging
import re
import threading
from collections.abc import Sequence
from typing import Final, NamedTuple

from flask import Request
from flask.globals import app_ctx
from werkzeug.datastructures import ETags

from taskapi import policy
from taskapi.api import throttling
from taskapi.api.credentials import (
    REMEMBERED_MOST,
    Credentials,
    VerifiedCredentials,
    credentials_of,
)
from taskapi.config import Settings
from taskapi.errors import Unauthenticated, Unavailable
from taskapi.passwords import is_password
from taskapi.policy import Caller
from taskapi.store import memberships, session
from taskapi.store.codec import Entity
from taskapi.store.connection import Store
from taskapi.store.keys import Kind
from taskapi.store.session import Session
from taskapi.store.users import SYSTEM_OWNER

TURN_SECONDS: Final = 2.0
NOBODY: Final = 0
NAMED: Final = {"user_id": Kind.USER, "group_id": Kind.GROUP, "task_id": Kind.TASK}
EMERGENCY_OWNER: Final = Caller(SYSTEM_OWNER, "owner", frozenset(), ())
_ID = re.compile(r"[1-9][0-9]{0,15}")
Name = tuple[Kind, int]
Reply = list[bytes | None]
log = logging.getLogger("taskapi")


def authenticate(authenticator: "Authenticator", request: Request) -> None:
    """Set `g.caller`, `g.session`, and what the path names: `g.found` decoded, `g.json` as it is.

    Raises as `Authenticator` does; an owner's header opens /admin even without a store.
    """
    names = [(NAMED[word], value) for word, value in (request.view_args or {}).items()]
    credentials, g = credentials_of(request.headers), app_ctx.g
    try:
        found = authenticator(credentials, request.remote_addr or "", names)
    except Unavailable:
        if request.blueprint != "admin" or not authenticator.is_owner_header(credentials):
            raise
        g.caller = EMERGENCY_OWNER
        return
    g.session, g.caller = found.session, found.caller
    g.found = {kind: session.entity(reply) for kind, reply in found.named.items()}
    g.json = {kind: reply[0] for kind, reply in found.named.items()}
    if "HTTP_IF_MATCH" in request.environ:
        _expect(request.if_match, g.session, g.found)


def _expect(wanted: ETags, view: Session, found: dict[Kind, Entity | None]) -> None:
    """Let the session change only the version that If-Match names, of what the path is about."""
    target = next((found[kind] for kind in reversed(Kind) if kind in found), None)
    if target is not None:
        view.wanted, view.actual = wanted, str(target["version"])


class Identity(NamedTuple):
    """Who calls, the session that read it, and the replies to what the path names."""

    session: Session
    caller: Caller
    named: dict[Kind, Reply]


class Reading(NamedTuple):
    """What a request's first trip read."""

    user: Entity | None
    stored: bytes | None
    failures: Reply
    named: dict[Kind, Reply]


class Authenticator:
    """Finds the caller of each request; one for each process."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._store = store
        self._owner = hashlib.sha256(settings.owner_password.encode()).digest()
        self._memory = VerifiedCredentials()
        self._turn = threading.Lock()
        self._ids: dict[str, int] = {}

    def is_owner_header(self, credentials: Credentials) -> bool:
        """Whether the header, alone, is the owner's."""
        if credentials.header is None or credentials.login is not None:
            return False
        return hmac.compare_digest(hashlib.sha256(credentials.header).digest(), self._owner)

    def __call__(self, credentials: Credentials, address: str, names: Sequence[Name]) -> Identity:
        """Return who calls; `names` are the entities that the path names.

        Raises:
            Unauthenticated: no or wrong credentials, one answer for every reason.
            TooManyFailures: the account or the address is held up.
            Unavailable: the store is away or not ready, or too many first log-ins wait.
        """
        view = session.begin(self._store)
        if credentials.header is not None:
            found = self._header_caller(view, credentials, address, names)
            if credentials.login is None:
                return found
        found = self._basic_caller(view, credentials, address, names)
        if credentials.header is not None and found.caller.id != SYSTEM_OWNER:
            raise Unauthenticated
        return found

    def _header_caller(
        self, view: Session, credentials: Credentials, address: str, names: Sequence[Name]
    ) -> Identity:
        throttle = throttling.LoginThrottle(view.keys, "owner", address)
        user, _, counts, named = _read(view, SYSTEM_OWNER, throttle, names)
        app_ctx.g.account = "owner header"
        throttle.require_open(view, counts)
        is_right = hmac.compare_digest(
            hashlib.sha256(credentials.header or b"").digest(), self._owner
        )
        if not is_right or user is None:
            throttle.count(view)
            raise Unauthenticated
        throttle.clear(view, counts)
        return Identity(view, policy.caller_of(user), named)

    def _basic_caller(
        self, view: Session, credentials: Credentials, address: str, names: Sequence[Name]
    ) -> Identity:
        login, password = credentials.login or "", credentials.password or ""
        user_id = self._user_id(view, login)
        throttle = throttling.LoginThrottle(view.keys, str(user_id or login.lower()), address)
        user, stored, counts, named = _read(view, user_id, throttle, names)
        app_ctx.g.account = user_id if user else "unknown"  # it may be a password: not told
        if "@" in login and user_id != NOBODY and not _has_email(user, login):
            self._ids.pop(login.lower(), None)  # the address changed hands since then
            return self._basic_caller(view, credentials, address, names)
        throttle.require_account_open(view, counts)
        digest = self._memory.digest(user_id, stored or b"", password)
        if user is None or stored is None or not self._memory.holds(digest):
            throttle.require_open(view, counts)
            self._check(view, throttle, stored, digest, password)
        if user is None:
            raise Unauthenticated
        return Identity(view, policy.caller_of(user), named)

    def _check(
        self,
        view: Session,
        throttle: throttling.LoginThrottle,
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
            throttle.count(view)
            is_right = is_password(stored.decode() if stored else None, password)
        finally:
            self._turn.release()
        if not is_right:
            raise Unauthenticated
        throttle.forgive(view)
        self._memory.keep(digest)
        said = {"request_id": app_ctx.g.request_id, "user": int(throttle.account)}
        log.info("Log-in", extra={"fields": said | {"address": throttle.address}})

    def _user_id(self, view: Session, login: str) -> int:
        if _ID.fullmatch(login):
            return int(login)
        if "@" not in login or not login.isascii():
            return NOBODY
        email = login.lower()
        if (known := self._ids.get(email)) is not None:  # another thread may forget it any time
            return known
        (found,) = view.connection.execute(("HGET", view.keys.emails, email))
        if found is None:
            return NOBODY
        if len(self._ids) >= REMEMBERED_MOST:
            self._ids.clear()
        self._ids[email] = int(found)
        return int(found)


def _read(
    view: Session, user_id: int, throttle: throttling.LoginThrottle, names: Sequence[Name]
) -> Reading:
    """Do the first trip: the caller, their hash, the throttling, what the path names."""
    caller = (Kind.USER, user_id)
    others = [name for name in names if name != caller]
    reply, (stored, *counts), *replies = view.open(
        session.fetch(view.keys, *caller),
        ("MGET", view.keys.password_hash(user_id), *throttle.keys),
        *(session.fetch(view.keys, *name) for name in others),
    )
    user = session.entity(reply)
    if user is not None:
        view.rights = memberships.rights(view.keys, user)
    by_name = {caller: reply} | dict(zip(others, replies, strict=True))
    return Reading(user, stored, counts, {name[0]: by_name[name] for name in names})


def _has_email(user: Entity | None, login: str) -> bool:
    return user is not None and user["email"].lower() == login.lower()
