"""Idempotency-Key: a POST that is sent again gets the first answer, and nothing happens twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis as driver

from taskapi import errors
from taskapi.store.connection import Connection
from taskapi.store.deferral import Deferral
from taskapi.sync import sync_pass
from tests.api.factories import (
    PASSWORD,
    everything,
    login,
    made,
    new_admin,
    new_group,
    new_task,
    new_user,
    ok,
    path_of,
    refused,
)
from tests.client import Answer, Api, Caller
from tests.stores import connect, root
from tests.support import Installation


class Site:
    def __init__(self, api: Api) -> None:
        self.api = api
        self.head = new_admin(api)
        self.group = new_group(api, self.head["id"])["id"]
        self.user = new_user(api, self.group)
        self.stranger = new_user(api, new_group(api)["id"])
        self.task = new_task(api, self.user["id"], self.group)
        self.path = f"/users/{self.user['id']}/tasks"
        self.body = {"title": "New", "group_id": self.group}

    def create(self, key: str = "key", by: Caller = "owner", **body: Any) -> Answer:
        return post(self.api, self.path, self.body | body, key, by)

    def titles(self) -> list[str]:
        return [task["title"] for task in ok(self.api("GET", self.path, by="owner"))["tasks"]][1:]


def post(api: Api, path: str, body: Any, key: str = "key", by: Caller = "owner") -> Answer:
    return api("POST", path, by=by, json=body, headers={"Idempotency-Key": key})


@pytest.fixture
def site(api: Api) -> Site:
    return Site(api)


def requests(site: Site) -> dict[str, tuple[str, Any]]:
    person = {"full_name": "New", "email": "new@example.com", "password": PASSWORD}
    update = {"task_ids": [site.task["id"]], "updates": {"title": "Changed"}}
    return {
        "user": ("/users", person),
        "group": ("/groups", {"name": "New group", "admin_id": site.head["id"]}),
        "task": (site.path, site.body),
        "token": (f"/users/{site.user['id']}/tokens", {"name": "Script"}),
        "member": (f"/groups/{site.group}/users", {"user_id": site.stranger["id"]}),
        "batch": ("/tasks/batch", update),
        "batch create": ("/tasks/batch", {"action": "create", "tasks": [site.body] * 3}),
        "batch delete": ("/tasks/batch", {"action": "delete", "task_ids": [site.task["id"]]}),
        "batch without effect": ("/tasks/batch", {"action": "delete", "task_ids": [999]}),
        "sync": ("/admin/sync?action=force", ...),
    }


@pytest.mark.parametrize(
    "name",
    [
        *("user", "group", "task", "token", "member", "sync"),
        *("batch", "batch create", "batch delete", "batch without effect"),
    ],
)
def test_a_request_that_is_sent_again_gets_the_first_answer(
    api: Api, site: Site, installation: Installation, name: str
) -> None:
    path, body = requests(site)[name]
    first = post(api, path, body)
    assert first.status in (200, 201), first.body
    assert "Idempotent-Replayed" not in first.headers
    shown = everything(api)
    for each in (api, installation.client()):
        again = post(each, path, body)
        assert (again.status, again.body) == (first.status, first.body)
        assert again.headers["Idempotent-Replayed"] == "true"
        for header in ("Location", "ETag", "Content-Type"):
            assert again.headers[header] == first.headers[header]
        assert again.headers["X-Request-ID"] != first.headers["X-Request-ID"]
    assert everything(api) == shown


def test_the_answer_is_true(api: Api, site: Site) -> None:
    answer = site.create(deadline="2026-12-24")
    task = made(answer)["task"]
    assert answer.headers["Location"] == path_of(task)
    assert answer.headers["ETag"] == f'"{task["version"]}"'
    assert int(answer.headers["Content-Length"]) == len(answer.body)
    assert ok(api("GET", path_of(task), by="owner")) == task


def test_the_first_answer_comes_whatever_has_happened_since(api: Api, site: Site) -> None:
    first = site.create()
    ok(api("DELETE", path_of(first.data["task"]), by="owner"))
    assert site.create().body == first.body
    assert site.titles() == []


def test_another_body_under_the_same_key_is_refused(site: Site) -> None:
    made(site.create())
    assert refused(site.create(title="Other"), 422)["code"] == "idempotency_key_reused"
    assert site.titles() == ["New"]


def test_other_keys_callers_and_paths_are_other_requests(api: Api, site: Site) -> None:
    made(site.create())
    made(site.create("other-key"))
    made(site.create(by=login(site.user)))
    made(post(api, f"/users/{site.head['id']}/tasks", site.body))
    assert len(site.titles()) == 3


def test_credentials_of_the_same_caller_are_the_same(site: Site) -> None:
    made(site.create(by=login(site.user)))
    answer = site.create(by=(site.user["email"], PASSWORD))
    assert answer.headers["Idempotent-Replayed"] == "true"


def test_who_is_not_logged_in_gets_no_stored_answer(site: Site) -> None:
    made(site.create(by=login(site.user)))
    refused(site.create(by=(site.user["id"], "wrong")), 401)


def test_a_refusal_is_not_remembered(site: Site) -> None:
    refused(site.create(group_id=99), 400)
    refused(site.create(by=login(site.stranger)), 403)
    made(site.create(by=login(site.user)))
    made(site.create())


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "schlüssel", "\t"])
def test_an_unusable_key_is_refused(site: Site, key: str) -> None:
    error = refused(site.create(key.encode("utf-8").decode("latin-1")), 400)
    assert set(error["fields"]) == {"Idempotency-Key"}
    assert site.titles() == []


@pytest.mark.parametrize("key", ["x", "x" * 255, "!~"])
def test_every_usable_key_is_taken(site: Site, key: str) -> None:
    made(site.create(key))


def test_a_body_with_too_many_levels_is_refused(site: Site) -> None:
    body = b"[" * 300 + b"]" * 300
    headers = {"Idempotency-Key": "key", "Content-Type": "application/json"}
    answer = site.api("POST", site.path, by="owner", data=body, headers=headers)
    assert refused(answer, 400)["code"] == "malformed_json"
    made(site.create())


def test_answers_that_changed_nothing_take_no_memory_of_a_full_redis(
    api: Api, site: Site, installation: Installation
) -> None:
    path, body = requests(site)["batch without effect"]
    with connect(installation) as connection:
        connection.config_set("maxmemory", 1)
        try:
            first = post(api, path, body)
            failed = refused(site.create("other"), 503)
        finally:
            connection.config_set("maxmemory", 0)
        assert not list(connection.scan_iter(f"{root(installation)}answer:*"))
    assert ok(first)["deleted_count"] == 0
    assert failed["code"] == "redis_full"
    assert "Idempotent-Replayed" not in post(api, path, body).headers
    made(site.create("other"))


def test_an_action_keeps_others_away_for_longer(
    api: Api, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, seen = "/admin/sync?action=force", list[Any]()

    def act(*_: Any) -> Any:
        seen.append(refused(post(api, path, ...), 409)["code"])
        with connect(installation) as connection:
            (key,) = connection.scan_iter(f"{root(installation)}answer:*")
            seen.append(200 < connection.ttl(key) <= 300)
        raise errors.DatabaseUnreachable("PostgreSQL does not answer.")

    with monkeypatch.context() as patch:
        patch.setattr(sync_pass, "run", act)
        refused(post(api, path, ...), 503)
    assert seen == ["in_progress", True]
    assert ok(post(api, path, ...))["action"] == "force"


def test_without_redis_no_action_with_a_key_is_done(api: Api, installation: Installation) -> None:
    with connect(installation) as connection:
        meta = f"{root(installation)}meta"
        connection.hset(meta, "state", "restoring")
        error = refused(post(api, "/admin/sync?action=restore", ...), 503)
        assert "without Idempotency-Key" in error["error"]
        connection.hset(meta, "state", "ready")


def test_other_methods_ignore_the_key(api: Api, site: Site) -> None:
    for title in ("One", "Two"):
        headers = {"Idempotency-Key": "key"}
        body = {"title": title}
        answer = api("PUT", path_of(site.task), by="owner", json=body, headers=headers)
        assert ok(answer)["task"]["title"] == title


def test_the_secret_of_a_token_is_not_stored(
    api: Api, site: Site, installation: Installation
) -> None:
    path, body = requests(site)["token"]
    secret = made(post(api, path, body))["secret"]
    assert ok(api("GET", "/users/me", by=secret))["id"] == site.user["id"]
    with connect(installation) as connection:
        (key,) = connection.scan_iter(f"{root(installation)}answer:*")
        assert secret.split("_")[2] not in connection.get(key)  # a DUMP would be compressed
        salt = json.loads(connection.get(key))[0]
    other = made(post(api, path, body, "other-key"))["secret"]
    assert other != secret
    assert Deferral("key", salt).secret not in secret  # a thief of Redis may guess the key


def test_a_process_that_dies_after_its_commit_has_stored_the_answer(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Deferral, "fill", lambda *_: 1 / 0)
        assert site.create().status == 500
    answer = site.create()
    assert answer.headers["Idempotent-Replayed"] == "true"
    assert site.titles() == [answer.data["task"]["title"]]


def test_a_process_that_dies_before_its_commit_has_done_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Deferral, "send", lambda *_: 1 / 0)
        assert site.create().status == 500
    assert "Idempotent-Replayed" not in site.create().headers
    assert site.titles() == ["New"]


def test_a_commit_whose_replies_are_lost_is_not_made_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply, lost = Connection._reply, []

    def losing(self: Connection, **options: float) -> Any:
        found = reply(self, **options)
        if isinstance(found, bytes) and found.startswith(b"OK ") and len(lost) < 2:
            lost.append(found)
            raise driver.TimeoutError
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Connection, "_reply", losing)
        assert refused(site.create(), 503)["code"] == "outcome_unknown"
    assert site.create().headers["Idempotent-Replayed"] == "true"
    assert site.titles() == ["New"]


def test_requests_at_once_create_one_task(site: Site) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: site.create(), range(24)))
    for answer in answers:
        assert answer.status == 201 or refused(answer, 409)["code"] == "in_progress"
    assert {a.body for a in answers if a.status == 201} == {site.create().body}
    assert site.titles() == ["New"]


def before_the_commit(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Let something happen once before the next commit of a request with a key."""
    send, acts = Deferral.send, [act]

    def acting(self: Deferral, *args: str) -> Any:
        if acts:
            acts.pop()()
        return send(self, *args)

    monkeypatch.setattr(Deferral, "send", acting)


