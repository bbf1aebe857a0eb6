"""Limits requests that need much time of a process, so that others are served."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from taskapi.errors import Crowded

PLACES: Final = 3
"""The maximum number of heavy requests at once in a process; it has more threads."""


class Heavy:
    """The heavy requests of a process, each in its own thread.

    A request becomes heavy while it runs: at the sixth chunk of a list, at a batch of many tasks.
    It keeps its place until its answer is sent. Only one of them works at a time, because threads
    that compete for Python's lock would make short requests wait for all of them.
    """

    def __init__(self) -> None:
        self._places = threading.BoundedSemaphore(PLACES)
        self._turn, self._next = threading.Lock(), threading.Lock()
        self._local = threading.local()

    @property
    def is_inside(self) -> bool:
        """Whether the request of this thread has a place."""
        return getattr(self._local, "is_inside", False)

    def enter(self) -> None:
        """Take a place for the request of this thread, if it has none; raises Crowded."""
        if not self.is_inside:
            if not self._places.acquire(blocking=False):
                raise Crowded
            self._local.is_inside = True

    def step(self) -> None:
        """Wait for a turn; call this before each short step of a heavy request. Raises Crowded."""
        self.enter()
        if getattr(self._local, "keeps_turn", False) and self._local.has_turn:
            return
        self.rest()
        with self._next:  # a thread that waits is next, not the one that has just rested
            self._turn.acquire()
        self._local.has_turn = True

    @contextmanager
    def keeping_turn(self) -> Iterator[None]:
        """Keep the turn to the end of the block, once this thread has it."""
        self._local.keeps_turn, self._local.has_turn = True, getattr(self._local, "has_turn", False)
        try:
            yield
        finally:
            self._local.keeps_turn = False

    def rest(self) -> None:
        """Let the next request work, if this thread has the turn."""
        if getattr(self._local, "has_turn", False):
            self._local.has_turn = False
            self._turn.release()

    def leave(self) -> None:
        """Give the place back, if this thread has one."""
        self.rest()
        if self.is_inside:
            self._local.is_inside = False
            self._places.release()
