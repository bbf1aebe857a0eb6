"""A silent Redis: requests do not queue behind each other, and a slow one is served again."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from taskapi.store import connection
from tests.api.factories import new_user, ok, refused
from tests.client import Api
from tests.faults.site import Site
from tests.support import eventually

REQUESTS = 60
LONGEST_SECONDS = 4.0
"""Each thread's first request waits 1.8 s, the others 50 ms; the rest is for a busy machine."""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with closing(Site(tmp_path)) as site:
        yield site


@contextmanager
def silent(site: Site) -> Iterator[None]:
    server = site.valkey._process
    assert server
    server.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.send_signal(signal.SIGCONT)


def seconds_of(api: Api, path: str) -> float:
    """Return how long a request takes that is refused."""
    begin = time.monotonic()
    refused(api("GET", path, by=(2, "plain-canary-4410")), 503)
    return time.monotonic() - begin


def test_requests_do_not_queue_behind_a_silent_redis(site: Site) -> None:
    with site.installation.serve(2) as api, ThreadPoolExecutor(REQUESTS) as pool:
        new_user(api)
        with silent(site):
            waits = [*pool.map(lambda _: seconds_of(api, "/users/2"), range(REQUESTS))]
            assert max(waits) < LONGEST_SECONDS
            begin = time.monotonic()
            assert api("GET", "/health").json["status"] == "unhealthy"
            api("GET", "/admin/stats", by="owner")
            assert time.monotonic() - begin < LONGEST_SECONDS
        eventually(lambda: api("GET", "/users/2", by="owner").status == 200, 5)


def test_a_redis_that_was_silent_and_is_slow_serves_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "SILENT_SECONDS", 0.5)
    api = site.installation.client()
    new_user(api)
    with silent(site):
        seconds_of(api, "/users/2")
    site.to_valkey.delay_seconds = 0.15  # twice for each reply: longer than HURRY_SECONDS
    eventually(lambda: api("GET", "/users/2", by="owner").status == 200)
    assert ok(api("GET", "/users/2", by="owner"))
