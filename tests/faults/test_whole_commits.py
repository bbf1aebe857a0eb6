"""A commit writes all or nothing, and only once: also without rights, or on a Redis set back."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from devserver.servers import Postgres, Valkey
from taskapi.store import scripts
from tests.api.factories import login, new_group, new_task, new_user, ok, path_of, refused
from tests.client import Api
from tests.faults.checks import settle
from tests.faults.proxy import Loss
from tests.faults.site import Site
from tests.stores import connect, dirty, entities, root
from tests.support import OWNER_PASSWORD, Installation, eventually
from tests.sync.lossy_site import LossySite

OWNER = (1, OWNER_PASSWORD)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with closing(Site(tmp_path)) as site:
        yield site


def everything(installation: Installation) -> tuple[Any, Any]:
    return entities(installation), dirty(installation)


@pytest.mark.parametrize("key", ["counts", "counts:1"])
@pytest.mark.parametrize("count", ["many", "", "1.5"])
def test_a_change_that_needs_a_damaged_counter_writes_nothing(
    installation: Installation, api: Api, key: str, count: str
) -> None:
    user = new_user(api, new_group(api)["id"])
    task = new_task(api, user["id"], 1)
    with connect(installation) as server:
        server.hset(root(installation) + key, user["id"], count)
    before = everything(installation)
    body = {"title": "Next", "group_id": 1}
    for _ in range(2):  # the first reads the caller, the second remembers the caller
        answer = api("POST", f"/users/{user['id']}/tasks", by=login(user), json=body)
        assert refused(answer, 503)["code"] == "damaged"
    assert refused(api("DELETE", path_of(task), by=login(user)), 503)["code"] == "damaged"
    assert everything(installation) == before


@contextmanager
def without(site: Site, command: str) -> Iterator[None]:
    """Forbid the service a command of Redis in this block."""
    with redis.Redis.from_url(site.valkey.url) as server:
        server.execute_command("ACL", "SETUSER", "default", f"-{command}")
        try:
            yield
        finally:
            server.execute_command("ACL", "SETUSER", "default", "+@all")


def test_a_change_that_needs_a_forbidden_command_writes_nothing(
    site: Site,
) -> None:
    installation, api = site.installation, site.installation.client()
    group = new_group(api)
    user = new_user(api, group["id"])
    task = new_task(api, user["id"], group["id"])
    path = f"/users/{user['id']}"
    body = {"title": "Next", "group_id": group["id"]}
    requests = {
        "zadd": ("POST", f"{path}/tasks", body),
        "hincrby": ("DELETE", path_of(task), None),
        "hdel": ("PUT", path, {"email": "moved@example.com"}),
        "unlink": ("DELETE", path_of(task), None),
        "set": ("PUT", path, {"password": "another-canary"}),
        "zrem": ("DELETE", f"/groups/{group['id']}/users/{user['id']}", None),
    }
    before = everything(installation)
    for command, (method, target, sent) in requests.items():
        extra = {} if sent is None else {"json": sent}
        with without(site, command):
            answer = api(method, target, by="owner", **extra)
            assert "permission" in refused(answer, 503)["error"], command
        assert everything(installation) == before, command
    settle(installation)


@pytest.mark.parametrize("first", ["read", "change"])
def test_a_server_that_was_set_back_without_a_start_is_checked(
    site: Site, tmp_path: Path, first: str
) -> None:
    installation, folder = site.installation, tmp_path / "older"
    folder.mkdir()
    shutil.copy(site.valkey.directory / "password", folder)
    with Valkey(folder) as older, installation.serve(1) as api:
        group = new_group(api)
        follow(older, site.valkey)
        with redis.Redis.from_url(older.url) as server:
            server.execute_command("REPLICAOF", "NO", "ONE")
        kept = [new_task(api, 1, group["id"]) for _ in range(3)]
        ok(api("POST", "/admin/sync", by="owner"))
        lost = [new_task(api, 1, group["id"], by=OWNER) for _ in range(3)]
        follow(site.valkey, older)
        with redis.Redis.from_url(site.valkey.url) as server:
            server.execute_command("REPLICAOF", "NO", "ONE")
        if first == "read":
            assert ok(api("GET", path_of(kept[-1]), by="owner"))
        after = eventually(lambda: created(api, group["id"]))
        assert after["id"] > lost[-1]["id"]
        assert [ok(api("GET", path_of(task), by="owner")) for task in kept] == kept
    settle(installation)


def follow(replica: Valkey, primary: Valkey) -> None:
    """Let one server copy another one; both have the same password."""
    with redis.Redis.from_url(primary.url) as server:
        server.config_set("repl-diskless-sync-delay", 0)
    with redis.Redis.from_url(replica.url) as server:
        server.config_set("masterauth", (primary.directory / "password").read_text())
        server.execute_command("REPLICAOF", "127.0.0.1", str(primary.port))
        eventually(lambda: server.info("replication")["master_link_status"] == "up")


def created(api: Api, group_id: int) -> dict[str, Any] | None:
    body = {"title": "After", "group_id": group_id}
    answer = api("POST", "/users/1/tasks", by=OWNER, json=body)  # from memory
    return answer.data["task"] if answer.status == 201 else None


def test_a_create_whose_reply_is_lost_with_its_redis_is_not_done_on_another(
    site: Site, tmp_path: Path
) -> None:
    installation, folder = site.installation, tmp_path / "older"
    folder.mkdir()
    shutil.copy(site.valkey.directory / "password", folder)
    api = installation.client()
    new_task(api, 1, new_group(api)["id"])
    with Valkey(folder) as older, ThreadPoolExecutor(1) as pool:
        follow(older, site.valkey)
        with redis.Redis.from_url(older.url) as server:
            server.execute_command("REPLICAOF", "NO", "ONE")
        site.to_valkey.lose(scripts.COMMIT.encode(), Loss.SILENCE)
        body = {"title": "Once", "group_id": 1}
        answer = pool.submit(api, "POST", "/users/1/tasks", by="owner", json=body)
        with redis.Redis.from_url(site.valkey.url) as server:
            eventually(lambda: server.zcard(root(installation) + "tasks") == 2)
        site.to_valkey.redirect(older.port)
        assert refused(answer.result(), 503)["code"] == "outcome_unknown"
        with redis.Redis.from_url(older.url) as server:
            assert server.zcard(root(installation) + "tasks") == 1


def test_a_file_cut_while_a_user_is_closed_leaves_the_user_open(
    tmp_path: Path, postgres: Postgres
) -> None:
    with closing(LossySite(tmp_path, postgres.url, "always")) as site:
        user = new_user(site.api, new_group(site.api)["id"])
        new_task(site.api, user["id"], 1)
        ok(site.api("DELETE", f"/users/{user['id']}", by="owner"))
        site.valkey.kill()
        (file,) = (site.valkey.directory / "appendonlydir").glob("*.incr.aof")
        content, key = file.read_bytes(), f"closing:u:{user['id']}".encode()
        end = content.index(b"*", content.index(key))  # the next command
        file.write_bytes(content[: end + 5])
        site.valkey.start()
        with connect(site.installation) as server:
            assert not server.exists(root(site.installation) + key.decode())
