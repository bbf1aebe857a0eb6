"""A silent Redis: requests do not queue, and a Redis that is only slow serves them again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from redis import TimeoutError

from devserver.servers import Postgres, Valkey
from taskapi.errors import StoreUnreachable
from taskapi.store import connection
from tests.api.factories import new_user, ok, refused
from tests.client import Api
from tests.faults.postgres_faults import frozen
from tests.faults.site import Site
from tests.support import Installation, eventually

REQUESTS = 60
LONGEST_SECONDS = 4.0
"""Each thread's first request waits 1.5 s, the others 50 ms; the rest is for a busy machine."""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with closing(Site(tmp_path)) as site:
        yield site


def seconds_of(api: Api, path: str) -> float:
    """Return the seconds until a request gets 503."""
    begin = time.monotonic()
    refused(api("GET", path, by=(2, "plain-canary-4410")), 503)
    return time.monotonic() - begin


def test_requests_do_not_queue_behind_a_silent_redis(site: Site) -> None:
    with site.installation.serve(2) as api, ThreadPoolExecutor(REQUESTS) as pool:
        new_user(api)
        with frozen(site.valkey):
            waits = [*pool.map(lambda _: seconds_of(api, "/users/2"), range(REQUESTS))]
            assert max(waits) < LONGEST_SECONDS
            begin = time.monotonic()
            assert api("GET", "/health").json["status"] == "unhealthy"
            api("GET", "/admin/stats", by="owner")
            assert time.monotonic() - begin < LONGEST_SECONDS
        eventually(lambda: api("GET", "/users/2", by="owner").status == 200, 5)


def test_both_attempts_together_end_within_two_seconds(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = connection.Store(installation.settings.redis_url, installation.settings.key_prefix)
    waits: list[float | None] = []

    def lose_reply(_: object, __: object, seconds: float | None) -> None:
        waits.append(seconds)
        raise TimeoutError

    monkeypatch.setattr(connection.Connection, "_exchange", lose_reply)
    with pytest.raises(StoreUnreachable):
        store.connection.execute(("PING",))
    first, second = (wait or connection.REPLY_SECONDS for wait in waits)
    assert first + connection.CONNECT_SECONDS + second < 2


def test_a_redis_that_was_silent_and_is_slow_serves_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "SILENT_SECONDS", 0.5)
    api = site.installation.client()
    new_user(api)
    with frozen(site.valkey):
        seconds_of(api, "/users/2")
    site.to_valkey.delay_seconds = (
        0.15  # for the request and the reply: longer than SHORT_REPLY_SECONDS
    )
    eventually(lambda: api("GET", "/users/2", by="owner").status == 200)
    assert ok(api("GET", "/users/2", by="owner"))


def test_a_web_process_listens_soon_though_redis_is_silent(
    tmp_path: Path, postgres: Postgres
) -> None:
    with (
        Valkey(tmp_path / "valkey") as valkey,
        closing(Installation(tmp_path, valkey.url, postgres.url)) as installation,
        ExitStack() as silence,
    ):
        installation.prepare()
        silence.enter_context(frozen(valkey))
        began = time.monotonic()
        with installation.serve(workers=1) as api:
            assert time.monotonic() - began < 9  # 2 s to start, 2 s for Redis, 2 s for the answer
            health = api("GET", "/health")
            assert (health.status, health.json["status"]) == (503, "unhealthy")
            assert refused(api("GET", "/users", by="owner"), 503)["code"] == "redis_unreachable"
            silence.close()
            eventually(lambda: api("GET", "/health").json["status"] != "unhealthy")
            assert ok(api("GET", "/users", by="owner"))
