"""A start while others lock the tables or hold the lock of the sync: clients are served."""

from __future__ import annotations

import time

import pytest

from taskapi.errors import NotReady
from taskapi.sync import bootstrap, migrations
from taskapi.sync.postgres import Database
from tests.api.factories import new_group, new_task, ok
from tests.client import Api
from tests.faults.checks import settle
from tests.faults.postgres_faults import locked
from tests.stores import sql
from tests.support import Installation

ALL_TABLES = ", ".join((*migrations.TABLES, "migrations"))
HELD_MODES = """
SELECT array_agg(DISTINCT mode) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation'
"""


@pytest.mark.parametrize(
    ("tables", "is_older", "seconds"),
    [("tasks", False, 6), (ALL_TABLES, False, 18), (ALL_TABLES, True, 18)],
    ids=["tasks", "all tables", "a migration waits"],
)
@pytest.mark.long
def test_web_starts_and_serves_while_tables_are_locked(
    installation: Installation, api: Api, tables: str, is_older: bool, seconds: float
) -> None:
    group = new_group(api)["id"]
    if is_older:
        sql(installation, "DELETE FROM migrations WHERE number = %s", migrations.NEWEST)
    with locked(installation, tables):
        began = time.monotonic()
        with installation.serve(workers=1) as served:
            assert time.monotonic() - began < seconds
            task = new_task(served, 1, group, title="needle")
            found = ok(served("GET", "/tasks/search?q=needle", by="owner"))["results"]
            assert [result["task"]["id"] for result in found] == [task["id"]]
    installation.prepare()
    settle(installation)


def test_a_start_waits_only_a_moment_for_a_pass_if_redis_is_ready(
    installation: Installation,
) -> None:
    with Database(installation.settings) as db:
        db.lock()
        began = time.monotonic()
        with pytest.raises(NotReady):
            bootstrap.prepare(installation.settings)
        assert time.monotonic() - began < 3


def test_a_start_with_nothing_to_do_takes_only_locks_of_readers(
    installation: Installation,
) -> None:
    with Database(installation.settings) as db:
        migrations.migrate(db)
        migrations.index_searches(db)
        ((modes,),) = db.rows(HELD_MODES)
    assert modes == ["AccessShareLock"]
