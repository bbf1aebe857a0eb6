"""Groups and their members: answers, uniqueness, and what adding and removing does."""

from __future__ import annotations

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
    path_of,
    refused,
)
from tests.client import Api
from tests.conftest import Install

GROUP = {"id", "name", "admin_id", "created_at", "updated_at", "version"}


@pytest.fixture(scope="module")
def api(install: Install) -> Api:
    return install().client()


def test_a_created_group_has_a_location_and_its_admin_as_member(api: Api) -> None:
    head = new_admin(api, full_name="Head")
    answer = api("POST", "/groups", by="owner", json={"name": " Lab ", "admin_id": head["id"]})
    data = made(answer)
    group = data["group"]
    assert set(data) == {"message", "group"}
    assert set(group) == GROUP
    assert (group["name"], group["admin_id"]) == ("Lab", head["id"])
    assert answer.headers["Location"].endswith(f"/groups/{group['id']}")
    assert ok(api("GET", f"/users/{head['id']}", by="owner"))["group_ids"] == [group["id"]]
    assert ok(api("GET", f"/groups/{group['id']}", by="owner")) == group | {
        "admin": {"id": head["id"], "full_name": "Head", "email": head["email"]},
        "users_count": 1,
        "tasks_count": 0,
    }


def test_a_group_counts_its_users_and_tasks(api: Api) -> None:
    group = new_group(api)["id"]
    users = [new_user(api, group) for _ in range(2)]
    tasks = [new_task(api, users[0]["id"], group) for _ in range(3)]
    detail = ok(api("GET", f"/groups/{group}", by="owner"))
    assert (detail["users_count"], detail["tasks_count"]) == (3, 3)
    ok(api("DELETE", path_of(tasks[0]), by="owner"))
    ok(api("DELETE", f"/users/{users[1]['id']}", by="owner"))
    detail = ok(api("GET", f"/groups/{group}", by="owner"))
    assert (detail["users_count"], detail["tasks_count"]) == (2, 2)


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("Engineering", "eNGINEERING"),
        ("Straße", "STRASSE"),
        ("\u00c5ngstr\u00f6m", "a\u030angstro\u0308m"),
        ("\u1f88", "\u1f80"),
        ("\u03a3\u03c3\u03c2", "\u03c3\u03c3\u03c3"),
        ("Kelvin \u212a", "kelvin k"),
    ],
)
def test_a_group_name_is_taken_in_any_case_and_form(api: Api, name: str, same: str) -> None:
    first, other = new_group(api, name=name), new_group(api)
    assert first["name"] == name
    before = everything(api)
    refused(api("POST", "/groups", by="owner", json={"name": same, "admin_id": 1}), 409)
    refused(api("PUT", f"/groups/{other['id']}", by="owner", json={"name": same}), 409)
    assert everything(api) == before
    own = ok(api("PUT", f"/groups/{first['id']}", by="owner", json={"name": same}))["group"]
    assert own["name"] == same
    ok(api("DELETE", f"/groups/{first['id']}", by="owner"))
    new_group(api, name=name)


def test_names_that_only_look_alike_are_two_names(api: Api) -> None:
    for name in ("A\u0308rger", "Arger", "\u0410rger", "a b", "a  b"):
        new_group(api, name=name)


def test_a_changed_admin_becomes_a_member_and_the_former_one_stays(api: Api) -> None:
    old, new = new_admin(api), new_admin(api)
    group = new_group(api, old["id"])
    path = f"/groups/{group['id']}"
    changed = ok(api("PUT", path, by="owner", json={"admin_id": new["id"]}))
    assert set(changed) == {"message", "group"}
    assert changed["group"]["admin_id"] == new["id"]
    assert changed["group"]["version"] > group["version"]
    users = ok(api("GET", f"{path}/users", by="owner"))["users"]
    assert [user["id"] for user in users] == [old["id"], new["id"]]
    assert ok(api("GET", "/users", by=login(old)))["count"] == 1
    assert ok(api("GET", "/users", by=login(new)))["count"] == 2
    assert ok(api("PUT", path, by="owner", json={"admin_id": new["id"]})) | {"message": ""} == (
        changed | {"message": ""}
    )
    ok(api("PUT", f"/users/{old['id']}", by="owner", json={"role": "user"}))


def test_an_admin_must_exist_and_have_the_role(api: Api) -> None:
    user = new_user(api)
    group = new_group(api)
    for admin_id in (user["id"], 987654321):
        named = {"name": "No", "admin_id": admin_id}
        refused(api("POST", "/groups", by="owner", json=named), 400)
        body = {"admin_id": admin_id}
        refused(api("PUT", f"/groups/{group['id']}", by="owner", json=body), 400)
    new_group(api, new_user(api, role="owner")["id"])


def test_deleting_a_group_deletes_its_tasks_and_memberships(api: Api) -> None:
    head = new_admin(api)
    group, other = new_group(api, head["id"]), new_group(api)["id"]
    user = new_user(api, group["id"], other)
    tasks = [new_task(api, user["id"], group["id"]) for _ in range(2)]
    kept = new_task(api, user["id"], other)
    stray = new_task(api, new_user(api)["id"], group["id"])
    data = ok(api("DELETE", f"/groups/{group['id']}", by="owner"))
    assert set(data) == {"message", "group", "affected_users", "deleted_tasks"}
    assert (data["group"], data["affected_users"], data["deleted_tasks"]) == (group, 2, 3)
    for path in (f"/groups/{group['id']}", *map(path_of, [*tasks, stray])):
        refused(api("GET", path, by="owner"), 404)
    assert ok(api("GET", f"/users/{user['id']}", by="owner"))["group_ids"] == [other]
    assert ok(api("GET", f"/users/{user['id']}/tasks", by="owner"))["tasks"] == [kept]
    assert ok(api("GET", "/users", by=login(head)))["count"] == 1
    assert new_group(api, name=group["name"])["id"] > group["id"]


