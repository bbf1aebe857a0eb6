"""A store stops and starts again while clients send requests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devserver.servers import Postgres, Valkey
from tests.api.factories import everything, login, new_group, new_task, new_user, ok, refused
from tests.client import Answer, Api
from tests.support import Installation, eventually

SECONDS_TO_A_503 = 2


class Site:
    """An installation on its own servers; a test may stop them."""

    def __init__(self, folder: Path) -> None:
        self.valkey = Valkey(folder / "valkey", options=["appendfsync everysec"])
        self.postgres = Postgres(folder / "postgres", options=["fsync=off"])
        self.valkey.start()
        self.postgres.start()
        self.installation = Installation(folder, self.valkey.url, self.postgres.url).prepare()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"))
    with site.valkey, site.postgres:
        yield site


@pytest.fixture(scope="module")
def api(site: Site) -> Iterator[Api]:
    with site.installation.serve(workers=2) as api, site.installation.worker():
        eventually(lambda: status(api)["last_sync"])
        yield api


def status(api: Api) -> dict[str, object]:
    data: dict[str, object] = ok(api("GET", "/admin/status", by="owner"))
    return data


def quickly(ask: Callable[[], Answer]) -> Answer:
    began = time.monotonic()
    answer = ask()
    assert time.monotonic() - began < SECONDS_TO_A_503
    return answer


def test_without_redis_every_request_is_a_503_within_2_seconds(site: Site, api: Api) -> None:
    user = new_user(api, new_group(api)["id"])
    before = everything(api)
    site.valkey.stop()
    try:
        for _ in range(4):
            for method, path, by in [
                ("GET", "/users", "owner"),
                ("GET", f"/users/{user['id']}", login(user)),
                ("GET", "/tasks/search?q=a", "owner"),
                ("DELETE", f"/users/{user['id']}", "owner"),
                ("POST", "/groups", "owner"),
            ]:
                answer = quickly(lambda m=method, p=path, b=by: api(m, p, by=b, json={}))
                refused(answer, 503)
                assert int(answer.headers["Retry-After"]) >= 1
        check_status_without_redis(api)
    finally:
        site.valkey.start()
    eventually(lambda: api("GET", "/users", by="owner").status == 200)
    assert everything(api) == before
    new_task(api, 1, 1)
    eventually(lambda: api("GET", "/health").json["status"] == "healthy")


def check_status_without_redis(api: Api) -> None:
    health = quickly(lambda: api("GET", "/health"))
    assert (health.status, health.json["status"]) == (503, "unhealthy")
    assert health.json["issues"]
    data = ok(quickly(lambda: api("GET", "/admin/status", by="owner")))
    assert (data["redis_status"], data["postgres_status"]) == ("error", "connected")
    assert data["healthy"] is False
    wrong = quickly(lambda: api("GET", "/admin/status", headers={"X-Owner-Password": "no"}))
    assert refused(wrong, wrong.status)
    assert wrong.status in (401, 503)
    stats = quickly(lambda: api("GET", "/admin/stats", by="owner"))
    assert stats.status in (200, 503)
    for action in ("force", "restore", "backup"):
        refused(quickly(lambda a=action: api("POST", f"/admin/sync?action={a}", by="owner")), 503)
    refused(api("GET", "/nothing"), 404)


def test_without_postgresql_the_api_works_and_is_degraded(site: Site, api: Api) -> None:
    user = new_user(api, new_group(api)["id"])
    site.postgres.stop()
    try:
        task = new_task(api, user["id"], user["group_ids"][0], by=login(user), title="Alone")
        results = ok(api("GET", "/tasks/search?q=alone", by="owner"))["results"]
        assert [each["task"]["id"] for each in results] == [task["id"]]
        assert ok(api("GET", "/users/search?q=person", by="owner"))["count"]
        health = eventually(lambda: degraded(api))
        assert (health.status, bool(health.json["issues"])) == (200, True)
        data = status(api)
        assert (data["redis_status"], data["postgres_status"]) == ("connected", "error")
        assert data["pending_changes"] is True
        assert "tasks" in data["dirty_types"]
        for action in ("force", "restore"):
            answer = api("POST", f"/admin/sync?action={action}", by="owner")
            refused(answer, 503)
            assert answer.headers["Retry-After"]
        ok(api("POST", "/admin/sync?action=backup", by="owner"))
        ok(api("GET", f"/users/{user['id']}/tasks", by=login(user)))
    finally:
        site.postgres.start()
    ok(eventually(lambda: forced(api)))
    data = status(api)
    assert (data["pending_changes"], data["postgres_status"]) == (False, "connected")
    assert eventually(lambda: api("GET", "/health").json["status"] == "healthy")


def degraded(api: Api) -> Answer | None:
    answer = api("GET", "/health")
    return answer if answer.json["status"] == "degraded" else None


def forced(api: Api) -> Answer | None:
    answer = api("POST", "/admin/sync?action=force", by="owner")
    return answer if answer.status == 200 else None


def test_a_service_started_without_its_stores_serves_when_they_come(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path)
    with site.valkey, site.postgres:
        before = everything(site.installation.client())
        site.installation.sync()
        site.valkey.stop()
        site.postgres.stop()
        with site.installation.serve() as api, site.installation.worker():
            assert api("GET", "/health").status == 503
            site.valkey.start()
            eventually(lambda: api("GET", "/users", by="owner").status == 200)
            assert everything(api) == before
            site.postgres.start()
            eventually(lambda: api("GET", "/health").json["status"] == "healthy", 60)
