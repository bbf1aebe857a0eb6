"""Users: the answer of each endpoint, and the effects of changing and deleting a user."""

from __future__ import annotations

import re
from typing import Any

import pytest

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
from tests.client import Api
from tests.conftest import Install
from tests.support import OWNER_EMAIL

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
FIELDS = {"id", "full_name", "role", "group_ids", "email", "number", "work_times"}
STAMPS = {"created_at", "updated_at", "version"}


@pytest.fixture(scope="module")
def api(install: Install) -> Api:
    return install().client()


def test_an_empty_installation_has_the_system_owner_only(install: Install) -> None:
    api = install().client()
    data = ok(api("GET", "/users", by="owner"))
    assert (data["count"], len(data["users"])) == (1, 1)
    owner = data["users"][0]
    assert set(owner) == FIELDS | STAMPS
    assert (
        owner.items()
        >= {
            "id": 1,
            "full_name": "System Owner",
            "role": "owner",
            "group_ids": [],
            "email": OWNER_EMAIL,
            "number": "",
            "work_times": {},
        }.items()
    )
    assert ok(api("GET", "/groups", by="owner")) == {"groups": [], "count": 0}
    assert ok(api("GET", "/tasks/filter", by="owner"))["tasks"] == []


def test_a_created_user_has_the_defaults_a_location_and_no_password(api: Api) -> None:
    body = {"full_name": "Ann", "email": "Ann@Example.com", "password": PASSWORD}
    answer = api("POST", "/users", by="owner", json=body)
    data = made(answer)
    user = data["user"]
    assert set(data) == {"message", "user"}
    assert set(user) == FIELDS | STAMPS
    assert (user["role"], user["group_ids"], user["number"]) == ("user", [], "")
    assert (user["work_times"], user["email"]) == ({}, "Ann@Example.com")
    assert answer.headers["Location"].endswith(f"/users/{user['id']}")
    assert TIMESTAMP.fullmatch(user["created_at"])
    assert user["created_at"] == user["updated_at"]
    assert ok(api("GET", f"/users/{user['id']}", by="owner")) == user
    assert ok(api("GET", f"/users/{user['id']}", by=login(user))) == user


def test_every_field_of_a_user_is_kept(api: Api) -> None:
    groups = [new_group(api)["id"] for _ in range(3)]
    week = {"Monday": 8.0, "Friday": 6.5, "Sunday": 0}
    given = {"role": "group_admin", "number": "+123 456", "work_times": week, "full_name": "Zoë 😀"}
    user = new_user(api, *reversed(groups), **given)
    assert user.items() >= (given | {"group_ids": groups}).items()


def test_an_email_is_taken_in_any_case_until_it_is_free_again(api: Api) -> None:
    first = new_user(api, email="Taken@Example.com")
    other = new_user(api)
    body = {"full_name": "n", "email": "tAKEN@example.COM", "password": PASSWORD}
    before = everything(api)
    refused(api("POST", "/users", by="owner", json=body), 409)
    refused(api("PUT", f"/users/{other['id']}", by="owner", json={"email": body["email"]}), 409)
    refused(
        api("PUT", f"/users/{other['id']}", by=login(other), json={"email": body["email"]}), 409
    )
    assert everything(api) == before
    own = ok(api("PUT", f"/users/{first['id']}", by="owner", json={"email": body["email"]}))
    assert own["user"]["email"] == "tAKEN@example.COM"
    ok(api("PUT", f"/users/{first['id']}", by="owner", json={"email": "free@example.com"}))
    assert made(api("POST", "/users", by="owner", json=body))["user"]["email"] == body["email"]
    ok(api("DELETE", f"/users/{first['id']}", by="owner"))
    new_user(api, email="FREE@example.com")


