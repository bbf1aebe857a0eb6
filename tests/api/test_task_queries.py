"""Questions about tasks: every answer is that of a plain Python model."""

from __future__ import annotations

import datetime
import random
import time
from typing import Any
from urllib.parse import urlencode

import pytest

from taskapi.api import task_lists
from taskapi.store import dirty_tasks, queries
from taskapi.sync import task_sql
from taskapi.sync.search import Index
from tests.api.factories import (
    login,
    new_admin,
    new_group,
    new_task,
    new_user,
    ok,
    path_of,
    refused,
)
from tests.client import Api, Caller
from tests.conftest import Install
from tests.support import Installation

NOW = datetime.datetime(2026, 11, 30, 12, 0, tzinfo=datetime.UTC)
DAYS = [None, "2026-11-28", "2026-11-29", "2026-11-30", "2026-12-01", "2028-02-29"]
TITLES = ["alpha", "Beta", "beta", "Straße", "STRASSE", "é", "zeta\nline", "a b", "50%_"]
SORTS = ["id", "deadline", "priority", "created_at", "updated_at", "title"]
FIELDS = ("title", "status", "priority", "deadline", "information")


class Site:
    """An owner, users in two groups, and among them the admin of the first one."""

    def __init__(self, installation: Installation, chance: random.Random) -> None:
        self.installation, self.chance = installation, chance
        self.api = installation.client()
        self.index = installation._app.extensions["taskapi"].index
        self.head = new_admin(self.api)
        self.groups = [new_group(self.api, self.head["id"])["id"], new_group(self.api)["id"]]
        member = {"group_ids": self.groups}
        ok(self.api("PUT", f"/users/{self.head['id']}", by="owner", json=member))
        self.users = [self.head, *(new_user(self.api, *self.groups) for _ in range(3))]
        self.callers: dict[int, Caller] = {1: "owner"}
        self.callers |= {user["id"]: login(user) for user in self.users}

    def fields(self) -> dict[str, Any]:
        pick = self.chance.choice
        return {
            "title": pick(TITLES),
            "status": pick([True, False, False]),
            "priority": pick([1, 2, 3]),
            "deadline": pick(DAYS),
            "information": pick(["", "beta", "x"]),
        }

    def create(self, count: int) -> None:
        for _ in range(count):
            user, group = self.chance.choice(self.users)["id"], self.chance.choice(self.groups)
            new_task(self.api, user, group, **self.fields())

    def tasks(self) -> list[dict[str, Any]]:
        tasks: list[dict[str, Any]] = ok(self.api("GET", "/tasks/filter", by="owner"))["tasks"]
        return tasks

    def change(self) -> None:
        """Change something: a task, where it is, or what PostgreSQL has of it."""
        tasks = self.tasks()
        task = self.chance.choice(tasks)
        path, kind = path_of(task), self.chance.randrange(12)
        if kind < 4:
            changed = self.chance.sample(FIELDS, 2)
            body = {name: value for name, value in self.fields().items() if name in changed}
            ok(self.api("PUT", path, by="owner", json=body))
        elif kind < 6:
            user = self.chance.choice(self.users)["id"]
            ok(self.api("PUT", path, by="owner", json={"user_id": user}))
        elif kind == 6:
            group = self.chance.choice(self.groups)
            ok(self.api("PUT", path, by="owner", json={"group_id": group}))
        elif kind == 7 and len(tasks) > 20:
            ok(self.api("DELETE", path, by="owner"))
        elif kind == 8:
            self.create(2)
        elif kind == 9:
            self.installation.sync()
        else:  # PostgreSQL goes away, or comes back
            is_away = self.index._away_until > time.monotonic()
            self.index._away_until = 0.0 if is_away else time.monotonic() + 1000

    def question(self) -> tuple[str, dict[str, str]]:
        """Return a list and parameters for it."""
        pick, user, group = self.chance.choice, self.chance.choice(self.users)["id"], self.groups[0]
        possible = {
            "status": pick(["completed", "pending", "all"]),
            "priority": pick("123"),
            "q": pick(["beta", "SS", "é", "%", "\n", "a"]),
            "due_after": pick(DAYS[1:]),
            "due_before": pick(DAYS[1:]),
            "has_deadline": pick(["true", "false"]),
            "overdue": "true",
            "created_after": self.time(),
            "created_before": self.time(),
            "updated_after": self.time(),
            "updated_before": self.time(),
            "user_id": str(user),
            "group_id": str(pick(self.groups)),
        }
        count = pick([0, 1, 1, 2, 3])
        query = {name: possible[name] for name in self.chance.sample(sorted(possible), count)}
        query["sort"] = pick(["", "-"]) + pick(SORTS)
        path = pick(["/tasks/filter", f"/users/{user}/tasks", f"/groups/{group}/tasks"])
        named = {"/users": "user_id", "/groups": "group_id"}.get(path[: path.index("/", 1)])
        query.pop(named or "", None)
        return path, query

    def time(self) -> str:
        """Return a time close to those of the tasks."""
        stamps = sorted({task["created_at"] for task in self.tasks()})
        return self.chance.choice([*stamps, "2000-01-01T00:00:00Z", "2100-01-01T01:00:00+01:00"])


