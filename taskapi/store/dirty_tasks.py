"""The tasks that changed since the last pass, held in the process for searches and questions.

Marks are scored by version, versions only grow, and a commit sets its marks in the call that issues
its version. So the marks above the last version that was read are all that is new.
"""

import math
import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, Final, NamedTuple

from taskapi.errors import Damaged
from taskapi.store import scripts
from taskapi.store.codec import decode
from taskapi.store.connection import Command
from taskapi.store.dirty_sets import DirtySets
from taskapi.store.indexes import fold
from taskapi.store.keys import Keys, Kind
from taskapi.store.numbers import is_number
from taskapi.store.queries import Reach
from taskapi.store.session import Session
from taskapi.store.task_query import Facts, Place, TaskQuery, facts_of
from taskapi.store.text_block import TextBlock

CHUNK: Final = 1000
"""Marks read at once: about 4 ms of Redis' time."""
MARKS_MOST: Final = 100_000
TEXT_MOST: Final = 16 * 2**20
"""Bytes of text, which a `TextBlock` has twice. With more marks or text, Redis is scanned."""
TURN_SECONDS: Final = 2.0
"""How long a search waits while another one reads many marks."""
BLOCK: Final = 2048
"""Ids of a block, whose texts are searched at once."""


class History(NamedTuple):
    """Identifies the sequence of marks that was read.

    If a field differs, earlier versions may have been marked, so all marks are read again.

    Attributes:
        synced: PostgreSQL has every change up to this version that is not marked.
        remarked: a text that is replaced when marks are set in another way than by commits.
    """

    epoch: str
    installation: str
    synced: int
    remarked: str


class Marks(NamedTuple):
    """The marks above the version `after`, up to `last`, and the tasks' JSON.

    The JSON is empty if a task is deleted or damaged.
    """

    history: History
    after: float
    last: float
    follows: bool
    ids: list[int]
    texts: list[bytes]