def test_a_change_moves_version_and_updated_at_and_no_change_does_not(api: Api) -> None:
    user = new_user(api)
    path = f"/users/{user['id']}"
    changed = ok(api("PUT", path, by="owner", json={"full_name": "Changed"}))
    assert set(changed) == {"message", "user"}
    changed = changed["user"]
    assert changed["version"] > user["version"]
    assert changed["updated_at"] >= user["updated_at"]
    assert changed | {k: user[k] for k in ("full_name", "version", "updated_at")} == user
    for body in ({"full_name": " Changed "}, {}, {"work_times": {}}, {"group_ids": []}):
        assert ok(api("PUT", path, by="owner", json=body))["user"] == changed
    assert ok(api("GET", path, by="owner")) == changed


def test_a_password_change_is_a_change(api: Api) -> None:
    user = new_user(api)
    path = f"/users/{user['id']}"
    changed = ok(api("PUT", path, by=login(user), json={"password": "changed-canary"}))["user"]
    assert changed["version"] > user["version"]
    refused(api("GET", path, by=login(user)), 401)
    ok(api("GET", path, by=(user["id"], "changed-canary")))


def test_the_week_is_replaced_as_a_whole(api: Api) -> None:
    user = new_user(api, work_times={"Monday": 8, "Tuesday": 8})
    path = f"/users/{user['id']}/worktimes"
    assert ok(api("GET", path, by=login(user))) == {
        "user_id": user["id"],
        "work_times": {"Monday": 8, "Tuesday": 8},
    }
    week = {"Sunday": 4.5}
    data = ok(api("PUT", path, by=login(user), json={"work_times": week}))
    assert set(data) == {"message", "user_id", "work_times"}
    assert (data["user_id"], data["work_times"]) == (user["id"], week)
    assert ok(api("GET", path, by="owner"))["work_times"] == week
    assert ok(api("GET", f"/users/{user['id']}", by="owner"))["work_times"] == week
    ok(api("PUT", f"/users/{user['id']}", by="owner", json={"work_times": {"Monday": 1}}))
    assert ok(api("GET", path, by="owner"))["work_times"] == {"Monday": 1}


def test_a_group_admin_sees_themselves_and_the_members_of_their_groups(api: Api) -> None:
    head, stranger = new_admin(api), new_user(api)
    groups = [new_group(api, head["id"])["id"] for _ in range(2)]
    members = [new_user(api, *groups), new_user(api, groups[1], full_name="Finn Ångström")]
    data = ok(api("GET", "/users", by=login(head)))
    assert [user["id"] for user in data["users"]] == [head["id"], *(m["id"] for m in members)]
    assert data["count"] == 3
    for word in (
        "FINN",
        "ångström",
        "A\u030angstrom".replace("o", "ö"),
        members[1]["email"].upper(),
    ):
        data = ok(api("GET", f"/users/search?q={word_in_url(word)}", by=login(head)))
        assert (data["query"], data["count"]) == (word, 1)
        assert data["results"] == [members[1]]
    hidden = word_in_url(stranger["full_name"])
    assert ok(api("GET", f"/users/search?q={hidden}", by=login(head)))["results"] == []


def word_in_url(word: str) -> str:
    return "".join(f"%{byte:02X}" for byte in word.encode())


def test_user_search_finds_names_emails_and_numbers_and_takes_signs_literally(api: Api) -> None:
    names = ["per%cent", "under_score", "back\\slash", "star*", "Straße", "quo'te", "İstanbul"]
    users = [new_user(api, full_name=name, number=f"n°{i}-77") for i, name in enumerate(names)]
    for word, expected in [
        ("%", [0]),
        ("_", [1]),
        ("\\", [2]),
        ("*", [3]),
        ("STRASSE", [4]),
        ("'", [5]),
        ("?", []),
        ("n°3-77", [3]),
        ("N°", range(7)),
        (users[2]["email"].upper(), [2]),
    ]:
        results = ok(api("GET", f"/users/search?q={word_in_url(word)}", by="owner"))["results"]
        ids = [user["id"] for user in results if user["number"].startswith("n°")]
        assert ids == [users[i]["id"] for i in expected], word


def test_user_1_cannot_be_deleted_or_demoted(api: Api) -> None:
    before = everything(api)
    refused(api("DELETE", "/users/1", by="owner"), 409)
    for role in ("user", "group_admin"):
        refused(api("PUT", "/users/1", by="owner", json={"role": role}), 409)
    assert everything(api) == before


