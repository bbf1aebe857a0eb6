"""`/metrics`: who may read it, and that its numbers are those of the requests and the stores."""

from __future__ import annotations

import stat
import time
from collections.abc import Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from devserver.servers import free_port
from taskapi import create_app, doctor
from taskapi.api import metrics_folder
from taskapi.config import load
from taskapi.store import meta, quarantine
from taskapi.store.changes import Mark
from taskapi.store.connection import Store
from taskapi.store.meta import State
from taskapi.sync import status
from taskapi.sync.status import FRESH_SECONDS
from tests.api.factories import (
    PASSWORD,
    login,
    new_admin,
    new_group,
    new_task,
    new_token,
    new_user,
    ok,
    refused,
)
from tests.client import Api, Caller, in_process
from tests.operations.nginx import master_of, reload_gunicorn
from tests.support import Installation

Samples = dict[tuple[str, frozenset[str]], float]
"""Name and label values -> value."""


def samples(api: Api, by: Caller = "owner") -> Samples:
    answer = api("GET", "/metrics", by=by)
    assert answer.status == 200, answer.body
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = text_string_to_metric_families(answer.body.decode())
    return {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }


def key(name: str, *labels: str) -> tuple[str, frozenset[str]]:
    return f"taskapi_{name}", frozenset(labels)


def one(found: Samples, name: str, *labels: str) -> float:
    return found[key(name, *labels)]


ALIVE = key("requests_total", "/health/live", "GET", "200")


def test_only_owners_read_metrics(api: Api) -> None:
    head = new_admin(api)
    user, owner = new_user(api, new_group(api, head["id"])["id"]), new_user(api, role="owner")
    assert refused(api("GET", "/metrics"), 401)["code"] == "unauthenticated"
    for person in (head, user):
        assert refused(api("GET", "/metrics", by=login(person)), 403)["code"] == "forbidden"
    samples(api)
    samples(api, by=login(owner))
    _, secret = new_token(api, owner, access="read")
    samples(api, by=secret)
    assert refused(api("GET", "/metrics?name=x", by="owner"), 400)["fields"].keys() == {"name"}


def test_requests_are_counted_by_route_method_and_status(api: Api) -> None:
    user = new_user(api, new_group(api)["id"])
    before = samples(api)
    path = f"/users/{user['id']}/tasks"
    for _ in range(3):
        new_task(api, user["id"], user["group_ids"][0])
    api("POST", path, by="owner", json={})
    api("GET", path, by="owner")
    api("GET", "/secret-path")
    api("BREW", "/users", by="owner")
    after = samples(api)

    def added(name: str, *labels: str) -> float:
        return one(after, name, *labels) - before.get(key(name, *labels), 0)

    route = "/users/{user_id}/tasks"
    assert added("requests_total", route, "POST", "201") == 3
    assert added("requests_total", route, "POST", "400") == 1
    assert added("requests_total", route, "GET", "200") == 1
    assert added("requests_total", "unknown", "GET", "404") == 1
    assert added("requests_total", "unknown", "unknown", "405") == 1
    assert added("request_duration_seconds_count", route, "POST") == 4
    assert 0 < added("request_duration_seconds_sum", route, "POST") < 60
    assert not any("secret" in label for _, labels in after for label in labels)
    assert not any("BREW" in labels for _, labels in after)


def test_checks_of_passwords_are_counted_by_result(api: Api) -> None:
    user, before = new_user(api), samples(api)
    path = f"/users/{user['id']}"
    for password in ("wrong-canary-1", PASSWORD, PASSWORD):
        api("GET", path, by=(user["id"], password))
    after = samples(api)
    for result, number in (("right", 1), ("wrong", 1)):
        name = "password_checks_total"
        assert one(after, name, result) - before.get(key(name, result), 0) == number


