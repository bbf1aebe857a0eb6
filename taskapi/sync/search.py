"""Search with PostgreSQL as the index: exact for every write acknowledged before the search.

PostgreSQL lags behind Redis, so it only names candidates. Tasks that changed since the last pass
are candidates too, and the entities in Redis decide. Without PostgreSQL, Redis is scanned.
"""

import threading
import time
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from taskapi.config import Settings
from taskapi.errors import DatabaseUnreachable
from taskapi.store import queries, search
from taskapi.store.codec import Entity
from taskapi.store.indexes import fold
from taskapi.store.queries import Reach, Scope
from taskapi.store.search import Results
from taskapi.store.session import Session
from taskapi.sync.postgres import Database

ANSWER_MS: Final = 1000
"""How long PostgreSQL may take before a scan of Redis is tried instead."""
AWAY_SECONDS: Final = 5.0
"""How long searches do not ask PostgreSQL after it did not answer."""
EXTRA_CANDIDATES: Final = 14
"""Candidates beyond the page, because some may have changed and no longer match."""

_CANDIDATES: Final = """
SELECT epoch::text,
       ARRAY(SELECT id
               FROM tasks
              WHERE folded LIKE %s
                AND id > %s
                AND (%s OR user_id = %s OR group_id = ANY(%s::bigint[]))
              ORDER BY id
              LIMIT %s)
  FROM sync_state
"""


class Candidates(NamedTuple):
    """Ids that may match, ascending; complete up to `horizon`, or all of them if it is None."""

    ids: list[int]
    horizon: int | None


class Index:
    """PostgreSQL as a search index; one connection for each thread that searches."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._local = threading.local()
        self._away_until = 0.0

    def ask(self, reach: Reach, epoch: str, text: str, after: int, size: int) -> Candidates | None:
        """Return candidates above `after`; None if PostgreSQL cannot answer for this epoch."""
        values = (
            *(_pattern(text), after, reach.is_everything),
            *(reach.user_id, list(reach.group_ids), size),
        )
        try:
            rows = self._rows(_CANDIDATES, values)
        except DatabaseUnreachable:
            self._local.database = None
            self._away_until = time.monotonic() + AWAY_SECONDS
            return None
        if not rows or rows[0][0] != epoch:
            return None
        ids: list[int] = rows[0][1]
        return Candidates(ids, ids[-1] if len(ids) == size else None)

    def _rows(self, statement: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        database: Database | None = getattr(self._local, "database", None)
        if database is None:
            if time.monotonic() < self._away_until:
                raise DatabaseUnreachable("PostgreSQL did not answer a moment ago.")
            database = Database(self._settings)
            database.execute(f"SET statement_timeout = {ANSWER_MS}")
            self._local.database = database
        rows = database.rows(statement, values)
        database.commit()
        return rows


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
    changed = search.dirty_tasks(session)
    size = queries.CHUNK if limit is None else limit + EXTRA_CANDIDATES
    while changed is not None:
        indexed = index.ask(reach, session.epoch, text, after, size)
        if indexed is None:
            break
        begin = bisect_right(changed, after)
        end = None if indexed.horizon is None else bisect_right(changed, indexed.horizon)
        candidates = sorted({*indexed.ids, *changed[begin:end]})
        yield from search.check(session, scope, candidates, text)
        if indexed.horizon is None:
            return
        after = indexed.horizon
    yield from search.scan(session, scope, text, after)


def _pattern(text: str) -> str:
    """Return the LIKE pattern for texts that contain this one; its wildcards are escaped."""
    folded = fold(text)
    for sign in "\\%_":
        folded = folded.replace(sign, f"\\{sign}")
    return f"%{folded}%"
