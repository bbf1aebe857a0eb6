"""Who is calling: credentials, verified against the store before any view runs."""

import hashlib
import hmac
import logging
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from flask import Request
from flask.globals import app_ctx
from werkzeug.datastructures import ETags

from taskapi import policy
from taskapi.api.credentials import (
    REMEMBERED_MOST,
    Credentials,
    VerifiedCredentials,
    credentials_of,
)
from taskapi.api.throttling import LoginThrottle
from taskapi.config import Settings
from taskapi.errors import Stale, Unauthenticated, Unavailable
from taskapi.policy import Caller
from taskapi.store import memberships, session
from taskapi.store.connection import Store
from taskapi.store.keys import Kind
from taskapi.store.passwords import is_password
from taskapi.store.session import Session, StoredEntity
from taskapi.store.users import SYSTEM_OWNER

TURN_SECONDS: Final = 2.0
"""How long a first log-in waits for the password check of another."""
UNKNOWN: Final = 0
"""An id that no user has."""
KINDS: Final = {"user_id": Kind.USER, "group_id": Kind.GROUP, "task_id": Kind.TASK}
EMERGENCY_OWNER: Final = Caller(SYSTEM_OWNER, "owner", frozenset(), ())
_ID = re.compile(r"[1-9][0-9]{0,15}")
EntityRef = tuple[Kind, int]
Entities = dict[str, StoredEntity | None]
log = logging.getLogger("taskapi")


@dataclass(frozen=True, slots=True)
class Lookup:
    """What the first round trip of a request read.

    Attributes:
        user: the user that the credentials name.
        password_hash: of that user.
        failures: the values of the throttle's counters.
        entities: what the path names, by noun; None for what does not exist.
    """

    user: StoredEntity | None
    password_hash: bytes | None
    failures: list[bytes | None]
    entities: Entities


def authenticate(authenticator: "Authenticator", request: Request) -> Entities:
    """Set `g.caller` and `g.session`, and return the entities that the path names, by noun.

    The owner header opens /admin even when Redis does not answer: then there is no `g.session`.

    Raises:
        The errors of `Authenticator`.
    """
    refs = [(KINDS[word], id_) for word, id_ in (request.view_args or {}).items()]
    credentials, g = credentials_of(request), app_ctx.g
    try:
        g.session, user, entities = authenticator(credentials, request.remote_addr or "", refs)
    except Unavailable:
        if request.blueprint != "admin" or not authenticator.is_owner_header(credentials):
            raise
        g.caller = EMERGENCY_OWNER
        return {}
    g.caller = policy.caller_of(user)
    if "HTTP_IF_MATCH" in request.environ:
        _set_expected_version(request.if_match, g.session, refs, entities)
    return entities


def _set_expected_version(
    wanted: ETags, view: Session, refs: Sequence[EntityRef], entities: Entities
) -> None:
    """Let the session change only the version in If-Match of the innermost entity of the path."""
    target = entities[max((kind for kind, _ in refs), key=list(Kind).index).noun] if refs else None
    if target is not None:
        view.wanted, view.actual = wanted, str(target["version"])


