"""Search with PostgreSQL as the index: exact for every write acknowledged before the search.

PostgreSQL lags behind Redis, so it only names candidates. Tasks that changed since the last pass
are candidates too, and the entities in Redis decide. Without PostgreSQL, Redis is scanned.
"""

import time
from bisect import bisect_right
from collections.abc import Iterator
from typing import Final, NamedTuple

from taskapi.errors import DatabaseUnreachable
from taskapi.store import queries, search
from taskapi.store.codec import Entity
from taskapi.store.indexes import fold
from taskapi.store.queries import Reach, Scope
from taskapi.store.search import DirtyTasks, Results
from taskapi.store.session import Session
from taskapi.sync.postgres_errors import Silent
from taskapi.sync.shared_connection import ANSWER_SECONDS, SharedConnection

AWAY_SECONDS: Final = 5.0
"""How long searches do not ask PostgreSQL after it failed to answer one."""
EXTRA_CANDIDATES: Final = 14
"""Candidates beyond the page, because some may have changed and no longer match."""

_CANDIDATES: Final = """
SELECT ARRAY(SELECT id
               FROM tasks
              WHERE folded LIKE %s
                AND id > %s
                AND (%s OR user_id = %s OR group_id = ANY(%s::bigint[]))
              ORDER BY id
              LIMIT %s)
  FROM sync_state
 WHERE installation = %s::uuid AND epoch = %s AND last_version >= %s
"""


class Question(NamedTuple):
    """What a search asks PostgreSQL, and the history that PostgreSQL must have for an answer.

    Attributes:
        deadline: a `time.monotonic()`; the search does not wait for PostgreSQL after that.
    """

    reach: Reach
    text: str
    dirty: DirtyTasks
    epoch: str
    deadline: float


class Index:
    """PostgreSQL as a search index."""

    def __init__(self, postgres: SharedConnection) -> None:
        self._postgres = postgres
        self._away_until = 0.0

    def ask(self, question: Question, after: int, size: int) -> list[int] | None:
        """Return ids above `after` that may match, at most `size` of them, ascending.

        None if PostgreSQL cannot answer, or lacks changes that are not in `dirty`.

        A PostgreSQL that was set back has not every change that Redis no longer marks.
        """
        now = time.monotonic()
        if now < self._away_until or now >= question.deadline:
            return None
        reach = question.reach
        values = (
            *(_pattern(question.text), after, reach.is_everything),
            *(reach.user_id, list(reach.group_ids), size),
            *(question.dirty.installation, question.epoch, question.dirty.synced),
        )
        try:
            rows = self._postgres.rows(_CANDIDATES, values, question.deadline)
        except Silent:
            return None
        except DatabaseUnreachable:
            self._away_until = time.monotonic() + AWAY_SECONDS
            return None
        return rows[0][0] if rows else None


def tasks(
    session: Session, index: Index, reach: Reach, text: str, after: int, limit: int | None
) -> Results:
    """Return the tasks within reach whose title or information contains the text."""
    scope = queries.tasks(session.keys, reach)
    matches = search.first(_matches(session, index, scope, reach, text, after, limit), limit)
    shown = [{"user_id": task["user_id"], "task": task} for task in matches.results]
    return matches._replace(results=shown)


def _matches(
    session: Session,
    index: Index,
    scope: Scope,
    reach: Reach,
    text: str,
    after: int,
    limit: int | None,
) -> Iterator[Entity]:
    """Yield all matches above `after` by id; to miss none, read the marks before PostgreSQL."""
    dirty = search.dirty_tasks(session)
    size = queries.CHUNK if limit is None else limit + EXTRA_CANDIDATES
    deadline = time.monotonic() + ANSWER_SECONDS
    while dirty is not None:
        question = Question(reach, text, dirty, session.epoch, deadline)
        ids = index.ask(question, after, size)
        if ids is None:
            break
        is_last = len(ids) < size
        begin = bisect_right(dirty.ids, after)
        end = None if is_last else bisect_right(dirty.ids, ids[-1])
        candidates = sorted({*ids, *dirty.ids[begin:end]})
        yield from search.check(session, scope, candidates, text)
        if is_last:
            return
        after = ids[-1]
    yield from search.scan(session, scope, text, after)


def _pattern(text: str) -> str:
    """Return the LIKE pattern for texts that contain this one; its wildcards are escaped."""
    folded = fold(text)
    for sign in "\\%_":
        folded = folded.replace(sign, f"\\{sign}")
    return f"%{folded}%"
