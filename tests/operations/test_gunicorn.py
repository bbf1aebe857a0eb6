"""gunicorn: settings with which it refuses to start, and answers to malformed HTTP."""

import json
import logging
import os
import re
import runpy
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from devserver.servers import free_port
from taskapi.doctor.ports import health_at
from taskapi.errors import NewEpoch, NotReady
from taskapi.sync import bootstrap
from tests.api.factories import login, new_user, ok
from tests.client import Api
from tests.conftest import Install
from tests.operations.nginx import raw, reload_gunicorn
from tests.stores import before
from tests.support import OWNER_PASSWORD, ROOT, eventually

REFUSED = "Invalid request from ip="


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


def test_each_mistake_in_the_settings_is_one_line() -> None:
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


def test_preloading_is_refused() -> None:
    refused = _gunicorn("--preload", SERVER_PORT=str(free_port()))
    assert refused.returncode == 1
    assert "Do not preload" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_taken_port_is_refused_though_ports_are_shared() -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = _gunicorn(SERVER_PORT=str(port), OWNER_PASSWORD="")
    assert refused.returncode == 1
    assert f"Port {port} of 127.0.0.1 is taken" in refused.stderr


def test_a_reload_that_cannot_migrate_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OWNER_PASSWORD", "of-our-own")
    settings = runpy.run_path(str(ROOT / "gunicorn.conf.py"))
    server = SimpleNamespace(log=logging.getLogger("gunicorn.error"))
    for error in (NewEpoch(), NotReady("The store is empty.")):
        before(monkeypatch, bootstrap, "prepare", raising(error))
        settings["on_reload"](server)
    assert [record.getMessage() for record in caplog.records] == [
        "Not migrated: reload again, or restart the sync worker. ",
        "Not migrated: reload again, or restart the sync worker. The store is empty.",
    ]


def raising(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


def test_an_address_of_another_machine_is_refused() -> None:
    refused = _gunicorn(SERVER_HOST="192.0.2.1", OWNER_PASSWORD="of-our-own")
    assert refused.returncode == 1
    assert "Cannot listen on 192.0.2.1:" in refused.stderr


def test_it_starts_without_stores_and_logs_a_warning(tmp_path: Path) -> None:
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


def test_each_worker_listens_on_a_socket_of_its_own(served: Api) -> None:
    port = f":{int(served.url.rsplit(':', 1)[1]):04X}"
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()]
    assert [row[3] for row in rows if row[1].endswith(port)].count("0A") == 2  # listening


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"SECRET\r\n\r\n", 400),
        (b"GET /SECRET SECRET HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX-SECRET SECRET: SECRET\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nAuthorization SECRET\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX-Request-ID: SECRET\x01\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nExpect: SECRET\r\n\r\n", 417),
        (b"GET /%s HTTP/1.1\r\n\r\n" % (b"SECRET" * 1000), 414),
        (b"GET / HTTP/1.1\r\n%s\r\n" % (b"X-Odd: SECRET\r\n" * 101), 431),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: SECRET\r\n\r\n", 501),
    ],
)
def test_malformed_http_is_refused_by_gunicorn_and_its_text_is_not_logged(
    served: Api, sent: bytes, status: int
) -> None:
    before = served.log().count(REFUSED)
    assert raw(served, sent).status == status
    eventually(lambda: served.log().count(REFUSED) == before + 1)
    assert "SECRET" not in served.log()


@pytest.mark.parametrize(
    "body",
    [
        b"-1\r\n{}\r\n0\r\n\r\n",
        b"zz\r\n{}\r\n0\r\n\r\n",
        b"2\r\n{}no line end",
        b"2;\x01=SECRET\r\n{}\r\n0\r\n\r\n",
        b"2\r\n{}\r\n0\r\nSECRET SECRET\r\n\r\n",
        b"2\r\n{}\r\n0\r\n%s\r\n" % (b"X-Odd: SECRET\r\n" * 101),
    ],
)
def test_a_body_that_gunicorn_cannot_read_is_a_400(served: Api, body: bytes) -> None:
    head = "POST /groups HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
    head += f"Content-Type: application/json\r\nX-Owner-Password: {OWNER_PASSWORD}\r\n\r\n"
    answer = raw(served, head.encode() + body)
    assert (answer.status, answer.json["code"]) == (400, "bad_request")
    assert "Traceback" not in served.log()
    assert "SECRET" not in answer.body.decode() + served.log()


def test_gunicorns_own_lines_are_in_the_format_of_the_service_after_a_reload_too(
    install: Install,
) -> None:
    with install(LOG_FORMAT="json").serve() as api:
        reload_gunicorn(api)
        raw(api, b"SECRET\r\n\r\n")
        eventually(lambda: REFUSED in api.log())
        lines = [json.loads(line) for line in api.log().splitlines()]
    events = [line["event"] for line in lines]
    assert "Handling signal: hup" in events
    assert f"{REFUSED}127.0.0.1" in events


@pytest.mark.long
def test_no_password_is_checked_again_after_a_reload_or_a_restart(install: Install) -> None:
    installation = install()
    with installation.serve() as api:
        user = new_user(api)
        for reloads in (1, 2):
            call_often(api, user)
            reload_gunicorn(api, reloads)
        call_often(api, user)
        assert api.log().count("Info Log-in") == 1
    with installation.serve() as api:
        call_often(api, user)
        assert "Info Log-in" not in api.log()


def test_log_ins_leave_little_memory_in_use(install: Install) -> None:
    """Twelve threads check a password, which takes 19 MiB each time."""
    with install().serve(workers=1) as api, ThreadPoolExecutor(12) as pool:
        users = [new_user(api) for _ in range(24)]
        before = resident_mib(api)
        answers = pool.map(lambda user: api("GET", "/users/me", by=login(user)), users)
        assert [answer.status for answer in answers].count(200) >= 12
        assert resident_mib(api) - before < 15


def resident_mib(api: Api) -> float:
    """Return the memory in use by the only worker of gunicorn."""
    (pid,) = re.findall(r"Booting worker with pid: (\d+)", api.log())
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def call_often(api: Api, user: dict[str, Any]) -> None:
    """Send so many requests that each worker gets some."""
    for _ in range(12):
        ok(api("GET", f"/users/{user['id']}", by=login(user)))


@pytest.fixture(scope="module")
def served(install: Install) -> Iterator[Api]:
    with install().serve() as api:
        yield api