class Authenticator:
    """Finds the caller of each request; one for each process."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._store = store
        self._owner = hashlib.sha256(settings.owner_password.encode()).digest()
        self._verified = VerifiedCredentials()
        self._turn = threading.Lock()
        self._ids: dict[str, int] = {}

    def is_owner_header(self, credentials: Credentials) -> bool:
        """Return whether the request has the right owner header and no Basic credentials."""
        return credentials.login is None and self._is_owner(credentials)

    def __call__(
        self, credentials: Credentials, address: str, refs: Sequence[EntityRef]
    ) -> tuple[Session, StoredEntity, Entities]:
        """Return the session that was opened, the caller's user, and the entities of the path.

        Args:
            address: of the client.
            refs: the entities that the path names.

        Raises:
            Unauthenticated: no or wrong credentials; the same error for every reason.
            TooManyFailures: the account or the address is blocked.
            Unavailable: the store is away or not ready, or too many first log-ins wait.
            Stale: an e-mail address belongs to another user since it was looked up.
        """
        view = session.begin(self._store)
        if credentials.owner_password is not None:
            user, entities = self._header_caller(view, credentials, address, refs)
        if credentials.login is not None:
            user, entities = self._basic_caller(view, credentials, address, refs)
            if credentials.owner_password is not None and user["id"] != SYSTEM_OWNER:
                raise Unauthenticated
        return view, user, entities

    def _is_owner(self, credentials: Credentials) -> bool:
        given = hashlib.sha256(credentials.owner_password or b"").digest()
        return hmac.compare_digest(given, self._owner)

    def _header_caller(
        self, view: Session, credentials: Credentials, address: str, refs: Sequence[EntityRef]
    ) -> tuple[StoredEntity, Entities]:
        throttle = LoginThrottle(view, "owner", address)
        lookup = _look_up(view, SYSTEM_OWNER, throttle, refs)
        app_ctx.g.account = "owner header"
        throttle.require_open(lookup.failures)
        if lookup.user is None or not self._is_owner(credentials):
            throttle.count()
            raise Unauthenticated
        throttle.clear(lookup.failures)
        return lookup.user, lookup.entities

    def _basic_caller(
        self, view: Session, credentials: Credentials, address: str, refs: Sequence[EntityRef]
    ) -> tuple[StoredEntity, Entities]:
        login, password = credentials.login or "", credentials.password
        user_id = self._user_id(view, login)
        throttle = LoginThrottle(view, str(user_id or login.lower()), address)
        lookup = _look_up(view, user_id, throttle, refs)
        # An unknown login is not logged: it may be a password.
        app_ctx.g.account = user_id if lookup.user else "unknown"
        if "@" in login and user_id != UNKNOWN and not _has_email(lookup.user, login):
            self._ids.pop(login.lower(), None)
            raise Stale
        throttle.require_account_open(lookup.failures)
        digest = self._verified.digest(user_id, lookup.password_hash or b"", password)
        if lookup.password_hash is None or not self._verified.holds(digest):
            throttle.require_open(lookup.failures)
            self._verify(throttle, lookup.password_hash, digest, password)
        if lookup.user is None:
            raise Unauthenticated
        return lookup.user, lookup.entities

    def _verify(
        self, throttle: LoginThrottle, password_hash: bytes | None, digest: bytes, password: str
    ) -> None:
        """Compare a password with the stored hash, one at a time in each process."""
        if not self._turn.acquire(timeout=TURN_SECONDS):
            raise Unavailable("Too many first log-ins at this moment: try again.", code="busy")
        try:
            if password_hash is not None and self._verified.holds(digest):
                return
            throttle.count()
            is_right = is_password(password_hash.decode() if password_hash else None, password)
        finally:
            self._turn.release()
        if not is_right:
            raise Unauthenticated
        throttle.forgive()
        self._verified.add(digest)
        fields = {"request_id": app_ctx.g.request_id, "user": int(throttle.account)}
        log.info("Log-in", extra={"fields": fields | {"address": throttle.address}})

    def _user_id(self, view: Session, login: str) -> int:
        """Return the id that a login names; e-mail addresses are remembered."""
        if _ID.fullmatch(login):
            return int(login)
        if "@" not in login or not login.isascii():
            return UNKNOWN
        email = login.lower()
        if (known := self._ids.get(email)) is not None:
            return known
        (stored,) = view.connection.execute(("HGET", view.keys.emails, email))
        if stored is None:
            return UNKNOWN
        if len(self._ids) >= REMEMBERED_MOST:
            self._ids.clear()
        self._ids[email] = int(stored)
        return int(stored)


def _look_up(
    view: Session, user_id: int, throttle: LoginThrottle, refs: Sequence[EntityRef]
) -> Lookup:
    """Read in one round trip: the user, their password hash, the failures, the path's entities."""
    caller = (Kind.USER, user_id)
    others = [ref for ref in refs if ref != caller]
    reply, (password_hash, *failures), *replies = view.open(
        session.fetch(view.keys, *caller),
        ("MGET", view.keys.password_hash(user_id), *throttle.keys),
        *(session.fetch(view.keys, *ref) for ref in others),
    )
    pairs = zip(others, replies, strict=True)
    by_ref = {ref: session.entity(ref[0], other) for ref, other in pairs}
    user = by_ref[caller] = session.entity(Kind.USER, reply)
    if user is not None:
        view.rights = memberships.rights(view.keys, user)
    return Lookup(user, password_hash, failures, {ref[0].noun: by_ref[ref] for ref in refs})


def _has_email(user: StoredEntity | None, login: str) -> bool:
    return user is not None and user["email"].lower() == login.lower()
