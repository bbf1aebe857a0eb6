"""Changes of tasks in order of version, for a client that keeps a copy of all tasks.

Marks in Redis name the changes that PostgreSQL may lack, and PostgreSQL names all others. The tasks
are read from Redis: one that was changed again comes only at its last version.
"""

import time
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import orjson

from taskapi.errors import Damaged, DatabaseUnreachable, NotReady, TooOld
from taskapi.store import codec, queries, scripts
from taskapi.store.dirty_tasks import CHUNK, History
from taskapi.store.keys import Kind
from taskapi.store.queries import Scope
from taskapi.store.session import Session
from taskapi.sync.search import Index, Select
from taskapi.sync.shared_connection import ANSWER_SECONDS

_ROWS: Final = """
SELECT version || ' ' || id || ' changed'
  FROM (SELECT version, id FROM tasks WHERE version > %s
         ORDER BY version FETCH FIRST %s ROWS WITH TIES) AS changed
UNION ALL
SELECT version || ' ' || id || ' deleted'
  FROM (SELECT version, id FROM tombstones WHERE kind = 't' AND version > %s
         ORDER BY version FETCH FIRST %s ROWS WITH TIES) AS deleted
UNION ALL
SELECT pruned_version || ' 0 pruned' FROM sync_state
"""
NOT_LISTED: Final = "Redis is empty, being restored or fenced: changes are not listed then."
AWAY: Final = "PostgreSQL has these changes, and does not answer: try again."


class Since(NamedTuple):
    """What a follower knows.

    Attributes:
        version: it has got all changes up to this version.
        base: the last version when the follower began with since=0; equal to `version` when it is
            no longer needed.
    """

    version: int
    base: int

    @property
    def text(self) -> int | str:
        """What `next_since` shows: the version, and the base if it is another one."""
        return self.version if self.base == self.version else f"{self.version}-{self.base}"


class Change(NamedTuple):
    """A task that was changed or deleted; `json` is empty if it was deleted."""

    version: int
    id: int
    json: bytes

    def shown(self) -> dict[str, Any]:
        """Return the change as clients see it."""
        if self.json:
            return {"task": orjson.Fragment(self.json)}
        return {"deleted": {"id": self.id, "version": self.version}}


class Changes(NamedTuple):
    """A page of changes; `end` is what a follower knows after it."""

    changes: list[Change]
    end: Since
    has_more: bool


class _Marked(NamedTuple):
    """The changes that are marked in Redis; see `task_changes.lua`."""

    history: History
    forgotten: int
    newest: int
    last: int
    follows: bool
    changes: dict[int, Change]


def changes(session: Session, index: Index, since: Since, limit: int) -> Changes:
    """Return the changes after what a follower knows, about `limit` of them.

    Changes of one version are not split, so there may be more.

    Raises:
        TooOld: the follower may have changes that were lost, or lack deletes that were pruned.
        NotReady: the store cannot serve now.
        DatabaseUnreachable: PostgreSQL does not answer, and Redis no longer marks all changes.
    """
    found = _page(session, index, since, limit)
    while found.has_more and not found.changes:  # it may have only changes that are not shown
        found = _page(session, index, found.end, limit)
    return found


def _page(session: Session, index: Index, since: Since, limit: int) -> Changes:
    marked = _read_marks(session, since.version)
    base = since.base if since.version else marked.newest
    if since.version > marked.newest or base < marked.forgotten:
        raise TooOld
    found, ends, oldest = dict(marked.changes), [marked.last] * marked.follows, marked.forgotten
    if since.version < marked.history.synced:
        rows, pruned = _read_rows(index, marked.history, since.version, base, limit)
        if base < pruned:
            raise TooOld
        oldest = max(oldest, pruned)
        ends += _ends(rows, limit)
        for change in _unmarked(session, rows):
            found.setdefault(change.id, change)
    end = min([*ends, marked.newest])
    page = sorted(each for each in found.values() if each.version <= end)
    if len(page) > limit:
        end = page[limit - 1].version
        page = [each for each in page if each.version <= end]
        ends.append(end)
    shown = [each for each in page if each.json or each.version > base or since.version == base]
    return Changes(shown, Since(end, end if end >= oldest else base), bool(ends))


def _read_marks(session: Session, after: int) -> _Marked:
    keys = session.keys
    words = (keys.dirty, keys.tombstones, after, CHUNK, keys.entity(Kind.TASK, ""))
    (reply,) = session.read(("EVALSHA", scripts.TASK_CHANGES, 1, keys.meta, *words))
    if not reply:
        raise NotReady(NOT_LISTED)
    installation, synced, forgotten, newest, last, follows, ids, versions, texts = reply
    pairs = zip(_numbers(versions), _numbers(ids), texts, strict=True)
    marked = (
        Change(changed, task_id, json and codec.complete_json(Kind.TASK, json, 1))
        for changed, task_id, json in pairs
        if json is not None
    )
    return _Marked(
        History(session.epoch, installation.decode(errors="replace"), int(synced), ""),
        int(forgotten),
        int(newest),
        int(last),
        bool(follows),
        {change.id: change for change in marked},
    )


def _read_rows(
    index: Index, history: History, after: int, base: int, limit: int
) -> tuple[dict[str, list[tuple[int, int]]], int]:
    """Return (version, id) of changed and of deleted tasks, and the pruned version.

    A follower does not need deletes up to its base, which may be very many.
    """
    select = Select(_ROWS, (after, limit, base, limit))
    found = index.array(select, history, time.monotonic() + ANSWER_SECONDS)
    if found is None:
        raise DatabaseUnreachable(AWAY)
    rows: dict[str, list[tuple[int, int]]] = {"changed": [], "deleted": [], "pruned": []}
    for row in found:
        version, task_id, kind = row.split(" ")
        rows[kind].append((int(version), int(task_id)))
    ((pruned, _),) = rows.pop("pruned")
    return rows, pruned


def _ends(rows: dict[str, list[tuple[int, int]]], limit: int) -> Iterator[int]:
    """Yield the version up to which each list of rows is complete, if more may follow."""
    for listed in rows.values():
        if len(listed) >= limit:
            yield max(listed)[0]


def _unmarked(session: Session, rows: dict[str, list[tuple[int, int]]]) -> Iterator[Change]:
    """Yield the changes that are still the last one of their task."""
    versions = {task_id: version for version, task_id in rows["changed"]}
    for task_id, json in _entities(session, versions):
        if int(codec.version(json)) == versions[task_id]:
            yield Change(versions[task_id], task_id, json)
    deleted = {task_id: version for version, task_id in rows["deleted"]}
    alive = {task_id for task_id, _ in _entities(session, deleted)}
    yield from (Change(deleted[task_id], task_id, b"") for task_id in deleted.keys() - alive)


def _entities(session: Session, ids: Iterable[int]) -> Iterator[tuple[int, bytes]]:
    scope = Scope(Kind.TASK, ids=tuple(ids))
    for chunk in queries.chunks(session, scope) if scope.ids else ():
        for json in codec.split(chunk):
            try:
                task_id = int(json[json.index(b":") + 1 : json.index(b",")])
            except ValueError as error:
                raise Damaged("the JSON of a task cannot be read") from error
            yield task_id, json


def _numbers(joined: bytes) -> list[int]:
    return [*map(int, joined.split(b","))] if joined else []
