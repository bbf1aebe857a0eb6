"""The round trips and commands that each endpoint costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from taskapi import create_app
from taskapi.store.connection import Command, Connection, Store
from taskapi.store.scripts import SOURCES
from tests.api.factories import PASSWORD, new_admin, new_group, new_task, new_token, new_user
from tests.client import Answer, Api, Caller
from tests.conftest import Install
from tests.support import OWNER_PASSWORD, Installation

OWNER, ADMIN, USER = (1, OWNER_PASSWORD), (2, PASSWORD), (3, PASSWORD)
CALLERS: dict[str, Caller] = {"owner": OWNER, "admin": ADMIN, "user": USER, "header": "owner"}
CALLERS |= {"nobody": None, "token": None}
"""`populate` sets the token, one of user 3."""
PERSON = {"full_name": "New", "email": "new@example.com", "password": PASSWORD, "group_ids": [1]}
BODIES: dict[str, Any] = {
    "POST /users": PERSON,
    "PUT /users/3": {"full_name": "Renamed"},
    "PUT /users/3/worktimes": {"work_times": {"Monday": 8}},
    "POST /groups": {"name": "New group", "admin_id": 2},
    "PUT /groups/1": {"name": "Renamed"},
    "POST /groups/2/users": {"user_id": 3},
    "POST /users/3/tokens": {"name": "New"},
    "POST /users/3/tasks": {"title": "New", "group_id": 1},
    "PUT /users/3/tasks/1": {"title": "Renamed"},
    "PUT /users/3/tasks/2": {"priority": 1},
    "PATCH /users/3/tasks/1": {"information": "Changed"},
    "POST /tasks/batch": {"task_ids": [1, 2, 3], "updates": {"title": "All renamed"}},
}

# Requests run in this order. Lists, batches and deletes cost the same for more entities.
# With the first change, the process remembers the caller; it remembers the tasks that it changes.
COSTS = {
    "nobody GET /health": (1, 6),
    "nobody GET /health/live": (0, 0),
    "nobody GET /": (0, 0),
    "nobody GET /openapi.json": (0, 0),
    "nobody GET /docs": (0, 0),
    "token GET /users/3": (1, 4),
    "token GET /users/3/tasks": (2, 6),
    "token GET /users/3/tasks/1": (1, 5),
    "token GET /groups/1": (2, 9),
    "token PATCH /users/3/tasks/1": (2, 6),
    "user GET /users/3": (1, 4),
    "user GET /users/3/worktimes": (1, 4),
    "user GET /users/3/tasks": (2, 6),
    "user GET /users/3/tasks?limit=2": (2, 6),
    "user GET /users/3/tasks/1": (1, 5),
    "user GET /users/3/tokens": (2, 6),
    "user GET /groups": (2, 6),
    "user GET /groups/1": (2, 9),
    "user GET /groups/1/users": (2, 7),
    "user GET /groups/1/tasks": (2, 7),
    "user GET /groups/1/stats": (3, 12),
    "user GET /tasks/filter": (2, 6),
    "user GET /tasks/stats": (2, 11),
    "admin GET /users": (2, 6),
    "admin GET /users/3": (1, 5),
    "admin GET /users/3/tasks": (2, 7),
    "admin GET /users/3/tasks/1": (1, 6),
    "admin GET /tasks/filter": (2, 6),
    "admin GET /tasks/filter?user_id=3&group_id=1": (3, 8),
    "admin GET /tasks/stats": (3, 13),
    "admin GET /tasks/search?q=task": (3, 8),
    "owner GET /users": (2, 6),
    "owner GET /users/search?q=person": (2, 6),
    "owner GET /groups": (2, 6),
    "owner GET /tasks/filter": (2, 6),
    "owner GET /tasks/stats": (3, 14),
    "owner GET /tasks/search?q=task": (3, 8),
    "owner GET /tasks/filter?sort=deadline": (3, 8),
    "owner GET /tasks/changes": (2, 6),
    "header GET /users/3": (1, 5),
    "user POST /users/3/tasks": (1, 1),
    "user PUT /users/3/tasks/1": (1, 1),
    "user PUT /users/3/tasks/1/done": (1, 1),
    "user POST /tasks/batch": (3, 9),
    "user DELETE /users/3/tasks/1": (1, 1),
    "user POST /users/3/tokens": (3, 7),
    "user DELETE /users/3/tokens/<token>": (3, 7),
    "user PUT /users/3": (2, 5),
    "user PUT /users/3/worktimes": (2, 5),
    "admin PUT /users/3/tasks/2": (2, 7),
    "admin POST /groups/2/users": (3, 8),
    "admin DELETE /groups/1/users/3": (5, 12),
    "owner POST /users": (4, 9),
    "owner DELETE /users/4": (6, 14),
    "owner POST /groups": (4, 9),
    "owner PUT /groups/1": (3, 8),
    "owner DELETE /groups/1": (9, 21),
    "owner DELETE /users/3": (6, 14),
    "owner POST /admin/sync": (16, 20),
    "owner GET /admin/status": (7, 16),
    "owner GET /admin/stats": (8, 19),
    "owner GET /metrics": (9, 24),
}


ABOUT_STORES = ("/admin/status", "/admin/stats", "/metrics")
PLACES: dict[str, str] = {}
"""Words in paths -> what `populate` made."""


class Counter:
    """Counts round trips and commands of all connections."""

    def __init__(self) -> None:
        self.trips = self.commands = 0

    def take(self) -> tuple[int, int]:
        """Return (round trips, commands) since the last time."""
        taken = self.trips, self.commands
        self.trips = self.commands = 0
        return taken


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> Counter:
    counter, exchange = Counter(), Connection._exchange

    def counted(self: Connection, commands: Sequence[Command], *rest: Any) -> list[Any]:
        counter.trips += 1
        counter.commands += len(commands)
        return exchange(self, commands, *rest)

    monkeypatch.setattr(Connection, "_exchange", counted)
    return counter


def load_scripts(installation: Installation) -> None:
    """Load the scripts, so that no request has to send one."""
    settings = installation.settings
    connection = Store(settings.redis_url, settings.key_prefix).connection
    connection.execute(*(("SCRIPT", "LOAD", source) for source in SOURCES.values()))
    connection.close()


def populate(api: Api) -> None:
    """Create two groups of user 2; user 3 is in the first one and has three tasks there."""
    new_admin(api)
    for _ in range(2):
        new_group(api, admin_id=2)
    new_user(api, 1)
    for _ in range(3):
        new_task(api, 3, 1)
    token, CALLERS["token"] = new_token(api, {"id": 3})
    PLACES["<token>"] = str(token["id"])


def ask(api: Api, request: str) -> Answer:
    """Send `<caller> <method> <path>`, with its body."""
    caller, method, path = request.split(" ")
    body = BODIES.get(f"{method} {path}", ...)
    for word, value in PLACES.items():
        path = path.replace(word, value)
    return api(method, path, by=CALLERS[caller], json=body)


def test_every_endpoint_is_in_the_table(installation: Installation) -> None:
    routes = create_app(installation.settings).url_map
    endpoints = set()
    for request in COSTS:
        _, method, path = request.replace("<token>", "1").split(" ")
        endpoints.add(routes.bind("").match(path.partition("?")[0], method)[0])
    assert endpoints == {rule.endpoint for rule in routes.iter_rules()}


@pytest.fixture
def api(install: Install) -> Api:
    """A client of an installation with users who have logged in."""
    installation = install()
    load_scripts(installation)
    api = installation.client()
    populate(api)
    for caller in ("owner GET /users/1", "admin GET /users/2", "user GET /users/3"):
        assert ask(api, caller).status == 200
    assert ask(api, "token GET /groups").status == 200
    return api


def cost(api: Api, counter: Counter, request: str) -> tuple[int, int]:
    """Return the round trips and commands of a request."""
    counter.take()
    answer = ask(api, request)
    assert answer.status in (200, 201), (request, answer.body)
    return counter.take()


def test_no_request_costs_more_than_the_table_says(api: Api, counter: Counter) -> None:
    assert {request: cost(api, counter, request) for request in COSTS} == COSTS


def test_a_repeated_list_or_statistic_costs_one_round_trip_less(api: Api, counter: Counter) -> None:
    lists = {
        request: (trips - 1, commands - 1)
        for request, (trips, commands) in COSTS.items()
        if " GET " in request and trips > 1 and not request.endswith(ABOUT_STORES)
    }
    for request in lists:
        cost(api, counter, request)
    assert {request: cost(api, counter, request) for request in lists} == lists


def test_an_equal_search_after_a_change_saves_a_round_trip(api: Api, counter: Counter) -> None:
    request = "owner GET /tasks/search?q=task"
    trips, commands = cost(api, counter, request)
    for _ in range(2):
        new_task(api, 3, 1)
        assert cost(api, counter, request) == (trips - 1, commands - 1)


def test_the_first_use_of_a_token_on_a_day_costs_two_more_trips(api: Api, counter: Counter) -> None:
    _, CALLERS["token"] = new_token(api, {"id": 3})
    assert cost(api, counter, "token GET /users/3") == (3, 6)
    assert cost(api, counter, "token GET /users/3") == (1, 4)


def test_an_email_address_costs_a_round_trip_once(api: Api, counter: Counter) -> None:
    email = api("GET", "/users/3", by=USER).data["email"]
    for request, expected in (("first", 2), ("second", 1)):
        counter.take()
        assert api("GET", "/users/3", by=(email, PASSWORD)).status == 200, request
        assert counter.take()[0] == expected, request
    for login in (email, "ghost@example.com"):  # a stranger cannot tell them apart
        costs = []
        for _ in range(2):
            counter.take()
            headers = {"X-Forwarded-For": "192.0.2.7"}
            assert api("GET", "/users/3", by=(login, "wrong"), headers=headers).status == 401
            costs.append(counter.take()[0])
        assert len({*costs}) == 1
