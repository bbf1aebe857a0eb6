"""A message is lost between the service and a store; the operation is done once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from taskapi.errors import DatabaseUnreachable
from taskapi.store import scripts
from taskapi.store.commit import Commit
from taskapi.store.connection import Connection
from taskapi.store.scripts import SOURCES
from tests.api.factories import everything, made, new_group, new_task, ok, path_of, refused
from tests.client import Api
from tests.faults.checks import settle
from tests.faults.proxy import Loss, Proxy
from tests.faults.site import Site
from tests.stores import before, connect, dirty, root, sql
from tests.support import OWNER_PASSWORD

COMMIT, ACKNOWLEDGE = scripts.COMMIT.encode(), scripts.ACKNOWLEDGE.encode()
ONE_ATTEMPT, BOTH_ATTEMPTS = 1, 2


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with contextlib.closing(Site(tmp_path_factory.mktemp("site"))) as site:
        yield site


@pytest.fixture
def redis(site: Site) -> Iterator[Proxy]:
    yield site.to_valkey
    site.to_valkey.mend()


@pytest.fixture
def postgres(site: Site) -> Iterator[Proxy]:
    yield site.to_postgres
    site.to_postgres.mend()


@pytest.fixture
def api(site: Site) -> Api:
    """A client of a service that has already done a commit and a pass: Redis has their scripts."""
    api = site.installation.client()
    new_task(api, 1, new_group(api)["id"])
    site.installation.sync()
    return api


def titles(api: Api) -> list[str]:
    return [task["title"] for task in ok(api("GET", "/users/1/tasks", by="owner"))["tasks"]]


def create(api: Api, title: str) -> Any:
    body = {"title": title, "group_id": 1}
    return api("POST", "/users/1/tasks", by="owner", json=body)


@pytest.mark.parametrize("loss", Loss)
def test_a_commit_whose_first_attempt_is_lost_is_done_once(
    site: Site, api: Api, redis: Proxy, loss: Loss
) -> None:
    seen = len(titles(api))
    redis.lose(COMMIT, loss, ONE_ATTEMPT)
    answer = create(api, f"once {loss.name}")
    assert redis.has_lost
    assert answer.status == 201
    assert ok(api("GET", path_of(answer.data["task"]), by="owner")) == answer.data["task"]
    assert len(titles(api)) == seen + 1
    settle(site.installation)


def test_a_create_whose_record_is_lost_with_its_reply_is_not_called_a_conflict(
    site: Site, api: Api, redis: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose_record() -> None:
        with connect(site.installation) as connection:
            key = root(site.installation) + "meta"
            connection.hdel(key, *(name for name in connection.hkeys(key) if name[:3] == "op:"))

    before(monkeypatch, Connection, "_retry", lose_record)
    redis.lose(COMMIT, Loss.REPLY, ONE_ATTEMPT)
    answer = api("POST", "/groups", by="owner", json={"name": "Lost record", "admin_id": 1})
    assert refused(answer, 503)["code"] == "outcome_unknown"
    assert "Lost record" in str(ok(api("GET", "/groups", by="owner")))
    settle(site.installation)


CHANGED_STATE = {
    "RESTORING": ("HSET", "state", "restoring"),
    "FENCED": ("HSET", "state", "fenced"),
    "NOEPOCH": ("HDEL", "epoch"),
}


@pytest.mark.parametrize("word", CHANGED_STATE)
def test_a_repeated_create_that_is_refused_may_have_been_made(
    site: Site, api: Api, redis: Proxy, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    command, *values = CHANGED_STATE[word]
    with connect(site.installation) as connection:
        key = root(site.installation) + "meta"
        right = connection.hgetall(key)
        change = partial(connection.execute_command, command, key, *values)
        before(monkeypatch, Connection, "_retry", change)
        redis.lose(COMMIT, Loss.REPLY, ONE_ATTEMPT)
        answer = create(api, f"repeated {word}")
        connection.hset(key, mapping={name: right[name] for name in ("state", "epoch")})
    assert refused(answer, 503)["code"] == "outcome_unknown"
    assert f"repeated {word}" in titles(api)
    settle(site.installation)


@pytest.mark.parametrize("loss", Loss)
def test_a_commit_without_a_reply_is_a_503_and_done_at_most_once(
    site: Site, api: Api, redis: Proxy, loss: Loss
) -> None:
    title = f"open {loss.name}"
    redis.lose(COMMIT, loss, BOTH_ATTEMPTS)
    assert refused(create(api, title), 503)["code"] == "outcome_unknown"
    assert redis.has_lost
    assert titles(api).count(title) == (0 if loss is Loss.REQUEST else 1)
    assert create(api, f"{title}, next").status == 201
    settle(site.installation)


def test_a_commit_with_its_source_may_have_been_made(site: Site, api: Api, redis: Proxy) -> None:
    titles(api)
    with connect(site.installation) as connection:
        connection.script_flush()
    redis.lose(SOURCES[scripts.COMMIT][:60].encode(), Loss.REPLY, ONE_ATTEMPT)
    assert refused(create(api, "With source"), 503)["code"] == "outcome_unknown"
    assert "With source" in titles(api)
    settle(site.installation)


def test_a_commit_that_could_not_be_sent_was_not_made(
    site: Site, api: Api, redis: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut() -> None:
        redis.cut()
        app.authenticator._store.connection.close()

    app: Any = site.installation._app
    before(monkeypatch, Commit, "run", cut)
    assert refused(create(api, "Not sent"), 503)["code"] == "redis_unreachable"
    redis.mend()
    assert "Not sent" not in titles(api)
    settle(site.installation)


def test_the_only_attempt_to_a_silent_redis_may_have_been_made(
    site: Site, api: Api, redis: Proxy
) -> None:
    body = {"title": "First", "group_id": 1}
    send = partial(api, "POST", "/users/1/tasks", by=(1, OWNER_PASSWORD))
    made(send(json=body))  # the next one is sent without reads
    redis.lose(COMMIT, Loss.REPLY, ONE_ATTEMPT)
    app: Any = site.installation._app
    app.authenticator._store.silent_until = time.monotonic() + 60
    answer = send(json=body | {"title": "Only attempt"})
    assert refused(answer, 503)["code"] == "outcome_unknown"
    assert titles(api).count("Only attempt") == 1
    settle(site.installation)


def test_a_delete_whose_answer_is_lost_is_answered_as_done(
    site: Site, api: Api, redis: Proxy
) -> None:
    task = new_task(api, 1, 1)
    redis.lose(scripts.COMMIT_WHEN_FULL.encode(), Loss.REPLY)
    ok(api("DELETE", path_of(task), by="owner"))
    assert redis.has_lost
    refused(api("GET", path_of(task), by="owner"), 404)
    settle(site.installation)


@pytest.mark.parametrize("loss", Loss)
def test_an_acknowledgement_that_is_lost_is_sent_again(
    site: Site, api: Api, redis: Proxy, monkeypatch: pytest.MonkeyPatch, loss: Loss
) -> None:
    monkeypatch.setattr("taskapi.sync.sync_pass.WORKER_REPLY_SECONDS", 0.5)
    new_task(api, 1, 1)
    redis.lose(ACKNOWLEDGE, loss)
    site.installation.sync()
    assert redis.has_lost
    assert not dirty(site.installation)
    settle(site.installation)


@pytest.mark.parametrize("loss", [Loss.REQUEST, Loss.REPLY])
def test_a_commit_of_postgresql_that_is_lost_is_made_good_by_the_next_pass(
    site: Site, api: Api, postgres: Proxy, loss: Loss
) -> None:
    task = new_task(api, 1, 1)
    postgres.lose(b"COMMIT\0", loss)
    with pytest.raises(DatabaseUnreachable):
        site.installation.sync()
    assert postgres.has_lost
    is_there = sql(site.installation, "SELECT count(*) FROM tasks WHERE id = %s", task["id"])
    assert is_there == [(0 if loss is Loss.REQUEST else 1,)]
    assert dirty(site.installation)
    settle(site.installation)


def test_a_batch_of_a_restore_whose_answer_is_lost_is_loaded_once(
    site: Site, api: Api, redis: Proxy
) -> None:
    seen = everything(api)
    redis.lose(b'"json"', Loss.REPLY)
    ok(api("POST", "/admin/sync?action=restore", by="owner"))
    assert redis.has_lost
    assert everything(api) == seen
    settle(site.installation)


def test_a_slow_network_delays_and_breaks_nothing(
    site: Site, api: Api, redis: Proxy, postgres: Proxy
) -> None:
    redis.delay_seconds = postgres.delay_seconds = 0.02
    assert create(api, "slow").status == 201
    site.installation.sync()
    assert not dirty(site.installation)
    redis.mend()
    postgres.mend()
    settle(site.installation)
