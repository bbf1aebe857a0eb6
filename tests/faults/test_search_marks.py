"""A search misses nothing when marks are set in another way than by commits."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from devserver.servers import Postgres
from taskapi import create_app
from taskapi.store import changes
from taskapi.sync import sync_pass
from tests.api.factories import new_group, new_task, ok, path_of
from tests.api.test_changed_search import found
from tests.client import Api, in_process
from tests.operations.checks import check
from tests.stores import before, connect, meta, root, sql
from tests.support import OWNER_PASSWORD, Installation
from tests.sync.lossy_site import LossySite, uncompared


@pytest.fixture
def group(api: Api) -> int:
    return int(new_group(api)["id"])


def test_a_change_in_quarantine_is_found_during_a_reseed(
    installation: Installation, api: Api, group: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = new_task(api, 1, group, title="needle")
    installation.sync()
    tables = "sync_state, memberships, tasks, groups, users, tombstones"
    sql(installation, f"TRUNCATE {tables}")
    sql(installation, "ALTER TABLE tasks ADD CONSTRAINT refuse CHECK (title <> 'needle')")
    results: list[list[int]] = []

    def look() -> None:
        results.append(found(api, "needle"))

    before(monkeypatch, changes, "mark_everything", look)
    before(monkeypatch, changes, "acknowledge", look)
    store = sync_pass.open_store(installation.settings)
    sync_pass.force(installation.settings, store, reseed=True)
    look()
    assert results == 3 * [[task["id"]]]


def test_a_change_that_a_repair_marks_is_found(
    installation: Installation, api: Api, group: int
) -> None:
    task = new_task(api, 1, group, title="needle")
    installation.sync()
    new_task(api, 1, group)
    sql(installation, "UPDATE tasks SET title = 'x', folded = 'x', version = version - 1")
    assert found(api, "needle") == []
    check(installation, repairs=True)
    assert found(api, "needle") == [task["id"]]


def test_a_mark_above_the_last_version_is_not_overlooked(
    installation: Installation, api: Api, group: int
) -> None:
    task = new_task(api, 1, group, title="needle")
    with connect(installation) as connection:
        connection.zadd(root(installation) + "dirty", {f"t:{task['id']}": 2**53})
    assert found(api, "needle") == [task["id"]]


def test_what_a_search_has_seen_tells_a_redis_that_was_set_back(
    installation: Installation, api: Api, group: int
) -> None:
    other = Api(in_process(create_app(installation.settings)), OWNER_PASSWORD)
    task = new_task(other, 1, group, title="needle")
    assert found(api, "needle") == [task["id"]]
    with connect(installation) as connection:
        connection.hset(root(installation) + "meta", "version", task["version"] - 1)
    assert ok(api("GET", path_of(task), by="owner")) == task
    assert int(meta(installation)["version"]) >= task["version"]


def test_a_set_back_redis_has_marks_again(
    tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    results: list[list[int]] = []
    with closing(LossySite(tmp_path, postgres.url, "everysec")) as site:
        api, (first, second) = site.api, (new_group(site.api)["id"] for _ in range(2))
        task = new_task(api, 1, first, title="needle")
        site.installation.sync()
        with site.lost():
            moved = {"group_id": second, "title": "straw"}
            ok(api("PUT", path_of(task), by="owner", json=moved))
            site.installation.sync()
            assert found(api, "needle") == []
        with uncompared(site):
            ok(api("DELETE", f"/groups/{second}", by="owner"))
        before(monkeypatch, changes, "acknowledge", lambda: results.append(found(api, "needle")))
        site.installation.sync()
    assert results == [[task["id"]]]