@pytest.mark.parametrize("change", [{"role": "user"}, {"group_ids": []}])
def test_who_administers_a_group_is_neither_demoted_nor_taken_out(
    api: Api, change: dict[str, Any]
) -> None:
    head = new_admin(api)
    groups = [new_group(api, head["id"])["id"] for _ in range(2)]
    before = everything(api)
    error = refused(api("PUT", f"/users/{head['id']}", by="owner", json=change), 409)
    assert all(str(group) in error["error"] for group in groups)
    assert everything(api) == before
    ok(api("PUT", f"/users/{head['id']}", by="owner", json={"role": "owner"}))


def test_deleting_a_user_deletes_their_tasks_and_hands_their_groups_to_user_1(api: Api) -> None:
    head = new_admin(api)
    groups = [new_group(api, head["id"])["id"] for _ in range(2)]
    member = new_user(api, *groups)
    tasks = [new_task(api, head["id"], groups[0]), new_task(api, head["id"], groups[1])]
    kept = new_task(api, member["id"], groups[0])
    gone = ok(api("GET", f"/users/{head['id']}", by="owner"))
    data = ok(api("DELETE", f"/users/{head['id']}", by="owner"))
    assert set(data) == {"message", "user", "deleted_tasks", "reassigned_groups"}
    assert (data["user"], data["deleted_tasks"]) == (gone, 2)
    assert data["reassigned_groups"] == groups
    for group in groups:
        detail = ok(api("GET", f"/groups/{group}", by="owner"))
        assert (detail["admin_id"], detail["users_count"]) == (1, 2)
    assert set(groups) <= set(ok(api("GET", "/users/1", by="owner"))["group_ids"])
    for path in (f"/users/{head['id']}", *map(path_of, tasks)):
        refused(api("GET", path, by="owner"), 404)
    assert ok(api("GET", path_of(kept), by="owner")) == kept
    refused(api("GET", "/users", by=login(head)), 401)
    assert ok(api("DELETE", f"/users/{member['id']}", by="owner"))["reassigned_groups"] == []


def test_leaving_a_group_moves_the_tasks_to_the_lowest_group_left_or_deletes_them(api: Api) -> None:
    low, middle, high = (new_group(api)["id"] for _ in range(3))
    user = new_user(api, low, middle, high)
    tasks = [new_task(api, user["id"], group) for group in (low, middle, high)]
    path = f"/users/{user['id']}"
    ok(api("PUT", path, by="owner", json={"group_ids": [high, middle]}))
    assert groups_of(api, user) == {
        t["id"]: g for t, g in zip(tasks, (middle, middle, high), strict=True)
    }
    ok(api("PUT", path, by="owner", json={"group_ids": [low]}))
    assert groups_of(api, user) == {task["id"]: low for task in tasks}
    ok(api("PUT", path, by="owner", json={"group_ids": []}))
    assert groups_of(api, user) == {}


def groups_of(api: Api, user: dict[str, Any]) -> dict[int, int]:
    tasks = ok(api("GET", f"/users/{user['id']}/tasks", by="owner"))["tasks"]
    return {task["id"]: task["group_id"] for task in tasks}


def test_ids_of_deleted_users_are_never_used_again(api: Api) -> None:
    ids = []
    for _ in range(3):
        ids.append(new_user(api)["id"])
        ok(api("DELETE", f"/users/{ids[-1]}", by="owner"))
    assert ids == sorted(set(ids))


def test_a_group_admin_creates_users_into_their_own_groups(api: Api) -> None:
    head = new_admin(api)
    group = new_group(api, head["id"])["id"]
    user = new_user(api, group, by=login(head))
    assert (user["role"], user["group_ids"]) == ("user", [group])
    body = {"full_name": "n", "email": "ga@example.com", "password": PASSWORD, "group_ids": [group]}
    before = everything(api)
    for change in ({"role": "owner"}, {"role": "group_admin"}, {"group_ids": [group, 10**9]}):
        refused(api("POST", "/users", by=login(head), json=body | change), 403)
    assert everything(api) == before
