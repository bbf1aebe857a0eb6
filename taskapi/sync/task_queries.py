"""Queries of tasks with PostgreSQL as the index; they see every write acknowledged before them.

As in `search`, PostgreSQL and the changed tasks that the process holds name candidates only: each
is read from Redis and checked. Without PostgreSQL, or with too many changes, Redis is scanned.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cmp_to_key
from itertools import chain, islice
from typing import Any, Final, NamedTuple

from taskapi.errors import Damaged
from taskapi.store import codec, queries
from taskapi.store.dirty_tasks import DirtyTasks
from taskapi.store.keys import Kind
from taskapi.store.queries import Page, Scope
from taskapi.store.session import Session
from taskapi.store.task_query import Place, TaskQuery, facts_of
from taskapi.sync import task_sql
from taskapi.sync.search import EXTRA_CANDIDATES, Index
from taskapi.sync.shared_connection import ANSWER_SECONDS

HELD_MOST: Final = 10_000
"""Matches that a scan holds beyond a page."""


class Match(NamedTuple):
    """A task that meets the conditions: where it stands, and its JSON."""

    place: Place
    json: bytes


@dataclass(frozen=True, slots=True)
class TaskListing:
    """A query, the place where its result begins, and what the result is read from."""

    session: Session
    index: Index
    query: TaskQuery
    after: Place | None = None

    @property
    def kind(self) -> Kind:
        return Kind.TASK

    def page(self, limit: int | None) -> Page:
        """Return at most `limit` tasks; None for all."""
        most = None if limit is None else limit + 1
        matches = list(islice(chain.from_iterable(self._batches(most)), most))
        wanted = matches[:limit]
        starts = range(0, len(wanted), queries.CHUNK)
        chunks = [_joined(wanted[start : start + queries.CHUNK]) for start in starts]
        follows = len(matches) > len(wanted)
        return Page(chunks, len(wanted), self.query.cursor(wanted[-1].place) if follows else None)

    def chunks(self) -> Iterator[bytes]:
        """Yield the JSON of all tasks, joined by commas."""
        return map(_joined, filter(None, self._batches(None)))

    def total(self) -> int:
        """Return the number of all tasks that match, wherever the result begins."""
        if not self.query.buckets:
            return 0
        dirty = self.index.overlay.read(self.session)
        can_count = "\n" not in self.query.text  # `folded` has one between title and information
        if can_count and dirty and (counted := dirty.count(self.query)):
            changed, ids = counted
            select = task_sql.count(self.query, ids)
            found = self.index.array(select, dirty.history, time.monotonic() + ANSWER_SECONDS)
            if found is not None:
                return int(found[0]) + changed
        return sum(len(batch) for batch in self._scan(None, None))

    def _batches(self, most: int | None) -> Iterator[list[Match]]:
        """Yield all matches in order; to miss none, read the marks before PostgreSQL."""
        after, dirty = self.after, self.index.overlay.read(self.session)
        size = queries.CHUNK if most is None else most + EXTRA_CANDIDATES
        if not self.query.buckets:  # completed and overdue: no task is both
            return
        deadline = time.monotonic() + ANSWER_SECONDS
        while dirty and (changed := dirty.matches(self.query, after, size)) is not None:
            indexed = self._indexed(dirty, after, size, deadline)
            if indexed is None:
                break
            end = self._end((changed, indexed), size)
            yield self._checked((*changed, *indexed), after, end)
            if end is None:
                return
            after = end
            if most is None:  # a list without limit has this time for each of its pages
                deadline = time.monotonic() + ANSWER_SECONDS
        yield from self._scan(after, most)

    def _indexed(
        self, dirty: DirtyTasks, after: Place | None, size: int, deadline: float
    ) -> list[Place] | None:
        """Return the places that PostgreSQL names; None if it cannot answer."""
        select = task_sql.select(self.query, after, size)
        rows = self.index.array(select, dirty.history, deadline)
        return None if rows is None else [task_sql.place(self.query.sort, row) for row in rows]

    def _end(self, pages: Iterable[list[Place]], size: int) -> Place | None:
        """Return the place up to which all pages are complete; None if nothing follows."""
        ends = [page[-1] for page in pages if len(page) == size]
        return self.query.in_order(ends)[0] if ends else None

    def _checked(
        self, places: Iterable[Place], after: Place | None, end: Place | None
    ) -> list[Match]:
        """Return the matches among these tasks, as they are now, from `after` to `end`."""
        ids = {place.id for place in places if self._is_within(place, None, end)}
        scope = Scope(Kind.TASK, ids=tuple(ids))
        found = chain.from_iterable(map(self._matches, queries.chunks(self.session, scope)))
        return self._ordered(each for each in found if self._is_within(each.place, after, end))

    def _is_within(self, place: Place, after: Place | None, end: Place | None) -> bool:
        is_before_end = end is None or not self.query.is_after(place, end)
        return is_before_end and self.query.is_after(place, after)

    def _scan(self, after: Place | None, most: int | None) -> Iterator[list[Match]]:
        """Yield matches after a place, found among all tasks in Redis: at least `most`.

        Without `most`, all of them: only their places are held, and they are read again in order.
        """
        query, found = self.query, list[Match]()
        places: list[Place] = []
        where: dict[str, Any] = {"user_id": query.user_id, "group_id": query.group_id}
        keys = self.session.keys
        scope = queries.tasks(keys, query.reach, sections=query.buckets, **where)
        for chunk in queries.chunks(self.session, scope):
            matches = (each for each in self._matches(chunk) if query.is_after(each.place, after))
            if most is None:
                places += (each.place for each in matches)
                continue
            found += matches
            if len(found) > most + HELD_MOST:
                found = self._ordered(found)[:most]
        places = query.in_order(places)
        for start in range(0, len(places), queries.CHUNK):
            yield self._checked(places[start : start + queries.CHUNK], None, None)
        yield self._ordered(found)

    def _matches(self, chunk: bytes) -> Iterator[Match]:
        for json in codec.split(chunk):
            with suppress(Damaged):
                facts = facts_of(codec.decode(Kind.TASK, json))
                if self.query.matches(facts):
                    yield Match(self.query.place(facts), json)

    def _ordered(self, matches: Iterable[Match]) -> list[Match]:
        def compare(one: Match, other: Match) -> int:
            return 1 if self.query.is_after(one.place, other.place) else -1

        return sorted(matches, key=cmp_to_key(compare))


def _joined(matches: list[Match]) -> bytes:
    return b",".join(match.json for match in matches)