class DirtyTasks:
    """The tasks that were marked in one history, up to the version `last`.

    It has every task that is marked, and may have others. Above TEXT_MOST it is cleared, and `find`
    returns None.
    """

    def __init__(self, history: History) -> None:
        self.history, self.last = history, -math.inf
        self._turn, self._is_whole = threading.Lock(), False
        self._facts: dict[int, Facts | None] = {}
        self._sets = DirtySets()
        self._blocks: dict[int, TextBlock] = {}
        self._numbers: list[int] = []
        self._bytes = 0

    def add(self, marks: Marks) -> bool:
        """Add marks, unless later ones are known; return whether all marks are known.

        "All" means all at the time of this read. While another thread adds pages, a task up to
        `last` may be missing: it was changed again, and its new mark has not been read yet.
        """
        tasks = [*map(_facts, marks.texts)]
        with self._turn:
            if marks.last >= self.last:
                self.last, self._is_whole = marks.last, not marks.follows
                self._put(marks.ids, tasks)
            return self._is_whole and not marks.follows

    def find(self, text: str, reach: Reach, after: int, most: int) -> list[int] | None:
        """Return ids above `after` of tasks within reach that match, at most `most`, ascending.

        None if there is too much text to hold.
        """
        wanted, found = fold(text).encode(), list[int]()
        with self._turn:
            if self._bytes > TEXT_MOST:
                return None
            for block in self._blocks_from(after):
                found += (i for i in block.matches(wanted) if i > after and self._is_in(reach, i))
                if len(found) >= most:
                    break
        return found[:most]

    def matches(self, query: TaskQuery, after: Place | None, most: int) -> list[Place] | None:
        """Return the places after `after` of tasks that match, at most `most`, in order.

        None if there is too much text to hold.
        """
        places: list[Place] = []
        with self._turn:
            if self._bytes > TEXT_MOST:
                return None
            ids, are_sorted = self._candidates(query, after)
            for task_id in ids:
                task = self._facts[task_id]
                if task and query.matches(task) and query.is_after(query.place(task), after):
                    places.append(query.place(task))
                    if are_sorted and len(places) == most:
                        break
        return query.in_order(places)[:most]

    def count(self, query: TaskQuery) -> tuple[int, list[int]] | None:
        """Return how many of these tasks match, and the ids of all of them.

        None if there is too much text to hold.
        """
        with self._turn:
            if self._bytes > TEXT_MOST:
                return None
            ids, _ = self._candidates(query, None)
            found = sum(1 for i in ids if (task := self._facts[i]) and query.matches(task))
            return found, [*self._facts]

    def _candidates(self, query: TaskQuery, after: Place | None) -> tuple[Iterable[int], bool]:
        """Return the ids of all tasks that may match, and whether they are in the query's order."""
        if query.text and query.user_id is None and query.group_id is None:
            wanted = query.text.encode()
            return [i for block in self._blocks_from(0) for i in block.matches(wanted)], False
        if (found := self._sets.narrowed(query)) is not None:
            return found, False
        if query.sort == "deadline" and not query.is_descending:
            return self._sets.by_deadline(after, self._facts.values()), True
        return self._facts, False

    def _is_in(self, reach: Reach, task_id: int) -> bool:
        task = self._facts[task_id]
        return task is not None and reach.includes(task.user_id, task.group_id)

    def _put(self, ids: list[int], tasks: list[Facts | None]) -> None:
        for task_id, task in zip(ids, tasks, strict=True):
            self._sets.move(self._facts.get(task_id), task)
            self._facts[task_id] = task
            self._bytes += self._block(task_id).put(task_id, task.text.encode() if task else b"")
        if self._bytes > TEXT_MOST:
            self._facts, self._sets = {}, DirtySets()
            self._blocks.clear()

    def _block(self, task_id: int) -> "TextBlock":
        number = task_id // BLOCK
        block = self._blocks.get(number)
        if block is None:
            block = self._blocks[number] = TextBlock()
            self._numbers = []
        return block

    def _blocks_from(self, after: int) -> Iterator["TextBlock"]:
        self._numbers = self._numbers or sorted(self._blocks)
        for number in self._numbers[bisect_left(self._numbers, after // BLOCK) :]:
            yield self._blocks[number]


class Overlay:
    """The dirty tasks as a process has read them, brought up to date by each search."""

    def __init__(self) -> None:
        self._known = DirtyTasks(History("", "", 0, ""))
        self._turn = threading.Lock()

    def read(self, session: Session) -> DirtyTasks | None:
        """Return at least the tasks of all changes that PostgreSQL may not have.

        None if there are too many, or if the store cannot tell.
        """
        known = self._known
        marks = self._marks(session, known)
        if marks and marks.history == known.history and known.add(marks):
            return known
        if marks is None or not self._turn.acquire(timeout=TURN_SECONDS):
            return None
        try:
            return self._read_all(session, marks)
        finally:
            self._turn.release()

    def _read_all(self, session: Session, marks: Marks | None) -> DirtyTasks | None:
        """Read all marks that follow these; from the beginning if the history is another one."""
        known = self._known
        while marks:
            if marks.history != known.history:
                known = DirtyTasks(marks.history)
            if marks.after <= known.last and known.add(marks):
                self._known = known
                return known
            marks = self._marks(session, known)
        return None

    def _marks(self, session: Session, known: DirtyTasks) -> Marks | None:
        after, guess = known.last, partial(self._commands, session.keys)
        (reply,) = session.read(_command(session.keys, after), guess=guess)
        marks = _parse(session.epoch, after, reply) if reply else None
        if marks:
            # A server that is set back to an earlier version is then noticed by this process.
            session.connection.issued.note(int(marks.last), {})
        return marks

    def _commands(self, keys: Keys) -> tuple[Command, ...]:
        return (_command(keys, self._known.last),)


def _command(keys: Keys, after: float) -> Command:
    words = (keys.dirty, repr(after), CHUNK, MARKS_MOST, keys.entity(Kind.TASK, ""))
    return ("EVALSHA", scripts.DIRTY_TASKS, 1, keys.meta, *words)


def _parse(epoch: str, after: float, reply: list[Any]) -> Marks | None:
    installation, synced, remarked, last, follows, ids, texts = reply
    if not is_number(synced):
        return None
    history = History(epoch, installation.decode(errors="replace"), int(synced), remarked.decode())
    numbers = [*map(int, ids.split(b","))] if ids else []
    return Marks(history, after, float(last), bool(follows), numbers, texts)


def _facts(json: bytes) -> Facts | None:
    """Return the facts about a task from its JSON; None if it is gone or damaged."""
    try:
        return facts_of(decode(Kind.TASK, json)) if json else None
    except Damaged:
        return None
