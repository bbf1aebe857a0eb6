"""Malformed bodies are a 400 that changes nothing, never a 5xx."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.api.factories import everything, made, new_group, new_task, new_user, refused
from tests.client import Api
from tests.conftest import Install

JSON = {"Content-Type": "application/json"}
TASKS = "/users/1/tasks"


@pytest.fixture(scope="module")
def api(install: Install) -> Api:
    """A client of an installation with user 2 in group 1, and task 1 of user 1."""
    api = install().client()
    new_group(api, name="Ground")
    new_user(api, 1)
    new_task(api, 1, 1)
    return api


def refuse(api: Api, status: int, method: str, path: str, **sent: Any) -> Any:
    """Check that a request of the owner is refused and changes nothing; return its error."""
    before = everything(api)
    error = refused(api(method, path, by="owner", **sent), status)
    assert everything(api) == before
    return error


def raw(body: bytes, content_type: str = "application/json") -> dict[str, Any]:
    return {"data": body, "headers": {"Content-Type": content_type}}


def task_with(members: bytes) -> bytes:
    return b'{"title": "t", "group_id": 1, ' + members + b"}"


NOT_JSON = {
    "empty": b"",
    "blank": b"  \n",
    "cut short": b'{"title": "t", "group_id": 1',
    "trailing word": b'{"title": "t", "group_id": 1} x',
    "two documents": b'{"title": "t", "group_id": 1}{}',
    "trailing NUL": b'{"title": "t", "group_id": 1}\0',
    "trailing comma": b'{"title": "t", "group_id": 1,}',
    "single quotes": b"{'title': 't', 'group_id': 1}",
    "bare key": b'{title: "t", "group_id": 1}',
    "comment": b'{"title": "t", /* */ "group_id": 1}',
    "raw line break in a string": b'{"title": "a\nb", "group_id": 1}',
    "unknown escape": b'{"title": "\\x41", "group_id": 1}',
    "UTF-16": '{"title": "t", "group_id": 1}'.encode("utf-16-le"),
    "UTF-16 with BOM": '{"title": "t", "group_id": 1}'.encode("utf-16"),
    "UTF-32": '{"title": "t", "group_id": 1}'.encode("utf-32-be"),
    "UTF-8 BOM": b'\xef\xbb\xbf{"title": "t", "group_id": 1}',
    "bad UTF-8": b'{"title": "\xff", "group_id": 1}',
    "overlong UTF-8": b'{"title": "\xc0\xaf", "group_id": 1}',
    "surrogate in UTF-8": b'{"title": "\xed\xa0\x80", "group_id": 1}',
    "cut UTF-8": b'{"title": "\xe2\x82", "group_id": 1}',
    "60 kB of [": b"[" * 60_000,
    "60 kB of {": b'{"a":' * 12_000,
    "60 kB of [ in a member": task_with(b'"created_at": ' + b"[" * 60_000),
    "null": b"null",
    "list": b"[]",
    "string": b'"title"',
    "number": b"1",
    "true": b"true",
}


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON)
@pytest.mark.parametrize(
    "target", ["POST /users/1/tasks", "PUT /users/1", "POST /tasks/batch", "PUT /users/1/worktimes"]
)
def test_what_is_no_json_object_is_refused(api: Api, target: str, body: bytes) -> None:
    method, path = target.split()
    refuse(api, 400, method, path, **raw(body))


REFUSED_MEMBERS = [
    *(
        b'"priority": ' + value
        for value in (b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e400")
    ),
    *(
        b'"priority": ' + value
        for value in (b'"1"', b"1.0", b"1e0", b"true", b"null", b"[1]", b"{}")
    ),
    *(b'"priority": ' + value for value in (b"0", b"4", b"-1", b"01", b"+1", b"0x1", b"9" * 5000)),
    *(b'"priority": ' + str(value).encode() for value in (2**63, -(2**63) - 1, 2**64 + 1)),
    *(b'"status": ' + value for value in (b"1", b"0", b'"true"', b"null", b"1.0", b"[]")),
    *(b'"title": ' + value for value in (b"null", b"1", b"true", b'["t"]', b'""', b'" \\t "')),
    *(b'"information": ' + value for value in (b"null", b"1", b"{}")),
    *(
        b'"title": ' + value
        for value in (b'"a\\u0000b"', b'"\\ud800"', b'"\\udc00"', b'"\\ud800x"')
    ),
    *(b'"information": ' + value for value in (b'"\\u0000"', b'"\\udfff\\ud800"')),
    *(b'"group_id": ' + value for value in (b'"1"', b"1.0", b"true", b"null", b"0", b"-1", b"[1]")),
    *(b'"group_id": ' + str(value).encode() for value in (2**63, 2**63 - 1, 10**30, 999)),
    *(b'"deadline": ' + value for value in (b"20250101", b"true", b'""', b"[]")),
    b'"created_at": NaN',
    b'"created_at": 1e400',
    b'"id": ' + b"9" * 5000,
    b'"created_at": "\\ud800"',
    b'"a\\u0000b": 1',
    b'"\\ud800": 1',
]


@pytest.mark.parametrize("member", REFUSED_MEMBERS, ids=lambda member: member[:30].decode())
def test_a_task_member_of_the_wrong_type_or_range_is_refused(api: Api, member: bytes) -> None:
    body = b"{%s}" % b", ".join(
        part
        for part in (b'"title": "t"', b'"group_id": 1', member)
        if part is member or part.split(b":")[0] != member.split(b":")[0]
    )
    refuse(api, 400, "POST", TASKS, **raw(body))
    refuse(api, 400, "PUT", f"{TASKS}/1", **raw(b"{%s}" % member))


@pytest.mark.parametrize(
    "body",
    [
        b'{"title": "a", "title": "b", "group_id": 1}',
        b'{"title": "a", "\\u0074itle": "b", "group_id": 1}',
        b'{"title": "a", "group_id": 1, "created_at": {"x": 1, "x": 1}}',
    ],
)
def test_a_duplicate_key_is_refused(api: Api, body: bytes) -> None:
    refuse(api, 400, "POST", TASKS, **raw(body))


def test_nesting_is_refused_from_the_seventeenth_level_on(api: Api) -> None:
    def nested(levels: int) -> bytes:
        return task_with(b'"created_at": ' + b"[" * (levels - 1) + b"]" * (levels - 1))

    made(api("POST", TASKS, by="owner", **raw(nested(16))))
    refuse(api, 400, "POST", TASKS, **raw(nested(17)))


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json-patch+json",
        "text/json",
        "json",
        "",
    ],
)
def test_a_body_that_is_not_declared_as_json_is_415(api: Api, content_type: str) -> None:
    refuse(api, 415, "POST", TASKS, **raw(b'{"title": "t", "group_id": 1}', content_type))


def test_a_body_without_a_content_type_is_415_and_no_body_at_all_is_400(api: Api) -> None:
    refuse(api, 415, "POST", TASKS, data=b'{"title": "t", "group_id": 1}')
    refuse(api, 400, "POST", TASKS)


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON"])
def test_json_may_be_declared_as_http_allows(api: Api, content_type: str) -> None:
    made(api("POST", TASKS, by="owner", **raw(task_with(b'"priority": 1'), content_type)))


UNKNOWN = [
    ("POST", "/users", {"full_name": "n", "email": "n@example.com", "password": "secret1"}),
    ("PUT", "/users/2", {"full_name": "n"}),
    ("PUT", "/users/2/worktimes", {"work_times": {}}),
    ("POST", "/groups", {"name": "n", "admin_id": 1}),
    ("PUT", "/groups/1", {"name": "n"}),
    ("POST", "/groups/1/users", {"user_id": 2}),
    ("POST", TASKS, {"title": "t", "group_id": 1}),
    ("PUT", f"{TASKS}/1", {"title": "t"}),
    ("POST", "/tasks/batch", {"task_ids": [1], "action": "mark_done"}),
]


@pytest.mark.parametrize(("method", "path", "body"), UNKNOWN)
@pytest.mark.parametrize("name", ["colour", "Title", "secret", "is_admin", "__class__", "ünknown"])
def test_an_unknown_field_is_refused_by_name(
    api: Api, method: str, path: str, body: dict[str, Any], name: str
) -> None:
    error = refuse(api, 400, method, path, json=body | {name: 1})
    assert name in error["fields"]
    assert name in error["error"] + json.dumps(error["fields"], ensure_ascii=False)


def test_an_unknown_field_of_a_batch_update_is_refused_by_name(api: Api) -> None:
    body = {"task_ids": [1], "updates": {"colour": "red"}}
    assert "colour" in json.dumps(refuse(api, 400, "POST", "/tasks/batch", json=body))


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [row for row in UNKNOWN if row[0] == "POST" or row[1].endswith("worktimes")],
)
def test_a_missing_field_is_refused_by_name(
    api: Api, method: str, path: str, body: dict[str, Any]
) -> None:
    for name in ["task_ids"] if path == "/tasks/batch" else body:
        rest = {key: value for key, value in body.items() if key != name}
        assert name in refuse(api, 400, method, path, json=rest)["fields"]


def test_errors_other_than_of_validation_have_no_fields(api: Api) -> None:
    assert "fields" not in refuse(api, 404, "GET", "/users/999")
    assert "fields" not in refused(api("GET", "/users"), 401)
    assert "fields" not in refuse(api, 409, "DELETE", "/users/1")
