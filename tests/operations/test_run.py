"""`make run`: start, try, stop in every way, start again."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from devserver import run
from devserver.servers import Server, free_port
from taskapi.config import ConfigError, load
from taskapi.doctor.ports import health_at
from tests.support import ROOT, eventually

BLANK = dict.fromkeys([*run.REDIS_NAMES, *run.POSTGRES_NAMES, "SERVER_HOST", "PORT"], "")
PASSWORD = "owner-canary-8271"


class Run:
    """A running `python -m devserver.run`, with its output and its processes."""

    def __init__(self, data_dir: Path, **env: str) -> None:
        self.port = free_port()
        self.log = data_dir.with_suffix(f".{self.port}.log")
        settings = {"DATA_DIR": str(data_dir), "SERVER_PORT": str(self.port)}
        settings |= {"OWNER_PASSWORD": PASSWORD, "WEB_CONCURRENCY": "1"} | env
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "devserver.run"],
                cwd=ROOT,
                env=os.environ | BLANK | settings,
                stdout=log,
                stderr=log,
            )

    @property
    def output(self) -> str:
        return self.log.read_text()

    def ready(self) -> "Run":
        """Wait until it has printed the command to try."""
        eventually(lambda: "Ready. Try:" in self.output or self.process.poll() is not None, 30)
        assert self.process.poll() is None, self.output
        return self

    def ended(self) -> int:
        """Wait until it has ended; return its exit code."""
        return self.process.wait(60)

    def children(self) -> dict[int, str]:
        """Return the command of every process below this one, by process id."""
        command = ["ps", "-A", "-ww", "-o", "pid=,ppid=,args="]
        table = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        rows = [line.split(None, 2) for line in table.splitlines()]
        processes: dict[int, str] = {}
        parents = {self.process.pid}
        while parents:
            below = {int(pid): args for pid, parent, args in rows if int(parent) in parents}
            processes |= below
            parents = set(below)
        return processes

    def ask(self, path: str, **body: object) -> dict[str, object]:
        headers = {"X-Owner-Password": PASSWORD, "Content-Type": "application/json"}
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers)
        with urllib.request.urlopen(request, timeout=10) as response:
            answer: dict[str, object] = json.load(response)["data"]
            return answer


@contextmanager
def running(data_dir: Path, **env: str) -> Iterator[Run]:
    started = Run(data_dir, **env)
    try:
        yield started
    finally:
        started.process.send_signal(signal.SIGTERM)
        started.ended()


def is_alive(pid: int) -> bool:
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout
    return bool(state) and not state.startswith("Z")


@pytest.fixture(autouse=True)
def is_not_under_nohup() -> Iterator[None]:
    """Stop ignoring SIGHUP: a run ignores SIGHUP if its parent does, as under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture(scope="module")
