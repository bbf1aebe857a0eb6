"""Search with PostgreSQL as the index: exact for every write acknowledged before the search.

PostgreSQL lags behind Redis, so it only names candidates. Tasks that changed since the last pass
are held in the process, and those that match are candidates too. The entities in Redis decide.
Without PostgreSQL, or with too many changes, Redis is scanned.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from taskapi.errors import DatabaseUnreachable
from taskapi.store import queries, search
from taskapi.store.codec import Entity
from taskapi.store.dirty_tasks import History, Overlay
from taskapi.store.indexes import fold
from taskapi.store.queries import Reach
from taskapi.store.search import Results
from taskapi.store.session import Session
from taskapi.sync.postgres_errors import Silent, TookTooLong
from taskapi.sync.shared_connection import ANSWER_SECONDS, SharedConnection

AWAY_SECONDS: Final = 5.0
"""How long searches do not ask PostgreSQL after it failed to answer one."""
SLOW_MOST: Final = 100
"""The maximum number of statements that took too long, and are not asked again for a while."""
EXTRA_CANDIDATES: Final = 14
"""Candidates beyond the page, because some may have changed and no longer match."""

_CANDIDATES: Final = """
SELECT id
  FROM tasks
 WHERE folded LIKE %s
   AND id > %s
   AND (%s OR user_id = %s OR group_id = ANY(%s::bigint[]))
 ORDER BY id
 LIMIT %s
"""
_IN_HISTORY: Final = """
SELECT ARRAY({})
  FROM sync_state
 WHERE installation = %s::uuid AND epoch = %s AND last_version >= %s
"""


class Select(NamedTuple):
    """A SELECT of one column, and the values for its placeholders."""

    text: str
    values: tuple[Any, ...]


class Index:
    """PostgreSQL as a search index.

    Attributes:
        overlay: the changes that PostgreSQL may not have.
    """

    def __init__(self, postgres: SharedConnection) -> None:
        self.overlay, self._postgres = Overlay(), postgres
        self._away_until = 0.0
        self._slow_until: dict[str, float] = {}

    def array(self, select: Select, history: History, deadline: float) -> list[Any] | None:
        """Return the values that PostgreSQL selects.

        None if PostgreSQL cannot answer, or lacks changes that are not in the overlay.

        A PostgreSQL that was set back lacks changes that Redis no longer marks: it is not used.

        Args:
            history: the one that PostgreSQL must have.
            deadline: a `time.monotonic()`; nobody waits for PostgreSQL after that.
        """
        statement, now = _IN_HISTORY.format(select.text), time.monotonic()
        if now >= deadline or now < max(self._away_until, self._slow_until.get(statement, 0)):
            return None
        values = (*select.values, history.installation, history.epoch, history.synced)
        try:
            rows = self._postgres.rows(statement, values, deadline)
        except Silent:
            return None
        except TookTooLong:  # others may take less time
            if len(self._slow_until) >= SLOW_MOST:
                self._slow_until.clear()
            self._slow_until[statement] = time.monotonic() + AWAY_SECONDS
            return None
        except DatabaseUnreachable:
            self._away_until = time.monotonic() + AWAY_SECONDS
            return None
        return rows[0][0] if rows else None


def tasks(
    session: Session, index: Index, reach: Reach, text: str, after: int, limit: int | None
) -> Results:
    """Return the tasks within reach whose title or information contains the text."""
    matches = search.first(_matches(session, index, reach, text, after, limit), limit)
    shown = [{"user_id": task["user_id"], "task": task} for task in matches.results]
    return matches._replace(results=shown)


def _matches(
    session: Session, index: Index, reach: Reach, text: str, after: int, limit: int | None
) -> Iterator[Entity]:
    """Yield all matches above `after` by id; to miss none, read the marks before PostgreSQL."""
    dirty = index.overlay.read(session)
    size = queries.CHUNK if limit is None else limit + EXTRA_CANDIDATES
    deadline = time.monotonic() + ANSWER_SECONDS
    while dirty and (changed := dirty.find(text, reach, after, size)) is not None:
        ids = index.array(_candidates(reach, text, after, size), dirty.history, deadline)
        if ids is None:
            break
        candidates, follows = _merged(changed, ids, size)
        yield from search.check(session, reach, candidates, text)
        if not follows:
            return
        after = candidates[-1]
    yield from search.scan(session, queries.tasks(session.keys, reach), text, after)


def _candidates(reach: Reach, text: str, after: int, size: int) -> Select:
    """Return the SELECT of ids above `after` that may match, at most `size` of them, ascending."""
    within = (reach.is_everything, reach.user_id, list(reach.group_ids))
    return Select(_CANDIDATES, (pattern(text), after, *within, size))


def _merged(one: Sequence[int], other: Sequence[int], size: int) -> tuple[list[int], bool]:
    """Merge two sorted pages up to the last id that both cover; tell whether more may follow."""
    ends = [page[-1] for page in (one, other) if len(page) == size]
    ids = sorted({*one, *other})
    return [i for i in ids if i <= min(ends, default=i)], bool(ends)


def pattern(text: str) -> str:
    """Return the LIKE pattern for texts that contain this one; its wildcards are escaped."""
    folded = fold(text)
    for sign in "\\%_":
        folded = folded.replace(sign, f"\\{sign}")
    return f"%{folded}%"
