"""The service behind nginx with deploy/nginx.conf."""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import subprocess
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from devserver.servers import free_port
from tests.api.factories import (
    PASSWORD,
    login,
    new_group,
    new_task,
    new_user,
    ok,
    path_of,
    refused,
)
from tests.api.test_guide import Curl, follow, running
from tests.client import Api
from tests.conftest import Install
from tests.operations.nginx import SITE, Edge, program, raw
from tests.support import Installation, eventually

MIB = 1 << 20
_numbers = count(2)


@pytest.fixture(scope="module")
def service(install: Install) -> Iterator[Api]:
    with install(TRUSTED_PROXIES="1").serve() as api:
        yield api


@pytest.fixture(scope="module")
def edge(service: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with Edge(tmp_path_factory.mktemp("nginx"), service.url).running() as edge:
        yield edge


@pytest.fixture
def client(edge: Edge) -> Api:
    """A client from an address that no other test uses."""
    return edge.client(f"127.1.0.{next(_numbers)}")


def nowhere() -> str:
    """Return an address that nothing listens on."""
    return f"127.0.0.1:{free_port()}"


@pytest.mark.long
def test_the_guide_works_through_nginx(install: Install, tmp_path: Path) -> None:
    with running(install, tmp_path, TRUSTED_PROXIES="1") as (service, _):
        edge = Edge(tmp_path, service.url, owner_password="admin1234")
        with edge.running():
            follow(edge.api, Curl(edge.api, tmp_path))
        assert len(edge.log()) > 54


def test_a_long_answer_is_compressed_and_its_etag_still_counts(client: Api) -> None:
    group = new_group(client)["id"]
    task = new_task(client, 1, group, information="x" * 5000)
    accepted = {"Accept-Encoding": "gzip"}
    shown = client("GET", path_of(task), by="owner", headers=accepted)
    assert shown.headers["Content-Encoding"] == "gzip"
    assert json.loads(gzip.decompress(shown.body))["data"] == task
    etag = {"If-Match": shown.headers["ETag"]}
    assert etag["If-Match"] == f'W/"{task["version"]}"'
    ok(client("PUT", path_of(task), by="owner", json={"title": "New"}, headers=etag))
    refused(client("PUT", path_of(task), by="owner", json={"title": "Old"}, headers=etag), 412)
    short = client("GET", "/health", headers=accepted)
    assert "Content-Encoding" not in short.headers


def test_every_answer_has_each_common_header_once(edge: Edge) -> None:
    for answer in (edge.api("GET", "/health"), edge.api("GET", "/users"), edge.api("TRACE", "/")):
        for name in ("X-Request-ID", "X-Content-Type-Options", "Cache-Control"):
            assert len(answer.headers.get_all(name, [])) == 1, name


@pytest.mark.parametrize("given", ["sane-id_1.2", "", "two words", "x" * 65, 'quote"d'])
def test_the_request_id_is_the_same_everywhere(edge: Edge, service: Api, given: str) -> None:
    answer = edge.api("GET", "/users", headers={"X-Request-ID": given})
    request_id = refused(answer, 401)["request_id"]
    assert (request_id == given) is (given == "sane-id_1.2")
    eventually(lambda: edge.log()[-1]["request_id"] == request_id)  # logged after the answer
    assert f"request_id={request_id} " in service.log()


def test_a_body_may_have_a_mebibyte_and_no_more(edge: Edge) -> None:
    json = {"Content-Type": "application/json"}
    longest = b'{"name":"' + b"n" * (MIB - 11) + b'"}'
    refused(edge.api("POST", "/groups", by="owner", data=longest, headers=json), 400)
    for body in (longest + b" ", iter([longest, b" "])):
        answer = edge.api("POST", "/groups", by="owner", data=body, headers=json)
        assert refused(answer, 413)["code"] == "body_too_large"


def test_errors_of_nginx_have_the_form_of_the_service(edge: Edge) -> None:
    trace = edge.api("TRACE", "/users")
    assert refused(trace, 405)["code"] == edge.api("POST", "/health").error
    assert "GET" in trace.headers["Allow"]
    refused(edge.api("GET", "/users?q=" + "q" * 9000), 400)
    refused(edge.api("GET", "/users", headers={"X-Long": "x" * 9000}), 400)


@pytest.mark.parametrize(
    "sent",
    [
        b"SECRET\r\n\r\n",
        b"GET /SECRET SECRET HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-SECRET SECRET: SECRET\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: SECRET\r\n\r\n",
        b"GET / HTTP/9.0\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
    ],
)
def test_malformed_http_is_refused_in_json(edge: Edge, sent: bytes) -> None:
    answer = raw(edge.api, sent)
    assert (answer.status, answer.error) == (400, "bad_request")
    assert "SECRET" not in answer.body.decode()


@pytest.mark.parametrize("status", [413, 429, 500, 502, 503, 504])
def test_every_error_page_of_nginx_follows_the_contract(tmp_path: Path, status: int) -> None:
    site = SITE.replace("location / {", f"location / {{ return {status};")
    with Edge(tmp_path, nowhere(), site).running() as edge:
        given = edge.api("GET", "/", headers={"X-Request-ID": "of-the-caller"})
    answered = 503 if status == 500 else status
    assert refused(given, answered)["request_id"] == "of-the-caller"
    assert ("Retry-After" in given.headers) is (status != 413)


def test_a_service_that_is_down_is_a_502(tmp_path: Path) -> None:
    with Edge(tmp_path, nowhere()).running() as edge:
        assert refused(edge.api("GET", "/users"), 502)["code"] == "bad_gateway"
        refused(edge.api("POST", "/users", by="owner", json={}), 502)


def test_a_service_that_does_not_answer_gets_the_request_once_and_is_a_504(tmp_path: Path) -> None:
    site = SITE.replace("proxy_read_timeout 60s", "proxy_read_timeout 1s")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with Edge(tmp_path, address, site).running() as edge:
            assert refused(edge.api("DELETE", "/users/7"), 504)["code"] == "gateway_timeout"
            silent.settimeout(10)
            silent.accept()[0].close()
            silent.setblocking(False)
            with pytest.raises(BlockingIOError):
                silent.accept()


def test_the_services_own_503_passes_unchanged(installation: Installation, tmp_path: Path) -> None:
    installation.env["REDIS_URL"] = f"redis://{nowhere()}"
    with installation.serve() as service, Edge(tmp_path, service.url).running() as edge:
        answer, straight = (
            edge.api("GET", "/users", by="owner"),
            service("GET", "/users", by="owner"),
        )
    assert refused(answer, 503)["error"] == refused(straight, 503)["error"]
    assert answer.headers.get_all("Retry-After") == straight.headers.get_all("Retry-After")


def test_a_forged_address_does_not_move_the_log_in_limit(client: Api, edge: Edge) -> None:
    user = new_user(edge.api)
    forged = [{"X-Forwarded-For": f"9.9.9.{n}, 8.8.8.{n}"} for n in range(11)]
    answers = [client("GET", "/tasks/stats", by=(user["id"], "no"), headers=h) for h in forged]
    assert [answer.status for answer in answers] == [401] * 10 + [429]
    assert int(answers[-1].headers["Retry-After"]) > 1
    refused(client("GET", "/tasks/stats", by=login(user), headers=forged[0]), 429)
    ok(edge.api("GET", "/tasks/stats", by=login(user), headers={"X-Forwarded-For": "127.1.0.2"}))


def test_a_hundred_clients_with_typos_do_not_lock_each_other_out(edge: Edge) -> None:
    for n in range(1, 101):
        client = edge.client(f"127.2.0.{n}")
        refused(client("GET", "/tasks/stats", headers={"X-Owner-Password": "typo"}), 401)
        ok(client("GET", "/tasks/stats", by="owner"))


def test_a_flood_limits_only_the_address_that_it_comes_from(tmp_path: Path) -> None:
    site = SITE.replace("rate=200r/s", "rate=1r/m").replace("burst=400", "burst=5")
    with Edge(tmp_path, nowhere(), site).running() as edge:
        flood, other = edge.client("127.3.0.1"), edge.client("127.3.0.2")
        answers = [flood("GET", "/users") for _ in range(7)]
        assert [answer.status for answer in answers] == [502] * 6 + [429]
        assert refused(answers[-1], 429)["code"] == "too_many_requests"
        refused(other("GET", "/users"), 502)


def test_connections_to_the_service_are_used_again(edge: Edge, service: Api) -> None:
    before = connections_to(service)
    for _ in range(50):
        ok(edge.api("GET", "/groups", by="owner"))
    assert len(connections_to(service) - before) <= 4


def connections_to(service: Api) -> set[str]:
    """Return the local addresses of connections to the service, closed ones included."""
    port = f":{int(service.url.rsplit(':', 1)[1]):04X}"
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()]
    return {row[1] for row in rows if row[2].endswith(port)}