def used_data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One data directory for several runs: later runs start faster."""
    return tmp_path_factory.mktemp("run") / "data"


def test_every_signal_ends_all_processes_and_loses_no_data(data_dir: Path) -> None:
    signals = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    for number in signals:
        with running(data_dir) as started:
            started.ready().ask("/groups", name=number.name, admin_id=1)
            groups = started.ask("/groups")["groups"]
            children = started.children()
            assert len(children) > 8
            started.process.send_signal(number)
            assert started.ended() == 0
            assert not any(map(is_alive, children))
        last_pass = started.output.partition(" received")[2]
        assert "Sync done" in last_pass
        assert "Sync failed" not in last_pass
        assert PASSWORD not in started.output
        assert "Traceback" not in started.output
    assert [group["name"] for group in groups] == [number.name for number in signals]
    assert data_dir.stat().st_mode & 0o777 == 0o700


def test_the_command_it_prints_works(used_data_dir: Path) -> None:
    with running(used_data_dir, OWNER_PASSWORD="") as started:
        line = re.search(r"Try: (curl .*)", started.ready().output)
        assert line
        assert "OWNER_PASSWORD is the default" in started.output
        curl = subprocess.run(
            f"{line[1]} --silent", shell=True, capture_output=True, text=True, check=True
        )
        assert json.loads(curl.stdout)["data"]["count"] == 1


@pytest.mark.long
def test_two_run_side_by_side_but_not_on_one_data_dir(tmp_path: Path) -> None:
    with (
        running(tmp_path / "a") as first,
        running(tmp_path / "b") as second,
    ):
        first.ready()
        second.ready().ask("/groups", name="of the second", admin_id=1)
        with running(tmp_path / "a") as third:
            assert third.ended() == 1
            assert "is in use by another run" in third.output
        assert first.ask("/groups")["groups"] == []


@pytest.mark.parametrize("name", ["gunicorn", "sync_worker"])
def test_when_one_process_dies_the_rest_is_ended(used_data_dir: Path, name: str) -> None:
    with running(used_data_dir) as started:
        children = started.ready().children()
        victim = min(pid for pid, arguments in children.items() if name in arguments)
        os.kill(victim, signal.SIGKILL)
        assert started.ended() == 1
        assert not any(map(is_alive, children))


def test_it_ends_when_its_output_is_closed(used_data_dir: Path) -> None:
    command = f"{sys.executable} -m devserver.run | head -n 1"
    env = {"DATA_DIR": str(used_data_dir), "SERVER_PORT": str(free_port())}
    env = os.environ | BLANK | env
    subprocess.run(command, shell=True, cwd=ROOT, env=env, timeout=30, check=True)
    assert health_at("127.0.0.1", int(env["SERVER_PORT"])).startswith("no answer")


def test_a_taken_port_is_refused(data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with running(data_dir, SERVER_PORT=str(port)) as started:
            assert started.ended() == 1
    assert started.output == (
        f"Port {port} of 127.0.0.1 is taken: stop what listens there, or set SERVER_PORT.\n"
    )
    assert not data_dir.exists()


def test_every_mistake_in_the_settings_is_named(data_dir: Path) -> None:
    with running(data_dir, SYNC_INTERVAL="soon", WEB_CONCURRENCY="0") as started:
        assert started.ended() == 1
    assert started.output.count("\n") == 2
    assert "SYNC_INTERVAL" in started.output
    assert "WEB_CONCURRENCY" in started.output


def test_a_data_dir_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with running(tmp_path / "data") as started:
        assert started.ended() == 1
    assert started.output.startswith(f"{tmp_path}/data/valkey cannot be used: ")


def test_real_servers_are_used_where_they_are_named(
    data_dir: Path, valkey: Server, postgres: Server
) -> None:
    names = {"REDIS_URL": valkey.url, "DATABASE_URL": postgres.url, "KEY_PREFIX": "run"}
    with running(data_dir, **names) as started:
        children = " ".join(started.ready().children().values())
        assert "valkey-server" not in children
        assert "postgres" not in children


@pytest.mark.parametrize(
    ("given", "started"),
    [
        ({}, ["REDIS_URL", "DATABASE_URL"]),
        ({"REDIS_HOST": "x"}, ["DATABASE_URL"]),
        ({"REDIS_PASSWORD_FILE": "/x"}, ["DATABASE_URL"]),
        ({"REDIS_URL_FILE": "/x", "POSTGRES_SSLMODE": "require"}, []),
        ({"DATABASE_URL_FILE": "/x"}, ["REDIS_URL"]),
        ({"DB_HOST": "x"}, ["REDIS_URL"]),
    ],
)
def test_a_store_that_any_setting_names_is_not_started(
    given: dict[str, str], started: list[str], tmp_path: Path
) -> None:
    settings = load({"DATA_DIR": str(tmp_path)})
    assert list(run.private_servers(settings, given)) == started


def test_the_dotenv_file_gives_way_to_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SERVER_PORT", "7")
    Path(".env").write_text('# ours\nSERVER_PORT=8\nOWNER_PASSWORD="with space # and more"\n')
    env = run.environment()
    assert (env["SERVER_PORT"], env["OWNER_PASSWORD"]) == ("7", "with space # and more")
    Path(".env").write_text("OWNER_PASSWORD='open\n")
    with pytest.raises(ConfigError, match=r"\.env cannot be read: No closing quotation"):
        run.environment()


def test_a_service_that_does_not_become_healthy_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "HEALTHY_SECONDS", 0)
    run.print_first_command(load({"SERVER_PORT": str(free_port())}))
    text = capsys.readouterr().out
    assert re.fullmatch(r"After 0 s /health is 'no answer: .*refused': see .*\n", text)
