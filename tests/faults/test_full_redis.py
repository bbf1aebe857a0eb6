"""A full Redis: `/health` and `/admin/status` say so, and backups and restores still work."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from taskapi.errors import StoreFull
from taskapi.sync import import_backup
from tests.api.factories import everything, new_group, new_task, new_token, ok, refused
from tests.client import Api
from tests.faults.checks import settle
from tests.stores import connect, empty_redis
from tests.support import Installation

SENTENCE = "Redis has no memory left: free some or raise maxmemory, then try again."


@contextlib.contextmanager
def full(installation: Installation) -> Iterator[None]:
    """Set the limit of Redis' memory below what it uses."""
    with connect(installation) as connection:
        connection.config_set("maxmemory", "1")
        try:
            yield
        finally:
            connection.config_set("maxmemory", "0")


def test_a_full_redis_is_shown_by_health_and_status(installation: Installation, api: Api) -> None:
    installation.sync()
    with full(installation):
        refused(api("POST", "/groups", by="owner", json={"name": "No", "admin_id": 1}), 503)
        health, shown = api("GET", "/health"), ok(api("GET", "/admin/status", by="owner"))
        assert (health.status, health.json["status"]) == (200, "degraded")
        assert health.json["issues"] == [SENTENCE]
        assert shown["healthy"] is False
        assert SENTENCE in shown["warnings"]
    shown = ok(api("GET", "/admin/status", by="owner"))
    assert api("GET", "/health").json["status"] == "healthy"
    assert shown["healthy"] is True
    assert SENTENCE not in shown["warnings"]


def test_a_token_is_revoked_while_redis_is_full(installation: Installation, api: Api) -> None:
    token, secret = new_token(api, {"id": 1})
    with full(installation):
        ok(api("GET", "/groups", by=secret))
        ok(api("DELETE", f"/users/1/tokens/{token['id']}", by="owner"))
        refused(api("GET", "/groups", by=secret), 401)


def test_a_backup_is_made_while_redis_is_full(installation: Installation, api: Api) -> None:
    new_task(api, 1, new_group(api)["id"])
    with full(installation):
        made = ok(api("POST", "/admin/sync?action=backup", by="owner"))
    assert made["saved"] == {"users": 1, "groups": 1, "tasks": 1}
    import_backup.verify(installation.settings.backup_dir / made["file"])


def test_a_restore_replaces_the_data_of_a_full_redis(installation: Installation, api: Api) -> None:
    group = new_group(api)["id"]
    installation.sync()
    new_task(api, 1, group, title="Not copied yet")
    seen = everything(api)
    with full(installation):
        ok(api("POST", "/admin/sync?action=restore", by="owner"))
        assert everything(api) == seen
        assert api("GET", "/health").json["status"] == "degraded"
    new_task(api, 1, group)
    settle(installation)


def test_an_emptied_redis_is_not_filled_beyond_its_memory(
    installation: Installation, api: Api
) -> None:
    new_task(api, 1, new_group(api)["id"])
    installation.sync()
    seen = everything(api)
    empty_redis(installation)
    with full(installation):
        with pytest.raises(StoreFull):
            installation.prepare()
        assert api("GET", "/health").json["status"] == "unhealthy"
    installation.prepare()
    assert everything(api) == seen
    settle(installation)
