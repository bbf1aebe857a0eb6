"""A Redis that lost many tasks gets them back in batches."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from taskapi.store import quarantine
from taskapi.store.loading import BATCH
from taskapi.store.reconcile import NEEDED, UNFIT
from taskapi.sync import sync_pass
from tests.api.factories import new_group, new_task, ok, path_of, refused
from tests.api.test_limits import peak_kilobytes
from tests.client import Api
from tests.store.fsck import fsck
from tests.stores import connect, root, sql
from tests.support import Installation

MANY = 3 * BATCH + 1
"""Tasks in several batches; the last one is not full."""
HEAL = """
from taskapi.store import meta
store = sync_pass.open_store(settings)
sync_pass.run(settings, store)
done = {"tasks": meta.sizes(store)["t"]}
"""
TASKS = """
INSERT INTO tasks
SELECT n, 'Task', false, 2, NULL, '', 1, {group}, now(), now(), {version} + n, 'task'
  FROM generate_series({first}, {last}) AS n
"""
DELETE_TASKS = """
WITH gone AS (DELETE FROM tasks WHERE group_id = {group} RETURNING id)
INSERT INTO tombstones (kind, id, version) SELECT 't', id, {version} + id FROM gone
"""
DELETE_GROUP = """
DELETE FROM memberships WHERE group_id = {group};
UPDATE users SET version = {version} + 1;
DELETE FROM groups WHERE id = {group};
INSERT INTO tombstones (kind, id, version) VALUES ('g', {group}, {version})
"""


def lose(installation: Installation, *statements: str, **values: int) -> None:
    """Change PostgreSQL like a pass whose changes Redis then lost, with `{version}` above all."""
    ((version,),) = sql(installation, "SELECT last_version FROM sync_state")
    version += 100_000
    for statement in statements:
        sql(installation, statement.format(version=version, **values))
    newest = "greatest(last_task, (SELECT max(id) FROM tasks))"
    state = f"last_version = {version} + 100000, last_task = {newest}"
    sql(installation, f"UPDATE sync_state SET {state}")


def lose_new_tasks(installation: Installation, group: dict[str, Any], first: int) -> None:
    lose(installation, TASKS, group=group["id"], first=first, last=first + MANY - 1)


def size(installation: Installation, group: dict[str, Any]) -> int:
    """Return how many tasks of a group Redis has."""
    with connect(installation) as connection:
        return int(connection.zcard(f"{root(installation)}tasks:g:{group['id']}"))


def reasons(installation: Installation) -> Counter[tuple[str, str]]:
    entries = quarantine.read(sync_pass.open_store(installation.settings))
    return Counter((entry["type"], entry["reason"]) for entry in entries)


def require_whole(installation: Installation) -> None:
    settings = installation.settings
    assert not [w for w in fsck(settings.redis_url, settings.key_prefix) if "dirty" not in w]


def test_tasks_are_moved_before_their_old_group_is_deleted(
    installation: Installation, api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = new_group(api), new_group(api)
    installation.sync()
    lose_new_tasks(installation, old, 1)
    installation.sync()
    assert f"{MANY} are restored" in caplog.text
    assert size(installation, old) == MANY
    move = "UPDATE tasks SET group_id = {new}, version = {version} + id"
    lose(installation, move, DELETE_GROUP, group=old["id"], new=new["id"])
    installation.sync()
    assert (size(installation, old), size(installation, new)) == (0, MANY)
    refused(api("GET", f"/groups/{old['id']}", by="owner"), 404)
    assert ok(api("GET", "/tasks/stats", by="owner"))["total_tasks"] == MANY
    assert new_task(api, 1, new["id"])["id"] == MANY + 1
    assert not reasons(installation)
    require_whole(installation)


def test_tasks_that_do_not_fit_are_quarantined_and_the_others_are_put_back(
    installation: Installation, api: Api
) -> None:
    kept, gone, old = new_group(api), new_group(api), new_group(api)
    stays = new_task(api, 1, old["id"])
    installation.sync()
    ok(api("DELETE", f"/groups/{gone['id']}", by="owner"))
    move = "UPDATE tasks SET group_id = {gone}, version = {version}"
    leave = "DELETE FROM memberships WHERE group_id = {gone}"  # so that only the task does not fit
    lose(installation, move, leave, DELETE_GROUP, group=old["id"], gone=gone["id"])
    lose_new_tasks(installation, gone, 10_000)
    lose_new_tasks(installation, kept, 20_000)
    installation.sync()
    assert size(installation, kept) == MANY
    assert size(installation, gone) == 0
    assert ok(api("GET", path_of(stays), by="owner")) == stays
    assert reasons(installation)["task", UNFIT] == MANY + 1
    assert reasons(installation)["group", NEEDED] == 1
    require_whole(installation)


@pytest.mark.parametrize("is_used", [False, True])
def test_a_group_is_deleted_with_its_tasks_unless_it_got_a_task_since(
    installation: Installation, api: Api, is_used: bool
) -> None:
    group = new_group(api)
    installation.sync()
    lose_new_tasks(installation, group, 1)
    installation.sync()
    tasks = [new_task(api, 1, group["id"]) for _ in range(is_used)]
    lose(installation, DELETE_TASKS, DELETE_GROUP, group=group["id"])
    installation.sync()
    assert size(installation, group) == len(tasks)
    assert api("GET", f"/groups/{group['id']}", by="owner").status == (200 if is_used else 404)
    assert [ok(api("GET", path_of(task), by="owner")) for task in tasks] == tasks
    assert reasons(installation)["group", NEEDED] == is_used
    require_whole(installation)


def test_putting_back_many_tasks_takes_no_more_memory_than_few(
    installation: Installation, api: Api
) -> None:
    group = new_group(api)
    installation.sync()
    used = []
    for first, last in ((1, 3000), (3001, 33_000)):
        lose(installation, TASKS, group=group["id"], first=first, last=last)
        used.append(peak_kilobytes(installation, HEAL, last))
    assert used[1] < used[0] + 8 * 1024
