"""Who is calling: credentials are verified before any view runs that needs them."""

import hashlib
import hmac
import re
import time
from collections.abc import Sequence
from typing import Final

from flask import Request
from flask.ctx import _AppCtxGlobals
from flask.globals import app_ctx
from werkzeug.http import parse_etags

from taskapi import callers
from taskapi.api import lookups
from taskapi.api.credentials import REMEMBERED_MOST, Credentials, credentials_of
from taskapi.api.lookups import Entities, LookupCache
from taskapi.api.password_checks import PasswordChecks
from taskapi.api.requests import ME
from taskapi.api.responses import uncompressed
from taskapi.api.throttling import ACCOUNT_MOST, WINDOW_SECONDS, LoginThrottle
from taskapi.api.token_login import TokenLogin
from taskapi.callers import Caller
from taskapi.config import Settings
from taskapi.errors import Stale, Unauthenticated, Unavailable
from taskapi.store import session as sessions
from taskapi.store.connection import Store
from taskapi.store.keys import EntityRef, Kind
from taskapi.store.numbers import number
from taskapi.store.prefetched_read import LONGEST, Guesses, PrefetchedRead
from taskapi.store.session import Session, StoredEntity
from taskapi.store.users import SYSTEM_OWNER

UNKNOWN: Final = 0
"""An id that no user has."""
OWNER_ACCOUNT: Final = "\0owner"
"""The account for which wrong owner headers are counted: no login can have a NUL."""
KINDS: Final = {"user_id": Kind.USER, "group_id": Kind.GROUP, "task_id": Kind.TASK}
EMERGENCY_OWNER: Final = Caller(SYSTEM_OWNER, "owner", frozenset(), ())
_ID = re.compile(r"[1-9][0-9]{0,15}")


def authenticate(
    authenticator: "Authenticator",
    g: _AppCtxGlobals,
    request: Request,
    *,
    from_cache: bool = False,
) -> tuple[Entities, dict[str, int]]:
    """Set `g.caller` and `g.session`; return the entities in the path, by noun, and the ids.

    When Redis cannot serve, the owner header still permits /admin, without `g.session`.

    Args:
        from_cache: use a cached lookup; a commit fails if it is out of date.

    Raises:
        The errors of `Authenticator`.
    """
    ids: dict[str, int] = request.view_args or {}
    refs = [(KINDS[word], id_) for word, id_ in ids.items() if word in KINDS]
    credentials = credentials_of(request)
    forget_caller(g)
    try:
        g.session, user, entities = authenticator(request, credentials, refs, from_cache)
    except Unavailable:
        address = request.remote_addr or ""
        if request.blueprint != "admin" or not authenticator.accept_owner_header(
            credentials, address
        ):
            raise
        g.caller = EMERGENCY_OWNER
        return {}, ids
    g.caller = callers.caller_of(user, g.token)
    target = lookups.target(refs, entities) if "HTTP_IF_MATCH" in request.environ else None
    if target is not None:
        etags = parse_etags(uncompressed(request.environ["HTTP_IF_MATCH"]))
        versions = None if etags.star_tag else etags.as_set(include_weak=True)
        g.session.wanted, g.session.actual = versions, str(target["version"])
    return entities, ids | {"user_id": user["id"]} if ids.get("user_id") == ME else ids


def forget_caller(g: _AppCtxGlobals) -> None:
    """Clear the caller of this request, and the fields of its log line."""
    g.caller = g.account = g.token = None
    g.log_fields = {}


