"""How the service speaks HTTP: routes, ids, queries, methods, sizes, request ids and headers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.factories import (
    everything,
    login,
    made,
    new_group,
    new_task,
    new_user,
    ok,
    path_of,
    refused,
)
from tests.client import Answer, Api
from tests.conftest import Install
from tests.support import Installation

SAFE_METHODS = ["/users", "/users/1", "/users/1/worktimes", "/users/1/tasks", "/users/1/tasks/1"]
SAFE_METHODS += ["/groups", "/groups/1", "/groups/1/users", "/groups/1/tasks", "/groups/1/stats"]
SAFE_METHODS += ["/tasks/stats", "/tasks/filter", "/admin/status", "/admin/stats"]


@pytest.fixture(scope="module")
def installation(install: Install) -> Installation:
    """An installation with user 2 in group 1, and task 1 of user 1."""
    installation = install()
    api = installation.client()
    new_group(api)
    new_user(api, 1)
    new_task(api, 1, 1)
    return installation


@pytest.fixture(scope="module")
def api(installation: Installation) -> Api:
    return installation.client()


ODD_IDS = [
    "0",
    "007",
    "+1",
    "-1",
    "1.0",
    "1e0",
    "0x1",
    "%D9%A3",
    "%EF%BC%91",
    "%201",
    "1%20",
    "1%00",
]
ODD_IDS += [str(2**63), str(2**64 + 1), "9" * 99, "null", "None", "{id}", "%7Bid%7D", "1,2", "*"]


@pytest.mark.parametrize("bad_id", ODD_IDS)
def test_a_malformed_id_in_a_path_is_an_unknown_route_for_everyone(api: Api, bad_id: str) -> None:
    user = (2, "wrong")
    for path in [
        f"/users/{bad_id}",
        f"/users/{bad_id}/worktimes",
        f"/users/{bad_id}/tasks",
        f"/users/1/tasks/{bad_id}",
        f"/groups/{bad_id}",
        f"/groups/{bad_id}/stats",
    ]:
        for by in ("owner", None, user):
            refused(api("GET", path, by=by), 404)
    refused(api("DELETE", f"/groups/1/users/{bad_id}", by="owner"), 404)
    refused(api("PUT", f"/users/1/tasks/{bad_id}/done", by="owner"), 404)


def test_the_largest_id_is_one_that_is_not_there(api: Api) -> None:
    for path in (f"/users/{2**63 - 1}", f"/groups/{2**63 - 1}", f"/users/1/tasks/{2**63 - 1}"):
        refused(api("GET", path, by="owner"), 404)


@pytest.mark.parametrize("path", ["/nothing", "/users/1/nothing", "/admin", "/api/users"])
def test_an_unknown_route_is_a_404_in_json_for_everyone(api: Api, path: str) -> None:
    for by in ("owner", None):
        assert refused(api("GET", path, by=by), 404)["code"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/users", {"GET", "HEAD", "OPTIONS", "POST"}),
        ("POST", "/users/1", {"GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"}),
        ("DELETE", "/users/1/worktimes", {"GET", "HEAD", "OPTIONS", "PUT", "PATCH"}),
        ("GET", "/users/1/tasks/1/done", {"OPTIONS", "PUT", "PATCH"}),
        ("GET", "/tasks/batch", {"OPTIONS", "POST"}),
        ("GET", "/admin/sync", {"OPTIONS", "POST"}),
        ("POST", "/health", {"GET", "HEAD", "OPTIONS"}),
        ("TRACE", "/users", {"GET", "HEAD", "OPTIONS", "POST"}),
        ("DANCE", "/users", {"GET", "HEAD", "OPTIONS", "POST"}),
    ],
)
def test_405_and_options_say_what_is_allowed(
    api: Api, method: str, path: str, allowed: set[str]
) -> None:
    answer = api(method, path)
    assert refused(answer, 405)
    assert set(answer.headers["Allow"].split(", ")) == allowed
    options = api("OPTIONS", path, by="owner")
    assert options.status in (200, 204)
    assert set(options.headers["Allow"].split(", ")) == allowed


@pytest.mark.parametrize("path", [*SAFE_METHODS, "/health"])
def test_head_is_get_without_the_body(api: Api, path: str) -> None:
    get, head = api("GET", path, by="owner"), api("HEAD", path, by="owner")
    assert (get.status, head.status, head.body) == (200, 200, b"")
    assert head.headers["Content-Type"] == get.headers["Content-Type"]
    refusal = api("HEAD", path + "?colour=red")
    assert (refusal.status in (200, 400, 401), refusal.body) == (True, b"")


def followed(api: Api, method: str, path: str, **sent: Any) -> Answer:
    """Return the answer, after at most one redirect that keeps the method."""
    answer = api(method, path, by="owner", **sent)
    if answer.status != 308:
        return answer
    return api(
        method, answer.headers["Location"].removeprefix("http://localhost"), by="owner", **sent
    )


@pytest.mark.parametrize("path", [*SAFE_METHODS, "/health"])
def test_a_trailing_slash_leads_to_the_same_thing(api: Api, path: str) -> None:
    assert followed(api, "GET", path + "/").status == 200


def test_a_trailing_slash_keeps_the_query_and_the_body(api: Api) -> None:
    assert ok(followed(api, "GET", "/tasks/search/?q=zzz"))["query"] == "zzz"
    body = {"title": "slashed", "group_id": 1}
    assert made(followed(api, "POST", "/users/1/tasks/", json=body))["task"]["title"] == "slashed"


@pytest.mark.parametrize("path", ["//", "//users", "/users//1", "//users//1//tasks", "/users/./1"])
def test_a_path_with_extra_slashes_is_not_a_500(api: Api, path: str) -> None:
    answer = api("GET", path, by="owner")
    assert answer.status in (200, 301, 308, 404)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/users/2", {"number": "5"}),
        ("/users/2/worktimes", {"work_times": {"Sunday": 5}}),
        ("/groups/1", {"name": "Patched"}),
        ("/users/1/tasks/1", {"title": "Patched"}),
        ("/users/1/tasks/1/done", {}),
    ],
)
def test_patch_is_put(api: Api, path: str, body: dict[str, Any]) -> None:
    patched = api("PATCH", path, by="owner", json=body)
    put = api("PUT", path, by="owner", json=body)
    assert (ok(patched), patched.body) == (ok(put), put.body)


def test_if_match_names_the_version_to_change_or_nothing_changes(api: Api) -> None:
    user, group = new_user(api, full_name="Matched"), new_group(api)
    task = new_task(api, user["id"], group["id"])
    for path, body, entity in [
        (f"/users/{user['id']}", {"number": "1"}, user),
        (f"/groups/{group['id']}", {"name": "Matched"}, group),
        (path_of(task), {"title": "Matched"}, task),
    ]:
        before = everything(api)
        other = {"If-Match": f'"{entity["version"] + 1}"'}
        refused(api("PUT", path, by="owner", json=body, headers=other), 412)
        refused(api("DELETE", path, by="owner", headers=other), 412)
        assert everything(api) == before
        ok(api("PUT", path, by="owner", json=body, headers={"If-Match": f'"{entity["version"]}"'}))
        ok(api("PUT", path, by="owner", json=body, headers={"If-Match": "*"}))


def test_single_objects_answer_their_version_as_etag(api: Api) -> None:
    user, group = new_user(api, full_name="Tagged"), new_group(api)
    task = new_task(api, user["id"], group["id"])
    for path, noun, body, created in [
        (f"/users/{user['id']}", "user", {"number": "1"}, user),
        (f"/groups/{group['id']}", "group", {"name": "Tagged"}, group),
        (path_of(task), "task", {"title": "Tagged"}, task),
    ]:
        shown = api("GET", path, by="owner")
        assert shown.headers["ETag"] == f'"{created["version"]}"'
        changed = api("PUT", path, by="owner", json=body)
        assert changed.headers["ETag"] == f'"{ok(changed)[noun]["version"]}"'
        late = api("PUT", path, by="owner", json=body, headers={"If-Match": shown.headers["ETag"]})
        refused(late, 412)
        assert late.headers["ETag"] == changed.headers["ETag"]
    week = api("PUT", f"/users/{user['id']}/worktimes", by="owner", json={"work_times": {}})
    assert week.headers["ETag"] == api("GET", f"/users/{user['id']}", by="owner").headers["ETag"]
    made = api("POST", f"/users/{user['id']}/tasks", by="owner", json={"title": "t", "group_id": 1})
    assert made.headers["ETag"] == f'"{made.data["task"]["version"]}"'


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_the_caller_already_has_is_a_304_without_body(api: Api, method: str) -> None:
    user = new_user(api, full_name="Known")
    task = new_task(api, user["id"], new_group(api)["id"])
    for path in (f"/users/{user['id']}", f"/users/{user['id']}/worktimes", path_of(task)):
        tag = api("GET", path, by="owner").headers["ETag"]
        for known in (tag, f'"1", {tag}', f"W/{tag}", "*"):
            answer = api(method, path, by="owner", headers={"If-None-Match": known})
            assert (answer.status, answer.body, answer.headers["ETag"]) == (304, b"", tag)
            assert answer.headers["X-Request-ID"]
        assert api(method, path, by="owner", headers={"If-None-Match": '"1"'}).status == 200
        both = {"If-None-Match": '"1"', "If-Match": '"2"'}
        assert api(method, path, by="owner", headers=both).status == 200
        assert api(method, path, by="owner", headers=both | {"If-None-Match": tag}).status == 304
        refused(api("GET", path, headers={"If-None-Match": tag}), 401)


def test_a_groups_page_is_always_answered_since_its_counts_have_no_version(api: Api) -> None:
    group = new_group(api)
    tag = api("GET", f"/groups/{group['id']}", by="owner").headers["ETag"]
    new_task(api, 1, group["id"])
    again = api("GET", f"/groups/{group['id']}", by="owner", headers={"If-None-Match": tag})
    assert ok(again)["tasks_count"] == 1


def test_endpoints_that_need_no_body_ignore_one(api: Api) -> None:
    task = new_task(api, 1, 1)
    ignored = {"data": b"{[", "headers": {"Content-Type": "text/plain"}}
    path = f"/users/1/tasks/{task['id']}"
    assert ok(api("PUT", f"{path}/done", by="owner", **ignored))["task"]["status"] is True
    ok(api("GET", path, by="owner", **ignored))
    ok(api("DELETE", path, by="owner", **ignored))
    ok(api("POST", "/admin/sync?action=backup", by="owner", **ignored))


def test_a_body_over_the_limit_is_413_by_length_and_in_chunks(installation: Installation) -> None:
    sent = {"Content-Type": "application/json"}
    full = b'{"title": "t", "group_id": 1, "information": "%s"}' % (b"x" * (1 << 20))
    with installation.serve(workers=1) as api:
        before = everything(api)
        for data in (full, iter([full[:65536]] * 17)):
            answer = api("POST", "/users/1/tasks", by="owner", data=data, headers=sent)
            refused(answer, 413)
        fits = b'{"title": "t", "group_id": 1}'.ljust(1 << 20)
        nearly = full[: 1 << 20]
        refused(api("POST", "/users/1/tasks", by="owner", data=nearly, headers=sent), 400)
        assert everything(api) == before
        made(api("POST", "/users/1/tasks", by="owner", data=fits, headers=sent))
        chunks = iter([b'{"title": "t", ', b'"group_id": 1}'])
        made(api("POST", "/users/1/tasks", by="owner", data=chunks, headers=sent))
        refused(api("POST", "/users/1/tasks", data=full, headers=sent), 401)


def test_the_limit_of_bodies_can_be_configured(install: Install) -> None:
    api = install(MAX_BODY_BYTES="2048").client()
    new_group(api)
    refused(api("PUT", "/users/1", by="owner", json={"number": "x" * 2048}), 413)
    refused(api("PUT", "/users/1", by="owner", json={"number": "x" * 1024}), 400)


@pytest.mark.parametrize("given", ["abc-123", "6f1c2b9e-6f3a-4c55-9d0d-0e4f7f1c9a11", "A_b.9"])
def test_a_sane_request_id_is_echoed(api: Api, given: str) -> None:
    for answer in (
        api("GET", "/users", by="owner", headers={"X-Request-ID": given}),
        api("GET", "/users", headers={"X-Request-ID": given}),
        api("GET", "/nothing", headers={"X-Request-ID": given}),
    ):
        assert answer.headers["X-Request-ID"] == given
        assert answer.status == 200 or answer.json["request_id"] == given


@pytest.mark.parametrize(
    "given", ["", "x" * 1000, "a b", 'a"b', "<script>", "é", "a\tb", "a;b=c,d"]
)
def test_any_other_request_id_is_replaced(api: Api, given: str) -> None:
    answer = api("GET", "/health", headers={"X-Request-ID": given})
    assert answer.headers["X-Request-ID"] not in ("", given)


def test_every_request_gets_an_id_of_its_own(api: Api) -> None:
    assert len({api("GET", "/health").headers["X-Request-ID"] for _ in range(20)}) == 20


def test_answers_are_json_that_browsers_neither_guess_about_nor_keep(api: Api) -> None:
    user = new_user(api)
    for path, by in [("/users", "owner"), ("/users", None), ("/users", login(user)), ("/x", None)]:
        headers = api("GET", path, by=by).headers
        assert headers.get_content_type() == "application/json"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "no-store" in headers["Cache-Control"]
        assert "Access-Control-Allow-Origin" not in headers
