"""Everything works through PgBouncer in transaction mode, and leaves no setting in its sessions."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg2
import pytest

from devserver.servers import Postgres, Valkey
from tests.api.factories import everything, new_group, new_task, ok
from tests.faults.checks import settle
from tests.faults.pgbouncer import POOL_SIZE, PgBouncer
from tests.stores import dirty, empty_redis, sql
from tests.support import Installation, eventually

SETTINGS = (
    *("statement_timeout", "lock_timeout", "default_transaction_isolation"),
    *("default_transaction_read_only", "search_path"),
    *("idle_in_transaction_session_timeout", "transaction_timeout"),
)
SEARCH = "/tasks/search?q=needle"


@pytest.fixture
def bouncer(tmp_path: Path, postgres: Postgres) -> PgBouncer:
    return PgBouncer(tmp_path / "pgbouncer", postgres)


def behind(bouncer: PgBouncer, tmp_path: Path, valkey: Valkey) -> Installation:
    return Installation(tmp_path, valkey.url, bouncer.url, SYNC_INTERVAL="1s")


def leaked(installation: Installation) -> set[tuple[str, ...]]:
    """Return settings of the server sessions that are not the defaults of the database."""
    names = ", ".join(f"'{name}'" for name in SETTINGS)
    question = f"SELECT name, setting, reset_val FROM pg_settings WHERE name IN ({names})"
    with contextlib.ExitStack() as stack:
        found = set()
        for _ in range(POOL_SIZE):  # each transaction keeps a session of its own
            connection = psycopg2.connect(installation.settings.database_url)
            cursor = stack.enter_context(contextlib.closing(connection)).cursor()
            cursor.execute(question)
            found |= {row for row in cursor.fetchall() if row[1] != row[2]}
    return found


def test_everything_works_through_pgbouncer(
    tmp_path: Path, valkey: Valkey, bouncer: PgBouncer
) -> None:
    with bouncer.running():
        installation = behind(bouncer, tmp_path, valkey).prepare()
        with installation.serve(workers=2) as api, installation.worker():
            group = new_group(api)["id"]
            for step in range(6):
                new_task(api, 1, group, title=f"needle {step}")
                with ThreadPoolExecutor(6) as do:
                    paths = [SEARCH, "/admin/status", "/admin/stats"] * 6
                    answers = list(do.map(lambda path: ok(api("GET", path, by="owner")), paths))
                assert {len(found["results"]) for found in answers[::3]} == {step + 1}
                ok(api("POST", "/admin/sync?action=force", by="owner"))
            assert "error" not in {shown["postgres_status"] for shown in answers[1::3]}
            seen = everything(api)
            ok(api("POST", "/admin/sync?action=backup", by="owner"))
            ok(api("POST", "/admin/sync?action=restore", by="owner"))
            assert everything(api) == seen
            empty_redis(installation)
            eventually(lambda: api("GET", "/users", by="owner").status == 200)
            assert everything(api) == seen
            sql(installation, "TRUNCATE sync_state, users, groups, memberships, tasks, tombstones")
            ok(api("POST", "/admin/sync?action=force&reseed=true", by="owner"))
            assert ok(api("GET", "/admin/stats", by="owner"))["postgresql"]["tasks"] == 6
            assert leaked(installation) == set()
            eventually(lambda: api("GET", "/health").json["status"] == "healthy")
        settle(installation)
        assert not dirty(installation)
        installation.close()


def test_a_silent_pgbouncer_holds_up_no_request(
    tmp_path: Path, valkey: Valkey, bouncer: PgBouncer
) -> None:
    with bouncer.running() as process:
        installation = behind(bouncer, tmp_path, valkey).prepare()
        api = installation.client()
        new_task(api, 1, new_group(api)["id"], title="needle")
        ok(api("GET", SEARCH, by="owner"))
        os.kill(process.pid, signal.SIGSTOP)
        for _ in range(4):
            began = time.monotonic()
            assert len(ok(api("GET", SEARCH, by="owner"))["results"]) == 1
            assert ok(api("GET", "/admin/status", by="owner"))["postgres_status"] == "unknown"
            assert time.monotonic() - began < 1.6
        os.kill(process.pid, signal.SIGCONT)


def test_a_pgbouncer_without_a_free_connection_is_named(
    tmp_path: Path, valkey: Valkey, postgres: Postgres
) -> None:
    bouncer = PgBouncer(tmp_path / "small", postgres, most_clients=4)
    with bouncer.running(), contextlib.ExitStack() as stack:
        installation = behind(bouncer, tmp_path, valkey).prepare()
        api = installation.client()
        for _ in range(4):
            connection = psycopg2.connect(installation.settings.database_url)
            stack.enter_context(contextlib.closing(connection))
        warnings = ok(api("GET", "/admin/status", by="owner"))["warnings"]
        assert any("no free connection" in warning for warning in warnings)
