"""What a process remembers of the tasks that it changed."""

from __future__ import annotations

import pytest

from taskapi.store import recent_tasks
from taskapi.store.recent_tasks import RecentTasks


@pytest.fixture
def tasks() -> RecentTasks:
    return RecentTasks()


def test_the_newest_version_of_a_task_is_remembered(tasks: RecentTasks) -> None:
    for version in ("9", "11", "10"):  # commits of two threads may end in any order
        tasks.add("epoch", 1, version, version.encode())
    assert tasks.reply("epoch", 1) == [b"11", b"11"]


def test_a_task_of_another_epoch_is_not_used(tasks: RecentTasks) -> None:
    tasks.add("epoch", 1, "9", b"{}")
    assert tasks.reply("another", 1) is None
    assert tasks.reply("", 2) is None


def test_a_number_of_tasks_is_remembered(
    tasks: RecentTasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent_tasks, "REMEMBERED_MOST", 10)
    for task_id in range(25):
        tasks.contest(1000 + task_id)
        tasks.add("epoch", task_id, "9", b"{}")
        assert tasks.reply("epoch", task_id)
    assert len(tasks._tasks) <= 10
    assert len(tasks._contested) <= 10


def test_a_contested_task_is_not_remembered_for_some_time(
    tasks: RecentTasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(recent_tasks.time, "monotonic", lambda: now[0])
    tasks.add("epoch", 1, "8", b"{}")
    tasks.contest(1)
    assert tasks.reply("epoch", 1) is None
    tasks.add("epoch", 1, "9", b"{}")
    assert tasks.reply("epoch", 1) is None
    now[0] += recent_tasks.CONTESTED_SECONDS
    tasks.add("epoch", 1, "10", b"{}")
    assert tasks.reply("epoch", 1) == [b"{}", b"10"]
