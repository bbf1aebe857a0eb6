"""The tasks that a process created or changed last, so that it can change them without a read."""

import time
from typing import Final

from taskapi.store.codec import Entity, version

REMEMBERED_MOST: Final = 4_000
BYTES_MOST: Final = 2_000
"""A task with more JSON is not remembered: all of them together take at most 10 MB."""
CONTESTED_SECONDS: Final = 600.0


class RecentTasks:
    """The JSON of tasks as this process wrote it last.

    Another process may have changed them since: every commit guards the version of its task. They
    are kept as JSON, because Python's garbage collector would visit thousands of dictionaries.
    """

    def __init__(self) -> None:
        self._tasks: dict[int, tuple[str, bytes]] = {}
        """By id: the epoch and the JSON."""
        self._doubted: dict[int, str] = {}
        """By id: the version with which a change failed."""
        self._contested: dict[int, float] = {}
        """By id: until when a task is not remembered, in seconds of the monotonic clock."""

    def __contains__(self, task_id: int) -> bool:
        return task_id in self._tasks

    def add(self, epoch: str, task_id: int, json: bytes) -> None:
        """Remember a task that a commit has created or changed."""
        _, known = self._tasks.get(task_id, ("", b""))
        if len(json) > BYTES_MOST or time.monotonic() < self._contested.get(task_id, 0.0):
            self.remove(task_id)
        elif not known or int(version(json)) > int(version(known)):
            if len(self._tasks) >= REMEMBERED_MOST:
                self._tasks.clear()
            self._tasks[task_id] = (epoch, json)

    def remove(self, task_id: int) -> None:
        """Forget a task."""
        self._tasks.pop(task_id, None)

    def doubt(self, task_id: int) -> None:
        """Forget a task because a change from memory has failed, until it is compared."""
        _, known = self._tasks.pop(task_id, ("", b""))
        if known:
            if len(self._doubted) >= REMEMBERED_MOST:
                self._doubted.clear()
            self._doubted[task_id] = version(known)

    def compare(self, task_id: int, stored: Entity | None) -> None:
        """If a change failed because the task has changed, forget it for CONTESTED_SECONDS.

        If processes change a task in turn, a change from memory fails and takes three round trips
        instead of two.

        Args:
            stored: the task as the store has it.
        """
        doubted = self._doubted.pop(task_id, None)
        if doubted is None or (stored and doubted == str(stored["version"])):
            return
        if len(self._contested) >= REMEMBERED_MOST:
            self._contested.clear()
        self._contested[task_id] = time.monotonic() + CONTESTED_SECONDS

    def reply(self, epoch: str, task_id: int) -> list[bytes | None] | None:
        """Return a task of this epoch in the form of a reply to `fetch`; None if not remembered."""
        known, json = self._tasks.get(task_id, ("", b""))
        return [json, version(json).encode()] if json and known == epoch else None
