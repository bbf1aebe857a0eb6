"""What a process remembers of the tasks that it changed."""

from __future__ import annotations

import pytest

from taskapi.store import recent_tasks
from taskapi.store.recent_tasks import RecentTasks


@pytest.fixture
def tasks() -> RecentTasks:
    return RecentTasks()


def task(version: int) -> bytes:
    """Return the JSON of a task."""
    return b'{"id":1,"version":%d}' % version


def test_the_newest_version_of_a_task_is_remembered(tasks: RecentTasks) -> None:
    for version in (9, 11, 10):  # commits of two threads may end in any order
        tasks.add("epoch", 1, task(version))
    assert tasks.reply("epoch", 1) == [task(11), b"11"]


def test_a_task_of_another_epoch_is_not_used(tasks: RecentTasks) -> None:
    tasks.add("epoch", 1, task(9))
    assert tasks.reply("another", 1) is None
    assert tasks.reply("", 2) is None


def test_a_number_of_tasks_is_remembered(
    tasks: RecentTasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent_tasks, "REMEMBERED_MOST", 10)
    for task_id in range(50):
        tasks.add("epoch", task_id, task(9))
        assert tasks.reply("epoch", task_id)
        tasks.doubt(task_id)
        if task_id % 2:
            tasks.compare(task_id, None)
        else:
            tasks.add("epoch", task_id, task(9))
    assert len(tasks._tasks) <= 10
    assert len(tasks._doubted) <= 10
    assert len(tasks._contested) <= 10


@pytest.mark.parametrize("stored", [{"version": 9}, None])
def test_a_task_that_another_process_has_changed_is_not_remembered_for_some_time(
    tasks: RecentTasks, monkeypatch: pytest.MonkeyPatch, stored: dict[str, int] | None
) -> None:
    now = [1000.0]
    monkeypatch.setattr(recent_tasks.time, "monotonic", lambda: now[0])
    tasks.add("epoch", 1, task(8))
    tasks.compare(1, stored)  # nothing has failed
    assert tasks.reply("epoch", 1) == [task(8), b"8"]
    tasks.doubt(1)
    tasks.compare(1, {"version": 8})  # something else has failed
    tasks.add("epoch", 1, task(8))
    assert tasks.reply("epoch", 1) == [task(8), b"8"]
    tasks.doubt(1)
    tasks.compare(1, stored)
    assert tasks.reply("epoch", 1) is None
    tasks.add("epoch", 1, task(10))
    assert tasks.reply("epoch", 1) is None
    now[0] += recent_tasks.CONTESTED_SECONDS
    tasks.add("epoch", 1, task(11))
    assert tasks.reply("epoch", 1) == [task(11), b"11"]


def test_a_task_that_is_not_remembered_is_not_contested(tasks: RecentTasks) -> None:
    tasks.doubt(1)
    tasks.compare(1, {"version": 8})
    tasks.add("epoch", 1, task(9))
    assert tasks.reply("epoch", 1) == [task(9), b"9"]
