"""Sets of changed tasks, so that a question looks at few of them."""

from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

from taskapi.store.task_query import Facts, Place, TaskQuery

_LAST: Final = "~"
"""Comes after every date: tasks without deadline are last."""


class DirtySets:
    """The ids of tasks by user, by group and, once that is asked for, in order of deadline."""

    def __init__(self) -> None:
        self._users: defaultdict[int, set[int]] = defaultdict(set)
        self._groups: defaultdict[int, set[int]] = defaultdict(set)
        self._deadlines: list[tuple[str, int]] | None = None

    def move(self, old: Facts | None, new: Facts | None) -> None:
        """Replace a task: `old` is None if it was not here, `new` if it is deleted or damaged."""
        if old:
            self._users[old.user_id].discard(old.id)
            self._groups[old.group_id].discard(old.id)
        if new:
            self._users[new.user_id].add(new.id)
            self._groups[new.group_id].add(new.id)
        if self._deadlines is None:
            return
        if old:
            del self._deadlines[bisect_left(self._deadlines, _dated(old))]
        if new:
            insort(self._deadlines, _dated(new))

    def narrowed(self, query: TaskQuery) -> Iterable[int] | None:
        """Return the tasks of the user, the group or the reach of a query; None for all tasks."""
        if query.user_id is not None:
            return self._users.get(query.user_id, ())
        if query.group_id is not None:
            return self._groups.get(query.group_id, ())
        if query.reach.is_everything:
            return None
        groups = (self._groups.get(group_id, ()) for group_id in query.reach.group_ids)
        return set(self._users.get(query.reach.user_id, ())).union(*groups)

    def by_deadline(self, after: Place | None, tasks: Iterable[Facts | None]) -> Iterator[int]:
        """Yield all tasks after a place in order of deadline.

        Args:
            tasks: all of them, needed the first time.
        """
        if self._deadlines is None:
            self._deadlines = sorted(_dated(task) for task in tasks if task)
        start = (str(after.key or _LAST), after.id) if after else ("", 0)
        for _, task_id in self._deadlines[bisect_right(self._deadlines, start) :]:
            yield task_id


def _dated(task: Facts) -> tuple[str, int]:
    return task.deadline or _LAST, task.id
