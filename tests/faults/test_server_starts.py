"""A Redis that was started takes no write before it is known what it may have lost."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Thread
from uuid import UUID

import pytest
import redis

from devserver.servers import Postgres, Valkey
from taskapi import create_app
from taskapi.errors import NewEpoch, Stale, StoreUnreachable, TaskApiError
from taskapi.store import changes, connection, server_start
from taskapi.store.commit import Commit
from taskapi.store.server_start import SKIPPED_IDS
from taskapi.sync import restore, start_check, sync_pass
from tests.api.factories import new_group, new_task, new_user, ok, path_of, refused
from tests.client import Api, in_process
from tests.faults.site import Site
from tests.stores import before, connect, empty_redis, meta, root, sql
from tests.support import OWNER_PASSWORD, Installation, eventually
from tests.sync.lossy_site import LossySite, uncompared


@pytest.fixture(params=["always", "everysec", "no"])
def lossy(
    request: pytest.FixtureRequest, tmp_path: Path, postgres: Postgres
) -> Iterator[LossySite]:
    with closing(LossySite(tmp_path, postgres.url, request.param)) as site:
        yield site


@pytest.fixture
def safe(tmp_path: Path, postgres: Postgres) -> Iterator[LossySite]:
    with closing(LossySite(tmp_path, postgres.url, "always")) as site:
        yield site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with closing(Site(tmp_path)) as site:
        yield site


@contextmanager
def replica_of(primary: Valkey, folder: Path) -> Iterator[Valkey]:
    """A second server that has everything that the primary has."""
    password = primary.url.split(":")[2].split("@")[0]
    with redis.Redis.from_url(primary.url) as server:
        server.config_set("repl-diskless-sync-delay", 0)
    options = [f"replicaof 127.0.0.1 {primary.port}", f"masterauth {password}"]
    with Valkey(folder, options=options) as replica:
        eventually(lambda: has_copied(replica))
        yield replica


def has_copied(replica: Valkey) -> bool:
    """Return whether the replica has loaded the primary's data, which its own file begins with."""
    with redis.Redis.from_url(replica.url) as server:
        link, file = server.info("replication"), server.info("persistence")
    return link["master_link_status"] == "up" and file["rdb_last_load_keys_loaded"] > 0


def promote(replica: Valkey, installation: Installation) -> None:
    """Make a replica a primary, when it has what the primary has."""
    with connect(installation) as server:
        assert server.execute_command("WAIT", 1, 4000) == 1
    with redis.Redis.from_url(replica.url) as server:
        server.execute_command("REPLICAOF", "NO", "ONE")


@pytest.mark.parametrize("appendfsync", ["always", "everysec"])
def test_what_postgresql_has_is_back_before_the_first_write(
    tmp_path: Path, postgres: Postgres, appendfsync: str
) -> None:
    with closing(LossySite(tmp_path, postgres.url, appendfsync)) as site:
        lose_and_go_on(site)


def lose_and_go_on(lossy: LossySite) -> None:
    api, group = lossy.api, new_group(lossy.api)
    with lossy.lost():
        kept = [new_task(api, 1, group["id"]) for _ in range(5)]
        lossy.installation.sync()
        seen = [new_task(api, 1, group["id"]) for _ in range(3)]
    task = new_task(api, 1, group["id"], title="After")
    assert task["id"] == seen[-1]["id"] + 1
    assert task["version"] > seen[-1]["version"]
    assert [ok(api("GET", path_of(each), by="owner")) for each in kept] == kept
    assert [api("GET", path_of(each), by="owner").status for each in seen] == [404] * 3
    lossy.installation.sync()
    assert lossy.is_whole()


@pytest.mark.parametrize("has_ended", [False, True])
def test_ids_are_skipped_for_a_process_that_is_silent_but_not_for_one_that_ended(
    safe: LossySite, has_ended: bool
) -> None:
    other = sync_pass.open_store(safe.installation.settings)
    server_start.register(other)
    if has_ended:
        server_start.unregister(other)
    last = new_group(safe.api)
    safe.restart()
    assert (new_group(safe.api)["id"] > last["id"] + SKIPPED_IDS) is not has_ended


