"""The OpenAPI 3.1 document: made from routes, contracts, schemas and error codes."""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import groupby
from typing import Any, Final

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from flask import Flask
from werkzeug.routing import Rule

from taskapi.api import openapi_parts as parts
from taskapi.api.contract import CONTRACTS, SAFE_METHODS, Contract
from taskapi.api.error_codes import CODES
from taskapi.api.metrics import route_of
from taskapi.api.openapi_parts import PATH_IDS, Shape
from taskapi.api.openapi_schemas import SchemaConverter, body_example, example, object_of, ref
from taskapi.api.requests import JSON, JSON_TYPES
from taskapi.policy import Relation

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
CHANGES: Final = ("PUT", "PATCH", "DELETE")


@lru_cache(maxsize=1)
def document(app: Flask) -> Shape:
    """Return the OpenAPI document of an application; built once."""
    plugin = MarshmallowPlugin()
    spec = APISpec(**parts.TOP, plugins=[plugin])
    operations = _Operations(spec, SchemaConverter(spec, plugin))
    _add_components(spec)
    rules = sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule)
    for path, same in groupby(rules, lambda rule: rule.rule):
        methods = {
            method.lower(): operations.of(rule, method, contract, app.view_functions[rule.endpoint])
            for rule in same
            if (contract := CONTRACTS.get(app.view_functions[rule.endpoint]))
            and contract.is_documented
            for method in METHODS
            if method in (rule.methods or ())
        }
        if methods:
            spec.path(route_of(path), operations=methods)
    return spec.to_dict()


def _add_components(spec: APISpec) -> None:
    spec.components.schema("Error", parts.ERROR)
    spec.components.schema("ErrorCode", parts.ERROR_CODE)
    for name, header in parts.HEADERS.items():
        spec.components.header(name, {"schema": parts.TEXT, **header})
    for name, scheme in parts.SECURITY_SCHEMES.items():
        spec.components.security_scheme(name, scheme)
    for name, parameter in parts.PARAMETERS.items():
        spec.components.parameter(name, "header", {"name": name, "schema": parts.TEXT, **parameter})


