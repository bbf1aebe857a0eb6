"""What gunicorn refuses before it serves, and says when it starts."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from taskapi.ports import free_port, health_at
from tests.support import ROOT, eventually


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