def test_the_state_of_the_stores_is_that_of_the_status(
    installation: Installation, api: Api
) -> None:
    user = new_user(api, new_group(api)["id"])
    new_task(api, user["id"], user["group_ids"][0])
    store = Store(installation.settings.redis_url, installation.settings.key_prefix)
    status.publish_heartbeat(installation.settings, store)
    waiting = samples(api)
    shown = ok(api("GET", "/admin/status", by="owner"))
    for kind, number in shown["dirty_counts"].items():
        assert one(waiting, "pending_changes", kind) == number > 0
        size = ok(api("GET", "/admin/stats", by="owner"))["redis"][kind]
        assert one(waiting, "entities", kind) == size > 0
    assert 0 <= one(waiting, "oldest_pending_change_seconds") < 60
    assert (one(waiting, "redis_up"), one(waiting, "postgres_up")) == (1, 1)
    assert (one(waiting, "worker_running"), one(waiting, "sync_late")) == (1, 0)
    assert key("last_sync_timestamp_seconds") not in waiting
    assert one(waiting, "state", "ready") == 1
    installation.sync()
    installation.sync()
    after = samples(api)
    assert one(after, "sync_passes_total") == 2
    assert abs(one(after, "last_sync_timestamp_seconds") - time.time()) < 60
    assert one(after, "oldest_pending_change_seconds") == 0
    assert one(after, "pending_changes", "tasks") == 0


def break_worker(store: Store) -> None:
    meta.publish_status(store, {"beat": meta.now(store) - FRESH_SECONDS - 1})


def break_schedule(store: Store) -> None:
    late = meta.now(store) - 24 * 60 * 60
    meta.publish_status(store, {"last_sync": late, "since": late})


def break_row(store: Store) -> None:
    mark = Mark("t", 1, meta.read(store).version)
    quarantine.add(store, [quarantine.Refusal(mark, "23503", "it breaks a constraint")])


def break_history(store: Store) -> None:
    meta.write(store, state=State.FENCED)


@pytest.mark.parametrize(
    ("break_it", "metric", "value", "sentence", "finding"),
    [
        (break_worker, ("worker_running",), 0, "The sync worker does not run", "no heartbeat"),
        (break_schedule, ("sync_late",), 1, "The last sync is too long ago", "too long ago"),
        (break_row, ("quarantined_changes",), 1, "1 change(s) are in quarantine", "1 change(s)"),
        (break_history, ("state", "fenced"), 1, "different histories", "changes are refused"),
    ],
)
def test_a_problem_is_shown_everywhere(
    installation: Installation,
    api: Api,
    break_it: Callable[[Store], None],
    metric: tuple[str, ...],
    value: int,
    sentence: str,
    finding: str,
) -> None:
    """Health, status, metrics and doctor, and a probe that reads only the status code."""
    new_task(api, 1, new_group(api)["id"])
    installation.sync()
    store = Store(installation.settings.redis_url, installation.settings.key_prefix)
    status.publish_heartbeat(installation.settings, store)
    assert api("GET", "/health?strict=true").status == 200
    break_it(store)
    health = api("GET", "/health")
    assert (health.status, health.json["status"]) == (200, "degraded")
    assert any(sentence in issue for issue in health.json["issues"])
    assert api("GET", "/health?strict=true").status == 503
    shown = ok(api("GET", "/admin/status", by="owner"))
    assert shown["healthy"] is False
    assert any(sentence in warning for warning in shown["warnings"])
    found = samples(api)
    assert one(found, *metric) == value
    assert one(found, "healthy") == 0
    details = [each.detail for each in doctor.examine(installation.settings)]
    assert any(finding in detail for detail in details), details


def test_without_redis_the_counts_are_shown(installation: Installation) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    app = create_app(load(installation.env | {"REDIS_URL": url}))
    api = Api(in_process(app), installation.env["OWNER_PASSWORD"])
    assert api("GET", "/health").status == 503
    found = samples(api)
    assert (one(found, "redis_up"), one(found, "healthy")) == (0, 0)
    assert one(found, "requests_total", "/health", "GET", "503") >= 1
    assert key("quarantined_changes") not in found


def test_all_web_processes_are_counted_until_gunicorn_ends(installation: Installation) -> None:
    with installation.serve(workers=2) as api:
        began = samples(api).get(ALIVE, 0)
        for _ in range(20):
            assert api("GET", "/health/live").status == 200
        for _ in range(8):  # each process has the same counts
            assert samples(api)[ALIVE] - began == 20
        reload_gunicorn(api)
        assert samples(api)[ALIVE] - began == 20
        parent, name = metrics_folder.IN_MEMORY, f"taskapi-metrics-{master_of(api)}-*"
        (folder,) = parent.glob(name)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        reserved = {path.stat().st_size for path in folder.iterdir()}
        assert reserved == {metrics_folder.RESERVED_BYTES}, "all files are reserved, none grew"
    assert not folder.exists()
