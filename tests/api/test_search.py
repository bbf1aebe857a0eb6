"""Search is exact, whether PostgreSQL names the candidates or Redis is scanned."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest

from taskapi import create_app
from taskapi.config import load
from taskapi.sync.postgres import Database
from tests.api.factories import login, new_group, new_task, new_user, ok, path_of
from tests.client import Api, Caller, in_process
from tests.support import OWNER_PASSWORD, Installation

TITLES = (
    "Straße nach Ulm",
    "STRASSE kehren",
    "100% done",
    "100 percent",
    "under_score",
    "underXscore",
    r"back\slash",
    "Cafe\u0301 opens",
    "caf\u00c9 shut",
    "plain",
    'a "quoted",{"id": word',
    "mark",
)


@pytest.fixture
def find_titles(installation: Installation) -> Callable[[str], list[str]]:
    """Create the tasks of TITLES; return a function that searches titles as the owner."""
    api = installation.client()
    group = new_group(api)
    for title in TITLES:
        information = "line\n\u0301b" if title == "mark" else ""
        new_task(api, 1, group["id"], title=title, information=information)

    def find(text: str) -> list[str]:
        return [task["title"] for task in search(api, q=text)[0]]

    return find


def search(api: Api, by: Caller = "owner", **query: object) -> tuple[list[Any], int | None]:
    """Return the tasks found, and `after` of the next page."""
    answer = ok(api("GET", f"/tasks/search?{urlencode(query)}", by=by))
    return [result["task"] for result in answer["results"]], answer.get("next_after")


EXPECTED = {
    "strasse": [TITLES[0], TITLES[1]],
    "100%": [TITLES[2]],
    "under_": [TITLES[4]],
    "k\\s": [TITLES[6]],
    "CAFÉ": [TITLES[7], TITLES[8]],
    'TED",{"id"': [TITLES[10]],
    "\u0301B": [TITLES[11]],
    "nothing like it": [],
}


@pytest.mark.parametrize("text", EXPECTED)
def test_finds_what_was_never_synced(find_titles: Callable[[str], list[str]], text: str) -> None:
    assert find_titles(text) == EXPECTED[text]


@pytest.mark.parametrize("text", EXPECTED)
def test_finds_what_postgres_has(
    installation: Installation, find_titles: Callable[[str], list[str]], text: str
) -> None:
    installation.sync()
    assert find_titles(text) == EXPECTED[text]


def test_what_changed_since_the_sync_decides(
    installation: Installation, find_titles: Callable[[str], list[str]]
) -> None:
    installation.sync()
    api = installation.client()
    ok(api("PUT", "/users/1/tasks/1", by="owner", json={"title": "renamed"}))
    ok(api("PUT", "/users/1/tasks/10", by="owner", json={"title": "now a Strasse too"}))
    ok(api("DELETE", "/users/1/tasks/2", by="owner"))
    assert find_titles("strasse") == ["now a Strasse too"]
    assert find_titles("renamed") == ["renamed"]


def test_another_epochs_rows_are_not_believed(
    installation: Installation, find_titles: Callable[[str], list[str]]
) -> None:
    installation.sync()
    with Database(installation.settings) as database:
        database.execute("UPDATE sync_state SET epoch = epoch + 1")
        database.execute("DELETE FROM tasks")
    assert find_titles("strasse") == EXPECTED["strasse"]


@pytest.mark.parametrize(
    "change",
    [
        "last_version = last_version - 1",
        "installation = gen_random_uuid()",
    ],
)
def test_a_postgresql_that_was_set_back_or_is_another_one_is_not_believed(
    installation: Installation, find_titles: Callable[[str], list[str]], change: str
) -> None:
    installation.sync()
    with Database(installation.settings) as database:
        database.execute(f"UPDATE sync_state SET {change}")
        database.execute("DELETE FROM tasks")
    assert find_titles("strasse") == EXPECTED["strasse"]


def test_pages_meet_without_gap_or_overlap(installation: Installation) -> None:
    api = installation.client()
    group = new_group(api)
    ids = [new_task(api, 1, group["id"], title=f"same {n}")["id"] for n in range(40)]
    installation.sync()
    for task_id in ids[::3]:
        ok(api("PUT", f"/users/1/tasks/{task_id}", by="owner", json={"title": "other"}))
    wanted = [task_id for task_id in ids if task_id not in ids[::3]]
    assert walk(api, 7) == wanted
    assert walk(api, 1000) == wanted


def walk(api: Api, limit: int) -> list[int]:
    seen: list[int] = []
    page, after = search(api, q="same", limit=limit)
    while after is not None:
        seen += [task["id"] for task in page]
        page, after = search(api, q="same", limit=limit, after=after)
    return seen + [task["id"] for task in page]


@pytest.mark.parametrize("is_synced", [False, True])
def test_a_group_admin_finds_their_groups_tasks_and_their_own(
    installation: Installation, is_synced: bool
) -> None:
    api = installation.client()
    theirs, foreign = new_group(api)["id"], new_group(api)["id"]
    admin = new_user(api, theirs, foreign, role="group_admin")
    ok(api("PUT", f"/groups/{theirs}", by="owner", json={"admin_id": admin["id"]}))
    seen = [
        new_task(api, 1, theirs, title="needle")["id"],
        new_task(api, admin["id"], foreign, title="needle")["id"],
    ]
    moved = new_task(api, 1, theirs, title="needle")
    new_task(api, 1, foreign, title="needle")
    if is_synced:
        installation.sync()
    ok(api("PUT", path_of(moved), by="owner", json={"group_id": foreign}))
    tasks, _ = search(api, by=login(admin), q="needle")
    assert [task["id"] for task in tasks] == seen


def test_without_postgres_redis_is_scanned(installation: Installation) -> None:
    api = installation.client()
    new_task(api, 1, new_group(api)["id"], title="needle")
    installation.sync()
    nowhere = installation.env | {"DATABASE_URL": "postgresql://127.0.0.1:1/x"}
    away = Api(in_process(create_app(load(nowhere))), OWNER_PASSWORD)
    for _ in range(2):
        assert [task["title"] for task in search(away, q="NEEDLE")[0]] == ["needle"]
