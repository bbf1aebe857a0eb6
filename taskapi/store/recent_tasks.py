"""The tasks that a process changed last, so that it can change them again without a read."""

import time
from typing import Final

REMEMBERED_MOST: Final = 4_000
BYTES_MOST: Final = 2_000
"""A task with more JSON is not remembered: all of them together take at most 8 MB."""
CONTESTED_SECONDS: Final = 600.0


class RecentTasks:
    """The JSON of tasks as this process changed them last.

    Another process may have changed them since: every commit guards the version of its task. They
    are kept as JSON, because Python's garbage collector would visit thousands of dictionaries.
    """

    def __init__(self) -> None:
        self._tasks: dict[int, tuple[str, str, bytes]] = {}
        self._contested: dict[int, float] = {}

    def add(self, epoch: str, task_id: int, version: str, json: bytes) -> None:
        """Remember a task that a commit has created or changed."""
        _, known, _ = self._tasks.get(task_id, ("", "0", b""))
        if len(json) > BYTES_MOST or time.monotonic() < self._contested.get(task_id, 0.0):
            self.remove(task_id)
        elif int(version) > int(known):  # another thread may have been faster
            if len(self._tasks) >= REMEMBERED_MOST:
                self._tasks.clear()
            self._tasks[task_id] = (epoch, version, json)

    def remove(self, task_id: int) -> None:
        """Forget a task."""
        self._tasks.pop(task_id, None)

    def contest(self, task_id: int) -> None:
        """Forget a task for CONTESTED_SECONDS, because its commit has failed.

        If two processes change a task in turn, half of their commits would fail, and a commit that
        fails takes two more round trips.
        """
        self.remove(task_id)
        if len(self._contested) >= REMEMBERED_MOST:
            self._contested.clear()
        self._contested[task_id] = time.monotonic() + CONTESTED_SECONDS

    def reply(self, epoch: str, task_id: int) -> list[bytes | None] | None:
        """Return what Redis replied to `fetch` of a task in this epoch; None if not remembered."""
        known, version, json = self._tasks.get(task_id, ("", "", b""))
        return [json, version.encode()] if known == epoch and json else None