def test_a_request_is_refused_while_the_first_one_runs(
    site: Site, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def act() -> None:
        seen.append(refused(site.create(), 409)["code"])
        with connect(installation) as connection:
            (key,) = connection.scan_iter(f"{root(installation)}answer:*")
            seen.append(0 < connection.ttl(key) <= 10)  # the process may die now

    before_the_commit(monkeypatch, act)
    first = site.create()
    assert seen == ["in_progress", True]
    assert site.create().body == first.body
    assert site.titles() == ["New"]


def test_a_request_that_takes_too_long_gets_the_answer_of_the_next_one(
    site: Site, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = list[Answer]()

    def act() -> None:
        with connect(installation) as connection:  # as if its time were over
            connection.delete(*connection.scan_iter(f"{root(installation)}answer:*"))
        answers.append(site.create())

    before_the_commit(monkeypatch, act)
    answers.append(site.create())
    assert answers[0].body == answers[1].body
    assert answers[1].headers["Idempotent-Replayed"] == "true"
    assert site.titles() == ["New"]


def test_answers_are_stored_for_24_hours(installation: Installation, site: Site) -> None:
    made(site.create())
    with connect(installation) as connection:
        (key,) = connection.scan_iter(f"{root(installation)}answer:*")
        assert 86_000 < connection.ttl(key) <= 86_400


def test_a_stored_answer_that_cannot_be_read_is_named(
    installation: Installation, site: Site
) -> None:
    made(site.create())
    with connect(installation) as connection:
        (key,) = connection.scan_iter(f"{root(installation)}answer:*")
        connection.set(key, "{")
    assert refused(site.create(), 503)["code"] == "damaged"


def test_a_task_that_was_created_so_is_changed_like_any_other(api: Api, site: Site) -> None:
    by = login(site.user)
    task = made(site.create(by=by))["task"]
    for title in ("One", "Two"):
        edited = ok(api("PUT", path_of(task), by=by, json={"title": title}))["task"]
        assert edited["title"] == title


def test_a_token_gets_no_answer_that_it_may_not_ask_for(api: Api, site: Site) -> None:
    path, body = requests(site)["token"]
    full, by = made(post(api, path, body, by=login(site.user)))["secret"], login(site.user)
    read = made(api("POST", path, by=by, json={"name": "Reads", "access": "read"}))["secret"]
    for token in (full, read):
        error = refused(post(api, path, body, by=token), 403)
        assert error["code"] in ("password_needed", "read_only_token")


def test_the_password_of_a_new_user_is_not_in_what_is_stored(
    api: Api, site: Site, installation: Installation
) -> None:
    path, body = requests(site)["user"]
    first = post(api, path, body)
    again = post(api, path, body | {"password": "another-canary"})
    assert again.body == first.body
    with connect(installation) as connection:
        (key,) = connection.scan_iter(f"{root(installation)}answer:*")
        assert body["password"] not in connection.get(key)


def test_the_log_line_of_a_stored_answer_says_so(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    for expected in (0, 1):
        capsys.readouterr()
        made(site.create())
        assert capsys.readouterr().out.count("replayed=true") == expected


def test_a_key_survives_a_restore(api: Api, site: Site) -> None:
    first = site.create()
    ok(api("POST", "/admin/sync?action=restore", by="owner"))
    assert site.create().body == first.body
    assert site.titles() == ["New"]
