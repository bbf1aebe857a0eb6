"""Lists: pages of entities in order of id, read from index sets without a scan of all entities."""

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar

import orjson

from taskapi.errors import Damaged, Stale
from taskapi.store import numbers, scripts
from taskapi.store.codec import BUCKETS, Entity, bucket, complete_json, decode_list
from taskapi.store.connection import Command
from taskapi.store.keys import Keys, Kind
from taskapi.store.session import Session

CHUNK: Final = 1000
"""Entities or candidates that one call of the script looks at: about 2 ms."""
CHUNK_BYTES: Final = 1_000_000
"""A call of the script stops once its JSON has this size: about 4 ms."""
LIGHT_MOST: Final = 5
"""Chunks of a request that does not count as heavy: about 25 ms."""
ALL_BUCKETS: Final = tuple(range(BUCKETS))
Found = TypeVar("Found", bound=Sized)
_Sets = tuple[tuple[str, ...], tuple[str, ...]]
"""The `sources` and `within` of a scope."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The entities of a list: a union of sets and single ids, narrowed by other sets.

    Attributes:
        within: the entity must be in one of these sets; empty for no condition.
        buckets: the wanted buckets of task sets; None for sets scored by id.
    """

    kind: Kind
    sources: tuple[str, ...] = ()
    ids: tuple[int, ...] = ()
    within: tuple[str, ...] = ()
    buckets: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Reach:
    """The tasks that a caller may see: all, or those of some groups and their own."""

    is_everything: bool
    group_ids: frozenset[int]
    user_id: int

    def includes(self, user_id: int, group_id: int) -> bool:
        """Return whether the caller may see the tasks of this user in this group."""
        return self.is_everything or user_id == self.user_id or group_id in self.group_ids


EVERYTHING: Final = Reach(is_everything=True, group_ids=frozenset(), user_id=0)


class Page(NamedTuple):
    """A page of a list, and the id after which the next page begins.

    The list may be long, so its JSON stays in chunks, each joined by commas: one call on all of it
    would keep the other threads of the process waiting.
    """

    chunks: list[bytes]
    size: int
    next_after: int | str | None

    def entities(self, kind: Kind) -> list[Entity]:
        """Return the entities, decoded."""
        return [entity for chunk in self.chunks for entity in decode_list(kind, chunk)]


def page(session: Session, scope: Scope, after: int = 0, limit: int | None = None) -> Page:
    """Return the entities above `after`, at most `limit` of them; None for all."""
    chunks: list[bytes] = []
    count, next_after = 0, None
    for number, text, last, follows in _chunks(session, scope, after, limit):
        count += number
        if number:
            chunks.append(text)
            next_after = int(last)
        if follows == b"end":
            next_after = None
    return Page(chunks, count, next_after)


def entities(session: Session, scope: Scope) -> list[Entity]:
    """Return everything in a scope, decoded."""
    return page(session, scope).entities(scope.kind)


def all_of(session: Session, scope: Scope, *sizes: Command) -> tuple[list[Entity], list[Any]]:
    """Return all entities in a scope, and the replies to the commands `sizes`.

    Each reply has to be the number of entities, or a list of numbers whose sum it is.

    Raises:
        Damaged: the numbers differ, so that some entities would not be found.
        Stale: entities were added or removed meanwhile.
    """
    return _agreed(session, scope, sizes, lambda: entities(session, scope))


def size_of(session: Session, scope: Scope, *sizes: Command) -> int:
    """Return the number of entities in a scope; raises as `all_of` does."""
    countable, _ = _agreed(session, scope, sizes, lambda: _countable(session, scope))
    return len(countable)


def _countable(session: Session, scope: Scope) -> range:
    """Return a range whose length is the number of entities in a scope."""
    return range(sum(number for number, *_ in _chunks(session, scope, 0, None)))


def _agreed(
    session: Session, scope: Scope, sizes: Sequence[Command], find: Callable[[], Found]
) -> tuple[Found, list[Any]]:
    looks: list[list[int]] = []
    for _ in range(2):
        found, replies = find(), session.read(*sizes)
        looks.append([len(found), *map(_number, replies)])
        if len({*looks[-1]}) == 1:
            return found, replies
    if looks[0] == looks[1]:
        raise Damaged(f"an index has lost some {scope.kind.plural}, or has too many")
    raise Stale


def _number(reply: int | bytes | list[bytes] | None) -> int:
    if isinstance(reply, list):
        return sum(map(_number, reply))
    return (
        numbers.number(reply, "a counter is not a number")
        if isinstance(reply, bytes)
        else reply or 0
    )


