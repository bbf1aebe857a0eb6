"""The first reads of a request: its caller, and what its path names. Some are cached."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from flask import Request

from taskapi.api.contract import SAFE_METHODS
from taskapi.api.requests import ME
from taskapi.api.throttling import LoginThrottle
from taskapi.errors import Stale
from taskapi.store import memberships, tokens
from taskapi.store import session as sessions
from taskapi.store.commit import ABSENT
from taskapi.store.keys import EntityRef, Kind
from taskapi.store.session import Session, StoredEntity
from taskapi.store.tokens import Token

CACHED_MOST: Final = 5_000
"""The maximum number of lookups, of about 2 kB each."""
Entities = dict[str, StoredEntity | None]


class Lookup(NamedTuple):
    """The replies to the first round trip of a request.

    Attributes:
        epoch: the store's epoch.
        user: the user that the credentials name.
        password_hash: the password hash of that user.
        failures: the values of the throttle's counters.
        entities: the entities in the path, by noun; None if one does not exist.
        tokens: the tokens of that user; a cached lookup has at most the one that logged in.
    """

    epoch: str
    user: StoredEntity | None
    password_hash: bytes | None
    failures: list[bytes | None]
    entities: Entities
    tokens: Sequence[Token] = ()


def read(
    session: Session,
    user_id: int,
    throttle: LoginThrottle,
    refs: Sequence[EntityRef],
    *,
    with_tokens: bool = False,
) -> Lookup:
    """Read in one round trip: the user, their password hash, the failures, the path's entities.

    Args:
        user_id: the user that the credentials name.
        refs: what the path names; may contain ME.
    """
    refs = with_caller(refs, user_id)
    caller, fields = (Kind.USER, user_id), (tokens.FIELD,) if with_tokens else ()
    others = [ref for ref in refs if ref != caller]
    reply, (password_hash, *failures), *replies = session.open(
        (*sessions.fetch(session.keys, *caller), *fields),
        ("MGET", session.keys.password_hash(user_id), *throttle.keys),
        *(sessions.fetch(session.keys, *ref) for ref in others),
    )
    pairs = zip(others, replies, strict=True)
    by_ref = {ref: sessions.entity(*ref, other) for ref, other in pairs}
    user = by_ref[caller] = sessions.entity(*caller, reply)
    if user is not None:
        session.rights = memberships.rights(session.keys, user)
    entities = {ref[0].noun: by_ref[ref] for ref in refs}
    if Kind.TASK.noun in entities:
        session.recent_tasks.compare(refs[-1][1], entities[Kind.TASK.noun])
    found = tokens.of_user(user_id, reply[-1]) if with_tokens else ()
    return Lookup(session.epoch, user, password_hash, failures, entities, found)


def read_with_tokens(
    session: Session, user_id: int, throttle: LoginThrottle, refs: Sequence[EntityRef]
) -> Lookup:
    """Read what `read` reads, and the tokens of the user; raises Damaged if they are damaged."""
    return read(session, user_id, throttle, refs, with_tokens=True)


def with_caller(refs: Sequence[EntityRef], user_id: int) -> list[EntityRef]:
    """Return what the path names, with the caller's id for ME."""
    return [(kind, user_id if entity_id == ME else entity_id) for kind, entity_id in refs]


def target(refs: Sequence[EntityRef], entities: Entities) -> StoredEntity | None:
    """Return what If-Match is about: the task in the path, else the group, else the user."""
    return entities[max((kind for kind, _ in refs), key=list(Kind).index).noun] if refs else None


class LookupCache:
    """The last lookups of requests that may change something of a user, for `@cached_lookup`.

    A change of a password or a token gives its user a new version, so guards of versions suffice.
    """

    def __init__(self) -> None:
        self._lookups: dict[tuple[int, int], Lookup] = {}
        """By the ids of the caller and of the user in the path."""

    def add(self, request: Request, user_id: int, lookup: Lookup) -> None:
        """Cache a lookup with right credentials, if the request may change something of a user."""
        path_user = lookup.entities.get(Kind.USER.noun)
        if request.method in SAFE_METHODS or path_user is None:
            return
        if len(self._lookups) >= CACHED_MOST:
            self._lookups.clear()
        self._lookups[user_id, path_user["id"]] = lookup._replace(
            entities={Kind.USER.noun: path_user}
        )

    def get(
        self, session: Session, user_id: int, throttle: LoginThrottle, refs: Sequence[EntityRef]
    ) -> Lookup:
        """Return the cached lookup; commits then fail if its users changed or a log-in failed.

        A task needs no guard here: only the commit that changes it depends on it, and checks its
        version.

        Args:
            refs: the user that the path names, may be ME, and perhaps a task.

        Raises:
            Stale: no lookup is cached, the task is not remembered, or Redis has closed the
                connection. A commit would be sent twice then, and after a restart of Redis its
                outcome would be unknown.
        """
        (_, path_user_id), *tasks = with_caller(refs, user_id)
        lookup = self._lookups.get((user_id, path_user_id))
        if lookup is None:
            raise Stale
        session.epoch = lookup.epoch
        found = {ref[0].noun: _recent(session, ref) for ref in tasks}
        if not session.connection.is_usable():
            raise Stale
        for user in (lookup.user, *lookup.entities.values()):
            if user is not None:
                session.rights += memberships.rights(session.keys, user)
        session.rights.append((throttle.keys[0], "", ABSENT))
        return lookup._replace(entities=lookup.entities | found)


def _recent(session: Session, task: EntityRef) -> StoredEntity | None:
    """Return a task that the process changed last; raises Stale if it has forgotten it."""
    reply = session.recent_tasks.reply(session.epoch, task[1])
    if reply is None:
        raise Stale
    return sessions.entity(*task, reply)
