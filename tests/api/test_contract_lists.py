"""Paging of every list, and the numbers of the statistics."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest

from taskapi.api import responses
from taskapi.store import queries
from tests.api.factories import login, new_admin, new_group, new_task, new_user, ok, refused
from tests.client import Api, Caller
from tests.conftest import Install

LISTS = {
    "/users": "users",
    "/users/search?q=listed": "results",
    "/groups": "groups",
    "/groups/1/users": "users",
    "/groups/1/tasks": "tasks",
    "/users/2/tasks": "tasks",
    "/users/2/tasks?status=pending&priority=2": "tasks",
    "/tasks/search?q=listed": "results",
    "/tasks/filter": "tasks",
    "/tasks/filter?status=pending&priority=2": "tasks",
    "/tasks/filter?group_id=1": "tasks",
    "/tasks/filter?user_id=2&group_id=1": "tasks",
}


@pytest.fixture(scope="module")
def api(install: Install) -> Api:
    """User 2 administers groups 1 to 5; users 3 to 5 are in group 1; 40 tasks of six kinds."""
    api = install().client()
    new_admin(api, full_name="Listed 2")
    for _ in range(5):
        new_group(api, 2)
    for number in (3, 4, 5):
        new_user(api, 1, full_name=f"Listed {number}")
    for number in range(40):
        kind = {"status": number % 4 == 0, "priority": number % 3 + 1}
        new_task(api, 2 + number % 2, 1 + number % 5 // 4, title=f"Listed {number}", **kind)
    return api


def ids(entries: list[Any]) -> list[int]:
    return [each.get("task", each)["id"] for each in entries]


@pytest.mark.parametrize(("path", "key"), LISTS.items())
@pytest.mark.parametrize("by", ["owner", "head"])
def test_pages_joined_are_the_whole_list_by_id(api: Api, path: str, key: str, by: str) -> None:
    caller: Caller = "owner" if by == "owner" else login({"id": 2})
    whole = ok(api("GET", path, by=caller))
    assert whole["count"] == len(whole[key]) > 1
    assert "next_after" not in whole
    assert ids(whole[key]) == sorted(set(ids(whole[key])))
    from_0 = ok(api("GET", f"{path}{'&' if '?' in path else '?'}after=0", by=caller))
    assert (from_0[key], from_0["next_after"]) == (whole[key], None)
    for limit in (1, 2, whole["count"] - 1, whole["count"], 1000):
        assert walked(api, path, key, caller, max(limit, 1)) == whole[key]


def walked(api: Api, path: str, key: str, by: Caller, limit: int) -> list[Any]:
    """Return the whole list, read page by page; check that the Link header matches `next_after`."""
    url, entries = f"{path}{'&' if '?' in path else '?'}limit={limit}", []
    while url:
        answer = api("GET", url, by=by)
        page = ok(answer)
        assert page["count"] == len(page[key]) <= limit
        entries += page[key]
        url = next_url(answer.headers["Link"])
        assert (url is None) == (page["next_after"] is None)
        if url:
            assert page["next_after"] == ids(entries)[-1]
            assert re.search(rf"[?&]after={page['next_after']}(&|$)", url)
    return entries


def next_url(link: str | None) -> str | None:
    if not link:
        return None
    match = re.fullmatch(r'<(?:https?://[^/>]+)?(/[^>]+)>; rel="next"', link)
    assert match, link
    return match[1]


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("limit", [None, 3])
def test_a_list_read_in_chunks_is_the_same_to_the_byte(
    api: Api, path: str, limit: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = path if limit is None else f"{path}{'&' if '?' in path else '?'}limit={limit}"
    sent: dict[str, Any] = {"by": "owner", "headers": {"X-Request-ID": "the-same"}}
    plain, head = api("GET", url, **sent), api("HEAD", url, **sent)
    monkeypatch.setattr(queries, "CHUNK_BYTES", 1)
    monkeypatch.setattr(responses, "ENCODED_MOST", 1)
    for method, expected in (("GET", plain), ("HEAD", head)):
        answer = api(method, url, **sent)
        assert (answer.status, answer.body) == (200, expected.body)
        assert answer.headers.items() == expected.headers.items()
    assert int(plain.headers["Content-Length"]) == len(plain.body)
    assert plain.body == orjson.dumps(plain.json)


@pytest.mark.parametrize("by", ["owner", "member"])
def test_members_read_in_chunks_are_the_same_to_the_byte(
    api: Api, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller: Caller = "owner" if by == "owner" else login({"id": 3})
    plain = api("GET", "/groups/1/users", by=caller).body
    monkeypatch.setattr(queries, "CHUNK_BYTES", 1)
    assert api("GET", "/groups/1/users", by=caller).body == plain


@pytest.mark.parametrize(("path", "key"), LISTS.items())
def test_a_page_may_begin_anywhere(api: Api, path: str, key: str) -> None:
    whole = ok(api("GET", path, by="owner"))[key]
    joint = "&" if "?" in path else "?"
    after = ids(whole)[1]
    page = ok(api("GET", f"{path}{joint}after={after}&limit=1", by="owner"))
    assert page[key] == whole[2:3]
    rest = ok(api("GET", f"{path}{joint}after={after}", by="owner"))
    assert rest[key] == whole[2:]
    beyond = ok(api("GET", f"{path}{joint}limit=5&after={2**63 - 1}", by="owner"))
    assert (beyond[key], beyond["count"], beyond["next_after"]) == ([], 0, None)


def test_a_page_begins_behind_an_id_that_is_gone(api: Api) -> None:
    first, second = new_task(api, 2, 1), new_task(api, 2, 1)
    ok(api("DELETE", f"/users/2/tasks/{first['id']}", by="owner"))
    page = ok(api("GET", f"/tasks/filter?limit=1&after={first['id']}", by="owner"))
    assert page["tasks"] == [second]


def test_an_admin_of_many_groups_gets_their_tasks_in_order_and_once(install: Install) -> None:
    api = install().client()
    admin = new_admin(api)
    groups = [new_group(api, admin_id=admin["id"])["id"] for _ in range(30)]
    tasks = [new_task(api, 1, group) for group in groups]
    tasks += [new_task(api, admin["id"], group) for group in reversed(groups)]
    path, by = "/tasks/filter", login(admin)
    assert ok(api("GET", path, by=by))["tasks"] == tasks
    assert walked(api, path, "tasks", by, 7) == tasks


@pytest.fixture(scope="module")
def office(install: Install) -> Api:
    """User 2 administers groups 1 and 2. Two of the four other users have the same name."""
    api = install().client()
    new_admin(api, full_name="Alice Admin")
    for head in (2, 2, 1):
        new_group(api, head)
    for name, groups in (("Kim", [1]), ("Kim", [1, 2]), ("Lee", [3]), ("Idle", [1])):
        new_user(api, *groups, full_name=name)
    for user, group, priority, status in [
        *((3, 1, 1, True), (3, 1, 2, False), (4, 1, 2, True), (4, 2, 3, False)),
        *((5, 3, 1, True), (2, 1, 3, False), (3, 3, 1, False)),
    ]:
        new_task(api, user, group, priority=priority, status=status)
    return api


def counts(total: int, done: int, rate: float) -> dict[str, Any]:
    keys = ("total_tasks", "completed_tasks", "pending_tasks", "completion_rate")
    return dict(zip(keys, (total, done, total - done, rate), strict=True))


def test_group_statistics(office: Api) -> None:
    name = ok(office("GET", "/groups/1", by="owner"))["name"]
    expected = counts(4, 2, 50.0) | {
        "group": {"id": 1, "name": name},
        "users_count": 4,
        "user_task_counts": {"Alice Admin": 1, "Kim (#3)": 2, "Kim (#4)": 1},
    }
    for by in ("owner", login({"id": 2}), login({"id": 6})):
        assert ok(office("GET", "/groups/1/stats", by=by)) == expected
    second = ok(office("GET", "/groups/2/stats", by="owner"))
    assert second.items() >= counts(1, 0, 0.0).items()
    assert list(second["user_task_counts"].values()) == [1]


def test_an_owners_task_statistics(office: Api) -> None:
    assert ok(office("GET", "/tasks/stats", by="owner")) == counts(7, 3, 42.86) | {
        "user_task_counts": {"Alice Admin": 1, "Kim (#3)": 3, "Kim (#4)": 2, "Lee": 1},
        "group_task_counts": {"1": 4, "2": 1, "3": 2},
        "total_users": 6,
    }


def test_a_group_admins_task_statistics(office: Api) -> None:
    data = ok(office("GET", "/tasks/stats", by=login({"id": 2})))
    assert data["administered_groups"] == [1, 2]
    assert data.items() >= counts(5, 2, 40.0).items()
    if "user_task_counts" in data:
        assert data["user_task_counts"] == {"Alice Admin": 1, "Kim (#3)": 2, "Kim (#4)": 2}
    assert data.get("group_task_counts", {"1": 4, "2": 1}) == {"1": 4, "2": 1}


def test_a_users_task_statistics(office: Api) -> None:
    data = ok(office("GET", "/tasks/stats", by=login({"id": 3})))
    assert data.items() >= (counts(3, 1, 33.33) | {"user_id": 3}).items()
    assert data["priority_counts"].items() >= {"1": 2, "2": 1}.items()
    idle = ok(office("GET", "/tasks/stats", by=login({"id": 6})))
    assert idle.items() >= counts(0, 0, 0.0).items()
    assert "user_task_counts" not in data


def test_statistics_follow_every_change(install: Install) -> None:
    api = install().client()
    group, other = new_group(api)["id"], new_group(api)["id"]
    user = new_user(api, group, other, full_name="Mover")
    tasks = [new_task(api, user["id"], group) for _ in range(3)]
    paths = [f"/users/{user['id']}/tasks/{task['id']}" for task in tasks]
    ok(api("PUT", f"{paths[0]}/done", by="owner"))
    ok(api("PUT", paths[1], by="owner", json={"group_id": other, "priority": 1}))
    ok(api("DELETE", paths[2], by="owner"))
    ok(api("PUT", f"/users/{user['id']}", by="owner", json={"full_name": "Moved"}))
    assert (
        ok(api("GET", "/tasks/stats", by="owner")).items()
        >= {
            **counts(2, 1, 50.0),
            "user_task_counts": {"Moved": 2},
            "group_task_counts": {str(group): 1, str(other): 1},
        }.items()
    )
    ok(api("DELETE", f"/groups/{other}/users/{user['id']}", by="owner"))
    assert (
        ok(api("GET", f"/groups/{group}/stats", by="owner")).items() >= counts(2, 1, 50.0).items()
    )
    ok(api("DELETE", f"/users/{user['id']}", by="owner"))
    gone = ok(api("GET", "/tasks/stats", by="owner"))
    assert gone.items() >= counts(0, 0, 0.0).items()
    assert gone["user_task_counts"] == {}
    refused(api("GET", "/tasks/stats", by=login(user)), 401)