def registered(site: LossySite) -> int:
    return int(sql(site.installation, "SELECT registered_version FROM sync_state")[0][0])


def test_ids_are_skipped_after_a_file_from_before_the_start_of_a_process(safe: LossySite) -> None:
    new_group(safe.api)
    with safe.lost(), safe.installation.serve(1) as api:
        eventually(lambda: registered(safe))
        last = [new_group(api) for _ in range(3)][-1]
    assert new_group(safe.api)["id"] > last["id"] + SKIPPED_IDS - 3
    version = int(meta(safe.installation)["version"])
    safe.restart()
    assert new_group(safe.api)["id"] < last["id"] + 2 * SKIPPED_IDS
    assert int(meta(safe.installation)["version"]) > version >= registered(safe)


def test_ids_that_were_skipped_are_not_issued_after_the_next_crash(safe: LossySite) -> None:
    server_start.register(sync_pass.open_store(safe.installation.settings))  # never reports
    with safe.lost():
        safe.restart()
        first = new_group(safe.installation.client())["id"]
    new_process = Api(in_process(create_app(safe.installation.settings)), OWNER_PASSWORD)
    assert new_group(new_process)["id"] >= first + SKIPPED_IDS


def test_after_redis_was_emptied_ids_continue_above_what_a_process_has_seen(
    safe: LossySite, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (restore, server_start):
        monkeypatch.setattr(module, "SKIPPED_IDS", 2)
    app = create_app(safe.installation.settings)
    api, watch = Api(in_process(app), OWNER_PASSWORD), app.extensions["taskapi"].watch
    safe.installation.sync()
    watch.start()
    try:
        last = [new_group(api) for _ in range(9)][-1]
        empty_redis(safe.installation)
        safe.installation.prepare()
        assert new_group(safe.installation.client())["id"] == last["id"] + 1
    finally:
        watch.stop()


@pytest.mark.parametrize("change", [{"KEY_PREFIX": "moved"}, {"db": "1"}])
def test_a_process_with_other_keys_than_the_worker_refuses_changes(
    site: Site, change: dict[str, str]
) -> None:
    installation = site.installation
    with installation.serve(1) as api:
        new_user(api)
        if "db" in change:
            installation.env["REDIS_URL"] = installation.env["REDIS_URL"][:-1] + change["db"]
        else:
            installation.env.update(change)
        with installation.worker():
            assert "different histories" in eventually(lambda: fenced(api))["error"]


@pytest.mark.parametrize("damage", ["type", "entry"])
def test_a_damaged_list_of_processes_skips_ids_and_holds_up_nobody(
    safe: LossySite, damage: str
) -> None:
    last = new_group(safe.api)
    key = root(safe.installation) + "processes"
    with connect(safe.installation) as server:
        if damage == "type":
            server.set(key, "text")
        else:
            server.hset(key, "process", "nothing that can be read")
    safe.restart()
    assert new_group(safe.api)["id"] > last["id"] + SKIPPED_IDS
    server_start.register(sync_pass.open_store(safe.installation.settings))
    assert len(processes(safe.installation)) == 1


def test_a_redis_that_hides_its_run_id_is_served(
    safe: LossySite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "value_of", lambda *_: "")
    safe.restart()
    assert new_group(safe.installation.client())
    assert meta(safe.installation)["opened"] == connection.HIDDEN


def test_what_a_process_has_only_read_counts_as_seen(safe: LossySite) -> None:
    other = sync_pass.open_store(safe.installation.settings)
    with safe.lost():
        last = new_group(safe.api)
        assert not server_start.needs_check(other)
    assert server_start.needs_check(other)
    server_start.register(other)
    api = Api(in_process(create_app(safe.installation.settings)), OWNER_PASSWORD)
    assert new_group(api)["id"] == last["id"] + 1


def test_a_clean_restart_leaves_no_gap_and_holds_writes_for_less_than_a_second(site: Site) -> None:
    with site.installation.serve(2) as api, site.installation.worker():
        group = new_group(api)
        eventually(lambda: len(processes(site.installation)) == 3)
        last = new_task(api, 1, group["id"])
        site.valkey.stop()
        site.valkey.start()
        up = time.monotonic()
        after = eventually(lambda: created(api, group["id"]))
        assert time.monotonic() - up < 1.5  # a second, and 0.5 s for a busy machine
        assert after["id"] == last["id"] + 1


def test_processes_that_ended_cleanly_are_not_waited_for(site: Site) -> None:
    with site.installation.serve(2) as api, site.installation.worker():
        eventually(lambda: len(processes(site.installation)) == 3)
        new_user(api)
    assert not processes(site.installation)


def test_without_postgresql_ids_are_skipped_and_the_status_says_so(site: Site) -> None:
    installation = site.installation
    with installation.serve(1) as api:
        assert new_user(api)["id"] == 2
        site.to_postgres.cut()
        site.valkey.stop()
        site.valkey.start()
        user = eventually(lambda: maybe_user(api))
        assert user["id"] > SKIPPED_IDS
        warnings = ok(api("GET", "/admin/status", by="owner"))["warnings"]
        assert start_check.UNCOMPARED in warnings
        site.to_postgres.mend()
        ok(api("POST", "/admin/sync", by="owner"))
        warnings = ok(api("GET", "/admin/status", by="owner"))["warnings"]
        assert start_check.UNCOMPARED not in warnings
        assert new_user(api)["id"] == user["id"] + 1


def test_a_start_during_a_long_pass_ends_the_pass_and_is_compared(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "CHUNK", 1)
    installation = site.installation
    with installation.serve(1) as api:
        eventually(lambda: processes(installation))
        group = new_group(api)
        tasks = [new_task(api, 1, group["id"]) for _ in range(30)]
        site.to_postgres.delay_seconds = 0.02
        outcomes: list[type[Exception] | None] = []
        long_pass = Thread(target=lambda: outcomes.append(outcome(installation)))
        long_pass.start()
        eventually(lambda: is_copying(installation))
        site.valkey.stop()
        site.valkey.start()
        after = eventually(lambda: created(api, group["id"]))
        long_pass.join()
        assert outcomes[0] in (NewEpoch, StoreUnreachable)
        assert after["id"] == tasks[-1]["id"] + 1
    installation.sync()


def outcome(installation: Installation) -> type[Exception] | None:
    """Do a pass; return the class of the error that ended it."""
    try:
        installation.sync()
    except (TaskApiError, Stale) as error:
        return type(error)
    return None


def is_copying(installation: Installation) -> bool:
    """Return whether a pass has begun to write tasks."""
    locks = (
        "SELECT 1 FROM pg_locks WHERE relation = 'tasks'::regclass AND mode = 'RowExclusiveLock'"
    )
    return bool(sql(installation, locks))


def test_a_write_waits_until_the_check_is_done(safe: LossySite) -> None:
    new_group(safe.api)
    with uncompared(safe):
        safe.restart()
        begin = time.monotonic()
        assert new_group(safe.api)["id"] > SKIPPED_IDS
        assert time.monotonic() - begin > server_start.SETTLE_SECONDS


def test_a_commit_that_meets_a_restart_is_not_made_before_the_check(
    safe: LossySite, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_group(safe.api)
    body = {"name": "Meanwhile", "admin_id": 1}
    with uncompared(safe):
        before(monkeypatch, Commit, "run", safe.restart)
        refused(safe.api("POST", "/groups", by="owner", json=body), 503)
    assert "Meanwhile" not in str(ok(safe.api("GET", "/groups", by="owner")))


def test_a_create_from_memory_waits_for_the_check_too(safe: LossySite) -> None:
    group, owner = new_group(safe.api), (1, OWNER_PASSWORD)
    last = [new_task(safe.api, 1, group["id"], by=owner) for _ in range(2)][-1]
    safe.restart()
    assert new_task(safe.api, 1, group["id"], by=owner)["id"] == last["id"] + 1


def test_nothing_is_read_that_redis_has_lost(safe: LossySite) -> None:
    user = new_user(safe.api)
    path = f"/users/{user['id']}"
    with safe.lost():
        ok(safe.api("PUT", path, by="owner", json={"full_name": "Newer"}))
        safe.installation.sync()
    # A process that has just started has seen no version that could tell it of the loss.
    other = Api(in_process(create_app(safe.installation.settings)), OWNER_PASSWORD)
    assert ok(other("GET", path, by="owner"))["full_name"] == "Newer"


def test_a_fenced_redis_is_not_checked_again_and_again(safe: LossySite) -> None:
    give_to_another_installation(safe)
    with safe.installation.serve(1) as api:
        eventually(lambda: api("GET", "/health").json["status"] == "degraded")
        refused(api("POST", "/users", by="owner", json={}), 400)
        time.sleep(3 * start_check.TICK_SECONDS)
        log = next(safe.installation.folder.glob("web-*.log")).read_text()
    assert start_check.UNCOMPARED not in log


def give_to_another_installation(site: LossySite) -> None:
    """Let Redis belong to another installation, and be started."""
    with connect(site.installation) as server:
        fields = {"installation": str(UUID(int=1)), "opened": "another"}
        server.hset(root(site.installation) + "meta", mapping=fields)
    site.restart()


def test_of_two_primaries_the_older_one_refuses_changes(site: Site, tmp_path: Path) -> None:
    installation = site.installation
    with replica_of(site.valkey, tmp_path / "replica") as replica, installation.serve(2) as api:
        new_user(api)
        promote(replica, installation)
        installation.env["REDIS_URL"] = replica.url
        with installation.worker():
            refusal = eventually(lambda: fenced(api))
            assert "different histories" in refusal["error"]
            status = ok(api("GET", "/admin/status", by="owner"))
            assert "Another Redis has taken over" in status["warnings"][0]
            health = api("GET", "/health").json
            assert health["status"] == "degraded"
            with installation.serve(1) as new:
                assert new_user(new)["id"] > 2
                assert new("GET", "/health").json["status"] == "healthy"


@contextmanager
def demoted(site: Site, folder: Path, *, lags: bool = False) -> Iterator[None]:
    """In this block another server is the primary; no connection to the old one was closed.

    The old one follows it, or follows nothing.
    """
    folder.mkdir()
    shutil.copy(site.valkey.directory / "password", folder)
    with replica_of(site.valkey, folder) as replica:
        promote(replica, site.installation)
        site.to_valkey.redirect(replica.port)
        with redis.Redis.from_url(site.valkey.url) as old:
            old.config_set("masterauth", (folder / "password").read_text())
            old.execute_command("REPLICAOF", "127.0.0.1", "1" if lags else str(replica.port))
        yield


def test_a_write_to_a_replica_connects_again(site: Site, tmp_path: Path) -> None:
    api = site.installation.client()
    last = new_user(api)
    with demoted(site, tmp_path / "replica"):
        assert new_user(api)["id"] == last["id"] + 1


def test_readers_leave_a_primary_that_became_a_replica(site: Site, tmp_path: Path) -> None:
    app = create_app(site.installation.settings)
    reading, writing = Api(in_process(app), OWNER_PASSWORD), site.installation.client()
    path = f"/users/{new_user(writing)['id']}"
    ok(reading("GET", path, by="owner"))
    watch = app.extensions["taskapi"].watch
    connections = clients(site)
    watch.start()
    try:
        eventually(lambda: clients(site) == connections + 2)
        eventually(lambda: watch._is_recorded)  # a record would meet the replica too
        site.to_postgres.cut()  # or PostgreSQL would name the other primary
        with demoted(site, tmp_path / "replica", lags=True):
            ok(writing("PUT", path, by="owner", json={"full_name": "Moved"}))
            eventually(lambda: has_name(reading, path, "Moved"), 5)
    finally:
        watch.stop()


def clients(site: Site) -> int:
    """Return how many connections the server has."""
    with redis.Redis.from_url(site.valkey.url) as server:
        return len(server.client_list())


def has_name(api: Api, path: str, name: str) -> bool:
    return bool(ok(api("GET", path, by="owner"))["full_name"] == name)


def test_a_redis_that_refuses_changes_makes_health_degraded(site: Site) -> None:
    with site.installation.serve(1) as api, connect(site.installation) as server:
        assert api("GET", "/health").json["status"] == "healthy"
        server.config_set("min-replicas-to-write", 1)
        health = api("GET", "/health").json
        assert health["status"] == "degraded"
        assert health["issues"] == ["Redis has too few replicas and refuses changes."]
        assert maybe_user(api) is None
        server.config_set("min-replicas-to-write", 0)
        assert api("GET", "/health").json["status"] == "healthy"
        assert maybe_user(api)


def test_a_replicas_directory_started_as_a_primary_is_checked(site: Site, tmp_path: Path) -> None:
    installation = site.installation
    with installation.serve(2) as api:
        new_user(api)
        with replica_of(site.valkey, tmp_path / "replica") as replica:
            with connect(installation) as server:
                assert server.execute_command("WAIT", 1, 4000) == 1
            replica.stop()
            later = new_user(api)
            ok(api("POST", "/admin/sync", by="owner"))
            last = new_user(api)
            site.valkey.kill()
            shutil.rmtree(site.valkey.directory / "appendonlydir")
            files = replica.directory / "appendonlydir"
            shutil.copytree(files, site.valkey.directory / "appendonlydir")
        site.valkey.start()
        after = eventually(lambda: maybe_user(api))
        assert after["id"] == last["id"] + 1
        assert ok(api("GET", f"/users/{later['id']}", by="owner"))["email"] == later["email"]
        assert api("GET", f"/users/{last['id']}", by="owner").status == 404


def test_a_start_that_lost_an_acknowledged_pass_is_healed_though_nothing_is_written(
    safe: LossySite,
) -> None:
    with safe.lost():
        user = new_user(safe.api)
        safe.installation.sync()
    safe.installation.sync()
    assert ok(safe.api("GET", f"/users/{user['id']}", by="owner"))
    rows = sql(safe.installation, "SELECT run_id FROM sync_state")
    assert rows == [(meta(safe.installation)["opened"],)]


def processes(installation: Installation) -> dict[str, str]:
    with connect(installation) as server:
        found: dict[str, str] = server.hgetall(root(installation) + "processes")
    return found


def created(api: Api, group_id: int) -> dict[str, object] | None:
    body = {"title": "After", "group_id": group_id}
    answer = api("POST", "/users/1/tasks", by="owner", json=body)
    return answer.data["task"] if answer.status == 201 else None


def maybe_user(api: Api) -> dict[str, object] | None:
    """Create a user; None while the service refuses changes."""
    body = {"full_name": "A", "email": f"{time.monotonic_ns()}@x.org", "password": "plain-canary"}
    answer = api("POST", "/users", by="owner", json=body)
    assert answer.status in (201, 503), answer.body
    return answer.data["user"] if answer.status == 201 else None


def fenced(api: Api) -> dict[str, str] | None:
    body = {"full_name": "A", "email": f"{time.monotonic_ns()}@x.org", "password": "plain-canary"}
    answer = api("POST", "/users", by="owner", json=body)
    return answer.json if answer.status == 503 else None