def test_no_secret_and_no_query_is_logged(edge: Edge) -> None:
    new_group(edge.api)
    edge.api("GET", "/users/search?q=query-canary", by="owner")
    edge.api("GET", "/users?q=query-canary", by=("canary@example.com", PASSWORD))
    edge.api("POST", "/groups", headers={"X-Owner-Password": "owner-typo-canary"})
    written = (edge.folder / "access.log").read_text()
    assert '"path":"/users/search"' in written
    assert "canary" not in written
    assert "Basic" not in written


def test_tls_is_switched_on_by_removing_its_comment_marks(service: Api, tmp_path: Path) -> None:
    key, certificate = tmp_path / "privkey.pem", tmp_path / "fullchain.pem"
    request = f"req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -keyout {key}"
    command = [program("openssl", "openssl"), *request.split(), "-out", str(certificate)]
    subprocess.run(command, capture_output=True, check=True)
    with Edge(tmp_path, service.url, SITE.replace("#tls ", "")).running() as edge:
        moved = edge.api("GET", "/users?limit=2")
        context = ssl.create_default_context(cafile=str(certificate))
        with (
            socket.create_connection(("127.0.0.1", edge.tls_port)) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            secure.sendall(b"GET /users HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert secure.recv(100).startswith(b"HTTP/1.1 401 ")
    assert moved.status == 308
    assert moved.headers["Location"] == "https://127.0.0.1/users?limit=2"
