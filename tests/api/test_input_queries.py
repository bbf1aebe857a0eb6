"""Queries: known parameters, once each, with valid values."""

from __future__ import annotations

import pytest

from tests.api.factories import everything, ok, refused
from tests.api.test_contract_http import SAFE_METHODS, api, installation
from tests.client import Api

__all__ = ["api", "installation"]
LISTS = ["/users", "/users/search?q=a", "/users/1/tasks", "/groups", "/groups/1/users"]
LISTS += ["/groups/1/tasks", "/tasks/search?q=a", "/tasks/filter"]


@pytest.mark.parametrize("path", [*SAFE_METHODS, "/users/search?q=a", "/tasks/search?q=a"])
def test_an_unknown_query_parameter_is_refused_by_name(api: Api, path: str) -> None:
    joint = "&" if "?" in path else "?"
    for query in ("colour=red", "colour", "Limit=1", "q[]=1"):
        error = refused(api("GET", f"{path}{joint}{query}", by="owner"), 400)
        assert query.split("=")[0] in error["fields"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/users"),
        ("PUT", "/users/2"),
        ("DELETE", "/users/2"),
        ("POST", "/groups"),
        ("DELETE", "/groups/1"),
        ("POST", "/groups/1/users"),
        ("DELETE", "/groups/1/users/2"),
        ("POST", "/users/1/tasks"),
        ("PUT", "/users/1/tasks/1/done"),
        ("DELETE", "/users/1/tasks/1"),
        ("POST", "/tasks/batch"),
        ("POST", "/admin/sync"),
    ],
)
def test_a_write_refuses_an_unknown_query_parameter(api: Api, method: str, path: str) -> None:
    before = everything(api)
    refused(api(method, f"{path}?colour=red", by="owner", json={}), 400)
    assert everything(api) == before


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=1001", "limit=-1", "limit=abc", "limit=1.5", "limit=", "limit=%D9%A3"),
        *("limit=%2B1", "limit=01", "limit=1e2", "limit=+1", "limit=" + "9" * 5000, "limit=true"),
        *("limit=1&limit=2", "after=abc", "after=-1", "after=1.0", "after=007", f"after={2**63}"),
        *("after=", "after=%D9%A3", "after=1&after=1", "limit=1%00", "limit=%FF"),
    ],
)
def test_malformed_paging_is_refused(api: Api, path: str, query: str) -> None:
    joint = "&" if "?" in path else "?"
    error = refused(api("GET", path + joint + query, by="owner"), 400)
    assert query.split("=")[0] in error["fields"]


@pytest.mark.parametrize(
    "query",
    [
        *("status=done", "status=Completed", "status=1", "status=true", "priority=0", "priority=4"),
        *("priority=high", "priority=01", "priority=1.0", "priority=%D9%A1", "group_id=0"),
        *("group_id=007", "group_id=abc", "group_id=-1", f"group_id={2**63}", "user_id=0"),
        *("user_id=1.0", "user_id=%EF%BC%91", "status=all&status=all", "user_id=1&user_id=1"),
    ],
)
def test_a_filter_value_outside_the_guides_list_is_refused(api: Api, query: str) -> None:
    refused(api("GET", f"/tasks/filter?{query}", by="owner"), 400)


@pytest.mark.parametrize(
    "query",
    ["", "?q=", "?q=%20%09", "?q=" + "x" * 201, "?q=%00", "?q=a&q=b"],
)
@pytest.mark.parametrize("path", ["/users/search", "/tasks/search"])
def test_a_malformed_search_is_refused(api: Api, path: str, query: str) -> None:
    refused(api("GET", path + query, by="owner"), 400)


@pytest.mark.parametrize("path", ["/users/search", "/tasks/search"])
def test_a_search_for_what_is_no_unicode_finds_nothing(api: Api, path: str) -> None:
    for query in ("%FF", "%ED%A0%80", "%C0%AF"):
        answer = api("GET", f"{path}?q={query}", by="owner")
        assert answer.status == 400 or ok(answer)["results"] == []


def test_a_search_may_have_200_characters(api: Api) -> None:
    assert ok(api("GET", "/tasks/search?q=" + "x" * 200, by="owner"))["results"] == []


def test_a_remembered_query_means_something_else_in_another_list(api: Api) -> None:
    query = "limit=1&priority=1"
    for _ in range(2):
        ok(api("GET", f"/tasks/filter?{query}", by="owner"))
        for path in ("/users", "/groups"):
            error = refused(api("GET", f"{path}?{query}", by="owner"), 400)
            assert set(error["fields"]) == {"priority"}
