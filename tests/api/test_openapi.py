"""The OpenAPI document and the service agree, in both directions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from openapi_spec_validator import validate

from taskapi import create_app
from taskapi.api import openapi
from taskapi.api.contract import CONTRACTS
from taskapi.config import load
from tests.api.factories import login, new_admin, new_group, new_task, new_token, new_user
from tests.client import Answer, Api, Caller

APP = create_app(load({}))
DOCUMENT: dict[str, Any] = openapi.document(APP)
DOCUMENTED = {
    (method.upper(), path): operation
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}


VIEWS = {
    name: CONTRACTS[view]
    for name, view in APP.view_functions.items()
    if view in CONTRACTS and CONTRACTS[view].is_documented
}
"""The contract of each documented view, by endpoint."""


def operations_of(endpoint: str) -> list[dict[str, Any]]:
    """Return the operations of an endpoint: PUT and PATCH are two."""
    name = endpoint.replace(".", "_")
    return [
        operation
        for operation in DOCUMENTED.values()
        if operation["operationId"].removesuffix("_patch") == name
    ]


def resolved(value: dict[str, Any]) -> dict[str, Any]:
    """Return the value, or the target of its reference."""
    if "$ref" not in value:
        return value
    node: Any = DOCUMENT
    for part in value["$ref"].removeprefix("#/").split("/"):
        node = node[part]
    return dict(node)


def check(instance: Any, schema: dict[str, Any]) -> None:
    """Fail if the instance does not match the schema; references are to the document."""
    whole = {**schema, "components": DOCUMENT["components"]}
    Draft202012Validator(whole, format_checker=FormatChecker()).validate(instance)


def test_the_document_is_valid() -> None:
    validate(DOCUMENT)


def test_every_route_is_documented_and_nothing_else() -> None:
    served = {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in APP.url_map.iter_rules()
        if not rule.rule.startswith("/docs")
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert served == set(DOCUMENTED)


def test_operation_ids_and_summaries_are_there_and_ids_are_unique() -> None:
    names = [operation["operationId"] for operation in DOCUMENTED.values()]
    assert len(set(names)) == len(names)
    assert all(operation["summary"].endswith(".") for operation in DOCUMENTED.values())


def test_tokens_log_in_everywhere_but_where_a_password_is_needed() -> None:
    schemes, refused = {"basic", "ownerPassword", "bearer"}, set()
    assert set(DOCUMENT["components"]["securitySchemes"]) == schemes
    for (method, path), operation in DOCUMENTED.items():
        accepted = {
            name for each in operation.get("security", DOCUMENT["security"]) for name in each
        }
        if accepted == schemes - {"bearer"}:
            refused.add((method, path))
        else:
            is_public = VIEWS[operation_endpoint(operation)].is_public
            assert accepted == (set() if is_public else schemes), (method, path)
    of_user = "/users/{user_id}/tokens"
    assert refused == {
        ("POST", "/users"),
        ("GET", of_user),
        ("POST", of_user),
        ("DELETE", f"{of_user}/{{token_id}}"),
    }


def operation_endpoint(operation: dict[str, Any]) -> str:
    (name,) = {each for each in VIEWS if operation in operations_of(each)}
    return name


@pytest.mark.parametrize("endpoint", [name for name, one in VIEWS.items() if one.body])
def test_a_body_documents_exactly_what_its_schema_takes(endpoint: str) -> None:
    schema, operation = VIEWS[endpoint].body, operations_of(endpoint)[0]
    assert schema
    shape = resolved(operation["requestBody"]["content"]["application/json"]["schema"])
    forms = [*map(resolved, shape["anyOf"])] if "anyOf" in shape else [shape]
    fields = {field for form in forms for field in form["properties"]}
    assert fields == schema.load_fields.keys() | schema.READ_ONLY
    assert all(form["additionalProperties"] is False for form in forms)
    if len(forms) == 1:
        required = {field for field, value in schema.load_fields.items() if value.required}
        assert set(shape.get("required", [])) == (set() if schema.partial else required)


@pytest.mark.parametrize("endpoint", VIEWS)
def test_a_query_documents_exactly_what_its_schema_takes(endpoint: str) -> None:
    for operation in operations_of(endpoint):
        inline = [part for part in operation["parameters"] if part.get("in") == "query"]
        assert {part["name"] for part in inline} == VIEWS[endpoint].query.fields.keys()


def examples() -> Iterator[Any]:
    for (method, path), operation in DOCUMENTED.items():
        parts = [operation.get("requestBody", {}), *operation["responses"].values()]
        contents = [(f"{method} {path}", part.get("content", {})) for part in parts]
        yield from contents
    for name, response in DOCUMENT["components"]["responses"].items():
        yield name, response["content"]


@pytest.mark.parametrize(
    ("instance", "schema"),
    [
        pytest.param(instance, content["schema"], id=name)
        for name, contents in examples()
        for content in contents.values()
        for instance in (
            *([content["example"]] if "example" in content else []),
            *(example["value"] for example in content.get("examples", {}).values()),
        )
    ],
)
def test_every_example_is_what_its_schema_says(instance: Any, schema: dict[str, Any]) -> None:
    check(instance, schema)


TOUR = """
owner GET /users
admin GET /users?limit=1
owner GET /users/search?q=person
owner POST /users {"full_name": "New", "email": "new@example.com", "password": "secret-1"}
owner POST /users {"full_name": "New", "email": "new@example.com", "password": "secret-1"}
owner POST /users {"full_name": 1}
user POST /users {"full_name": "New"}
nobody GET /users
user GET /users/3
owner GET /users/987
user PUT /users/3 {"full_name": "Renamed"}
user PATCH /users/3 {"full_name": "Renamed again"}
user GET /users/3/worktimes
user PUT /users/3/worktimes {"work_times": {"Monday": 8}}
user POST /users/3/tokens {"name": "Daily", "access": "read", "expires_at": "2099-12-31T23:59:59Z"}
user POST /users/3/tokens {"name": "Daily", "access": "read", "expires_at": "2009-12-31T23:59:59Z"}
user GET /users/3/tokens
user GET /users/3/tokens?limit=1
token GET /users/3
token PUT /users/3 {"full_name": "Renamed"}
token GET /users/3/tokens
user DELETE /users/3/tokens/7
user DELETE /users/3/tokens/<token>
owner DELETE /users/1
owner GET /groups
owner POST /groups {"name": "Another", "admin_id": 2}
owner POST /groups {"name": "Third", "admin_id": 3}
owner POST /groups {"name": "Third", "admin_id": 987}
user GET /groups/1
owner PUT /groups/1 {"name": "Another"}
owner PUT /groups/1 {"name": "Fourth"}
user GET /groups/1/users
owner GET /groups/1/users
owner POST /groups/2/users {"user_id": 3}
owner POST /groups/2/users {"user_id": 3}
owner DELETE /groups/2/users/3
owner DELETE /groups/1/users/2
user GET /groups/1/tasks
user GET /groups/1/stats
user GET /users/3/tasks?limit=1
user POST /users/3/tasks {"title": "New", "group_id": 1}
owner POST /users/3/tasks {"title": "New", "group_id": 987}
user GET /users/3/tasks/1
user PUT /users/3/tasks/1 {"priority": 1}
user PUT /users/3/tasks/1 {"priority": 1
user PUT /users/3/tasks/1/done
owner GET /tasks/search?q=task
owner GET /tasks/stats
admin GET /tasks/stats
user GET /tasks/stats
user GET /tasks/filter?status=pending&limit=1
owner GET /tasks/filter?sort=deadline&limit=1&total=true
owner GET /tasks/changes?limit=1
owner GET /tasks/changes
owner POST /tasks/batch {"action": "create", "tasks": [{"title": "A", "group_id": 1}]}
owner POST /tasks/batch {"task_ids": [1, 987], "updates": {"priority": 3}}
owner POST /tasks/batch {"task_ids": [2], "action": "delete"}
user DELETE /users/3/tasks/1
owner DELETE /groups/1
owner DELETE /users/3
owner GET /admin/status
owner POST /admin/sync
owner POST /admin/sync?action=backup
owner POST /admin/sync?action=restore
owner GET /admin/status
owner GET /admin/stats
owner GET /metrics
user GET /admin/stats
nobody GET /health
nobody GET /health/live
nobody GET /
nobody GET /openapi.json
"""


def documented_for(method: str, path: str) -> dict[str, Any]:
    """Return the operation of a request."""
    endpoint = APP.url_map.bind("").match(path.partition("?")[0], method)[0]
    name = endpoint.replace(".", "_") + ("_patch" if method == "PATCH" else "")
    return next(one for one in DOCUMENTED.values() if one["operationId"] == name)


def check_answer(answer: Answer, operation: dict[str, Any]) -> None:
    documented = resolved(operation["responses"][str(answer.status)])
    kind = answer.headers.get_content_type()
    content = answer.json if kind == "application/json" else answer.body.decode()
    check(content, documented["content"][kind]["schema"])
    names = {name.lower() for name in answer.headers} - {"content-type", "content-length"}
    assert names <= {name.lower() for name in documented["headers"]}
    for name in documented["headers"].keys() & set(answer.headers):
        schema, value = resolved(documented["headers"][name])["schema"], answer.headers[name]
        check(int(value) if schema.get("type") == "integer" else value, schema)


def test_what_is_answered_is_what_is_documented(api: Api) -> None:
    new_admin(api)
    for _ in range(2):
        new_group(api, 2)
    user = new_user(api, 1)
    for _ in range(3):
        new_task(api, 3, 1)
    by: dict[str, Caller] = {"nobody": None, "owner": "owner", "user": login(user)}
    by["admin"] = login({"id": 2})
    token, by["token"] = new_token(api, user, access="read")
    visited = set()
    for line in TOUR.replace("<token>", str(token["id"])).strip().splitlines():
        who, method, path, *body = line.split(" ", 3)
        typed = {"Content-Type": "application/json"} if body else {}
        data = body[0].encode() if body else None
        answer = api(method, path, by=by[who], data=data, headers=typed)
        operation = documented_for(method, path)
        assert str(answer.status) in operation["responses"], line
        check_answer(answer, operation)
        if answer.status < 300:
            visited.add(operation["operationId"].removesuffix("_patch"))
    assert visited == {name.replace(".", "_") for name in VIEWS}
