"""What gunicorn refuses before it serves, and says when it starts."""

import os
import re
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from taskapi.ports import free_port, health_at
from tests.client import Api
from tests.edge import Load, master_of, reload_gunicorn
from tests.support import ROOT, Installation, eventually


def _gunicorn(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gunicorn", *arguments, "app:app"],
        cwd=ROOT,
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_mistakes_in_the_settings_are_sentences() -> None:
    refused = _gunicorn(SYNC_INTERVAL="soon", TRUSTED_PROXIES="many")
    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 2
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("bind", ["0.0.0.0:{}", ":{}", "[::]:{}"])
def test_the_default_password_is_refused_where_others_can_reach_it(bind: str) -> None:
    refused = _gunicorn("-b", bind.format(free_port()), OWNER_PASSWORD="")
    assert refused.returncode == 1
    assert "OWNER_PASSWORD is the default" in refused.stderr
    assert "reachable from other machines" in refused.stderr


def test_a_taken_port_is_refused_though_ports_are_shared() -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = _gunicorn(SERVER_PORT=str(port), OWNER_PASSWORD="")
    assert refused.returncode == 1
    assert f"Port {port} of 127.0.0.1 is taken" in refused.stderr


def test_an_address_that_is_not_ours_is_refused() -> None:
    refused = _gunicorn(SERVER_HOST="192.0.2.1", OWNER_PASSWORD="of-our-own")
    assert refused.returncode == 1
    assert "Cannot listen on 192.0.2.1:" in refused.stderr


def test_it_starts_and_says_so_while_both_stores_are_away(tmp_path: Path) -> None:
    port = free_port()
    env = {"SERVER_PORT": str(port), "REDIS_URL": f"redis://127.0.0.1:{free_port()}"}
    env |= {"DATABASE_URL": f"postgresql://127.0.0.1:{free_port()}/none", "OWNER_PASSWORD": ""}
    log = tmp_path / "log"
    command = [sys.executable, "-m", "gunicorn", "app:app"]
    with (
        log.open("w") as output,
        subprocess.Popen(command, cwd=ROOT, env=os.environ | env, stdout=output) as gunicorn,
    ):
        eventually(lambda: health_at("127.0.0.1", port) == "unhealthy")
        gunicorn.terminate()
    assert gunicorn.returncode == 0
    assert "The sync worker will try again." in log.read_text()


def test_a_reload_under_load_fails_no_request(installation: Installation) -> None:
    with installation.serve() as api:
        asks = [lambda: api("GET", "/health")] * 8
        with Load(asks) as load:
            for reloads in range(1, 4):
                reload_gunicorn(api, reloads)
                load.goes_on(500)
    assert set(load.results) == {200}


def test_a_worker_that_is_killed_leaves_a_queue_that_the_next_one_serves(
    installation: Installation,
) -> None:
    with installation.serve(workers=1) as api:
        worker = pids(api)[-1]
        os.kill(worker, signal.SIGSTOP)
        eventually(lambda: "T" in Path(f"/proc/{worker}/stat").read_text().split()[2])
        with ThreadPoolExecutor() as clients:
            waiting = [clients.submit(api, "GET", "/health") for _ in range(4)]
            eventually(lambda: queued(api) == 4)
            os.kill(worker, signal.SIGKILL)
            assert {future.result().status for future in waiting} == {200}


def test_fewer_workers_than_sockets_are_refused(installation: Installation) -> None:
    with installation.serve(workers=2) as api:
        before = eventually(lambda: pids(api) if len(pids(api)) == 2 else [])
        os.kill(master_of(api), signal.SIGTTOU)
        eventually(lambda: "Handling signal: ttou" in api.log())
        assert {api("GET", "/health").status for _ in range(20)} == {200}
        assert pids(api) == before


def test_each_socket_keeps_a_worker_whichever_ends_first(installation: Installation) -> None:
    with installation.serve(workers=4) as api:
        eventually(lambda: len(pids(api)) == 4)
        os.kill(pids(api)[0], signal.SIGKILL)
        eventually(lambda: len(pids(api)) == 5)
        os.kill(master_of(api), signal.SIGTTIN)
        eventually(lambda: len(pids(api)) == 6)
        os.kill(master_of(api), signal.SIGTTOU)
        eventually(lambda: "Worker exiting" in api.log())
        assert {api("GET", "/health").status for _ in range(60)} == {200}


def pids(api: Api) -> list[int]:
    """The workers that it has started so far."""
    return [int(pid) for pid in re.findall(r"Booting worker with pid: (\d+)", api.log())]


def queued(api: Api) -> int:
    """How many connections wait to be accepted at the service's port."""
    port = f"{int(api.url.rsplit(':', 1)[1]):04X}"
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = [row[4] for row in rows if row[1].endswith(":" + port) and row[3] == "0A"]
    return sum(int(queue.split(":")[1], 16) for queue in listening)
