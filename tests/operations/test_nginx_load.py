"""nginx: its reload fails no request, and slow clients do not delay others."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.client import Api
from tests.conftest import Install
from tests.operations.nginx import Edge, Load, seconds_of
from tests.operations.reloads import writes_and_reads
from tests.support import eventually

SLOW_CLIENTS = 50
REQUEST = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@pytest.fixture
def service(install: Install) -> Iterator[Api]:
    with install(TRUSTED_PROXIES="1").serve() as api:
        yield api


@pytest.fixture
def edge(service: Api, tmp_path: Path) -> Iterator[Edge]:
    with Edge(tmp_path, service.url).running() as edge:
        yield edge


def test_reloads_of_nginx_fail_no_request(edge: Edge) -> None:
    with Load(writes_and_reads(edge)) as load:
        for _ in range(3):
            before = workers_of(edge)
            os.kill(edge.process.pid, signal.SIGHUP)
            eventually(lambda: not before & workers_of(edge), 30)  # noqa: B023
            load.goes_on()
    assert set(load.results) == {200, 201}


def workers_of(edge: Edge) -> set[str]:
    pid = edge.process.pid
    return set(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


def test_slow_clients_do_not_hold_up_others(edge: Edge) -> None:
    with ExitStack() as stack:
        slow = [
            stack.enter_context(socket.create_connection(("127.0.0.1", edge.port)))
            for _ in range(SLOW_CLIENTS)
        ]
        for byte in range(20):  # each sends byte by byte while others are served
            for connection in slow:
                connection.send(REQUEST[byte : byte + 1])
            assert seconds_of(lambda: edge.api("GET", "/groups", by="owner")) < 2
        for connection in slow:
            connection.send(REQUEST[20:])
            assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
