"""Changed tasks in the process: later marks win, and only a limited amount of text is held."""

from __future__ import annotations

from math import inf
from typing import Any

import orjson
import pytest

from taskapi.store import dirty_tasks
from taskapi.store.dirty_tasks import DirtyTasks, History, Marks
from taskapi.store.queries import EVERYTHING, Reach

HISTORY = History("1", "", 0, "")


def marks(version: int, ids: list[int], title: str, *, follows: bool = False) -> Marks:
    return Marks(HISTORY, -inf, version, follows, ids, [task(i, version, title) for i in ids])


def task(task_id: int, version: int, title: str, **fields: Any) -> bytes:
    """Return the JSON of a task."""
    times = dict.fromkeys(("created_at", "updated_at"), "2026-11-30T12:00:00Z")
    shown = {"id": task_id, "title": title, "status": False, "priority": 2, "deadline": None}
    shown |= {"information": "", "user_id": 1, "group_id": 2} | times | fields
    return orjson.dumps(shown | {"version": version})


def added(*each: Marks) -> DirtyTasks:
    tasks = DirtyTasks(HISTORY)
    for one in each:
        tasks.add(one)
    return tasks


def test_marks_that_are_read_late_replace_no_later_ones() -> None:
    tasks = added(marks(6, [7], "new"), marks(5, [7], "old"))
    assert (tasks.last, tasks.find("new", EVERYTHING, 0, 1)) == (6, [7])


def test_marks_are_not_all_known_while_others_are_read_page_by_page() -> None:
    tasks = added()
    assert not tasks.add(marks(5, [1], "first", follows=True))
    assert not tasks.add(marks(4, [2], "marked again after 5"))
    assert tasks.add(marks(7, [2, 3], "last"))
    assert tasks.add(marks(6, [3], "older"))
    assert not tasks.add(marks(6, [3], "older", follows=True))


def test_text_that_was_searched_before_it_changed_is_searched_again() -> None:
    tasks = added(marks(1, [7, 8], "old"))
    assert tasks.find("new", EVERYTHING, 0, 1) == []
    tasks.add(marks(2, [7], "new"))
    assert tasks.find("new", EVERYTHING, 0, 1) == [7]


def test_ids_are_found_in_order_above_an_id_and_up_to_a_number() -> None:
    ids = [9_000, 3, 4_000, 1, 5_000]
    tasks = added(marks(1, ids, "Straße"), marks(2, [4_000], "gone"))
    assert tasks.find("STRASSE", EVERYTHING, 0, 9) == [1, 3, 5_000, 9_000]
    assert tasks.find("STRASSE", EVERYTHING, 1, 2) == [3, 5_000]


@pytest.mark.parametrize(
    ("reach", "expected"),
    [
        (Reach(False, frozenset(), 1), [7]),
        (Reach(False, frozenset({2, 3}), 5), [7]),
        (Reach(False, frozenset({1}), 2), []),
    ],
)
def test_only_tasks_within_reach_are_found(reach: Reach, expected: list[int]) -> None:
    assert added(marks(1, [7], "new")).find("new", reach, 0, 1) == expected


def test_tasks_that_are_gone_or_damaged_are_not_found() -> None:
    tasks = added(marks(1, [1, 2, 3], "new"))
    texts = [b"", b'{"title":"new",}', b'{"title":7,"information":"new"}']
    tasks.add(Marks(HISTORY, 1, 2, False, [1, 2, 3], texts))
    assert tasks.find("new", EVERYTHING, 0, 1) == []


def test_too_much_text_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dirty_tasks, "TEXT_MOST", 10)
    tasks = added(marks(1, [1, 2], "new"))
    assert tasks.find("new", EVERYTHING, 0, 1) == [1]
    tasks.add(marks(2, [3], "newer"))
    assert tasks.find("new", EVERYTHING, 0, 1) is None
    assert not tasks._blocks
