"""Checks of passwords against stored hashes; right passwords are remembered as digests."""

import hmac
import logging
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from flask.globals import app_ctx, request_ctx

from taskapi.api import metrics
from taskapi.api.credentials import Digests
from taskapi.api.lookups import Lookup
from taskapi.api.shared_key import KEY_BYTES, shared_key
from taskapi.api.throttling import LoginThrottle
from taskapi.errors import Damaged, Stale, Unauthenticated, Unavailable
from taskapi.store import users, verified
from taskapi.store.passwords import hash_password, is_hash, is_old, is_password, return_memory
from taskapi.store.session import Session, StoredEntity

CHECK_TURN_SECONDS: Final = 2.0
"""How long a log-in waits while the passwords of others are checked."""
WAITING_MOST: Final = 12
"""Log-ins that are checked or wait in a process; its other threads serve known callers."""
RENEWED_SECONDS: Final = verified.REMEMBERED_SECONDS / 4
"""How often a process renews what Redis remembers of credentials in use."""
OLD_SECONDS: Final = 60.0
"""How long a process remembers credentials whose hash is an old one that it could not replace."""
REPLACING_SECONDS: Final = 90.0
"""Least age of a process that replaces old hashes: gunicorn's graceful_timeout and a minute.

After a reload, older processes, which cannot check the new hashes, have ended by then.
"""
log = logging.getLogger("taskapi")


class PasswordChecks:
    """The checks of one process; it makes one at a time, because each takes all of a core.

    Credentials that were verified are remembered, as keyed digests, in this process and in Redis,
    for other processes and after a restart. A digest needs no expiry: it is bound to the stored
    hash, which is read for every request. It is bound to the client's address too: otherwise a
    client at a blocked address could recognise a right guess.
    """

    def __init__(self, folder: Path) -> None:
        """Use the key in this folder; without one, Redis remembers nothing."""
        return_memory()
        key = shared_key(folder)
        self._is_shared = key is not None
        self._key = key or secrets.token_bytes(KEY_BYTES)
        self._verified, self._refused = Digests(), Digests()
        self._places = threading.BoundedSemaphore(WAITING_MOST)
        self._turn = threading.Lock()
        self._began = time.monotonic()

    def is_remembered(
        self, session: Session, throttle: LoginThrottle, lookup: Lookup, password: str
    ) -> bool:
        """Return whether this process remembers that the password fits the user's present hash."""
        stored = lookup.password_hash or b""
        due = self._verified.use(self._digest(throttle, stored, password))
        if not due or lookup.user is None:
            return False
        if time.monotonic() < due:
            return True
        if is_old(stored.decode()):
            return False
        self._remember(session, throttle, stored, password)
        return True

    def check(
        self, session: Session, throttle: LoginThrottle, lookup: Lookup, password: str
    ) -> None:
        """Check a password that is not remembered, and replace its hash if that is an old one.

        Raises:
            Unauthenticated: it is wrong, or there is no such user.
            TooManyFailures: the account or the address is blocked.
            Unavailable: too many log-ins wait for a check, or memory is short.
            Damaged: the password hash cannot be read.
            Stale: the hash was replaced, or the user has changed: the request begins again.
        """
        user, stored = lookup.user, lookup.password_hash or b""
        if stored and not is_hash(stored):
            raise Damaged(f"the password hash of user {throttle.account} cannot be read")
        hashed, digest = stored.decode(), self._digest(throttle, stored, password)
        user_id = user["id"] if user else 0  # an unknown user takes as long as another one
        is_known = self._is_shared and verified.has(session, user_id, digest)
        if user and is_known and not is_old(hashed):
            self._remember(session, throttle, stored, password)
            throttle.clear(lookup.failures)
            return
        throttle.require_address_open(lookup.failures)
        with self._turn_of(throttle, digest):
            if time.monotonic() < self._verified.use(digest):  # verified while this one waited
                return
            throttle.count()
            if not is_password(hashed or None, password) or user is None:
                metrics.count_password_check("wrong")
                raise Unauthenticated
            metrics.count_password_check("right")
            throttle.forgive()
            self._remember(session, throttle, stored, password)
            fields = {"request_id": app_ctx.g.request_id, "user": user["id"]}
            log.info("Log-in", extra={"fields": fields | {"address": throttle.address}})
            if is_old(hashed) and self._may_replace(session):
                self._replace(session, throttle, user, password)

    def _digest(self, throttle: LoginThrottle, stored: bytes, password: str) -> str:
        """Return a digest of account, address, stored hash and password."""
        message = b"%b|%b|%b" % (throttle.keys[0].encode(), stored, password.encode())
        return hmac.digest(self._key, message, "sha256").hex()

    @contextmanager
    def _turn_of(self, throttle: LoginThrottle, digest: str) -> Iterator[None]:
        """Wait until no other password is checked; raises Unavailable if that takes too long."""
        if not self._places.acquire(blocking=False):
            raise self._refusal(throttle, digest)
        try:
            if not self._turn.acquire(timeout=CHECK_TURN_SECONDS):
                raise self._refusal(throttle, digest)
            try:
                yield
            finally:
                self._turn.release()
        finally:
            self._places.release()

    def _refusal(self, throttle: LoginThrottle, digest: str) -> Unavailable:
        """Return the error for a log-in that gets no check, and count the attempt once.

        The error tells the client that this password is not remembered. Sending the same one again
        tells nothing more, so that is not counted.
        """
        metrics.count_password_check("refused")
        if not self._refused.use(digest):
            self._refused.add(digest, time.monotonic())
            throttle.count_for_account()
        return Unavailable("Too many passwords are checked at this moment: try again.", code="busy")

    def _remember(
        self, session: Session, throttle: LoginThrottle, stored: bytes, password: str
    ) -> None:
        digest, is_lasting = self._digest(throttle, stored, password), not is_old(stored.decode())
        seconds = RENEWED_SECONDS if is_lasting else OLD_SECONDS
        self._verified.add(digest, time.monotonic() + seconds)
        if is_lasting and self._is_shared:
            verified.add(session, int(throttle.account), digest)

    def _may_replace(self, session: Session) -> bool:
        """Return whether the user may get a new version now.

        Older processes must have ended, no If-Match may name the present version, and PostgreSQL
        must have been compared: its user may be newer, and the new version would overwrite it.
        """
        is_conditional = "HTTP_IF_MATCH" in request_ctx.request.environ
        is_old_enough = time.monotonic() > self._began + REPLACING_SECONDS
        return is_old_enough and not is_conditional and session.is_compared()

    def _replace(
        self, session: Session, throttle: LoginThrottle, user: StoredEntity, password: str
    ) -> None:
        """Replace the old hash of a verified password by one with today's parameters."""
        try:
            new = hash_password(password)
            users.replace_hash(session, user, new)
        except Unavailable as error:  # the old hash stays until the next log-in
            log.warning("The password hash of user %s was not replaced: %s", user["id"], error)
            return
        self._remember(session, throttle, new.encode(), password)
        raise Stale
