"""Who may do what: a table of role x endpoint x relation; every cell is one request.

The table was written by hand from the contract; it shares no code with `policy.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from tests.api.factories import PASSWORD, login, new_admin, new_group, new_task, new_user
from tests.client import Answer, Api, Caller
from tests.conftest import Install
from tests.support import OWNER_EMAIL, OWNER_PASSWORD

# header    the owner password             ada  admin of group A        uma  user in A
# olga      the owner by Basic, user 1     bob  admin of group B        pat  another user in A
#                                          cy   admin of group C, who   sam  user in B
#                                               merely belongs to A
#
# In a path or body <me> is the caller, <gone> an id that does not exist, <any> a fresh word.
# Made anew after each cell that may have changed it: <victim> a user in A, <rival> a user in B,
# <loner> a user in no group, <chief> a group admin in A, <spare> a group of ada's; <task> uma's
# in A, <samtask> sam's in B, <strayed> uma's in C (where she does not belong), <mine> the caller's.
#
# For nobody and for a wrong password every one of these is 401.
CALLERS = ["header", "olga", "ada", "bob", "cy", "uma", "pat", "sam"]
USERS = """
GET /users                                                       | 200 200 200 200 200 403 403 403
GET /users/search?q=a                                            | 200 200 200 200 200 403 403 403
POST /users {<new>, "group_ids": [<A>]}                          | 201 201 201 403 403 403 403 403
POST /users {<new>, "group_ids": [<B>]}                          | 201 201 403 201 403 403 403 403
POST /users {<new>, "group_ids": [<A>, <B>]}                     | 201 201 403 403 403 403 403 403
POST /users {<new>, "group_ids": [<gone>]}                       | 400 400 403 403 403 403 403 403
POST /users {<new>, "group_ids": []}                             | 201 201 403 403 403 403 403 403
POST /users {<new>}                                              | 201 201 403 403 403 403 403 403
POST /users {<new>, "role": "group_admin", "group_ids": [<A>]}   | 201 201 403 403 403 403 403 403
POST /users {<new>, "role": "owner"}                             | 201 201 403 403 403 403 403 403
GET /users/<me>                                                  | 200 200 200 200 200 200 200 200
GET /users/1                                                     | 200 200 403 403 403 403 403 403
GET /users/<ada>                                                 | 200 200 200 403 403 403 403 403
GET /users/<cy>                                                  | 200 200 200 403 200 403 403 403
GET /users/<uma>                                                 | 200 200 200 403 403 200 403 403
GET /users/<sam>                                                 | 200 200 403 200 403 403 403 200
GET /users/<loner>                                               | 200 200 403 403 403 403 403 403
GET /users/<gone>                                                | 404 404 403 403 403 403 403 403
PUT /users/<me> {"full_name": "<any>"}                           | 200 200 200 200 200 200 200 200
PUT /users/<me> {"number": "<any>", "work_times": {"Monday": 1}} | 200 200 200 200 200 200 200 200
PUT /users/<me> {"email": "<any>@example.com"}                   | 200 200 200 200 200 200 200 200
PUT /users/<me> {"role": "owner"}                                | 200 200 403 403 403 403 403 403
PUT /users/<me> {"role": "user"}                                 | 409 409 403 403 403 200 200 200
PUT /users/<me> {"group_ids": [<C>]}                             | 200 200 403 403 403 403 403 403
PUT /users/<me> {"group_ids": [<gone>]}                          | 400 400 403 403 403 403 403 403
PUT /users/<uma> {"full_name": "<any>"}                          | 200 200 200 403 403 200 403 403
PUT /users/<uma> {"number": "<any>", "work_times": {}}           | 200 200 200 403 403 200 403 403
PUT /users/<uma> {"group_ids": [<A>], "role": "user"}            | 200 200 200 403 403 200 403 403
PUT /users/<uma> {"email": "<any>@example.com"}                  | 200 200 403 403 403 200 403 403
PUT /users/<uma> {"password": "<password>"}                      | 200 200 403 403 403 200 403 403
PUT /users/<victim> {"role": "group_admin"}                      | 200 200 403 403 403 403 403 403
PUT /users/<victim> {"group_ids": []}                            | 200 200 403 403 403 403 403 403
PUT /users/<cy> {"full_name": "<any>"}                           | 200 200 403 403 200 403 403 403
PUT /users/<sam> {"full_name": "<any>"}                          | 200 200 403 200 403 403 403 200
PUT /users/1 {"full_name": "<any>"}                              | 200 200 403 403 403 403 403 403
PUT /users/<gone> {"full_name": "<any>"}                         | 404 404 403 403 403 403 403 403
DELETE /users/<victim>                                           | 200 200 403 403 403 403 403 403
DELETE /users/<me>                                               | 409 409 403 403 403 403 403 403
DELETE /users/1                                                  | 409 409 403 403 403 403 403 403
DELETE /users/<gone>                                             | 404 404 403 403 403 403 403 403
GET /users/<me>/worktimes                                        | 200 200 200 200 200 200 200 200
GET /users/<uma>/worktimes                                       | 200 200 200 403 403 200 403 403
GET /users/<cy>/worktimes                                        | 200 200 200 403 200 403 403 403
GET /users/<sam>/worktimes                                       | 200 200 403 200 403 403 403 200
GET /users/<gone>/worktimes                                      | 404 404 403 403 403 403 403 403
PUT /users/<me>/worktimes {"work_times": {"Friday": 6}}          | 200 200 200 200 200 200 200 200
PUT /users/<uma>/worktimes {"work_times": {"Friday": 6}}         | 200 200 200 403 403 200 403 403
PUT /users/<cy>/worktimes {"work_times": {"Friday": 6}}          | 200 200 403 403 200 403 403 403
PUT /users/<sam>/worktimes {"work_times": {"Friday": 6}}         | 200 200 403 200 403 403 403 200
PUT /users/<gone>/worktimes {"work_times": {"Friday": 6}}        | 404 404 403 403 403 403 403 403
GET /users/<me>/tokens                                           | 200 200 200 200 200 200 200 200
GET /users/<uma>/tokens                                          | 200 200 403 403 403 200 403 403
GET /users/1/tokens                                              | 200 200 403 403 403 403 403 403
GET /users/<gone>/tokens                                         | 404 404 403 403 403 403 403 403
POST /users/<me>/tokens {"name": "<any>"}                        | 201 201 201 201 201 201 201 201
POST /users/<uma>/tokens {"name": "<any>"}                       | 201 201 403 403 403 201 403 403
POST /users/1/tokens {"name": "<any>"}                           | 201 201 403 403 403 403 403 403
POST /users/<gone>/tokens {"name": "<any>"}                      | 404 404 403 403 403 403 403 403
DELETE /users/<me>/tokens/<gone>                                 | 404 404 404 404 404 404 404 404
DELETE /users/<uma>/tokens/<gone>                                | 404 404 403 403 403 404 403 403
DELETE /users/<gone>/tokens/<gone>                               | 404 404 403 403 403 403 403 403
"""
GROUPS = """
GET /groups                                                      | 200 200 200 200 200 200 200 200
GET /groups/<A>                                                  | 200 200 200 403 200 200 200 403
GET /groups/<B>                                                  | 200 200 403 200 403 403 403 200
GET /groups/<gone>                                               | 404 404 403 403 403 403 403 403
GET /groups/<A>/users                                            | 200 200 200 403 200 200 200 403
GET /groups/<gone>/users                                         | 404 404 403 403 403 403 403 403
GET /groups/<A>/stats                                            | 200 200 200 403 200 200 200 403
GET /groups/<gone>/stats                                         | 404 404 403 403 403 403 403 403
GET /groups/<A>/tasks                                            | 200 200 200 403 200 200 200 403
GET /groups/<gone>/tasks                                         | 404 404 403 403 403 403 403 403
POST /groups {"name": "<any>", "admin_id": <bob>}                | 201 201 403 403 403 403 403 403
POST /groups {"name": "<any>", "admin_id": <ada>}                | 201 201 403 403 403 403 403 403
POST /groups {"name": "<any>", "admin_id": <uma>}                | 400 400 403 403 403 403 403 403
POST /groups {"name": "<any>", "admin_id": <gone>}               | 400 400 403 403 403 403 403 403
POST /groups {"colour": "red"}                                   | 400 400 403 403 403 403 403 403
PUT /groups/<A> {"name": "<any>"}                                | 200 200 403 403 403 403 403 403
PUT /groups/<spare> {"admin_id": <chief>}                        | 200 200 403 403 403 403 403 403
PUT /groups/<A> {"admin_id": <pat>}                              | 400 400 403 403 403 403 403 403
PUT /groups/<A> {"admin_id": <gone>}                             | 400 400 403 403 403 403 403 403
PUT /groups/<gone> {"name": "<any>"}                             | 404 404 403 403 403 403 403 403
DELETE /groups/<spare>                                           | 200 200 403 403 403 403 403 403
DELETE /groups/<gone>                                            | 404 404 403 403 403 403 403 403
POST /groups/<A>/users {"user_id": <loner>}                      | 200 200 200 403 403 403 403 403
POST /groups/<spare>/users {"user_id": <rival>}                  | 200 200 200 403 403 403 403 403
POST /groups/<spare>/users {"user_id": <chief>}                  | 200 200 403 403 403 403 403 403
POST /groups/<spare>/users {"user_id": 1}                        | 200 200 403 403 403 403 403 403
POST /groups/<A>/users {"user_id": <gone>}                       | 400 400 403 403 403 403 403 403
POST /groups/<A>/users {"user_id": <pat>}                        | 409 409 409 403 403 403 403 403
POST /groups/<A>/users {"user_id": <me>}                         | 200 200 403 403 403 403 403 403
POST /groups/<gone>/users {"user_id": <loner>}                   | 404 404 403 403 403 403 403 403
DELETE /groups/<A>/users/<victim>                                | 200 200 200 403 403 403 403 403
DELETE /groups/<A>/users/<chief>                                 | 200 200 403 403 403 403 403 403
DELETE /groups/<A>/users/<ada>                                   | 409 409 403 403 403 403 403 403
DELETE /groups/<A>/users/<sam>                                   | 404 404 404 403 403 403 403 403
DELETE /groups/<A>/users/<bob>                                   | 404 404 403 403 403 403 403 403
DELETE /groups/<A>/users/<gone>                                  | 404 404 403 403 403 403 403 403
DELETE /groups/<gone>/users/<victim>                             | 404 404 403 403 403 403 403 403
"""
TASKS = """
GET /users/<me>/tasks                                            | 200 200 200 200 200 200 200 200
GET /users/<uma>/tasks                                           | 200 200 200 403 403 200 403 403
GET /users/<cy>/tasks                                            | 200 200 200 403 200 403 403 403
GET /users/<sam>/tasks                                           | 200 200 403 200 403 403 403 200
GET /users/<gone>/tasks                                          | 404 404 403 403 403 403 403 403
POST /users/<me>/tasks {"title": "t", "group_id": <A>}           | 201 201 201 403 201 201 201 403
POST /users/<me>/tasks {"title": "t", "group_id": <B>}           | 201 201 403 201 403 403 403 201
POST /users/<me>/tasks {"title": "t", "group_id": <gone>}        | 400 400 403 403 403 403 403 403
POST /users/<uma>/tasks {"title": "t", "group_id": <A>}          | 201 201 201 403 403 201 403 403
POST /users/<uma>/tasks {"title": "t", "group_id": <B>}          | 201 201 403 403 403 403 403 403
POST /users/<uma>/tasks {"title": "t", "group_id": <spare>}      | 201 201 403 403 403 403 403 403
POST /users/<uma>/tasks {"title": "t", "group_id": <gone>}       | 400 400 403 403 403 403 403 403
POST /users/<cy>/tasks {"title": "t", "group_id": <A>}           | 201 201 201 403 201 403 403 403
POST /users/<cy>/tasks {"title": "t", "group_id": <C>}           | 201 201 403 403 201 403 403 403
POST /users/<gone>/tasks {"title": "t", "group_id": <A>}         | 404 404 403 403 403 403 403 403
GET /users/<me>/tasks/<mine>                                     | 200 200 200 200 200 200 200 200
GET /users/<me>/tasks/<task>                                     | 404 404 404 404 404 200 404 404
GET /users/<me>/tasks/<gone>                                     | 404 404 404 404 404 404 404 404
GET /users/<uma>/tasks/<task>                                    | 200 200 200 403 403 200 403 403
GET /users/<uma>/tasks/<strayed>                                 | 200 200 403 403 200 200 403 403
GET /users/<uma>/tasks/<samtask>                                 | 404 404 403 403 403 404 403 403
GET /users/<uma>/tasks/<gone>                                    | 404 404 403 403 403 404 403 403
GET /users/<pat>/tasks/<task>                                    | 404 404 403 403 403 403 404 403
GET /users/<gone>/tasks/<task>                                   | 404 404 403 403 403 403 403 403
PUT /users/<me>/tasks/<mine> {"title": "<any>"}                  | 200 200 200 200 200 200 200 200
PUT /users/<me>/tasks/<mine> {"group_id": <A>}                   | 200 200 200 403 200 200 200 403
PUT /users/<me>/tasks/<mine> {"group_id": <B>}                   | 200 200 403 200 403 403 403 200
PUT /users/<me>/tasks/<mine> {"group_id": <gone>}                | 400 400 403 403 403 403 403 403
PUT /users/<me>/tasks/<task> {"title": "<any>"}                  | 404 404 404 404 404 200 404 404
PUT /users/<me>/tasks/<gone> {"title": "<any>"}                  | 404 404 404 404 404 404 404 404
PUT /users/<uma>/tasks/<task> {"title": "<any>"}                 | 200 200 200 403 403 200 403 403
PUT /users/<uma>/tasks/<task> {"group_id": <B>}                  | 200 200 403 403 403 403 403 403
PUT /users/<uma>/tasks/<task> {"group_id": <spare>}              | 200 200 403 403 403 403 403 403
PUT /users/<uma>/tasks/<task> {"group_id": <gone>}               | 400 400 403 403 403 403 403 403
PUT /users/<uma>/tasks/<strayed> {"title": "<any>"}              | 200 200 403 403 200 200 403 403
PUT /users/<uma>/tasks/<strayed> {"group_id": <A>}               | 200 200 403 403 403 200 403 403
PUT /users/<uma>/tasks/<samtask> {"title": "<any>"}              | 404 404 403 403 403 404 403 403
PUT /users/<uma>/tasks/<gone> {"title": "<any>"}                 | 404 404 403 403 403 404 403 403
PUT /users/<gone>/tasks/<task> {"title": "<any>"}                | 404 404 403 403 403 403 403 403
PUT /users/<me>/tasks/<mine>/done                                | 200 200 200 200 200 200 200 200
PUT /users/<me>/tasks/<task>/done                                | 404 404 404 404 404 200 404 404
PUT /users/<uma>/tasks/<task>/done                               | 200 200 200 403 403 200 403 403
PUT /users/<uma>/tasks/<strayed>/done                            | 200 200 403 403 200 200 403 403
PUT /users/<uma>/tasks/<gone>/done                               | 404 404 403 403 403 404 403 403
PUT /users/<gone>/tasks/<task>/done                              | 404 404 403 403 403 403 403 403
DELETE /users/<me>/tasks/<mine>                                  | 200 200 200 200 200 200 200 200
DELETE /users/<me>/tasks/<task>                                  | 404 404 404 404 404 200 404 404
DELETE /users/<uma>/tasks/<task>                                 | 200 200 200 403 403 200 403 403
DELETE /users/<uma>/tasks/<strayed>                              | 200 200 403 403 200 200 403 403
DELETE /users/<uma>/tasks/<gone>                                 | 404 404 403 403 403 404 403 403
DELETE /users/<gone>/tasks/<task>                                | 404 404 403 403 403 403 403 403
"""
REST = """
GET /tasks/search?q=a                                            | 200 200 200 200 200 403 403 403
GET /tasks/stats                                                 | 200 200 200 200 200 200 200 200
GET /tasks/filter                                                | 200 200 200 200 200 200 200 200
GET /tasks/filter?user_id=<me>                                   | 200 200 200 200 200 200 200 200
GET /tasks/filter?user_id=<pat>                                  | 200 200 200 403 403 403 200 403
GET /tasks/filter?user_id=<sam>                                  | 200 200 403 200 403 403 403 200
GET /tasks/filter?user_id=<gone>                                 | 200 200 403 403 403 403 403 403
GET /tasks/filter?group_id=<A>                                   | 200 200 200 403 200 200 200 403
GET /tasks/filter?group_id=<B>                                   | 200 200 403 200 403 403 403 200
GET /tasks/filter?group_id=<gone>                                | 200 200 403 403 403 403 403 403
POST /tasks/batch {"task_ids": [<mine>], "action": "mark_done"}  | 200 200 200 200 200 200 200 200
POST /tasks/batch {"task_ids": [<gone>], "action": "delete"}     | 200 200 200 200 200 200 200 200
GET /admin/status                                                | 200 200 403 403 403 403 403 403
GET /admin/stats                                                 | 200 200 403 403 403 403 403 403
POST /admin/sync                                                 | 200 200 403 403 403 403 403 403
POST /admin/sync?action=force                                    | 200 200 403 403 403 403 403 403
POST /admin/sync?action=backup                                   | 200 200 403 403 403 403 403 403
POST /admin/sync?action=restore                                  | 200 200 403 403 403 403 403 403
POST /admin/sync?action=dance                                    | 400 400 403 403 403 403 403 403
"""
# How many of a batch's tasks change; the answer is 200 to everybody.
BATCHES = """
{"task_ids": [<task>], "updates": {"priority": 1}}               | 1 1 1 0 0 1 0 0
{"task_ids": [<task>], "updates": {"group_id": <B>}}             | 1 1 0 0 0 0 0 0
{"task_ids": [<strayed>], "updates": {"group_id": <A>}}          | 1 1 0 0 0 1 0 0
{"task_ids": [<task>, <strayed>], "action": "mark_done"}         | 2 2 1 0 1 2 0 0
{"task_ids": [<task>, <samtask>, <gone>], "action": "delete"}    | 2 2 1 1 0 1 0 1
"""


class World:
    """The users of the table, and the entities that a cell names."""

    def __init__(self, api: Api) -> None:
        self.api = api
        people = {name: new_admin(api) for name in ("ada", "bob", "cy")}
        heads = {"A": people["ada"], "B": people["bob"], "C": people["cy"]}
        self.groups = {name: new_group(api, head["id"])["id"] for name, head in heads.items()}
        for name, group in {"uma": "A", "pat": "A", "sam": "B"}.items():
            people[name] = new_user(api, self.groups[group])
        api(
            "POST",
            f"/groups/{self.groups['A']}/users",
            by="owner",
            json={"user_id": heads["C"]["id"]},
        )
        self.ids = {name: user["id"] for name, user in people.items()} | {"header": 1, "olga": 1}
        self.by: dict[str, Caller] = {name: login(user) for name, user in people.items()}
        self.by |= {"header": "owner", "olga": (1, OWNER_PASSWORD)}
        self.words = count(1)
        self.fresh: dict[str, Any] = {}  # what no request has touched yet
        self.seen: list[bytes] = []  # the last snapshot, while nothing has changed

    def word(self) -> str:
        return f"word{next(self.words)}"

    def address(self) -> str:
        number = next(self.words)
        return f"10.0.{number // 250}.{number % 250}"

    def task(self, user: str, group: str) -> Any:
        return new_task(self.api, self.ids[user], self.groups[group])["id"]

    def fill_in(self, text: str, caller: str) -> str:
        """Return `text` with an id or a word in the place of each placeholder."""
        home = {"bob": "B", "sam": "B", "cy": "C"}.get(caller, "A")
        makers: dict[str, Callable[[], Any]] = {
            "gone": lambda: 987654321,
            "any": self.word,
            "password": lambda: PASSWORD,
            "new": lambda: json.dumps(
                {"full_name": "New", "email": f"{self.word()}@example.com", "password": PASSWORD}
            )[1:-1],
            "me": lambda: self.ids[caller],
            "victim": lambda: new_user(self.api, self.groups["A"])["id"],
            "rival": lambda: new_user(self.api, self.groups["B"])["id"],
            "loner": lambda: new_user(self.api)["id"],
            "chief": lambda: new_user(self.api, self.groups["A"], role="group_admin")["id"],
            "spare": lambda: new_group(self.api, self.ids["ada"])["id"],
            "task": lambda: self.task("uma", "A"),
            "samtask": lambda: self.task("sam", "B"),
            "strayed": lambda: self.task("uma", "C"),
            "mine": lambda: self.task(caller, home),
        }
        fixed = self.ids | self.groups

        def value(match: re.Match[str]) -> str:
            name = match[1]
            if name in fixed:
                return str(fixed[name])
            key = f"{name} of {caller}" if name in ("mine", "me") else name
            if key not in self.fresh:
                self.fresh[key] = makers[name]()
                self.seen = []
            return str(self.fresh[key])

        return re.sub(r"<(\w+)>", value, text)


@pytest.fixture(scope="module")
def world(install: Install) -> World:
    return World(install(TRUSTED_PROXIES="1").client())


def rows(*tables: str) -> list[Any]:
    lines = [line for table in tables for line in table.strip().splitlines()]
    split = [line.split("|") for line in lines]
    return [pytest.param(what.strip(), cells.split(), id=what.strip()) for what, cells in split]


def ask(world: World, request: str, by: Caller, **headers: str) -> Answer:
    method, path, *body = request.split(" ", 2)
    data = body[0].encode() if body else None
    typed = headers | ({"Content-Type": "application/json"} if data else {})
    return world.api(method, path, by=by, data=data, headers=typed)


@pytest.mark.parametrize(("request_", "cells"), rows(USERS, GROUPS, TASKS, REST))
def test_each_role_may_do_this_and_no_more(world: World, request_: str, cells: list[str]) -> None:
    expected = dict(zip(CALLERS, map(int, cells), strict=True))
    assert {caller: tried(world, request_, caller) for caller in CALLERS} == expected


def snapshot(world: World) -> list[bytes]:
    """Return everything that clients can see, to compare before and after."""
    paths = ("/users", "/groups", "/tasks/filter")
    return [world.api("GET", path, by="owner").body for path in paths]


def check_unchanged(world: World, before: list[bytes] | None) -> None:
    if before is not None:
        world.seen = snapshot(world)
        assert world.seen == before


def tried(world: World, request_: str, caller: str) -> int:
    """Return the status of the answer; check that a refusal is JSON and changes nothing."""
    filled = world.fill_in(request_, caller)
    before = None if filled.startswith("GET") else world.seen or snapshot(world)
    answer = ask(world, filled, world.by[caller])
    if answer.status >= 400:
        assert answer.json["success"] is False
        check_unchanged(world, before)
        return answer.status
    if before:
        world.fresh.clear()
        world.seen = []
    if before and caller in ("header", "olga"):  # undo the change of user 1
        world.api("PUT", "/users/1", by="owner", json={"group_ids": [], "email": OWNER_EMAIL})
    return answer.status


@pytest.mark.parametrize(("request_", "cells"), rows(USERS, GROUPS, TASKS, REST))
def test_no_credentials_and_a_wrong_password_get_401_everywhere(
    world: World, request_: str, cells: list[str]
) -> None:
    del cells
    filled = world.fill_in(request_, "uma")
    before = None if filled.startswith("GET") else world.seen or snapshot(world)
    nobody = ask(world, filled, None)
    wrong = ask(world, filled, (world.ids["uma"], "wrong"), **{"X-Forwarded-For": world.address()})
    assert (nobody.status, wrong.status) == (401, 401)
    check_unchanged(world, before)


@pytest.mark.parametrize(("body", "cells"), rows(BATCHES))
def test_a_batch_changes_the_tasks_that_each_role_may_change(
    world: World, body: str, cells: list[str]
) -> None:
    expected = dict(zip(CALLERS, map(int, cells), strict=True))
    assert {caller: changed(world, body, caller) for caller in CALLERS} == expected


def changed(world: World, body: str, caller: str) -> Any:
    filled = world.fill_in(f"POST /tasks/batch {body}", caller)
    data = ask(world, filled, world.by[caller]).data
    world.fresh.clear()
    world.seen = []
    done = data["updated_count"] + data["deleted_count"]
    assert data["total_requested"] == done + data.get("error_count", 0)
    return done


@pytest.mark.parametrize("by", [None, "owner", (1, "wrong")])
def test_health_is_for_everybody(world: World, by: Caller) -> None:
    assert world.api("GET", "/health", by=by).status == 200
