"""Each field accepts its limits and refuses values beyond them; a refusal changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.factories import (
    everything,
    login,
    made,
    new_admin,
    new_group,
    new_task,
    new_user,
    ok,
    refused,
)
from tests.api.test_input import TASKS, api, raw, refuse
from tests.client import Answer, Api

__all__ = ["api"]


DATES = {
    "2025-W52-1": 400,
    "2025-02-30": 400,
    "2025-02-29": 400,
    "2024-02-29": 201,
    "0000-01-01": 400,
    "0001-01-01": 201,
    "9999-12-31": 201,
    "10000-01-01": 400,
    "20250101": 400,
    "2025-1-1": 400,
    "2025-001": 400,
    "2025-13-01": 400,
    "2025-00-10": 400,
    "2025-10-15T00:00:00Z": 400,
    "15.10.2025": 400,
    "\u0662\u0660\u0662\u0665-10-15": 400,
    "tomorrow": 400,
}


@pytest.mark.parametrize(("deadline", "status"), DATES.items())
def test_a_deadline_is_a_real_date(api: Api, deadline: str, status: int) -> None:
    answer = posted(api, TASKS, {"title": "t", "group_id": 1, "deadline": deadline})
    assert answer.status == status
    if status == 201:
        assert answer.data["task"]["deadline"] == deadline


def test_no_deadline_is_null(api: Api) -> None:
    answer = posted(api, TASKS, {"title": "t", "group_id": 1, "deadline": None})
    assert made(answer)["task"]["deadline"] is None


def posted(api: Api, path: str, body: dict[str, Any]) -> Answer:
    """Return the answer to a POST of the owner; check that a refusal changes nothing."""
    before = everything(api)
    answer = api("POST", path, by="owner", json=body)
    if answer.status != 201:
        refused(answer, 400)
        assert everything(api) == before
    return answer


LENGTHS = [
    (TASKS, "title", 1, 200),
    (TASKS, "information", 0, 10_000),
    ("/groups", "name", 1, 100),
    ("/users", "full_name", 1, 200),
    ("/users", "number", 0, 32),
    ("/users", "password", 6, 128),
]


@pytest.mark.parametrize(("path", "name", "low", "high"), LENGTHS)
def test_a_string_has_its_length_in_characters_and_not_one_more(
    api: Api, path: str, name: str, low: int, high: int
) -> None:
    def status(value: str) -> int:
        body = {TASKS: {"title": "t", "group_id": 1}, "/groups": {"admin_id": 1}}.get(path, {})
        if path == "/users":
            body = {"full_name": "n", "email": f"n{len(value)}{name}@x.org", "password": "secret1"}
        return posted(api, path, body | {name: value}).status

    assert [status("é" * low), status("😀" * high)] == [201, 201]
    assert status("x" * (high + 1)) == 400
    assert not low or status("x" * (low - 1)) == 400


def test_strings_are_trimmed_before_they_are_measured_but_passwords_are_not(api: Api) -> None:
    padded = {"title": f"  {'x' * 200}\n", "group_id": 1, "information": "\t more \r\n"}
    task = made(api("POST", TASKS, by="owner", json=padded))["task"]
    assert (task["title"], task["information"]) == ("x" * 200, "more")
    user = new_user(api, email=" trimmed@example.com ", full_name=" Tim ", password="  spaces  ")
    assert (user["email"], user["full_name"]) == ("trimmed@example.com", "Tim")
    assert api("GET", "/users/1", by=(user["id"], "spaces")).status == 401
    ok(api("GET", f"/users/{user['id']}", by=("trimmed@example.com", "  spaces  ")))


@pytest.mark.parametrize(
    "email",
    [
        *("", "x", "@example.com", "x@", "a b@example.com", "a@b@example.com", "a@exa mple.com"),
        *("ü@example.com", "x@exämple.com", "a\nb@example.com", "a@b..com", "a@.com", "a@b.com."),
        *(
            "\u212aelvin@example.com",
            f"{'a' * 64}@{'b' * 63}.{'c' * 63}.{'d' * 63}.com",
            "a@-b.com",
        ),
    ],
)
def test_what_is_no_email_is_refused(api: Api, email: str) -> None:
    body = {"full_name": "n", "email": email, "password": "secret1"}
    assert "email" in refuse(api, 400, "POST", "/users", json=body)["fields"]
    refuse(api, 400, "PUT", "/users/2", json={"email": email})


@pytest.mark.parametrize(
    "email", ["a@b.co", "First.Last+tag@sub.example.com", "o'neil_7@ex-ample.org", "1@2.museum"]
)
def test_an_email_is_shown_as_given(api: Api, email: str) -> None:
    assert new_user(api, email=email)["email"] == email


def test_the_longest_email_has_254_characters(api: Api) -> None:
    domain = f"{'b' * 63}.{'c' * 63}.{'d' * 57}.com"
    assert new_user(api, email=f"{'a' * 64}@{domain}")["email"].endswith(domain)
    refuse(api, 400, "PUT", "/users/2", json={"email": f"{'e' * 64}@d{domain}"})


@pytest.mark.parametrize(
    "week",
    [
        *('{"monday": 8}', '{"MONDAY": 8}', '{"Mon": 8}', '{"Someday": 8}', '{"": 8}', '{"1": 8}'),
        *('{"Monday": -1}', '{"Monday": 24.01}', '{"Monday": 1e9}', '{"Monday": "8"}'),
        *('{"Monday": null}', '{"Monday": true}', '{"Monday": [8]}', '{"Monday": {}}'),
        *('{"Monday": 8, "Monday": 8}', '{"Monday": NaN}', '{"Monday": Infinity}'),
        *("[]", "null", '"Monday"', "8", '[["Monday", 8]]'),
    ],
)
def test_work_times_are_weekdays_and_hours(api: Api, week: str) -> None:
    body = b'{"work_times": %s}' % week.encode()
    refuse(api, 400, "PUT", "/users/2/worktimes", **raw(body))
    refuse(api, 400, "PUT", "/users/2", **raw(body))


def test_work_times_go_from_0_to_24_hours(api: Api) -> None:
    week = {"Monday": 0, "Tuesday": 24, "Wednesday": 7.25, "Sunday": 0.0}
    data = ok(api("PUT", "/users/2/worktimes", by="owner", json={"work_times": week}))
    assert data["work_times"] == week


@pytest.mark.parametrize(
    "group_ids", ["1", 1, None, {}, [True], ["1"], [1.0], [None], [0], [-1], [2**63], [[1]], [999]]
)
def test_group_ids_are_ids_of_groups(api: Api, group_ids: Any) -> None:
    body = {"full_name": "n", "email": "gi@example.com", "password": "secret1"}
    refuse(api, 400, "POST", "/users", json=body | {"group_ids": group_ids})
    refuse(api, 400, "PUT", "/users/2", json={"group_ids": group_ids})


@pytest.mark.parametrize("role", ["Owner", "admin", "", None, 1, True, ["user"]])
def test_a_role_is_one_of_three(api: Api, role: Any) -> None:
    refuse(api, 400, "PUT", "/users/2", json={"role": role})


@pytest.mark.parametrize(
    "task_ids",
    [None, 1, "1", {}, [], [True], ["1"], [1.0], [0], [-1], [2**63], list(range(1, 1002))],
)
def test_a_batch_names_1_to_1000_ids(api: Api, task_ids: Any) -> None:
    body = {"task_ids": task_ids, "action": "mark_done"}
    refuse(api, 400, "POST", "/tasks/batch", json=body)


@pytest.mark.parametrize(
    "rest",
    [
        {},
        {"action": "update"},
        {"action": "dance"},
        {"action": None},
        {"action": 1},
        {"updates": {"priority": "1"}},
        {"updates": {"status": 1}},
        {"updates": []},
        {"updates": None},
    ],
)
def test_a_batch_needs_an_action_and_its_fields(api: Api, rest: dict[str, Any]) -> None:
    refuse(api, 400, "POST", "/tasks/batch", json={"task_ids": [1]} | rest)


def test_read_only_fields_are_ignored(api: Api) -> None:
    noise = {"id": 77, "version": 9, "created_at": "x", "updated_at": None}
    body = {"title": "t", "group_id": 1} | noise
    task = made(api("POST", TASKS, by="owner", json=body))["task"]
    assert (task["user_id"], task["id"] == 77, task["created_at"][-1]) == (1, False, "Z")
    same = ok(api("PUT", f"{TASKS}/{task['id']}", by="owner", json=noise))["task"]
    assert same == task
    user = new_user(api, id=77, version=9, created_at=None, updated_at=[])
    assert user["id"] != 77


def test_what_was_read_can_be_put_back_by_everyone(api: Api) -> None:
    head = new_admin(api)
    user = new_user(api, new_group(api, head["id"])["id"])
    task = new_task(api, user["id"], *user["group_ids"])
    mine = f"/users/{user['id']}"
    for path, by in [
        (mine, login(user)),
        (mine, login(head)),
        (mine, "owner"),
        (f"{mine}/tasks/{task['id']}", login(user)),
        (f"{mine}/tasks/{task['id']}", login(head)),
        ("/groups/1", "owner"),
        ("/users/1", "owner"),
    ]:
        read = ok(api("GET", path, by=by))
        put = ok(api("PUT", path, by=by, json=read))
        assert ok(api("GET", path, by=by)) == read
        assert read.items() >= put[path_noun(path)].items()


def path_noun(path: str) -> str:
    return path.split("/")[-2].removesuffix("s")
