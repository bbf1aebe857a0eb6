"""Requests that take long are limited in size and number, so that all others are served."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread
from typing import Any

import pytest
from werkzeug.test import create_environ

from taskapi import create_app
from taskapi.api import application, batches
from taskapi.errors import Stale
from taskapi.store import deletions, queries, statistics
from taskapi.store import session as sessions
from taskapi.store.commit import Commit, Stamp
from taskapi.store.heavy import PLACES, Heavy
from taskapi.store.keys import Kind
from tests.api.factories import everything, made, new_group, new_task, ok, refused
from tests.client import Answer, Api, in_process
from tests.stores import before, connect, root
from tests.support import OWNER_PASSWORD, Installation, eventually

HEAVY = {
    "batch": ("POST", "/tasks/batch", {"task_ids": [1, 2, 3], "updates": {"title": "Heavy"}}),
    "list": ("GET", "/tasks/filter", ...),
    "page": ("GET", "/tasks/filter?limit=2", ...),
    "search": ("GET", "/users/search?q=o", ...),
    "search of tasks": ("GET", "/tasks/search?q=task", ...),
    "statistics": ("GET", "/tasks/stats", ...),
    "action": ("POST", "/admin/sync", ...),
    "member": ("DELETE", "/groups/1/users/2", ...),
    "user": ("DELETE", "/users/2", ...),
    "group": ("DELETE", "/groups/1", ...),
}
"""Requests that the fixture `app` makes heavy."""


@pytest.fixture
def app(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An application that takes little for much; user 1 and user 2 have two tasks each."""
    app: Any = create_app(installation.settings)
    api = client(app)
    group = new_group(api)
    person = {"full_name": "Two", "email": "two@example.com", "password": "canary-4410"}
    made(api("POST", "/users", by="owner", json=person | {"group_ids": [group["id"]]}))
    for user_id in (1, 1, 2, 2):
        new_task(api, user_id, group["id"])
    monkeypatch.setattr(batches, "LIGHT_MOST", 2)
    monkeypatch.setattr(queries, "CHUNK_BYTES", 1)
    monkeypatch.setattr(queries, "LIGHT_MOST", 1)
    monkeypatch.setattr(statistics, "LIGHT_MOST", 1)
    monkeypatch.setattr(deletions, "BATCH", 1)
    return app


def client(app: Any) -> Api:
    return Api(in_process(app), OWNER_PASSWORD)


def ask(api: Api, name: str) -> Answer:
    method, path, body = HEAVY[name]
    return api(method, path, by="owner", json=body)


def check_busy(answer: Answer) -> None:
    assert refused(answer, 503)["code"] == "busy"
    assert answer.headers["Retry-After"] == "1"


@pytest.fixture
def crowd(app: Any) -> Iterator[None]:
    """Other threads that have all places until the test ends."""
    stop, entered = Event(), []

    def stay() -> None:
        app.heavy.enter()
        entered.append(None)
        stop.wait()
        app.heavy.leave()

    threads = [Thread(target=stay) for _ in range(PLACES)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(entered) == PLACES)
    yield
    stop.set()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("name", HEAVY)