def expected(site: Site, caller: int, path: str, query: dict[str, str]) -> list[dict[str, Any]]:
    """Return the tasks that the contract promises, by a plain model."""
    kind, *named = path.strip("/").split("/")
    found = []
    for task in site.tasks():
        is_seen = caller in (1, task["user_id"])
        is_seen |= caller == site.head["id"] and task["group_id"] == site.groups[0]
        is_named = kind == "tasks" or str(task[f"{kind[:-1]}_id"]) == named[0]
        if is_seen and is_named and all(holds(task, *each) for each in query.items()):
            found.append(task)
    sort = query["sort"].lstrip("-")
    found.sort(key=lambda task: task["id"])
    key = {"title": lambda task: task["title"].casefold()}.get(sort, lambda task: task[sort])
    with_key = [task for task in found if task[sort] is not None]
    with_key.sort(key=key, reverse=query["sort"].startswith("-"))
    return with_key + [task for task in found if task[sort] is None]


def holds(task: dict[str, Any], name: str, value: str) -> bool:
    """Return whether a task meets one condition."""
    due, utc = task["deadline"], value.replace("2100-01-01T01:00:00+01:00", "2100-01-01T00:00:00Z")
    text = f"{task['title']}\n{task['information']}".casefold()
    checks: dict[str, Any] = {
        "status": lambda: value == "all" or task["status"] == (value == "completed"),
        "priority": lambda: str(task["priority"]) == value,
        "user_id": lambda: str(task["user_id"]) == value,
        "group_id": lambda: str(task["group_id"]) == value,
        "q": lambda: value.strip().casefold() in text,
        "due_after": lambda: due is not None and due >= value,
        "due_before": lambda: due is not None and due <= value,
        "has_deadline": lambda: (due is not None) == (value == "true"),
        "overdue": lambda: due is not None and due < "2026-11-30" and not task["status"],
        "created_after": lambda: task["created_at"] >= utc,
        "created_before": lambda: task["created_at"] <= utc,
        "updated_after": lambda: task["updated_at"] >= utc,
        "updated_before": lambda: task["updated_at"] <= utc,
        "sort": lambda: True,
    }
    return bool(checks[name]())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[datetime.datetime]:
    """The time of day in the process, as a list of one."""
    now = [NOW]
    monkeypatch.setattr(task_lists, "_now", lambda: now[0])
    return now


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(
    "seed", [*(pytest.param(seed, marks=pytest.mark.long) for seed in (0, 1)), 2, 3]
)
def test_every_answer_is_that_of_the_model(
    install: Install, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    site = Site(install(), chance)
    if seed % 2:  # many small pieces
        monkeypatch.setattr(queries, "CHUNK", 7)
        monkeypatch.setattr(dirty_tasks, "CHUNK", 5)
    if seed == 3:  # more text than a process holds, except directly after a pass
        monkeypatch.setattr(dirty_tasks, "TEXT_MOST", 60)
    site.create(30)
    for _ in range(25):
        site.change()
        for _ in range(4):
            path, query = site.question()
            if "\n" in query.get("q", ""):
                query["q"] = "zeta\nline"
            caller = chance.choice([*site.callers])
            check(site, caller, path, query)


def check(site: Site, caller: int, path: str, query: dict[str, str]) -> None:
    """Compare a whole list, its pages and its total with the model."""
    by = site.callers[caller]
    answer = site.api("GET", f"{path}?{urlencode(query | {'total': 'true'})}", by=by)
    if answer.status == 403:
        assert caller != 1
        return
    whole, wanted = ok(answer), expected(site, caller, path, query)
    assert whole["tasks"] == wanted, (path, query, caller)
    assert (whole["count"], whole["total"]) == (len(wanted), len(wanted))
    limit, seen, after = site.chance.choice([1, 3, 1000]), [], "0"
    while after is not None:
        asked = query | {"limit": str(limit), "after": str(after)}
        page = ok(site.api("GET", f"{path}?{urlencode(asked)}", by=by))
        assert page["count"] == len(page["tasks"]) <= limit
        seen += page["tasks"]
        after = page["next_after"]
    assert seen == wanted, (path, query, caller, limit)


@pytest.mark.parametrize(
    ("zone", "now", "today"),
    [
        ("UTC", "2026-11-30T12:00:00+00:00", "2026-11-30"),
        ("Pacific/Kiritimati", "2026-11-30T09:59:00+00:00", "2026-11-30"),
        ("Pacific/Kiritimati", "2026-11-30T10:00:00+00:00", "2026-12-01"),
        ("Pacific/Pago_Pago", "2026-11-30T10:59:00+00:00", "2026-11-29"),
        ("Pacific/Pago_Pago", "2026-11-30T11:00:00+00:00", "2026-11-30"),
        ("Europe/Berlin", "2026-03-28T22:59:00+00:00", "2026-03-28"),
        ("Europe/Berlin", "2026-03-28T23:00:00+00:00", "2026-03-29"),
        ("Europe/Berlin", "2026-03-29T21:59:00+00:00", "2026-03-29"),
        ("Europe/Berlin", "2026-03-29T22:00:00+00:00", "2026-03-30"),
        ("America/New_York", "2028-03-01T04:59:00+00:00", "2028-02-29"),
        ("America/New_York", "2028-03-01T05:00:00+00:00", "2028-03-01"),
    ],
)
def test_a_day_begins_where_the_time_zone_says(
    api: Api, clock: list[datetime.datetime], zone: str, now: str, today: str
) -> None:
    clock[0] = datetime.datetime.fromisoformat(now)
    group, day = new_group(api)["id"], datetime.date.fromisoformat(today)
    due = [(day + datetime.timedelta(days=n)).isoformat() for n in (-1, 0, 1)]
    for deadline in due:
        new_task(api, 1, group, deadline=deadline)
    found = ok(api("GET", f"/tasks/filter?overdue=true&timezone={zone}", by="owner"))["tasks"]
    assert [task["deadline"] for task in found] == due[:1]


@pytest.mark.parametrize(
    "query",
    [
        *("due_after=tomorrow", "due_before=2026-02-29", "due_after=", "due_after=20261130"),
        *("has_deadline=1", "has_deadline=", "overdue=false", "overdue=1", "total=yes", "total="),
        *("timezone=Mars/Olympus", "timezone=../../etc/passwd", "timezone=", "timezone=Europe"),
        *("created_after=2026-11-30", "updated_before=now", "created_before=2026-11-30T12:00:00"),
        *("sort=colour", "sort=--id", "sort=", "sort=-", "sort=Title", "q=", "q=%00"),
        *("sort=title&after=1", "sort=title&after=WyJ0aXRsZSIsMSwyXQ", "after=WyJpZCIsMSwyXQ"),
        *("sort=deadline&after=WyJkZWFkbGluZSIsIngiLDFd", "sort=-id&after=7", "after=x"),
        *("sort=title&after=WyJ0aXRsZSIsIlx1MDAwMCIsMV0", "sort=title&after=%E2%82%AC"),
        "sort=created_at&after=WyJjcmVhdGVkX2F0IiwiMjAyNi0xMS0zMCIsMV0",
        "sort=updated_at&after=WyJjcmVhdGVkX2F0IiwiMjAyNi0xMS0zMFQxMjowMDowMFoiLDFd",
        "sort=priority&after=WyJwcmlvcml0eSIsOTk5OTksMV0",  # PostgreSQL has no such number
    ],
)
def test_a_question_that_cannot_be_understood_is_refused(api: Api, query: str) -> None:
    new_group(api)
    for path in ("/tasks/filter", "/users/1/tasks", "/groups/1/tasks"):
        error = refused(api("GET", f"{path}?{query}", by="owner"), 400)
        assert set(error["fields"]) == {query.rpartition("&")[2].split("=")[0]}


@pytest.mark.parametrize("query", ["user_id=1", "group_id=1", "colour=red"])
def test_what_the_path_names_is_no_parameter(api: Api, query: str) -> None:
    new_group(api)
    path = {"user_id": "/users/1/tasks", "group_id": "/groups/1/tasks"}
    name = query.split("=")[0]
    answer = api("GET", f"{path.get(name, '/tasks/filter')}?{query}", by="owner")
    assert set(refused(answer, 400)["fields"]) == {name}


def test_a_plus_that_is_not_encoded_is_understood(api: Api) -> None:
    new_task(api, 1, new_group(api)["id"])
    for sign in ("+", "%2B"):
        query = f"created_after=2000-01-01T00:00:00{sign}02:00"
        assert ok(api("GET", f"/tasks/filter?{query}", by="owner"))["count"] == 1


def test_a_fraction_of_a_second_excludes_what_is_before_it(api: Api) -> None:
    task = new_task(api, 1, new_group(api)["id"])
    second = task["created_at"].removesuffix("Z")
    counts = {
        query: ok(api("GET", f"/tasks/filter?{query}", by="owner"))["count"]
        for query in (
            f"created_after={second}.5Z",
            f"created_after={second}Z",
            f"created_before={second}.5Z",
        )
    }
    assert [*counts.values()] == [0, 1, 1]


def test_days_of_every_year_are_places(api: Api) -> None:
    group = new_group(api)["id"]
    days = ["0001-01-01", "0999-12-31", "2026-11-30", "9999-12-31"]
    for day in days:
        new_task(api, 1, group, deadline=day)
    seen, after = [], "0"
    while after is not None:
        query = urlencode({"sort": "deadline", "limit": 1, "after": after})
        page = ok(api("GET", f"/tasks/filter?{query}", by="owner"))
        seen += [task["deadline"] for task in page["tasks"]]
        after = page["next_after"]
    assert seen == days


def test_a_text_is_in_one_field(installation: Installation) -> None:
    api = installation.client()
    new_task(api, 1, new_group(api)["id"], title="first", information="second\nthird")
    for _ in range(2):  # changed since the pass, and not
        for text, count in (("t\ns", 0), ("second\nth", 1), ("t\0s", None)):
            query = urlencode({"q": text, "total": "true"})
            answer = api("GET", f"/tasks/filter?{query}", by="owner")
            if count is None:
                refused(answer, 400)
            else:
                assert (ok(answer)["count"], ok(answer)["total"]) == (count, count)
        installation.sync()


def test_the_longest_title_is_a_place(api: Api) -> None:
    group = new_group(api)["id"]
    for _ in range(2):
        new_task(api, 1, group, title="\U0001d160" * 200)  # folded, it has three times the length
    page = ok(api("GET", "/tasks/filter?sort=title&limit=1", by="owner"))
    query = urlencode({"sort": "title", "after": page["next_after"]})
    assert ok(api("GET", f"/tasks/filter?{query}", by="owner"))["count"] == 1


def test_nothing_is_completed_and_overdue(api: Api) -> None:
    new_task(api, 1, new_group(api)["id"], deadline="2026-01-01", status=True)
    query = "status=completed&overdue=true&total=true"
    found = ok(api("GET", f"/tasks/filter?{query}", by="owner"))
    assert (found["tasks"], found["total"]) == ([], 0)


def test_csv_has_the_order_of_the_question(api: Api) -> None:
    group = new_group(api)["id"]
    for deadline in ("2026-12-02", None, "2026-12-01"):
        new_task(api, 1, group, deadline=deadline)
    body = api("GET", "/tasks/filter?sort=-deadline&format=csv", by="owner").body.decode()
    assert [line.split(",")[4] for line in body.splitlines()[1:]] == [
        "2026-12-02",
        "2026-12-01",
        "",
    ]


def test_a_long_list_has_every_task_of_both_sources(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = installation.client()
    group = new_group(api)["id"]
    tasks = [new_task(api, 1, group) for _ in range(24)]
    installation.sync()
    for task in tasks[:12]:
        ok(api("PUT", path_of(task), by="owner", json={"priority": 3}))
    monkeypatch.setattr(queries, "CHUNK", 5)  # neither source names all its tasks at once
    for sort, wanted in (("created_at", tasks), ("-id", tasks[::-1])):
        shown = ok(api("GET", f"/tasks/filter?sort={sort}", by="owner"))["tasks"]
        assert [task["id"] for task in shown] == [task["id"] for task in wanted]


def test_a_question_that_takes_too_long_keeps_no_other_from_the_index(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = installation.client()
    group = new_group(api)
    for title in ("b", "a"):
        new_task(api, 1, group["id"], title=title)
    installation.sync()
    slow = task_sql.Sort("pg_sleep(5 + 0 * id)::text", "''", "text")
    monkeypatch.setitem(task_sql._SORTS, "title", slow)
    found, array = list[bool](), Index.array

    def spied(self: Index, *args: Any) -> list[Any] | None:
        rows = array(self, *args)
        found.append(rows is not None)
        return rows

    monkeypatch.setattr(Index, "array", spied)
    for sort, expected, seconds in (
        ("title", "ab", 2),
        ("title", "ab", 0.5),
        ("deadline", "ba", 1),
    ):
        begin = time.monotonic()
        shown = ok(api("GET", f"/tasks/filter?sort={sort}", by="owner"))["tasks"]
        assert "".join(task["title"] for task in shown) == expected
        assert time.monotonic() - begin < seconds
    assert found == [False, False, True]
    assert ok(api("GET", "/admin/status", by="owner"))["postgres_status"] == "connected"
