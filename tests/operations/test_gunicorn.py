"""What gunicorn refuses before it serves, and says when it starts and where it cannot serve."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from taskapi.doctor.ports import free_port, health_at
from tests.client import Answer, Api
from tests.conftest import Install
from tests.operations.nginx import Load, master_of, reload_gunicorn
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


@pytest.mark.parametrize(
    ("sent", "about"),
    [
        (b"SECRET\r\n\r\n", "well-formed HTTP"),
        (b"GET /SECRET SECRET HTTP/1.1\r\n\r\n", "well-formed HTTP"),
        (b"GET / HTTP/1.1\r\nX-SECRET SECRET: SECRET\r\n\r\n", "well-formed HTTP"),
        (b"GET / HTTP/1.1\r\nX-Request-ID: SECRET\x01\r\n\r\n", "well-formed HTTP"),
        (b"GET / HTTP/1.1\r\nExpect: SECRET\r\n\r\n", "well-formed HTTP"),
        (b"GET /%s HTTP/1.1\r\n\r\n" % (b"SECRET" * 1000), "address is too long"),
        (b"GET / HTTP/1.1\r\n%s\r\n" % (b"X-Odd: SECRET\r\n" * 101), "headers are too many"),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: SECRET\r\n\r\n", "Content-Length, or chunked"),
    ],
)
def test_what_is_no_http_is_refused_like_a_request(served: Api, sent: bytes, about: str) -> None:
    answer = raw(served, sent)
    assert (answer.status, answer.json["code"]) == (400, "bad_request")
    assert about in answer.json["error"]
    check_refusal(served, answer)
    assert "SECRET" not in answer.body.decode() + served.log()


@pytest.mark.parametrize(
    ("app", "error"), [("crash", "ZeroDivisionError"), ("answer_oddly", "InvalidResponseHeader")]
)
def test_what_goes_wrong_on_our_side_is_a_500_that_tells_nothing(
    installation: Installation, app: str, error: str
) -> None:
    with installation.serve(app=f"tests.operations.nginx:{app}") as api:
        answer = api("GET", "/users/SECRET")
        assert (answer.status, answer.json["code"]) == (500, "internal_error")
        check_refusal(api, answer)
        assert error in api.log()
        assert "SECRET" not in answer.body.decode() + api.log()


def test_refusals_are_logged_as_configured_after_reloads_too(install: Install) -> None:
    with install(LOG_FORMAT="json").serve() as api:
        for reloads in (1, 2, 3):
            reload_gunicorn(api, reloads)
            name = raw(api, b"SECRET\r\n\r\n").headers["X-Request-ID"]
            line = eventually(lambda name=name: [it for it in api.log().splitlines() if name in it])
            assert json.loads(line[0])["code"] == "bad_request"


@pytest.fixture(scope="module")
def served(install: Install) -> Iterator[Api]:
    with install().serve() as api:
        yield api


def check_refusal(api: Api, answer: Answer) -> None:
    """It has the envelope, the common headers, and a line in the log under its id."""
    name = answer.headers["X-Request-ID"]
    assert answer.json.keys() == {"success", "error", "code", "request_id"}
    assert answer.json["request_id"] == name
    assert answer.headers.get_content_type() == "application/json"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    line = f"Warning * * {answer.status} 0.0ms request_id={name} code={answer.json['code']}"
    eventually(lambda: line in api.log())


def raw(api: Api, sent: bytes) -> Answer:
    """What the service answers to these bytes."""
    host, _, port = api.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(sent)
        response = http.client.HTTPResponse(connection)
        response.begin()
        return Answer(response.status, response.headers, response.read())


def pids(api: Api) -> list[int]:
    """The workers that it has started so far."""
    return [int(pid) for pid in re.findall(r"Booting worker with pid: (\d+)", api.log())]


def queued(api: Api) -> int:
    """How many connections wait to be accepted at the service's port."""
    port = f"{int(api.url.rsplit(':', 1)[1]):04X}"
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = [row[4] for row in rows if row[1].endswith(":" + port) and row[3] == "0A"]
    return sum(int(queue.split(":")[1], 16) for queue in listening)
