"""Redis answers, but refuses to serve: `/health` and `/admin/status` say why."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from devserver.servers import Postgres, Valkey, free_port
from tests.api.factories import ok
from tests.support import Installation, eventually


@contextlib.contextmanager
def without_rights(server: Any) -> Iterator[None]:
    server.acl_setuser("guest", enabled=True, reset=False, commands=["-hgetall"])
    yield
    server.acl_setuser("guest", enabled=True, reset=False, commands=["+hgetall"])


@contextlib.contextmanager
def busy(server: Any) -> Iterator[None]:
    server.config_set("busy-reply-threshold", "50")
    with ThreadPoolExecutor(1) as pool:
        script = pool.submit(server.eval, "while true do end", 0)
        eventually(lambda: is_busy(server))
        yield
        server.script_kill()
        assert "script" in str(script.exception())


def is_busy(server: Any) -> bool:
    with contextlib.suppress(redis.ResponseError):
        return not server.ping()
    return True


@contextlib.contextmanager
def without_primary(server: Any) -> Iterator[None]:
    server.config_set("replica-serve-stale-data", "no")
    server.replicaof("127.0.0.1", free_port())
    yield
    server.replicaof("NO", "ONE")


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (without_rights, "The Redis user of the service lacks a permission."),
        (busy, "Redis is busy with a long script: try again."),
        (without_primary, "Redis lost its primary and refuses to serve."),
    ],
)
def test_health_and_status_say_why_redis_refuses_to_serve(
    tmp_path: Path,
    postgres: Postgres,
    fault: Callable[[Any], contextlib.AbstractContextManager[None]],
    sentence: str,
) -> None:
    with (
        Valkey(tmp_path / "valkey", options=["user guest on >secret ~* &* +@all"]) as valkey,
        redis.Redis.from_url(valkey.url) as server,
    ):
        url = urlsplit(valkey.url)._replace(netloc=f"guest:secret@127.0.0.1:{valkey.port}").geturl()
        with contextlib.closing(Installation(tmp_path, url, postgres.url)) as installation:
            api = installation.prepare().client()
            assert api("GET", "/health").status == 200
            with fault(server):
                health = api("GET", "/health")
                shown = ok(api("GET", "/admin/status", by="owner"))
            assert (health.status, health.json["status"]) == (503, "unhealthy")
            assert health.json["issues"] == [sentence]
            assert shown["redis_status"] == "error"
            assert sentence in shown["warnings"]
            assert api("GET", "/health").status == 200
