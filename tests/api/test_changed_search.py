"""A search finds what every change acknowledged before it has left, also in other processes."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest

from taskapi.store import dirty_tasks, search
from tests.api.factories import new_group, new_task, ok, path_of
from tests.client import Api
from tests.stores import crash, sql
from tests.support import Installation

WRITERS, ROUNDS = 4, 15


@pytest.fixture
def unscanned(monkeypatch: pytest.MonkeyPatch) -> None:
    """No search of this test scans Redis."""
    monkeypatch.setattr(search, "scan", crash)


@pytest.fixture
def group(api: Api) -> int:
    return int(new_group(api)["id"])


def found(api: Api, text: str, **query: Any) -> list[int]:
    """Return the ids of the tasks found."""
    words = "".join(f"&{name}={value}" for name, value in query.items())
    results = ok(api("GET", f"/tasks/search?q={text}{words}", by="owner"))["results"]
    return [result["task"]["id"] for result in results]


def rename(api: Api, task: Any, title: str) -> None:
    ok(api("PUT", path_of(task), by="owner", json={"title": title}))


@pytest.mark.usefixtures("unscanned")
@pytest.mark.parametrize("is_synced", [False, True])
def test_what_another_process_has_just_changed_decides(
    installation: Installation, api: Api, other: Api, group: int, is_synced: bool
) -> None:
    gone, left, right = (new_task(api, 1, group, title=t) for t in ("needle", "Needle", "straw"))
    if is_synced:
        installation.sync()
    assert found(api, "needle") == [gone["id"], left["id"]]
    ok(other("DELETE", path_of(gone), by="owner"))
    rename(other, left, "straw too")
    rename(other, right, "a NEEDLE")
    new = new_task(other, 1, group, information="needles")
    assert found(api, "needle") == [right["id"], new["id"]]
    assert found(api, "straw") == [left["id"]]


@pytest.mark.usefixtures("unscanned")
def test_passes_and_a_restore_between_searches_hide_nothing(
    api: Api, other: Api, group: int
) -> None:
    ids = []
    for action in ("force", "force", "restore", "force"):
        for _ in range(2):
            ids.append(new_task(other, 1, group, title="needle")["id"])
            assert found(api, "needle") == ids
        ok(other("POST", f"/admin/sync?action={action}", by="owner"))
        assert found(api, "needle") == ids


@pytest.mark.usefixtures("unscanned")
def test_a_change_in_quarantine_is_found_after_the_pass(
    installation: Installation, api: Api, group: int
) -> None:
    sql(installation, "ALTER TABLE tasks ADD CONSTRAINT refuse CHECK (title <> 'needle')")
    task = new_task(api, 1, group, title="needle")
    assert found(api, "needle") == [task["id"]]
    installation.sync()
    assert found(api, "needle") == [task["id"]]


@pytest.mark.usefixtures("unscanned")
@pytest.mark.parametrize("at_once", [1, 2, 3, 1000])
@pytest.mark.parametrize("limit", [1, 100])
def test_marks_are_read_in_pages(
    api: Api, other: Api, group: int, monkeypatch: pytest.MonkeyPatch, at_once: int, limit: int
) -> None:
    monkeypatch.setattr(dirty_tasks, "CHUNK", at_once)
    ids = [new_task(other, 1, group, title="straw")["id"] for _ in range(7)]
    assert found(api, "needle") == []
    new_task(other, 1, group, title="straw")
    body = {"task_ids": ids[1:6], "updates": {"title": "needle"}}
    ok(other("POST", "/tasks/batch", by="owner", json=body))
    new_task(other, 1, group, title="straw")
    ids.append(new_task(other, 1, group, title="needle")["id"])
    wanted = [*ids[1:6], ids[-1]]
    assert found(api, "needle", limit=limit) == wanted[:limit]
    assert found(api, "needle", limit=limit, after=wanted[2]) == wanted[3:][:limit]


@pytest.mark.usefixtures("unscanned")
def test_a_page_ends_where_postgresql_may_have_more(
    installation: Installation, api: Api, group: int
) -> None:
    tasks = [new_task(api, 1, group, title="needle") for _ in range(40)]
    installation.sync()
    for task in tasks[:20]:
        rename(api, task, "straw")
    rename(api, tasks[-1], "needle too")
    assert found(api, "needle", limit=1) == [tasks[20]["id"]]


@pytest.mark.parametrize("name", ["MARKS_MOST", "TEXT_MOST"])
def test_with_too_many_changes_redis_is_scanned(
    api: Api, other: Api, group: int, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(dirty_tasks, name, 5)
    ids = []
    for _ in range(8):
        ids.append(new_task(other, 1, group, title="needle")["id"])
        assert found(api, "needle") == ids
    monkeypatch.setattr(search, "scan", crash)
    assert api("GET", "/tasks/search?q=needle", by="owner").status == 500


def test_a_search_does_not_wait_long_for_another_one(
    installation: Installation, api: Api, group: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = new_task(api, 1, group, title="needle")
    monkeypatch.setattr(dirty_tasks, "TURN_SECONDS", 0.0)
    overlay, begin = installation._app.extensions["taskapi"].index.overlay, time.monotonic()
    with overlay._turn:
        assert found(api, "needle") == [task["id"]]
    assert time.monotonic() - begin < 20


def test_concurrent_writers_find_their_own_changes_at_once(
    installation: Installation,
    api: Api,
    other: Api,
    group: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dirty_tasks, "CHUNK", 3)
    are_done = Event()

    def write(number: int) -> None:
        for n in range(ROUNDS):
            words = [f"w{number}n{n}{letter}." for letter in "abc"]
            task = new_task(api, 1, group, title=words[0])
            assert found(api, words[0]) == found(other, words[0]) == [task["id"]]
            rename(other, task, words[1])
            assert found(api, words[1]) == found(other, words[1]) == [task["id"]]
            assert found(api, words[0]) == []
            if n % 2:
                ok(api("DELETE", path_of(task), by="owner"))
                assert found(other, words[1]) == []

    def sync() -> None:
        while not are_done.is_set():
            installation.sync()

    with ThreadPoolExecutor(WRITERS + 1) as pool:
        syncing = pool.submit(sync)
        try:
            list(pool.map(write, range(WRITERS)))
        finally:
            are_done.set()
        syncing.result()