class _Operations:
    """Builds the operations of one document, and adds the components that they refer to."""

    def __init__(self, spec: APISpec, schemas: SchemaConverter) -> None:
        self._spec, self._schemas = spec, schemas

    def of(self, rule: Rule, method: str, contract: Contract, view: Any) -> Shape:
        """Return the operation of a route and a method."""
        name = rule.endpoint.replace(".", "_")
        who = contract.action.value.sentence if contract.action else parts.PUBLIC
        return {
            "operationId": f"{name}_patch" if method == "PATCH" else name,
            "tags": [rule.endpoint.partition(".")[0]],
            "summary": (view.__doc__ or "").partition("\n")[0],
            "description": f"Allowed: {who} {contract.note}".rstrip(),
            "parameters": self._parameters(rule, method, contract),
            **self._request_body(method, contract),
            "responses": {
                **self._successes(method, contract),
                **dict(self._errors(_codes(rule, method, contract))),
            },
            **_security(contract),
        }

    def _parameters(self, rule: Rule, method: str, contract: Contract) -> list[Any]:
        in_path = [
            {"name": name, "in": "path", "required": True, "schema": PATH_IDS[kind], "example": 1}
            for kind, name in re.findall(r"<(\w+):(\w+)>", rule.rule)
        ]
        headers = ["X-Request-ID"]
        headers += ["If-Match"] if method in CHANGES else []
        headers += ["Idempotency-Key"] if method == "POST" else []
        headers += ["If-None-Match"] if contract.is_conditional else []
        return [*in_path, *self._schemas.parameters(contract.query), *headers]

    def _request_body(self, method: str, contract: Contract) -> Shape:
        if contract.body is None:
            return {}
        schema = self._schemas.body(contract.body)
        content = {"schema": schema, "example": body_example(contract.body)}
        types = JSON_TYPES.get(method, JSON)
        return {"requestBody": {"required": True, "content": dict.fromkeys(types, content)}}

    def _successes(self, method: str, contract: Contract) -> Shape:
        headers = [*parts.COMMON_HEADERS]
        headers += ["Idempotent-Replayed"] if method == "POST" else []
        headers += ["Location"] if contract.statuses == (201,) else []
        headers += ["ETag"] if contract.has_etag else []
        headers += ["Link"] if "limit" in contract.query.fields else []
        content = {contract.media_type: {"schema": parts.TEXT}}
        if contract.answers:
            content = {"application/json": self._envelope(contract)}
        if "format" in contract.query.fields:
            content["text/csv"] = {"schema": parts.TEXT}
        responses = {
            str(status): _response("Done.", headers, content) for status in contract.statuses
        }
        if contract.is_conditional:
            responses["304"] = _response("`If-None-Match` names this version.", headers, {})
        return responses

    def _envelope(self, contract: Contract) -> Shape:
        data = self._schemas.answers(contract.answers)
        data_example = example(contract.answers[0]().dump_fields)
        if contract.is_bare:
            return {"schema": data, "example": data_example}
        fields = {"success": {"const": True}, "data": data}
        return {
            "schema": object_of(fields, list(fields)),
            "example": {"success": True, "data": data_example},
        }

    def _errors(self, codes: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Yield (status, component name); operations with the same codes share a component."""
        for status, same in groupby(codes, lambda code: CODES[code].status):
            listed = list(same)
            name = ".".join((f"Error{status}", *listed))  # generators need a letter first
            if name not in self._spec.components.responses:
                self._spec.components.response(name, _error_response(status, listed))
            yield str(status), name


def _security(contract: Contract) -> Shape:
    """Return the kinds of credentials that are accepted, if not those of the whole document."""
    if contract.action and contract.action.value.needs_password:
        return {"security": parts.PASSWORDS}
    return {"security": []} if contract.is_public else {}


def _codes(rule: Rule, method: str, contract: Contract) -> list[str]:
    """Return the general error codes and those of @refuses, in the order of CODES."""
    codes = {"bad_request", "validation_failed", "method_not_allowed", "internal_error"}
    codes.update(contract.codes)
    if contract.body:
        codes |= {"malformed_json", "body_too_large", "not_json"}
    if rule.arguments:
        codes |= {"no_such_route", "not_found"}
    if contract.action:
        codes |= {"unauthenticated", "too_many_failures"}
        codes |= {"busy", "not_ready", "redis_unreachable", "redis_full", "damaged"}
        codes |= set() if Relation.ANYONE in contract.action.value.permitted else {"forbidden"}
        codes |= {"password_needed"} if contract.action.value.needs_password else set()
        codes |= set() if method in SAFE_METHODS else {"read_only_token"}
    if method in CHANGES:
        codes.add("version_mismatch")
    if method == "POST":
        codes |= {"in_progress", "idempotency_key_reused"}
    return sorted(codes, key=list(CODES).index)  # ValueError: @refuses has an unknown code


def _error_response(status: int, codes: list[str]) -> Shape:
    listed = "\n".join(f"- `{code}`: {CODES[code].advice}" for code in codes)
    headers = [*parts.COMMON_HEADERS, *parts.ERROR_HEADERS.get(status, ())]
    content = {
        "schema": {"allOf": [ref("Error"), {"properties": {"code": {"enum": codes}}}]},
        "examples": {code: {"value": _error_example(code)} for code in codes},
    }
    text = f"{parts.REASONS[status]}\n\n{listed}"
    return _response(text, headers, {"application/json": content})


def _error_example(code: str) -> Shape:
    fields = {"fields": {"priority": ["…"]}} if code == "validation_failed" else {}
    return {
        "success": False,
        "error": CODES[code].advice,
        "code": code,
        "request_id": "5f0c2b7a9d31e864",
        **fields,
    }


def _response(text: str, headers: list[str], content: Shape) -> Shape:
    refs = {name: {"$ref": f"#/components/headers/{name}"} for name in headers}
    return {"description": text, "headers": refs, **({"content": content} if content else {})}