def chunks(session: Session, scope: Scope, after: int = 0) -> Iterator[bytes]:
    """Yield the JSON of everything above `after`, in chunks that block Redis only briefly."""
    for _, text, _, _ in _chunks(session, scope, after, None):
        yield text


def _chunks(
    session: Session, scope: Scope, after: int, limit: int | None
) -> Iterator[tuple[int, bytes, bytes, bytes]]:
    """Yield (number, JSON, last id, follows) until the limit is reached or nothing follows."""
    left, cursor = limit, after
    while True:
        session.chunks += 1
        wanted = CHUNK if left is None else left
        (reply,) = session.read(_command(session.keys, scope, cursor, wanted))
        number, text, last, follows = reply
        yield number, complete_json(scope.kind, text, number), last, follows
        if follows == b"end" or (follows == b"more" and left == number):
            return
        if session.chunks >= LIGHT_MOST:
            session.heavy.step()
        cursor = int(last if follows == b"more" else follows)
        left = None if left is None else left - number


def _command(keys: Keys, scope: Scope, after: int, limit: int) -> Command:
    query = {
        "sources": scope.sources,
        "ids": [str(i) for i in sorted(scope.ids)],
        "within": scope.within,
        "groups": keys.group_tasks(""),
        "buckets": False if scope.buckets is None else scope.buckets,
        "after": str(after),
        "limit": limit,
        "bytes": CHUNK_BYTES,
        "chunk": CHUNK if scope.within else limit + 1,
        "entity": keys.entity(scope.kind, ""),
    }
    return ("EVALSHA", scripts.PAGE, 1, keys.meta, orjson.dumps(query))


def buckets(is_done: bool | None = None, priority: int | None = None) -> tuple[int, ...]:
    """Return the buckets of tasks with this status and priority; None for any."""
    return tuple(
        bucket(done, rank)
        for done in (False, True)
        for rank in (1, 2, 3)
        if is_done in (None, done) and priority in (None, rank)
    )


def users(keys: Keys, *, group_ids: Iterable[int] | None, user_id: int) -> Scope:
    """Return the scope of all users, or of the members of some groups and one user."""
    if group_ids is None:
        return Scope(Kind.USER, (keys.users,))
    return Scope(Kind.USER, tuple(map(keys.members, group_ids)), (user_id,))


def members(keys: Keys, group_id: int) -> Scope:
    """Return the scope of a group's members."""
    return Scope(Kind.USER, (keys.members(group_id),))


def groups(keys: Keys, group_ids: Iterable[int] | None) -> Scope:
    """Return the scope of all groups, or of these."""
    if group_ids is None:
        return Scope(Kind.GROUP, (keys.groups,))
    return Scope(Kind.GROUP, ids=tuple(group_ids))


def tasks(
    keys: Keys,
    reach: Reach,
    *,
    user_id: int | None = None,
    group_id: int | None = None,
    sections: tuple[int, ...] = ALL_BUCKETS,
) -> Scope:
    """Return the scope of the tasks within reach, narrowed to a user, to a group, or to both."""
    if group_id is not None:
        sources, within = _sets_of_group(keys, reach, group_id, user_id)
    elif user_id is not None:
        sources, within = _sets_of_user(keys, reach, user_id)
    elif reach.is_everything:
        sources, within = (keys.tasks,), ()
    else:
        own = keys.user_tasks(reach.user_id)
        sources, within = (own, *map(keys.group_tasks, sorted(reach.group_ids))), ()
    return Scope(Kind.TASK, sources, within=within, buckets=sections)


def _sets_of_group(keys: Keys, reach: Reach, group_id: int, user_id: int | None) -> _Sets:
    """Return the sets for a group's tasks within reach, or for those of one user in the group."""
    group = keys.group_tasks(group_id)
    sees_all = reach.is_everything or group_id in reach.group_ids
    if sees_all and user_id is None:
        return (group,), ()
    if sees_all or user_id in (None, reach.user_id):
        return (keys.user_tasks(user_id or reach.user_id),), (group,)
    return (), (group,)


def _sets_of_user(keys: Keys, reach: Reach, user_id: int) -> _Sets:
    """Return the sets for a user's tasks within reach."""
    user = keys.user_tasks(user_id)
    if reach.is_everything or user_id == reach.user_id:
        return (user,), ()
    groups = tuple(map(keys.group_tasks, sorted(reach.group_ids)))
    return ((user,) if groups else ()), groups
