"""PostgreSQL refuses, is full, or dies: changes wait in Redis, nothing is lost."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from itertools import count

import psycopg2
import pytest

from sync_worker import Worker
from taskapi.errors import DatabaseUnreachable
from taskapi.sync import backup, sync_pass
from taskapi.sync.postgres import Database
from tests.api.factories import everything, new_group, new_task, new_user, ok, path_of, refused
from tests.client import Api
from tests.faults.checks import settle
from tests.faults.steps import Intruder
from tests.stores import before, dirty, sql
from tests.support import Installation

LIMITS = ["SET default_transaction_read_only = on", "CONNECTION LIMIT 0"]


@contextlib.contextmanager
def limited(installation: Installation, limit: str) -> Iterator[None]:
    """Set a limit on the database, as an administrator would."""
    _alter(installation, limit)
    try:
        yield
    finally:
        _alter(installation, "RESET ALL")
        _alter(installation, "CONNECTION LIMIT -1")


def _alter(installation: Installation, what: str) -> None:
    connection = psycopg2.connect(installation._server)
    with contextlib.closing(connection):
        connection.autocommit = True
        connection.cursor().execute(f"ALTER DATABASE {installation.name} {what}")


def change(api: Api) -> None:
    group = new_group(api)
    user = new_user(api, group["id"])
    gone, _ = (new_task(api, user["id"], group["id"]) for _ in range(2))
    ok(api("DELETE", path_of(gone), by="owner"))


@pytest.mark.parametrize("limit", LIMITS, ids=["read-only", "out of connections"])
def test_changes_wait_while_postgresql_takes_none(
    installation: Installation, api: Api, limit: str
) -> None:
    change(api)
    marked = dirty(installation)
    with limited(installation, limit):
        with pytest.raises(DatabaseUnreachable) as caught:
            installation.sync()
        assert "PostgreSQL" in str(caught.value)
        refused(api("POST", "/admin/sync", by="owner"), 503)
        refused(api("POST", "/admin/sync?action=restore", by="owner"), 503)
        change(api)
        assert marked.keys() < dirty(installation).keys()
    settle(installation)
    assert not dirty(installation)


READ_ONLY = ("ALTER DATABASE {} SET default_transaction_read_only = on", "permits no writes")
NO_PRIVILEGE = ("REVOKE INSERT ON users FROM CURRENT_USER", "denied for table users): GRANT it")
FULL_DISK = (
    "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
    " $$BEGIN RAISE 'No space left' USING ERRCODE = 'disk_full'; END$$;"
    "CREATE TRIGGER refuse BEFORE INSERT ON users EXECUTE FUNCTION refuse()",
    "The disk of PostgreSQL is full",
)
NO_SCHEMA = ("ALTER DATABASE {} SET search_path = pg_catalog", "grant USAGE on the schema")
MENDED = (
    *("SET TRANSACTION READ WRITE", "ALTER DATABASE {} RESET ALL"),
    *("GRANT INSERT ON users TO CURRENT_USER", "DROP FUNCTION IF EXISTS refuse CASCADE"),
)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [READ_ONLY, NO_PRIVILEGE, FULL_DISK, NO_SCHEMA],
    ids=["read-only", "grant", "disk", "schema"],
)
def test_why_postgresql_takes_no_changes_is_said(
    installation: Installation, api: Api, fault: str, reason: str
) -> None:
    worker = Worker(installation.settings)
    worker.sync()
    sql(installation, fault.format(installation.name))
    change(api)
    worker.sync()
    data = ok(api("GET", "/admin/status", by="owner"))
    assert reason in data["last_error"]
    assert (data["healthy"], data["postgres_status"]) == (False, "connected")
    health = api("GET", "/health").json
    assert health["status"] == "degraded"
    assert any(reason in issue for issue in health["issues"])
    assert reason in refused(api("POST", "/admin/sync", by="owner"), 503)["error"]
    sql(installation, "SET search_path = public;" + "; ".join(MENDED).format(installation.name))
    worker.sync()
    assert not dirty(installation)
    assert api("GET", "/health").json["status"] == "healthy"
    assert ok(api("GET", "/admin/status", by="owner"))["healthy"] is True


def test_postgresql_may_end_any_step_of_a_pass(installation: Installation, api: Api) -> None:
    """An administrator or a crash ends the connection; the next pass copies everything."""
    change(api)
    for step in count(1):
        task = new_task(api, 1, 1)
        ok(api("DELETE", path_of(task), by="owner"))
        with pytest.MonkeyPatch.context() as patch:
            intruder = Intruder(patch.setattr, step, lambda: end_connections(installation), "SQL")
            with contextlib.suppress(DatabaseUnreachable):
                installation.sync()
        if not intruder.where:
            break
        settle(installation)
    assert step > 15


@pytest.mark.long
def test_postgresql_may_end_any_step_of_a_restore(installation: Installation, api: Api) -> None:
    change(api)
    seen = everything(api)
    for step in count(1):
        with pytest.MonkeyPatch.context() as patch:
            intruder = Intruder(patch.setattr, step, lambda: end_connections(installation), "SQL")
            answer = api("POST", "/admin/sync?action=restore", by="owner")
            assert answer.status in (200, 503), (intruder.where, answer.body)
        installation.prepare()
        assert everything(api) == seen
        if not intruder.where:
            break
        settle(installation)
    assert step > 15


def end_connections(installation: Installation) -> None:
    connection = psycopg2.connect(installation._server)
    with contextlib.closing(connection):
        connection.cursor().execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
            (installation.name,),
        )


TIME_LIMITS = {
    "statement_timeout": "150ms",
    "idle_in_transaction_session_timeout": "500ms",
    "transaction_timeout": "600ms",
}
"""The last one exists since PostgreSQL 17."""
SLOW_COPY = (
    "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS"
    " $$BEGIN PERFORM pg_sleep(0.3); RETURN NULL; END$$;"
    "CREATE TRIGGER wait AFTER INSERT OR UPDATE ON groups EXECUTE FUNCTION wait()"
)


def test_defaults_that_limit_time_do_not_end_a_pass_or_a_restore(
    installation: Installation, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {name for (name,) in sql(installation, "SELECT name FROM pg_settings")}
    sql(installation, SLOW_COPY)
    before(monkeypatch, sync_pass, "push", be_idle)
    before(monkeypatch, backup, "write", be_idle)
    with contextlib.ExitStack() as stack:
        for name in known & TIME_LIMITS.keys():
            stack.enter_context(limited(installation, f"SET {name} = '{TIME_LIMITS[name]}'"))
        change(api)
        installation.sync()
        assert not dirty(installation)
        change(api)
        seen = everything(api)
        ok(api("POST", "/admin/sync?action=restore", by="owner"))
        assert everything(api) == seen
        with Database(installation.settings) as db:
            db.freeze()
            db.rows("SELECT pg_sleep(0.3)")
            be_idle()
            db.rows("SELECT 1")


def be_idle() -> None:
    """Leave a transaction idle for longer than the defaults permit."""
    time.sleep(0.7)
