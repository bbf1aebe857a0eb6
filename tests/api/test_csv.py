"""Lists of tasks and users as CSV."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from redis.exceptions import TimeoutError

from taskapi.errors import Damaged
from taskapi.store import queries
from taskapi.store.connection import Connection
from tests.api.factories import login, new_admin, new_group, new_task, new_user, ok, refused
from tests.client import Answer, Api
from tests.conftest import Install
from tests.stores import connect, root

TEXTS = [
    "plain",
    'a "quoted" word',
    "two\nlines, comma",
    "Straße €",
    "=1+2",
    "+1",
    "-1",
    "@x",
    "'",
    "\uff1d1",
]


@pytest.fixture(scope="module")
def api(install: Install) -> Api:
    """Two groups, the admin of the first one, two members, and a task with each text."""
    api = install().client()
    new_group(api, new_admin(api)["id"])
    new_group(api)
    for _ in range(2):
        new_user(api, 1)
    for number, text in enumerate(TEXTS):
        new_task(api, 3 + number % 2, 1, title=text, priority=1 + number % 3)
    return api


def rows(answer: Answer) -> list[dict[str, str]]:
    """Return the lines of a CSV answer by the names in its header."""
    assert answer.status == 200, answer.body
    assert answer.headers["Content-Type"].startswith("text/csv; charset=utf-8")
    text = answer.body.decode()
    assert text.endswith("\r\n")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def as_cell(value: Any) -> str:
    if isinstance(value, str):
        return f"'{value}" if value[:1] in {*"=+-@\uff1d"} - {""} else value
    return "" if value is None else json.dumps(value, separators=(",", ":"))


PATHS = {
    "/tasks/filter": "tasks",
    "/tasks/filter?priority=2&status=pending": "tasks",
    "/users/3/tasks": "tasks",
    "/users/me/tasks": "tasks",
    "/groups/1/tasks": "tasks",
    "/groups/1/users": "users",
    "/users": "users",
}


@pytest.mark.parametrize(("path", "key"), PATHS.items())
@pytest.mark.parametrize("who", [1, 2, 3])
def test_csv_has_what_json_has(api: Api, path: str, key: str, who: int) -> None:
    by: Any = "owner" if who == 1 else login({"id": who})
    shown = api("GET", path, by=by)
    if shown.status == 403:
        refused(api("GET", path, by=by, headers={"Accept": "text/csv"}), 403)
        return
    expected = [{k: as_cell(v) for k, v in each.items()} for each in ok(shown)[key]]
    joint = "&" if "?" in path else "?"
    for asked in (
        api("GET", path, by=by, headers={"Accept": "text/csv"}),
        api("GET", f"{path}{joint}format=csv", by=by),
        api("GET", f"{path}{joint}format=csv&limit=1000", by=by),
    ):
        assert rows(asked) == expected


def test_a_long_list_comes_in_pieces(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = api("GET", "/tasks/filter?format=csv", by="owner")
    monkeypatch.setattr(queries, "CHUNK", 1)
    monkeypatch.setattr(queries, "LIGHT_MOST", 2)
    assert api("GET", "/tasks/filter?format=csv", by="owner").body == whole.body


def test_a_page_of_csv_has_a_link_to_the_next_one(api: Api) -> None:
    whole, url, seen = rows(api("GET", "/tasks/filter?format=csv", by="owner")), "", []
    answer = api("GET", "/tasks/filter?format=csv&limit=4", by="owner")
    while True:
        seen += rows(answer)
        link = answer.headers.get("Link")
        if not link:
            break
        url = link.split(">")[0].removeprefix("<")
        answer = api("GET", url, by="owner")
    assert "format=csv" in url
    assert seen == whole


def test_an_empty_list_is_a_header(api: Api) -> None:
    answer = api("GET", "/groups/2/tasks?format=csv", by="owner")
    assert rows(answer) == []
    assert answer.body.startswith(b"id,title,status,priority,deadline,")


@pytest.mark.parametrize(
    ("accept", "is_csv"),
    [
        ("text/csv", True),
        ("text/csv, application/json;q=0.5", True),
        ("text/csv; charset=utf-8", True),
        ("text/csv;header=present, */*;q=0.1", True),
        ("text/csv, */*", True),
        ("application/json, text/csv;q=0.5", False),
        ("application/json, text/csv", False),
        ("text/csv;q=0", False),
        ("*/*", False),
        ("text/*", False),
        ("text/html", False),
    ],
)
def test_accept_decides_unless_the_format_is_named(api: Api, accept: str, is_csv: bool) -> None:
    headers = {"Accept": accept}
    answer = api("GET", "/users", by="owner", headers=headers)
    assert answer.headers["Content-Type"].startswith("text/csv") == is_csv
    for name in ("json", "csv"):
        answer = api("GET", f"/users?format={name}", by="owner", headers=headers)
        assert name in answer.headers["Content-Type"]


@pytest.mark.parametrize("path", ["/users?format=xml", "/users?format=", "/groups?format=csv"])
def test_other_formats_and_lists_are_refused(api: Api, path: str) -> None:
    assert "format" in refused(api("GET", path, by="owner"), 400)["fields"]


def test_a_list_that_cannot_be_read_to_its_end_is_not_ended(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "CHUNK", 1)
    monkeypatch.setattr(queries, "LIGHT_MOST", 2)
    exchange, left = Connection._exchange, iter(range(5))

    def failing(self: Connection, commands: Any, *rest: Any) -> list[Any]:
        if next(left, None) is None:
            raise TimeoutError
        return exchange(self, commands, *rest)

    monkeypatch.setattr(Connection, "_exchange", failing)
    with pytest.raises(Exception, match="Redis"):
        api("GET", "/tasks/filter?format=csv", by="owner")


def test_a_damaged_entity_is_named(install: Install) -> None:
    installation = install()
    api = installation.client()
    task = new_task(api, 1, new_group(api)["id"])
    with connect(installation) as connection:
        key = f"{root(installation)}task:{task['id']}"
        connection.hset(key, "json", f'{{x,"version":{task["version"]}}}')
    error = refused(api("GET", "/tasks/filter?format=csv&limit=10", by="owner"), 503)
    assert error["code"] == "damaged"
    with pytest.raises(Damaged):  # the answer has begun, so the connection is closed
        api("GET", "/tasks/filter?format=csv", by="owner")
