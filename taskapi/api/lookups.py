"""The first reads of a request: its caller, and what its path names. Some are cached."""

import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from taskapi.api.throttling import LoginThrottle
from taskapi.errors import Stale
from taskapi.store import memberships, tokens
from taskapi.store import session as sessions
from taskapi.store.codec import version
from taskapi.store.commit import ABSENT
from taskapi.store.keys import EntityRef, Kind
from taskapi.store.session import KEPT_MOST, Session, StoredEntity
from taskapi.store.tokens import Token

CACHED_MOST: Final = 2_000
"""The maximum number of lookups; each takes at most 20 kB, and usually about 5 kB."""
CONTESTED_SECONDS: Final = 10.0
Key = tuple[int, str, tuple[EntityRef, ...]]
"""A user, the digest of their token or an empty text, and what the path names."""
Entities = dict[str, StoredEntity | None]


@dataclass(frozen=True, slots=True)
class Lookup:
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

    Raises:
        Damaged: an entity cannot be read; with `with_tokens`, the tokens cannot.
    """
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
    found = tokens.of_user(user_id, reply[-1]) if with_tokens else ()
    return Lookup(session.epoch, user, password_hash, failures, entities, found)


def target(refs: Sequence[EntityRef], entities: Entities) -> StoredEntity | None:
    """Return what If-Match is about: the task in the path, else the group, else the user."""
    return entities[max((kind for kind, _ in refs), key=list(Kind).index).noun] if refs else None


class LookupCache:
    """The last lookups of callers whose path named a user or a task, for `@cached_lookup`.

    A change of a password or a token gives its user a new version, so guards of versions suffice.
    Lookups are never changed, because several requests may use one.
    """

    def __init__(self) -> None:
        self._lookups: OrderedDict[Key, Lookup] = OrderedDict()
        self._contested: dict[Key, float] = {}

    def add(self, key: Key, lookup: Lookup) -> None:
        """Cache a lookup whose credentials are right, if its path names a user or a short task."""
        named = (lookup.user, *lookup.entities.values())
        is_short = all(entity and len(entity.json) <= KEPT_MOST for entity in named)
        if lookup.entities.get(Kind.USER.noun) is None or not is_short:
            self._lookups.pop(key, None)
        elif time.monotonic() >= self._contested.get(key, 0.0):
            self._lookups[key] = lookup
            if len(self._lookups) > CACHED_MOST:
                self._lookups.popitem(last=False)

    def update(self, key: Key, changed_tasks: Mapping[int, bytes]) -> None:
        """Replace the task of a cached lookup by what a request has made of it.

        Args:
            changed_tasks: the JSON by id; empty for a task that was deleted or is long.
        """
        lookup = self._lookups.get(key)
        task = lookup.entities.get(Kind.TASK.noun) if lookup else None
        if lookup is None or task is None or (json := changed_tasks.get(task["id"])) is None:
            return
        if not json:
            self._lookups.pop(key, None)
        elif int(version(json)) > task["version"]:
            newer = sessions.entity(Kind.TASK, task["id"], [json, version(json).encode()])
            entities = lookup.entities | {Kind.TASK.noun: newer}
            self._lookups[key] = replace(lookup, entities=entities)

    def contest(self, key: Key) -> None:
        """Remove a lookup that is no longer true; do not cache its key for CONTESTED_SECONDS.

        A commit that fails takes two more round trips. If processes change the same task in turn,
        most of their commits would fail.
        """
        self._lookups.pop(key, None)
        if len(self._contested) >= CACHED_MOST:
            self._contested.clear()
        self._contested[key] = time.monotonic() + CONTESTED_SECONDS

    def get(self, session: Session, key: Key, throttle: LoginThrottle) -> Lookup:
        """Return the cached lookup; guard its users and the absence of failures in each commit.

        A task needs no guard here: only a change of the task depends on it, and has its own guard.

        Raises:
            Stale: no lookup is cached, or Redis has closed the connection. A commit would be sent
                twice then, and after a restart of Redis its outcome would be unknown.
        """
        try:
            self._lookups.move_to_end(key)
            lookup = self._lookups[key]
        except KeyError:  # it was never there, or another thread has just removed it
            raise Stale from None
        if not session.connection.is_usable():
            raise Stale
        session.epoch = lookup.epoch
        for user in (lookup.user, lookup.entities[Kind.USER.noun]):
            if user is not None:
                session.rights += memberships.rights(session.keys, user)
        session.rights.append((throttle.keys[0], "", ABSENT))
        return lookup
