"""Logging in with a token: `Authorization: Bearer tk_<user id>_<secret>`."""

import time
from collections.abc import Callable, Sequence

from flask import Request
from flask.globals import app_ctx

from taskapi.api import lookups
from taskapi.api.credentials import SentToken
from taskapi.api.lookups import Entities, Lookup, LookupCache
from taskapi.api.throttling import LoginThrottle
from taskapi.errors import Stale, Unauthenticated, Unavailable
from taskapi.store import memberships, tokens
from taskapi.store.keys import EntityRef
from taskapi.store.session import Session, StoredEntity
from taskapi.store.tokens import Token


class TokenLogin:
    """Finds the caller of a request with a token.

    256 random bits cannot be guessed, so no slow hash is needed, wrong tokens count for the address
    only, and a right one works also while the address or the account is blocked.
    """

    def __init__(self, cache: LookupCache, clock: Callable[[], float] = time.time) -> None:
        """Use the lookups of this process; `clock` returns seconds since 1970."""
        self._cache, self._clock = cache, clock

    def __call__(
        self,
        session: Session,
        request: Request,
        sent: SentToken,
        refs: Sequence[EntityRef],
        from_cache: bool,
    ) -> tuple[StoredEntity, Entities]:
        """Return the caller's user and the entities in the path, and set `g.token`.

        Raises:
            Unauthenticated: the token is unknown, was revoked or has expired.
            TooManyFailures: it is wrong, and the address has sent too many wrong ones.
            Damaged: the user or the tokens cannot be read.
            Stale: there is no usable cached lookup, or Redis was started and is not checked yet.
        """
        throttle = LoginThrottle(session, str(sent.user_id), request.remote_addr or "")
        look_up = self._cache.get if from_cache else lookups.read_with_tokens
        lookup = look_up(session, sent.user_id, throttle, refs)
        app_ctx.g.account = sent.user_id if lookup.user else "unknown"
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._clock()))
        token, today = _find(lookup, sent, now), now[:10]
        if from_cache and (token is None or not _is_recorded(token, today)):
            raise Stale
        if token is None or lookup.user is None:
            throttle.count_for_address()
            raise Unauthenticated
        app_ctx.g.token = token
        user, entities = lookup.user, lookup.entities
        if not _is_recorded(token, today) and _may_record(session, request):
            user, entities = _record_use(session, user, lookup, token, today)
        if not from_cache:
            kept = lookup._replace(user=user, entities=entities, tokens=(token,))
            self._cache.add(request, sent.user_id, kept)
        return user, entities


def _find(lookup: Lookup, sent: SentToken, now: str) -> Token | None:
    """Return the token if the user has it and it has not expired."""
    token = tokens.find(lookup.tokens, sent.sha256)
    return token if token and tokens.is_valid(token, now) else None


def _is_recorded(token: Token, today: str) -> bool:
    """Return whether it is recorded that the token was used today."""
    return bool((token["last_used_on"] or "") >= today)


def _may_record(session: Session, request: Request) -> bool:
    """Return whether the user may get a new version now.

    The request must have no If-Match, and Redis must have been compared with PostgreSQL since its
    start: PostgreSQL may have a newer user, which the new version would overwrite.
    """
    return "HTTP_IF_MATCH" not in request.environ and session.is_compared()


def _record_use(
    session: Session, user: StoredEntity, lookup: Lookup, token: Token, today: str
) -> tuple[StoredEntity, Entities]:
    """Record the first use of a token on a day; return the user and the entities from then on.

    While Redis refuses changes, or the user changes at this moment, nothing is recorded: reads are
    still served.
    """
    try:
        after = tokens.record_use(session, user, lookup.tokens, token, today)
    except (Unavailable, Stale):  # what was read is still true of that moment
        return user, lookup.entities
    token["last_used_on"] = today
    session.rights = memberships.rights(session.keys, after)
    return after, {noun: after if it is user else it for noun, it in lookup.entities.items()}
