"""Reloads and a killed worker fail no request. test_reloads.py runs these tests in a namespace."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.api.factories import new_group, ok
from tests.client import Answer, Api
from tests.conftest import Install
from tests.operations.nginx import Edge, Load, reload_gunicorn
from tests.support import ROOT, eventually

WAITING = 16
WORKERS_BEGIN_LATE = """
import time
os.register_at_fork(after_in_child=lambda: time.sleep(0.5))
"""


@pytest.fixture
def service(install: Install) -> Iterator[Api]:
    with install(TRUSTED_PROXIES="1").serve() as api:
        yield api


def test_reloads_fail_no_request_sent_straight_to_gunicorn(service: Api) -> None:
    with Load([lambda: service("GET", "/health")] * 8) as load:
        for reloads in range(1, 4):
            reload_gunicorn(service, reloads)
            load.goes_on()
    assert set(load.results) == {200}, load.results


def test_a_worker_listens_before_a_reload_stops_the_others(
    install: Install, tmp_path: Path
) -> None:
    late = tmp_path / "late.py"
    late.write_text((ROOT / "gunicorn.conf.py").read_text() + WORKERS_BEGIN_LATE)
    with (
        install(GUNICORN_CMD_ARGS=f"-c {late}").serve() as service,
        Load([lambda: service("GET", "/health")]) as load,
    ):
        reload_gunicorn(service)
        eventually(lambda: service.log().count("Booting worker") == 4)
        load.goes_on()
    assert set(load.results) == {200}, load.results


def test_reloads_fail_no_request_behind_nginx(service: Api, tmp_path: Path) -> None:
    with Edge(tmp_path, service.url).running() as edge, Load(writes_and_reads(edge)) as load:
        for reloads in range(1, 4):
            reload_gunicorn(service, reloads)
            load.goes_on()
    assert set(load.results) == {200, 201}, load.results
    tasks = ok(service("GET", "/tasks/stats", by="owner"))["total_tasks"]
    assert tasks == load.results[201]


def test_requests_that_wait_at_a_killed_worker_are_answered_by_the_others(service: Api) -> None:
    worker = int(re.findall(r"Booting worker with pid: (\d+)", service.log())[-1])
    os.kill(worker, signal.SIGSTOP)
    eventually(lambda: "T" in Path(f"/proc/{worker}/stat").read_text().split()[2])
    with ThreadPoolExecutor(WAITING) as clients:
        answers = [clients.submit(service, "GET", "/health") for _ in range(WAITING)]
        eventually(lambda: sum(answer.done() for answer in answers) + queued(service) == WAITING)
        assert queued(service)
        os.kill(worker, signal.SIGKILL)
        assert {answer.result().status for answer in answers} == {200}


def queued(service: Api) -> int:
    """Return how many connections wait to be accepted at the port of the service."""
    port = f"{int(service.url.rsplit(':', 1)[1]):04X}"
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = [row[4] for row in rows if row[1].endswith(":" + port) and row[3] == "0A"]
    return sum(int(queue.split(":")[1], 16) for queue in listening)


def writes_and_reads(edge: Edge, clients: int = 16) -> list[Callable[[], Answer]]:
    """Return a request for each client, from an address of its own; every other client writes."""
    group = new_group(edge.api)["id"]

    def request(number: int) -> Callable[[], Answer]:
        client = edge.client(f"127.4.0.{number + 1}")
        if number % 2:
            return lambda: client("GET", f"/groups/{group}/stats", by="owner")
        task = {"title": f"Of client {number}", "group_id": group}
        return lambda: client("POST", "/users/1/tasks", by="owner", json=task)

    return [request(number) for number in range(clients)]
