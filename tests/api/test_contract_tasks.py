"""Tasks: creating, changing, finishing, moving, batches, filters and searches."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.factories import (
    Team,
    login,
    made,
    new_group,
    new_task,
    ok,
    path_of,
    refused,
)
from tests.client import Api
from tests.conftest import Install

TASK = {"id", "title", "status", "priority", "deadline", "information", "user_id", "group_id"}
TASK |= {"created_at", "updated_at", "version"}


@pytest.fixture(scope="module")
def api(install: Install) -> Api:
    return install().client()


@pytest.fixture(scope="module")
def team(api: Api) -> Team:
    return Team(api)


def test_a_created_task_has_the_defaults_and_a_location(api: Api, team: Team) -> None:
    path = f"/users/{team.user['id']}/tasks"
    body = {"title": " Write ", "group_id": team.group}
    answer = api("POST", path, by=login(team.user), json=body)
    data = made(answer)
    task = data["task"]
    assert set(data) == {"message", "task"}
    assert set(task) == TASK
    assert (task["title"], task["status"], task["priority"]) == ("Write", False, 2)
    assert (task["deadline"], task["information"]) == (None, "")
    assert (task["user_id"], task["group_id"]) == (team.user["id"], team.group)
    assert answer.headers["Location"].endswith(path_of(task))
    for by in ("owner", login(team.user), login(team.head)):
        assert ok(api("GET", path_of(task), by=by)) == task


def test_every_field_of_a_task_is_kept(api: Api, team: Team) -> None:
    given = {"status": True, "priority": 3, "deadline": "2031-12-31", "information": "ä\n\t😀\\\"'"}
    task = new_task(api, team.user["id"], team.group, **given)
    assert task.items() >= given.items()
    assert ok(api("GET", path_of(task), by="owner")) == task


def test_a_put_changes_what_it_names_and_an_equal_one_nothing(api: Api, team: Team) -> None:
    task = new_task(api, team.user["id"], team.group, information="old", deadline="2030-01-01")
    change = {"priority": 1, "information": "new", "deadline": None, "status": True}
    data = ok(api("PUT", path_of(task), by=login(team.user), json=change))
    assert set(data) == {"message", "task"}
    changed = data["task"]
    assert changed["version"] > task["version"]
    assert changed["updated_at"] >= task["updated_at"]
    kept = {key: task[key] for key in TASK - set(change) - {"version", "updated_at"}}
    assert changed.items() >= (kept | change).items()
    for body in (change, {}, {"title": f" {task['title']} "}, {"group_id": team.group}):
        assert ok(api("PUT", path_of(task), by=login(team.user), json=body))["task"] == changed


def test_done_is_done_once(api: Api, team: Team) -> None:
    task = new_task(api, team.user["id"], team.group)
    done = ok(api("PUT", f"{path_of(task)}/done", by=login(team.user)))
    assert set(done) == {"message", "task"}
    assert done["task"]["status"] is True
    assert done["task"]["version"] > task["version"]
    assert ok(api("PUT", f"{path_of(task)}/done", by="owner"))["task"] == done["task"]


def test_a_deleted_task_is_shown_once_more_and_gone(api: Api, team: Team) -> None:
    task = new_task(api, team.user["id"], team.group)
    data = ok(api("DELETE", path_of(task), by=login(team.head)))
    assert set(data) == {"message", "task"}
    assert data["task"] == task
    for method, path in [
        ("GET", path_of(task)),
        ("PUT", path_of(task)),
        ("DELETE", path_of(task)),
        ("PUT", f"{path_of(task)}/done"),
    ]:
        refused(api(method, path, by=login(team.user), json={}), 404)
    assert new_task(api, team.user["id"], team.group)["id"] > task["id"]


def test_a_moved_task_is_in_its_new_group_only(api: Api, team: Team) -> None:
    task = new_task(api, team.user["id"], team.group)
    ok(api("PUT", path_of(task), by=login(team.user), json={"group_id": team.other}))
    assert task["id"] not in listed(api, f"/groups/{team.group}/tasks")
    assert task["id"] in listed(api, f"/groups/{team.other}/tasks")
    assert task["id"] in listed(api, f"/users/{team.user['id']}/tasks")
    refused(api("GET", path_of(task), by=login(team.head)), 403)


def listed(api: Api, path: str, by: Any = "owner") -> list[int]:
    data = ok(api("GET", path, by=by))
    entries = [each.get("task", each) for each in data.get("tasks", data.get("results"))]
    assert data["count"] == len(entries)
    return [task["id"] for task in entries]


def test_an_owner_may_put_a_task_where_its_user_does_not_belong(api: Api, team: Team) -> None:
    elsewhere = new_group(api)["id"]
    task = new_task(api, team.user["id"], elsewhere)
    assert ok(api("GET", path_of(task), by=login(team.user))) == task
    back = {"group_id": team.group}
    ok(api("PUT", path_of(task), by=login(team.user), json=back))
    refused(api("PUT", path_of(task), by=login(team.user), json={"group_id": elsewhere}), 403)


@pytest.fixture(scope="module")
def board(api: Api) -> tuple[Team, dict[tuple[bool, int], list[int]]]:
    """Two tasks of each status and priority, one in each group of the user."""
    team = Team(api)
    tasks: dict[tuple[bool, int], list[int]] = {}
    for group in (team.group, team.other):
        for priority in (3, 1, 2):
            for status in (True, False):
                fields = {"status": status, "priority": priority}
                task = new_task(api, team.user["id"], group, **fields)
                tasks.setdefault((status, priority), []).append(task["id"])
    return team, tasks


@pytest.mark.parametrize("status", ["", "all", "completed", "pending"])
@pytest.mark.parametrize("priority", ["", "1", "2", "3"])
def test_filters_narrow_every_scope_and_keep_the_order(
    api: Api, board: tuple[Team, dict[tuple[bool, int], list[int]]], status: str, priority: str
) -> None:
    team, tasks = board
    user = team.user["id"]
    expected = sorted(
        (task, scope)
        for (done, urgency), pair in tasks.items()
        for scope, task in enumerate(pair)
        if status in ("", "all", "completed" if done else "pending")
        and priority in ("", str(urgency))
    )
    query = "&".join(f"{k}={v}" for k, v in [("status", status), ("priority", priority)] if v)
    alls = [task for task, _ in expected]
    for path in (
        f"/users/{user}/tasks?{query}",
        f"/tasks/filter?{query}&user_id={user}".replace("?&", "?"),
    ):
        assert listed(api, path.removesuffix("?")) == alls
    assert listed(api, f"/tasks/filter?{query}".removesuffix("?"), login(team.user)) == alls
    both = f"/tasks/filter?user_id={user}&group_id={team.other}&{query}".removesuffix("&")
    assert listed(api, both) == [task for task, scope in expected if scope == 1]
    headed = f"/tasks/filter?{query}".removesuffix("?")
    assert listed(api, headed, login(team.head)) == [task for task, scope in expected if not scope]


def test_a_filter_repeats_its_parameters(api: Api) -> None:
    filters = {"status": "pending", "priority": "1", "group_id": "1", "user_id": ""}
    data = ok(api("GET", "/tasks/filter?status=pending&priority=1&group_id=1", by="owner"))
    assert data["filters"] == filters
    assert set(data) == {"tasks", "count", "filters"}
    nothing = ok(api("GET", "/tasks/filter", by="owner"))["filters"]
    assert nothing == dict.fromkeys(filters, "")


def test_an_owners_filter_by_what_does_not_exist_is_empty(api: Api) -> None:
    for query in ("user_id=987654321", "group_id=987654321", "user_id=1&group_id=987654321"):
        assert listed(api, f"/tasks/filter?{query}") == []


def test_a_group_admins_filter_shows_their_groups_and_their_own(api: Api) -> None:
    team = Team(api)
    body = {"user_id": team.head["id"]}
    ok(api("POST", f"/groups/{team.other}/users", by="owner", json=body))
    own = new_task(api, team.head["id"], team.other)["id"]
    members = new_task(api, team.user["id"], team.group)["id"]
    hidden = new_task(api, team.user["id"], team.other)
    by = login(team.head)
    assert listed(api, "/tasks/filter", by) == [own, members]
    assert listed(api, f"/tasks/filter?user_id={team.user['id']}", by) == [members]
    assert listed(api, f"/users/{team.user['id']}/tasks", by) == [members]
    assert listed(api, f"/users/{team.head['id']}/tasks", by) == [own]
    assert listed(api, "/tasks/search?q=task", by) == [own, members]
    refused(api("GET", path_of(hidden), by=by), 403)


@pytest.mark.parametrize(
    ("query", "titles"),
    [
        ("LOGIN", ["Login page"]),
        ("%25", ["About log%ins"]),
        ("_", ["snake_case"]),
        ("%5C", ["C:\\temp"]),
        ("stra%C3%9Fe", ["STRASSE"]),
        ("STRASSE", ["STRASSE"]),
        ("e%CC%81t", ["ét"]),
        ("needle", ["haystack"]),
        ("%20page%20", ["Login page"]),
        ("%5B", ["[a]"]),
        ("nothing%20such", []),
    ],
)
def test_task_search_finds_titles_and_informations_literally_in_any_case(
    api: Api, searched: list[Any], query: str, titles: list[str]
) -> None:
    data = ok(api("GET", f"/tasks/search?q={query}", by="owner"))
    assert set(data) == {"query", "results", "count"}
    tasks = {task["id"]: task for task in searched}
    results = [each for each in data["results"] if each["task"]["id"] in tasks]
    assert [each["task"]["title"] for each in results] == titles
    assert all(each["task"] == tasks[each["task"]["id"]] for each in results)
    assert all(each["user_id"] == each["task"]["user_id"] for each in results)


@pytest.fixture(scope="module")
def searched(api: Api, team: Team) -> list[Any]:
    titles = ["Login page", "About log%ins", "snake_case", "C:\\temp", "STRASSE", "ét", "[a]"]
    tasks = [new_task(api, team.user["id"], team.group, title=title) for title in titles]
    more = {"title": "haystack", "information": "a NeEdLe in it"}
    return [*tasks, new_task(api, team.user["id"], team.group, **more)]