def test_adding_a_member_is_a_200_and_again_a_409(api: Api) -> None:
    head = new_admin(api)
    group, user = new_group(api, head["id"])["id"], new_user(api)
    path, body = f"/groups/{group}/users", {"user_id": user["id"]}
    data = ok(api("POST", path, by=login(head), json=body))
    assert set(data) == {"message", "group_id", "user_id"}
    assert (data["group_id"], data["user_id"]) == (group, user["id"])
    for by in ("owner", login(head)):
        refused(api("POST", path, by=by, json=body), 409)
    listed = ok(api("GET", f"/users/{user['id']}", by="owner"))
    assert listed["group_ids"] == [group]
    assert listed["version"] > user["version"]


def test_members_are_shown_whole_to_those_who_administer_and_in_short_to_others(api: Api) -> None:
    head, mere = new_admin(api), new_admin(api)
    group = new_group(api, head["id"])["id"]
    ok(api("POST", f"/groups/{group}/users", by="owner", json={"user_id": mere["id"]}))
    user = new_user(api, group, number="555")
    path = f"/groups/{group}/users"
    whole = ok(api("GET", path, by=login(head)))
    assert whole == ok(api("GET", path, by="owner"))
    assert (whole["group_id"], whole["count"]) == (group, 3)
    assert whole["users"][2] == user
    for by in (login(user), login(mere)):
        short = ok(api("GET", path, by=by))
        assert [set(u) for u in short["users"]] == [{"id", "full_name", "role", "email"}] * 3
        assert short["users"][2].items() <= user.items()


def test_removing_a_member_names_the_new_group_of_their_tasks(api: Api) -> None:
    head = new_admin(api)
    group, low, high = (new_group(api, head["id"])["id"] for _ in range(3))
    user = new_user(api, group, high, low)
    tasks = [new_task(api, user["id"], group) for _ in range(2)]
    path = f"/groups/{group}/users/{user['id']}"
    data = ok(api("DELETE", path, by=login(head)))
    assert set(data) == {"message", "group_id", "user_id", "affected_tasks", "moved_to"}
    assert (data["group_id"], data["user_id"]) == (group, user["id"])
    assert (data["affected_tasks"], data["moved_to"]) == (2, low)
    for task in tasks:
        moved = ok(api("GET", path_of(task), by=login(user)))
        assert moved["group_id"] == low
        assert moved["version"] > task["version"]
    for by in ("owner", login(head)):
        refused(api("DELETE", path, by=by), 404)
    ok(api("DELETE", f"/groups/{low}/users/{user['id']}", by=login(head)))
    last = ok(api("DELETE", f"/groups/{high}/users/{user['id']}", by=login(head)))
    assert (last["affected_tasks"], last["moved_to"]) == (2, None)
    assert ok(api("GET", f"/users/{user['id']}/tasks", by=login(user)))["tasks"] == []


def test_removing_a_member_without_tasks_moves_none(api: Api) -> None:
    group, other = new_group(api)["id"], new_group(api)["id"]
    user = new_user(api, group, other)
    kept = new_task(api, user["id"], other)
    data = ok(api("DELETE", f"/groups/{group}/users/{user['id']}", by="owner"))
    assert data["affected_tasks"] == 0
    assert ok(api("GET", path_of(kept), by="owner")) == kept


def test_who_administers_a_group_is_not_removed_from_it(api: Api) -> None:
    head = new_admin(api)
    group = new_group(api, head["id"])
    before = everything(api)
    path = f"/groups/{group['id']}/users/{head['id']}"
    assert str(group["id"]) in refused(api("DELETE", path, by="owner"), 409)["error"]
    assert everything(api) == before


def test_everyone_lists_the_groups_they_have_to_do_with(api: Api) -> None:
    head = new_admin(api)
    led, joined, other = new_group(api, head["id"]), new_group(api), new_group(api)
    ok(api("POST", f"/groups/{joined['id']}/users", by="owner", json={"user_id": head["id"]}))
    user = new_user(api, other["id"], led["id"])
    assert ok(api("GET", "/groups", by=login(head))) == {"groups": [led, joined], "count": 2}
    assert ok(api("GET", "/groups", by=login(user))) == {"groups": [led, other], "count": 2}
    assert ok(api("GET", "/groups", by=login(new_user(api))))["groups"] == []


def test_group_tasks_are_all_for_its_admin_and_ones_own_for_others(api: Api) -> None:
    head, mere = new_admin(api), new_admin(api)
    group = new_group(api, head["id"])["id"]
    ok(api("POST", f"/groups/{group}/users", by="owner", json={"user_id": mere["id"]}))
    users = [new_user(api, group), new_user(api, group)]
    tasks = [new_task(api, user["id"], group) for user in (*users, mere, head, users[0])]
    path = f"/groups/{group}/tasks"
    everyones = {"group_id": group, "tasks": tasks, "count": 5}
    assert ok(api("GET", path, by="owner")) == ok(api("GET", path, by=login(head))) == everyones
    assert ok(api("GET", path, by=login(users[0])))["tasks"] == [tasks[0], tasks[4]]
    assert ok(api("GET", path, by=login(mere))) == {
        "group_id": group,
        "tasks": [tasks[2]],
        "count": 1,
    }
