"""Lists and changes are read in commands whose size is limited by the bytes of the entities."""

from __future__ import annotations

import pytest

from taskapi.store import changes
from taskapi.store.keys import Kind
from taskapi.sync import sync_pass
from tests.api.conftest import RoundTrips, round_trips
from tests.api.factories import new_group, new_task, ok
from tests.client import Api
from tests.faults.checks import settle
from tests.support import Installation

__all__ = ["round_trips"]


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "CHUNK_BYTES", 1)


@pytest.mark.usefixtures("small_chunks")
def test_long_entities_come_in_many_chunks_and_all_of_them(
    installation: Installation, api: Api
) -> None:
    group = new_group(api)["id"]
    ids = [new_task(api, 1, group)["id"] for _ in range(5)]
    store = sync_pass.open_store(installation.settings)
    for chunks in (changes.everything(store, Kind.TASK), changes.changed(store)):
        found = [[task["id"] for task in chunk.entities[Kind.TASK]] for chunk in chunks]
        assert [each for each in found if each] == [[task_id] for task_id in ids]
    settle(installation)


@pytest.mark.usefixtures("small_chunks")
def test_the_tasks_of_one_commit_are_not_split(installation: Installation, api: Api) -> None:
    group = new_group(api)["id"]
    ids = [new_task(api, 1, group)["id"] for _ in range(3)]
    ok(api("POST", "/tasks/batch", by="owner", json={"task_ids": ids, "action": "mark_done"}))
    store = sync_pass.open_store(installation.settings)
    sizes = [len(chunk.entities[Kind.TASK]) for chunk in changes.changed(store)]
    assert max(sizes) == 3
    settle(installation)


def test_long_tasks_are_read_in_short_commands_and_sent_in_order(
    installation: Installation, round_trips: RoundTrips
) -> None:
    long = "\x01" * 10_000
    with installation.serve(workers=1) as served:
        group = new_group(served)["id"]
        tasks = [new_task(served, 1, group, information=long) for _ in range(30)]
        for path in ("/tasks/filter", "/tasks/filter?limit=30"):
            answer = served("GET", path, by="owner")
            assert ok(answer)["tasks"] == tasks
            assert int(answer.headers["Content-Length"]) == len(answer.body)
    round_trips.clear()
    ok(installation.client()("GET", "/tasks/filter", by="owner"))
    assert len(round_trips) == 1 + 2
