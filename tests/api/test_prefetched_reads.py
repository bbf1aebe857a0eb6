"""Reads that are sent together with the first one: nothing is decided on a guess."""

from __future__ import annotations

from typing import Any

import pytest

from taskapi.store import prefetched_read, scripts
from tests import stores
from tests.api.conftest import RoundTrips
from tests.api.factories import (
    PASSWORD,
    login,
    new_admin,
    new_group,
    new_task,
    new_user,
    ok,
    refused,
)
from tests.client import Answer, Api, Caller
from tests.conftest import Install
from tests.support import Installation

LIST, ADDRESS = "/tasks/filter", "192.0.2.1"


@pytest.fixture
def installation(install: Install) -> Installation:
    return install(TRUSTED_PROXIES="1")


@pytest.fixture
def admin(api: Api) -> dict[str, Any]:
    """The admin of two groups with a task each, who has listed both tasks."""
    admin = new_admin(api)
    for group_id in (1, 2):
        new_group(api, admin_id=admin["id"])
        new_task(api, new_user(api, group_id)["id"], group_id, by="owner")
    assert listed(api, admin) == [1, 2]
    return admin


def ask(api: Api, by: Caller, query: str = "", address: str = ADDRESS) -> Answer:
    return api("GET", LIST + query, by=by, headers={"X-Forwarded-For": address})


def listed(api: Api, user: dict[str, Any], query: str = "") -> list[int]:
    """Return the ids of the tasks that a user sees."""
    return [task["id"] for task in ok(ask(api, login(user), query))["tasks"]]


def remove_from_second_group(other: Api, admin: dict[str, Any]) -> None:
    ok(other("PUT", "/groups/2", by="owner", json={"admin_id": 1}))
    ok(other("DELETE", f"/groups/2/users/{admin['id']}", by="owner"))


def has_page(commands: tuple[Any, ...]) -> bool:
    """Return whether a round trip has the script that reads a page."""
    return any(command[:2] == ("EVALSHA", scripts.PAGE) for command in commands)


def test_a_list_that_was_read_before_takes_one_round_trip(
    api: Api, admin: dict[str, Any], round_trips: RoundTrips
) -> None:
    assert listed(api, admin) == [1, 2]
    assert [has_page(commands) for commands in round_trips] == [True]


def test_a_group_admin_without_groups_gets_statistics(api: Api) -> None:
    admin = new_admin(api)
    for _ in range(2):
        statistics = ok(api("GET", "/tasks/stats", by=login(admin)))
        assert (statistics["total_tasks"], statistics["administered_groups"]) == (0, [])


def test_a_guess_is_not_used_for_another_page(api: Api, admin: dict[str, Any]) -> None:
    assert listed(api, admin, "?limit=1") == [1]
    assert listed(api, admin, "?after=1") == [2]
    assert listed(api, admin, "?limit=1") == [1]


def test_a_list_has_what_was_created_since(api: Api, admin: dict[str, Any]) -> None:
    task = new_task(api, admin["id"], 1, by=login(admin))
    assert listed(api, admin) == [1, 2, task["id"]]


def test_an_admin_who_lost_a_group_sees_none_of_its_tasks(
    api: Api, other: Api, admin: dict[str, Any]
) -> None:
    remove_from_second_group(other, admin)
    assert listed(api, admin) == [1]


def test_a_caller_who_was_deleted_is_refused(api: Api, other: Api) -> None:
    user = new_user(api, new_group(api)["id"])
    assert listed(api, user) == []
    ok(other("DELETE", f"/users/{user['id']}", by="owner"))
    refused(ask(api, login(user)), 401)


def test_repeated_wrong_passwords_send_a_guess_only_once(
    api: Api, admin: dict[str, Any], round_trips: RoundTrips
) -> None:
    for _ in range(2):
        refused(ask(api, (admin["id"], "wrong")), 401)
    assert sum(map(has_page, round_trips)) == 1


@pytest.mark.parametrize("password", [PASSWORD, "wrong"])
def test_requests_from_another_address_send_no_guess(
    api: Api, admin: dict[str, Any], round_trips: RoundTrips, password: str
) -> None:
    ask(api, (admin["id"], password), address="192.0.2.2")
    assert not has_page(round_trips[0])


def test_a_change_sends_no_guess(api: Api, admin: dict[str, Any], round_trips: RoundTrips) -> None:
    sizes, here = [], {"X-Forwarded-For": ADDRESS}
    for title in ("First", "Second"):
        body = {"task_ids": [1, 2], "updates": {"title": title}}
        ok(api("POST", "/tasks/batch", by=login(admin), json=body, headers=here))
        sizes.append(len(round_trips))
        round_trips.clear()
    assert sizes == [3, 3]


def test_damage_that_only_the_guess_reads_does_not_refuse_the_request(
    api: Api, other: Api, admin: dict[str, Any], installation: Installation
) -> None:
    remove_from_second_group(other, admin)
    with stores.connect(installation) as redis:
        redis.set(stores.root(installation) + "tasks:g:2", "damaged")
    assert listed(api, admin) == [1]


def test_guesses_are_limited_in_number(
    api: Api, admin: dict[str, Any], monkeypatch: pytest.MonkeyPatch, round_trips: RoundTrips
) -> None:
    monkeypatch.setattr(prefetched_read, "REMEMBERED_MOST", 2)
    for after in (1, 2, 1):
        listed(api, admin, f"?after={after}")
    assert [has_page(commands) for commands in round_trips] == [False, True] * 3


def test_long_guesses_are_not_kept(
    api: Api, admin: dict[str, Any], monkeypatch: pytest.MonkeyPatch, round_trips: RoundTrips
) -> None:
    monkeypatch.setattr(prefetched_read, "LONGEST", 100)
    for _ in range(2):
        listed(api, admin)
    assert [has_page(commands) for commands in round_trips] == [True, False, True]


def test_guesses_of_many_commands_are_not_kept(
    api: Api, admin: dict[str, Any], monkeypatch: pytest.MonkeyPatch, round_trips: RoundTrips
) -> None:
    monkeypatch.setattr(prefetched_read, "COMMANDS_MOST", 5)
    for _ in range(2):
        ok(api("GET", "/tasks/stats", by=login(admin), headers={"X-Forwarded-For": "192.0.2.1"}))
    assert len(round_trips) == 6
