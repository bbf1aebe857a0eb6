"""The defaults of the database do not change what a pass sees, and a fence needs two looks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest
from psycopg2 import extensions

from taskapi.store import meta
from taskapi.sync import state, sync_pass
from taskapi.sync.copy_changes import push
from taskapi.sync.postgres import Database
from tests.api.factories import everything, new_group, ok
from tests.client import Api
from tests.faults.checks import settle
from tests.stores import before, dirty, sql
from tests.stores import meta as stored_meta
from tests.support import Installation, eventually

WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


@contextlib.contextmanager
def default_isolation(installation: Installation, level: str) -> Iterator[None]:
    for what in (f"SET default_transaction_isolation = '{level}'", "RESET ALL"):
        connection = psycopg2.connect(installation._server)
        with contextlib.closing(connection):
            connection.autocommit = True
            connection.cursor().execute(f"ALTER DATABASE {installation.name} {what}")
        if what != "RESET ALL":
            yield


@pytest.mark.parametrize("level", ["read committed", "repeatable read", "serializable"])
def test_a_pass_that_waited_for_another_one_sees_what_that_one_wrote(
    installation: Installation, api: Api, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation.sync()
    store = sync_pass.open_store(installation.settings)
    new_group(api)
    with default_isolation(installation, level), ThreadPoolExecutor(1) as do:
        with Database(installation.settings) as db:
            db.lock()
            second = do.submit(sync_pass.run, installation.settings, None, 20.0)
            eventually(lambda: sql(installation, WAITING)[0][0])
            before(monkeypatch, state, "advance", lambda: new_group(api))  # just before COMMIT
            push(db, store, meta.read(store))
        assert second.result().written["groups"] == 1
        seen = everything(api)
        ok(api("POST", "/admin/sync?action=restore", by="owner"))
        assert everything(api) == seen
    assert stored_meta(installation)["state"] == "ready"
    settle(installation)
    assert not dirty(installation)


def test_a_fence_needs_a_second_look_over_another_connection(
    installation: Installation, api: Api
) -> None:
    store = sync_pass.open_store(installation.settings)
    with Database(installation.settings) as db:
        db._connection.set_session(isolation_level=extensions.ISOLATION_LEVEL_REPEATABLE_READ)
        db.rows("SELECT 1")
        new_group(api)
        installation.sync()
        assert state.check(db, store).state == "ready"
    assert stored_meta(installation)["state"] == "ready"