class Authenticator:
    """Finds the caller of each request; one for each process."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._store = store
        self._owner = hashlib.sha256(settings.owner_password.encode()).digest()
        self._checks, self._cache = PasswordChecks(settings.data_dir), LookupCache()
        self.token_login = TokenLogin(self._cache)
        self._ids: dict[tuple[str, str], int] = {}
        """By client address and e-mail address."""
        self._wrong_headers: dict[str, tuple[int, float]] = {}
        """By client address: how many, and until when they count."""
        self._guesses: Guesses = {}

    def accept_owner_header(self, credentials: Credentials, address: str) -> bool:
        """Return whether the request has the right owner header and no other credentials.

        Used while Redis cannot count wrong headers: this process counts them, for each address.
        """
        if credentials.owner_password is None or credentials.name is not None:
            return False
        now = time.monotonic()
        count, end = self._wrong_headers.get(address, (0, now + WINDOW_SECONDS))
        if now > end:
            count, end = 0, now + WINDOW_SECONDS
        if count >= ACCOUNT_MOST or self._is_owner(credentials):
            return count < ACCOUNT_MOST
        if len(self._wrong_headers) >= REMEMBERED_MOST:
            self._wrong_headers.clear()
        self._wrong_headers[address] = (count + 1, end)
        return False

    def __call__(
        self,
        request: Request,
        credentials: Credentials,
        refs: Sequence[EntityRef],
        from_cache: bool = False,
    ) -> tuple[Session, StoredEntity, Entities]:
        """Open a session; return it with the caller's user and the entities in the path.

        Args:
            refs: the entities that the path names.
            from_cache: see `authenticate`.

        Raises:
            Unauthenticated: no or wrong credentials; the same error for every reason.
            TooManyFailures: the account or the address is blocked.
            Unavailable: the store is unreachable or not ready, or too many log-ins wait.
            Damaged: the user, the password hash or the tokens cannot be read.
            Stale: there is no usable cached lookup, the user remembered for an e-mail address no
                longer has that address, or an old password hash was replaced.
        """
        session = sessions.begin(self._store)
        address = request.remote_addr or ""
        session.prefetched = self._prefetched(request, credentials.name, address)
        if from_cache and credentials.owner_password is not None:
            raise Stale
        if credentials.owner_password is not None:
            user, entities = self._header_caller(session, credentials, address, refs)
        if credentials.token is not None:
            sent = credentials.token
            user, entities = self.token_login(session, request, sent, refs, from_cache)
        if credentials.login is not None:
            user, entities = self._basic_caller(session, request, credentials, refs, from_cache)
        if credentials.owner_password is not None and user["id"] != SYSTEM_OWNER:
            raise Unauthenticated
        return session, user, entities

    def _prefetched(self, request: Request, name: str | None, address: str) -> PrefetchedRead:
        """Return the commands that this request will probably send, so that they are sent early.

        Only a GET has a guess: with most other methods, the body decides too.
        Each address has its own guesses: somebody who tries passwords from another address learns
        nothing about a user's requests from how long an answer takes.
        """
        if request.method != "GET" or len(request.query_string) > LONGEST:
            return PrefetchedRead()
        return PrefetchedRead(self._guesses, (name, address, request.path, request.query_string))

    def _is_owner(self, credentials: Credentials) -> bool:
        given = hashlib.sha256(credentials.owner_password or b"").digest()
        return hmac.compare_digest(given, self._owner)

    def _header_caller(
        self, session: Session, credentials: Credentials, address: str, refs: Sequence[EntityRef]
    ) -> tuple[StoredEntity, Entities]:
        throttle = LoginThrottle(session, OWNER_ACCOUNT, address)
        lookup = lookups.read(session, SYSTEM_OWNER, throttle, refs)
        app_ctx.g.account = "owner header"
        throttle.require_open(lookup.failures)
        if lookup.user is None or not self._is_owner(credentials):
            throttle.count()
            raise Unauthenticated
        throttle.clear(lookup.failures)
        return lookup.user, lookup.entities

    def _basic_caller(
        self,
        session: Session,
        request: Request,
        credentials: Credentials,
        refs: Sequence[EntityRef],
        from_cache: bool,
    ) -> tuple[StoredEntity, Entities]:
        address = request.remote_addr or ""
        login, password = credentials.login or "", credentials.password
        user_id = self._user_id(session, login, address)
        throttle = LoginThrottle(session, str(user_id or login.lower()), address)
        look_up = self._cache.get if from_cache else lookups.read
        lookup = look_up(session, user_id, throttle, refs)
        # An unknown login is not logged: it may be a password.
        app_ctx.g.account = user_id if lookup.user else "unknown"
        if "@" in login and user_id != UNKNOWN and not _has_email(lookup.user, login):
            self._ids.pop((address, login.lower()), None)
            raise Stale
        throttle.require_account_open(lookup.failures)
        if self._checks.is_remembered(session, throttle, lookup, password):
            if not from_cache:
                throttle.clear(lookup.failures)
        elif from_cache:
            raise Stale
        else:
            self._checks.check(session, throttle, lookup, password)
        if lookup.user is None:
            raise Unauthenticated
        if not from_cache:
            self._cache.add(request, user_id, lookup)
            self._remember_id(login, address, user_id)
        return lookup.user, lookup.entities

    def _user_id(self, session: Session, login: str, address: str) -> int:
        """Return the id that a login names; that of an e-mail address may be remembered.

        It is remembered for the address of a client that has logged in with it. Otherwise, the time
        of an answer would tell a stranger whether an e-mail address has an account.
        """
        if _ID.fullmatch(login):
            return int(login)
        if "@" not in login or not login.isascii():
            return UNKNOWN
        email = login.lower()
        if (known := self._ids.get((address, email))) is not None:
            return known
        (stored,) = session.connection.execute(("HGET", session.keys.emails, email))
        if stored is None:
            return UNKNOWN
        return number(stored, "the index emails has an entry that is no user id")

    def _remember_id(self, login: str, address: str, user_id: int) -> None:
        if "@" in login:
            if len(self._ids) >= REMEMBERED_MOST:
                self._ids.clear()
            self._ids[address, login.lower()] = user_id


def _has_email(user: StoredEntity | None, login: str) -> bool:
    return user is not None and user["email"].lower() == login.lower()