@pytest.mark.usefixtures("crowd")
def test_one_heavy_request_too_many_is_busy_and_changes_nothing(
    installation: Installation, app: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name in ("user", "group"):  # busy before the first commit, although one command counts
        monkeypatch.setattr(queries, "CHUNK_BYTES", 1_000_000)
    other = installation.client()
    before = everything(other)
    check_busy(ask(client(app), name))
    assert everything(other) == before
    with connect(installation) as connection:
        assert not [*connection.scan_iter(f"{root(installation)}*clos*")]


@pytest.mark.usefixtures("crowd")
def test_all_other_requests_are_served_meanwhile(app: Any) -> None:
    api = client(app)
    made(api("POST", "/users/1/tasks", by="owner", json={"title": "Light", "group_id": 1}))
    ok(api("POST", "/tasks/batch", by="owner", json={"task_ids": [1, 2], "action": "mark_done"}))
    ok(api("GET", "/tasks/filter?limit=1", by="owner"))
    ok(api("GET", "/groups/1", by="owner"))
    ok(api("GET", "/admin/status", by="owner"))


@pytest.mark.parametrize("name", HEAVY)
def test_a_heavy_request_gives_its_place_back(app: Any, name: str) -> None:
    method, path, body = HEAVY[name]
    api = client(app)
    for _ in range(PLACES + 1):
        ok(api("GET", "/tasks/filter", by="owner"))
        assert api("HEAD", "/tasks/filter", by="owner").status == 200
        nowhere = {"task_ids": [1, 2, 3], "updates": {"group_id": 987654321}}
        refused(api("POST", "/tasks/batch", by="owner", json=nowhere), 400)
    ok(api(method, path, by="owner", json=body))
    assert not app.heavy.is_inside


def test_a_heavy_request_keeps_its_place_until_its_answer_is_sent(app: Any) -> None:
    headers = {"X-Owner-Password": OWNER_PASSWORD}
    environ = create_environ("/tasks/filter", headers=headers)
    answer = app.wsgi_app(environ, lambda *_: None)
    assert app.heavy.is_inside
    assert not app.heavy._turn.locked()
    assert b"".join(answer).startswith(b'{"success":true')
    assert app.heavy.is_inside
    answer.close()
    assert not app.heavy.is_inside


def test_one_heavy_request_works_at_a_time(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run, inside, most = Commit.run, [], []

    def counted(self: Commit, **options: bool) -> Stamp:
        inside.append(None)
        most.append(len(inside))
        Event().wait(0.05)
        try:
            return run(self, **options)
        finally:
            inside.pop()

    monkeypatch.setattr(Commit, "run", counted)
    api = client(app)
    with ThreadPoolExecutor(PLACES) as pool:
        bodies = [{"task_ids": [1, 2, 3], "updates": {"title": f"By {n}"}} for n in range(PLACES)]
        send = [pool.submit(api, "POST", "/tasks/batch", by="owner", json=body) for body in bodies]
        assert [each.result().status for each in send] == [200] * PLACES
    assert len(most) >= PLACES
    assert max(most) == 1


def test_heavy_requests_take_turns() -> None:
    heavy, done = Heavy(), []

    def once() -> None:
        heavy.step()
        done.append("other")
        heavy.leave()

    heavy.step()
    thread = Thread(target=once, daemon=True)
    thread.start()
    eventually(heavy._next.locked)
    heavy.step()
    assert done == ["other"]
    heavy.leave()
    thread.join()


def test_the_turn_is_kept_while_tasks_are_closed(app: Any) -> None:
    heavy, done = app.heavy, []

    def once() -> None:
        heavy.step()
        done.append("other")
        heavy.leave()

    session = sessions.begin(app.extensions["taskapi"].store)
    heavy.step()
    thread = Thread(target=once, daemon=True)
    thread.start()
    eventually(heavy._next.locked)
    with Commit(session).closed(Kind.USER, 1):
        heavy.step()
        assert done == []
    heavy.step()
    assert done == ["other"]
    heavy.leave()
    thread.join()


def test_a_request_that_waits_for_its_next_try_has_no_turn(
    app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked: list[bool] = []
    monkeypatch.setattr(
        application.time, "sleep", lambda _: locked.append(app.heavy._turn.locked())
    )
    with monkeypatch.context() as patch:
        before(patch, Commit, "run", conflict_once(locked))
        ok(ask(client(app), "batch"))
    assert locked == [False]


def conflict_once(tries: list[bool]) -> Callable[[], None]:
    def conflict() -> None:
        if not tries:
            raise Stale

    return conflict


def test_a_place_is_given_back_after_an_error_of_the_server(app: Any) -> None:
    headers = {"X-Owner-Password": OWNER_PASSWORD}

    def fail(*_: object) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        app.wsgi_app(create_environ("/tasks/filter", headers=headers), fail)
    assert not app.heavy.is_inside
