"""A Redis that lost its latest changes gets back what PostgreSQL has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from devserver.servers import Postgres
from taskapi.errors import NewEpoch
from taskapi.store import changes
from taskapi.store.loading import Loader
from taskapi.sync import sync_pass
from tests.api.factories import (
    everything,
    made,
    new_group,
    new_task,
    new_user,
    ok,
    path_of,
    refused,
)
from tests.client import Api
from tests.store.fsck import fsck
from tests.stores import before, crash, dirty, meta, sql
from tests.support import eventually
from tests.sync.lossy_site import LossySite, uncompared

Open = Callable[..., LossySite]


@pytest.fixture
def open_site(tmp_path: Path, postgres: Postgres) -> Iterator[Open]:
    with ExitStack() as stack:

        def make(appendfsync: str = "everysec") -> LossySite:
            return stack.enter_context(closing(LossySite(tmp_path, postgres.url, appendfsync)))

        yield make


@pytest.fixture
def site(open_site: Open) -> LossySite:
    return open_site()


def quarantined(api: Api) -> dict[tuple[str, int], str]:
    shown = ok(api("GET", "/admin/status", by="owner"))["quarantined"]
    return {(each["type"], each["id"]): each["reason"] for each in shown}


def test_everything_that_postgresql_has_is_put_back(site: LossySite) -> None:
    api = site.api
    group, other = new_group(api), new_group(api)
    user, gone = new_user(api, group["id"], other["id"]), new_user(api, other["id"])
    tasks = [new_task(api, user["id"], group["id"]) for _ in range(3)]
    new_task(api, gone["id"], other["id"])
    site.installation.sync()
    with site.lost():
        admin = new_user(api, role="group_admin")
        ok(api("PUT", f"/groups/{group['id']}", by="owner", json={"admin_id": admin["id"]}))
        email = {"email": "new@x.org", "password": "changed-canary"}
        ok(api("PUT", f"/users/{user['id']}", by="owner", json=email))
        ok(api("PUT", f"{path_of(tasks[0])}/done", by="owner"))
        ok(api("DELETE", path_of(tasks[1]), by="owner"))
        ok(api("DELETE", f"/users/{gone['id']}", by="owner"))
        ok(api("DELETE", f"/groups/{other['id']}", by="owner"))
        new_task(api, admin["id"], group["id"])
        site.installation.sync()
        seen, known = everything(api), meta(site.installation)
    new_task(api, 1, group["id"], title="After")
    newest = ok(api("GET", "/tasks/filter", by="owner"))["tasks"][-1]
    site.installation.sync()
    users, groups, shown = everything(api)
    assert [users, groups] == seen[:2]
    assert shown["tasks"] == [*seen[2]["tasks"], newest]
    assert ok(api("GET", f"/users/{user['id']}", by=("new@x.org", "changed-canary")))
    assert int(meta(site.installation)["version"]) > int(known["version"])
    assert not quarantined(api)
    site.installation.sync()
    assert site.is_whole()


def test_no_id_and_no_version_is_issued_twice(site: LossySite) -> None:
    api = site.api
    with site.lost():
        lost = new_group(api), new_user(api)
        versions = {entity["version"] for entity in lost}
    group, user = new_group(api), new_user(api)
    assert [group["id"], user["id"]] == [each["id"] + 1 for each in lost]
    assert min(group["version"], user["version"]) > max(versions)
    restarted = meta(site.installation)["next:u"]
    site.installation.sync()
    assert meta(site.installation)["next:u"] == restarted
    assert site.is_whole()


def test_a_restart_that_loses_nothing_skips_no_ids(open_site: Open) -> None:
    site = open_site("always")
    assert new_user(site.api)["id"] == 2
    site.restart()
    assert new_user(site.api)["id"] == 3
    site.valkey.stop()
    site.valkey.start()
    assert new_user(site.api)["id"] == 4
    site.installation.sync()
    assert site.is_whole()


def test_a_live_service_notices_a_rollback_before_it_issues_ids_and_the_worker_heals_it(
    site: LossySite,
) -> None:
    with site.installation.serve() as api, site.installation.worker():
        eventually(lambda: ok(api("GET", "/admin/status", by="owner"))["last_sync"])
        with site.lost():
            eventually(lambda: api("GET", "/users", by="owner").status == 200)
            user = new_user(api)
            ok(api("POST", "/admin/sync", by="owner"))
        answers = [api("GET", "/users", by="owner").status]
        eventually(lambda: api("GET", "/users", by="owner").status == 200)
        assert new_user(api)["id"] == user["id"] + 1, answers
        eventually(lambda: api("GET", f"/users/{user['id']}", by="owner").status == 200)
    assert site.is_whole()


def test_a_name_taken_meanwhile_stays_with_its_new_holder(site: LossySite) -> None:
    api = site.api
    with site.lost():
        first = new_group(api, name="Größe")
        child = new_task(api, 1, first["id"])
        user = new_user(api, email="one@x.org")
        member = new_user(api, first["id"])
        site.installation.sync()
    with uncompared(site):
        taken = new_group(api, name="grösse")
    holder = new_user(api, email="ONE@x.org")
    site.installation.sync()
    assert ok(api("GET", f"/groups/{taken['id']}", by="owner"))["name"] == "grösse"
    assert ok(api("GET", f"/users/{holder['id']}", by="owner"))["email"] == "ONE@x.org"
    refused(api("GET", f"/groups/{first['id']}", by="owner"), 404)
    names = {("group", first["id"]), ("user", user["id"]), ("user", member["id"])}
    assert names | {("task", child["id"])} <= set(quarantined(api))
    made(api("POST", "/groups", by="owner", json={"name": "Next", "admin_id": 1}))
    assert site.installation.sync().written["groups"] == 1


def test_what_has_been_used_meanwhile_is_not_deleted_again(site: LossySite) -> None:
    api = site.api
    group = new_group(api)
    user = new_user(api, group["id"])
    site.installation.sync()
    with site.lost():
        ok(api("DELETE", f"/users/{user['id']}", by="owner"))
        ok(api("DELETE", f"/groups/{group['id']}", by="owner"))
        site.installation.sync()
    with uncompared(site):
        task = new_task(api, user["id"], group["id"])
    site.installation.sync()
    assert ok(api("GET", path_of(task), by="owner")) == task
    assert {("user", user["id"]), ("group", group["id"])} <= set(quarantined(api))
    settings = site.installation.settings
    assert not [w for w in fsck(settings.redis_url, settings.key_prefix) if "dirty" not in w]


@pytest.mark.parametrize("loss", ["DELETE", "PUT"])
def test_who_has_got_a_group_meanwhile_stays_its_admin(site: LossySite, loss: str) -> None:
    api = site.api
    group = new_group(api)
    admin = new_user(api, group["id"], role="group_admin")
    path = f"/users/{admin['id']}"
    site.installation.sync()
    with site.lost():
        ok(api(loss, path, by="owner", json=... if loss == "DELETE" else {"role": "user"}))
        site.installation.sync()
    with uncompared(site):
        body = {"admin_id": admin["id"]}
        ok(api("PUT", f"/groups/{group['id']}", by="owner", json=body))
    site.installation.sync()
    assert ok(api("GET", path, by="owner"))["role"] == "group_admin"
    assert ok(api("GET", f"/groups/{group['id']}", by="owner"))["admin_id"] == admin["id"]
    assert ("user", admin["id"]) in quarantined(api)
    settings = site.installation.settings
    assert not [w for w in fsck(settings.redis_url, settings.key_prefix) if "dirty" not in w]


def test_a_group_is_handed_over_before_its_admin_is_deleted(site: LossySite) -> None:
    api = site.api
    group = new_group(api)
    old, new = (new_user(api, group["id"], role="group_admin") for _ in range(2))
    path = f"/groups/{group['id']}"
    ok(api("PUT", path, by="owner", json={"admin_id": old["id"]}))
    site.installation.sync()
    with site.lost():
        ok(api("PUT", path, by="owner", json={"admin_id": new["id"]}))
        ok(api("DELETE", f"/users/{old['id']}", by="owner"))
        site.installation.sync()
    site.installation.sync()
    assert ok(api("GET", path, by="owner"))["admin_id"] == new["id"]
    refused(api("PUT", f"/users/{new['id']}", by="owner", json={"role": "user"}), 409)
    refused(api("GET", f"/users/{old['id']}", by="owner"), 404)
    assert site.is_whole()


def test_a_pass_whose_redis_restarts_forgets_no_marks(
    site: LossySite, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_group(site.api)
    marked = dirty(site.installation)
    before(monkeypatch, changes, "acknowledge", site.restart)
    with pytest.raises(NewEpoch):
        site.installation.sync()
    assert dirty(site.installation) == marked
    site.installation.sync()
    assert site.is_whole()


def test_a_lost_acknowledgement_blocks_no_clients(
    site: LossySite, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_group(site.api)
    before(monkeypatch, changes, "acknowledge", crash)
    with pytest.raises(ConnectionAbortedError):
        site.installation.sync()
    monkeypatch.setattr(Loader, "block_clients", crash)
    site.installation.sync()
    assert meta(site.installation)["synced"] == str(
        sql(site.installation, "SELECT last_version FROM sync_state")[0][0]
    )
    assert site.is_whole()


def test_a_heal_that_dies_is_finished_by_the_next_start(
    site: LossySite, monkeypatch: pytest.MonkeyPatch
) -> None:
    with site.lost():
        user = new_user(site.api)
        site.installation.sync()
    before(monkeypatch, Loader, "unblock_clients", crash)
    with pytest.raises(ConnectionAbortedError):
        site.installation.sync()
    refused(site.api("GET", "/users", by="owner"), 503)
    site.installation.prepare()
    assert ok(site.api("GET", f"/users/{user['id']}", by="owner"))
    assert site.is_whole()


@pytest.mark.parametrize("kept", [0, 1])
def test_a_restore_whose_redis_loses_a_batch_has_to_begin_again(site: LossySite, kept: int) -> None:
    new_group(site.api)
    loader = Loader(sync_pass.open_store(site.installation.settings))
    if kept:
        loader.block_clients()
    with site.lost():
        if not kept:
            loader.block_clients()
        loader.run([("HSET", "lost", "field", "value")])
    with pytest.raises(NewEpoch):
        loader.run([("HSET", "next", "field", "value")])
    site.installation.prepare()
    site.installation.sync()
    assert site.is_whole()
