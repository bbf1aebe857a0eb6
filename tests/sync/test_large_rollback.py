"""A Redis that lost many changes gets them back in batches."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from taskapi.store import loading, quarantine
from taskapi.store.conflicts import NEEDED, TAKEN, UNFIT
from taskapi.store.keys import Kind
from taskapi.sync import sync_pass
from tests.api.factories import new_admin, new_group, new_task, ok, path_of, refused
from tests.api.test_limits import peak_kilobytes
from tests.client import Api
from tests.store.fsck import fsck
from tests.stores import connect, root, sql
from tests.support import Installation

BATCH = 100
MANY = 3 * BATCH + 1
"""Entities in several batches; the last one is not full."""
HEAL = """
from taskapi.store import meta
store = sync_pass.open_store(settings)
sync_pass.run(settings, store)
done = {kind.plural: size for kind, size in meta.sizes(store).items()}
"""
USERS = """
INSERT INTO users SELECT (jsonb_populate_record(users, changed)).*
  FROM users, generate_series({first}, {last}) AS n, jsonb_build_object(
       'id', n, 'email', n || '@x.org', 'email_key', n || '@x.org', 'role', 'group_admin',
       'version', {version} + n) AS changed
 WHERE id = 1;
INSERT INTO memberships SELECT n, {group} FROM generate_series({first}, {last}) AS n
"""
GROUPS = """
INSERT INTO groups SELECT (jsonb_populate_record(groups, changed)).*
  FROM groups, generate_series({first}, {last}) AS n, jsonb_build_object(
       'id', n, 'name', 'G' || n, 'name_key', 'g' || n, 'admin_id', n,
       'version', {version} + n) AS changed
 WHERE id = {group};
INSERT INTO memberships SELECT n, n FROM generate_series({first}, {last}) AS n
"""
DELETE = """
DELETE FROM memberships WHERE user_id >= {first};
WITH gone AS (DELETE FROM {table} WHERE id >= {first} RETURNING id)
INSERT INTO tombstones (kind, id, version) SELECT '{kind}', id, {version} + id FROM gone
"""
TASKS = """
INSERT INTO tasks
SELECT n, 'Task', false, 2, NULL, '', 1, {group}, now(), now(), {version} + n, 'task'
  FROM generate_series({first}, {last}) AS n
"""
NEWEST = """
UPDATE sync_state SET last_version = {version} + 100000,
       last_user = greatest(last_user, (SELECT max(id) FROM users)),
       last_group = greatest(last_group, (SELECT max(id) FROM groups)),
       last_task = greatest(last_task, (SELECT max(id) FROM tasks))
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
ROTATE = """
UPDATE users SET email = {first} + mod(id + {by}, {many}) || '@x.org' WHERE id >= {first};
UPDATE users SET email_key = email, version = {version} + id WHERE id >= {first};
UPDATE groups SET name = 'G' || {first} + mod(id + {by}, {many}) WHERE id >= {first};
UPDATE groups SET name_key = lower(name), admin_id = {first} + mod(id + 2 * {by}, {many}),
       version = {version} + id WHERE id >= {first};
DELETE FROM memberships WHERE user_id >= {first};
INSERT INTO memberships SELECT admin_id, id FROM groups WHERE id >= {first};
UPDATE groups SET name = 'New {by}', name_key = 'new {by}' WHERE id = {first}
"""
"""Gives names, e-mail addresses and groups to other users and groups; one name becomes free."""
HAND_OVER = "UPDATE groups SET admin_id = {admin} WHERE id >= {first} AND mod(id, 3) = 0"


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "BATCH", BATCH)


def lose(installation: Installation, *statements: str, **values: int | str) -> None:
    """Change PostgreSQL like a pass whose changes Redis then lost, with `{version}` above all."""
    ((version,),) = sql(installation, "SELECT last_version FROM sync_state")
    version += 100_000
    for statement in statements:
        sql(installation, statement.format(version=version, **values))
    sql(installation, NEWEST.format(version=version))


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
    assert f"{MANY} of them are put back" in caplog.text
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


def test_names_and_admins_rotate_across_batches(
    installation: Installation, api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    group = new_group(api)
    installation.sync()
    lose(installation, USERS, GROUPS, group=group["id"], first=MANY, last=2 * MANY - 1)
    installation.sync()
    for by in (1, 2):
        lose(installation, ROTATE, first=MANY, many=MANY, by=by)
        installation.sync()
        assert caplog.text.count(f"{2 * MANY} of them are put back") == by + 1
        assert not reasons(installation)
        require_whole(installation)
    last = ok(api("GET", f"/groups/{2 * MANY - 1}", by="owner"))
    assert (last["name"], last["admin_id"]) == (f"G{MANY + 1}", MANY + 3)
    refused(api("PUT", f"/users/{MANY + 3}", by="owner", json={"role": "user"}), 409)


def test_those_of_many_changes_that_do_not_fit_are_quarantined(
    installation: Installation, api: Api
) -> None:
    group, gone = new_group(api), new_admin(api)
    installation.sync()
    new_group(api, name=f"G{MANY}")
    ok(api("DELETE", f"/users/{gone['id']}", by="owner"))
    ids = {"group": group["id"], "first": MANY, "last": 2 * MANY - 1}
    lose(installation, USERS, GROUPS, HAND_OVER, admin=gone["id"], **ids)
    installation.sync()
    barred = len([n for n in range(MANY, 2 * MANY) if n % 3 == 0])
    found = reasons(installation)
    counts = found["group", TAKEN], found["group", UNFIT], found["user", UNFIT]
    assert counts == (1, barred, barred + 1)
    refused(api("GET", f"/users/{MANY}", by="owner"), 404)
    ok(api("GET", f"/users/{MANY + 1}", by="owner"))
    require_whole(installation)


@pytest.mark.long
@pytest.mark.parametrize("inserts", [[USERS, GROUPS], [TASKS]], ids=["users and groups", "tasks"])
def test_putting_back_much_takes_no_more_memory_than_little(
    installation: Installation, api: Api, inserts: list[str]
) -> None:
    group = new_group(api)
    installation.sync()
    kinds = {USERS: Kind.USER, GROUPS: Kind.GROUP, TASKS: Kind.TASK}
    own = kinds[inserts[-1]]
    others = 0 if own is Kind.TASK else 1
    deletes = [
        DELETE.replace("{kind}", kind).replace("{table}", kind.plural)
        for kind in reversed([kinds[insert] for insert in inserts])
    ]
    used = []
    for many in (2000, 8000):
        ids = {"group": group["id"], "first": many, "last": 2 * many - 1}
        for statements, left in ((inserts, many + others), (deletes, others)):
            lose(installation, *statements, **ids)
            used.append(peak_kilobytes(installation, HEAL, left, own))
    assert used[2] < used[0] + 8 * 1024
    assert used[3] < used[1] + 8 * 1024
