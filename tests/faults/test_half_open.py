"""A connection to a store that never answers again: it is broken, and SIGTERM is obeyed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from copy import copy
from pathlib import Path

import pytest

from devserver.servers import Postgres, Valkey
from taskapi.errors import AlreadyRunning, DatabaseUnreachable
from taskapi.store import meta, scripts
from taskapi.sync import call_watch, shared_connection, status, sync_pass
from taskapi.sync.postgres import Database
from tests.api.factories import new_group, refused
from tests.conftest import Install
from tests.faults.checks import settle
from tests.faults.postgres_faults import crowded, frozen, locked
from tests.faults.proxy import Loss, Proxy
from tests.faults.site import through
from tests.stores import dirty, sql
from tests.support import ROOT, Installation, eventually

STOP_SECONDS = 5


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    options = ["fsync=off", "max_connections=20"]
    with Postgres(tmp_path_factory.mktemp("half-open"), options=options) as server:
        yield server


@pytest.fixture
def proxy(postgres: Postgres) -> Iterator[Proxy]:
    with contextlib.closing(Proxy(postgres.port)) as proxy:
        yield proxy


@pytest.fixture
def half_open(tmp_path: Path, valkey: Valkey, postgres: Postgres, proxy: Proxy) -> Installation:
    """An installation whose connections go through a proxy."""
    url = through(proxy.port, postgres.url)
    return Installation(tmp_path, valkey.url, url, SYNC_INTERVAL="1s").prepare()


@pytest.fixture
def quick_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_watch, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(call_watch, "QUIET_SECONDS", 0.2)
    monkeypatch.setattr(call_watch, "SILENT_SECONDS", 0.8)


def test_silence_is_noticed_within_30_seconds() -> None:
    longest = call_watch.SILENT_SECONDS + call_watch.LOOK_SECONDS + shared_connection.ANSWER_SECONDS
    assert call_watch.QUIET_SECONDS < call_watch.SILENT_SECONDS
    assert longest < 30


@pytest.mark.usefixtures("quick_watch")
@pytest.mark.parametrize("words", [b"SELECT 42", b"COPY new_users", b"COMMIT"])
def test_a_call_that_never_returns_is_broken(
    half_open: Installation, proxy: Proxy, words: bytes
) -> None:
    began = time.monotonic()
    with pytest.raises(DatabaseUnreachable):
        make_calls(half_open, proxy, words)
    assert proxy.has_lost
    assert time.monotonic() - began < 4


def make_calls(half_open: Installation, proxy: Proxy, lost: bytes) -> None:
    with Database(half_open.settings) as database:
        database.execute("CREATE TEMP TABLE new_users (id bigint)")
        proxy.lose(lost, Loss.SILENCE)
        database.rows("SELECT 42")
        database.copy("new_users", "id", b"1\n")


@pytest.mark.usefixtures("quick_watch")
def test_a_call_to_a_frozen_server_is_broken(half_open: Installation, postgres: Postgres) -> None:
    with (
        pytest.raises(DatabaseUnreachable),
        Database(half_open.settings) as database,
        frozen(postgres),
    ):
        database.rows("SELECT 1")


@pytest.mark.usefixtures("quick_watch")
def test_a_call_that_postgresql_works_on_is_not_broken(half_open: Installation) -> None:
    with Database(half_open.settings) as database:
        assert database.rows("SELECT 'done' FROM pg_sleep(2.5)") == [("done",)]


@pytest.mark.usefixtures("quick_watch")
def test_a_call_is_not_broken_because_no_connection_is_free_to_look_at_it(
    half_open: Installation,
) -> None:
    with Database(half_open.settings) as database, crowded(half_open):
        assert database.rows("SELECT 'done' FROM pg_sleep(2.5)") == [("done",)]


@pytest.mark.usefixtures("quick_watch")
def test_a_pass_that_a_half_open_connection_holds_up_fails_and_loses_nothing(
    half_open: Installation, proxy: Proxy
) -> None:
    api = half_open.client()
    for words in (b"INSERT INTO groups", b"COMMIT"):
        new_group(api)
        proxy.lose(words, Loss.SILENCE)
        with pytest.raises(DatabaseUnreachable):
            half_open.sync()
        settle(half_open)
        assert not dirty(half_open)


@pytest.mark.usefixtures("quick_watch")
def test_a_session_whose_client_is_gone_is_ended_and_releases_its_lock(
    half_open: Installation, proxy: Proxy
) -> None:
    proxy.keeps_server_open = True
    with pytest.raises(DatabaseUnreachable):
        lock_and_lose_connection(half_open, proxy)
    eventually(lambda: can_lock(half_open), 5)


def lock_and_lose_connection(half_open: Installation, proxy: Proxy) -> None:
    with Database(half_open.settings) as database:
        database.lock()
        proxy.lose(b"SELECT 42", Loss.SILENCE)
        database.rows("SELECT 42")


def can_lock(installation: Installation) -> bool:
    with Database(installation.settings) as database, contextlib.suppress(AlreadyRunning):
        database.lock()
        return True
    return False


def test_postgresql_looks_for_clients_that_have_vanished(half_open: Installation) -> None:
    names = "tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count"
    with Database(half_open.settings) as database:
        seconds = [int(database.rows(f"SHOW {name}")[0][0]) for name in names]
        assert seconds[0] + seconds[1] * seconds[2] == 20
        assert database.rows("SHOW tcp_user_timeout") == [("20000",)]


@contextlib.contextmanager
def worker(installation: Installation) -> Iterator[subprocess.Popen[bytes]]:
    env = {"PATH": os.environ["PATH"], **installation.env}
    with subprocess.Popen([sys.executable, "sync_worker.py"], cwd=ROOT, env=env) as process:
        try:
            eventually(lambda: not dirty(installation))
            yield process
        finally:
            process.kill()


def waits_for_a_lock(installation: Installation) -> bool:
    question = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    return bool(sql(installation, question)[0][0])


def check_it_obeys(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    assert process.wait(STOP_SECONDS) == 0


@pytest.mark.parametrize("is_frozen", [False, True], ids=["locked", "frozen"])
def test_the_worker_obeys_sigterm_while_postgresql_keeps_it_waiting(
    half_open: Installation, postgres: Postgres, is_frozen: bool
) -> None:
    new_group(half_open.client())
    with worker(half_open) as process, locked(half_open, "groups"):
        new_group(half_open.client())
        eventually(lambda: waits_for_a_lock(half_open))
        with frozen(postgres) if is_frozen else contextlib.nullcontext():
            check_it_obeys(process)
    settle(half_open)
    assert not dirty(half_open)


def test_the_worker_obeys_sigterm_though_its_connection_is_half_open(
    half_open: Installation, proxy: Proxy
) -> None:
    new_group(half_open.client())
    with worker(half_open) as process:
        proxy.lose(b"INSERT INTO groups", Loss.SILENCE)
        new_group(half_open.client())
        eventually(lambda: proxy.has_lost)
        check_it_obeys(process)
    settle(half_open)
    assert not dirty(half_open)


@pytest.fixture
def to_redis(valkey: Valkey) -> Iterator[Proxy]:
    with contextlib.closing(Proxy(valkey.port)) as proxy:
        yield proxy


@pytest.fixture
def behind_proxy(install: Install, to_redis: Proxy) -> tuple[Installation, Installation]:
    """An installation, and the same one with a proxy before Redis."""
    direct = install(SYNC_INTERVAL="1s")
    indirect = copy(direct)
    indirect.env = direct.env | {"REDIS_URL": through(to_redis.port, direct.env["REDIS_URL"])}
    return direct, indirect


def test_the_worker_obeys_sigterm_though_redis_never_answers_a_pass(
    behind_proxy: tuple[Installation, Installation], to_redis: Proxy
) -> None:
    direct, indirect = behind_proxy
    new_group(direct.client())
    with worker(indirect) as process:
        to_redis.lose(scripts.READ_CHUNK.encode(), Loss.SILENCE)
        new_group(direct.client())
        eventually(lambda: to_redis.has_lost)
        check_it_obeys(process)
    settle(direct)
    assert not dirty(direct)


def test_a_worker_is_running_though_redis_never_answers_its_heartbeat(
    behind_proxy: tuple[Installation, Installation], to_redis: Proxy
) -> None:
    direct, indirect = behind_proxy
    with worker(indirect):
        eventually(lambda: beat_of(direct))
        to_redis.lose(b"beat", Loss.SILENCE)
        eventually(lambda: to_redis.has_lost)
        lost = beat_of(direct)
        eventually(lambda: beat_of(direct) > lost, status.FRESH_SECONDS)


def beat_of(installation: Installation) -> float:
    """Return when the worker last published a heartbeat, 0 if it did not yet."""
    _, published, *_ = meta.read_status(sync_pass.open_store(installation.settings))
    return float(published.get("beat", 0))


@pytest.mark.long
def test_the_worker_notices_silence_within_30_seconds(
    half_open: Installation, proxy: Proxy
) -> None:
    new_group(half_open.client())
    with worker(half_open):
        proxy.lose(b"INSERT INTO groups", Loss.SILENCE)
        new_group(half_open.client())
        eventually(lambda: proxy.has_lost)
        eventually(lambda: not dirty(half_open), 30)


def test_an_action_waits_for_a_lock_at_most_10_seconds(half_open: Installation) -> None:
    api = half_open.client()
    new_group(api)
    with locked(half_open, "groups"):
        began = time.monotonic()
        answer = api("POST", "/admin/sync", by="owner")
        refused(answer, 503)
        assert "holds a lock in PostgreSQL" in answer.json["error"]
        assert time.monotonic() - began < 14
    settle(half_open)
