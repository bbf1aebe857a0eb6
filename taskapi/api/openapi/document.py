"""The document itself: paths from the routes, shapes from the schemas, the rest from the table."""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from itertools import groupby
from typing import Any, Final, Protocol

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from werkzeug.routing import Map, Rule

from taskapi.api.openapi import answers, errors, parts
from taskapi.api.openapi.examples import BODIES as BODY_EXAMPLES
from taskapi.api.openapi.examples import DATA as DATA_EXAMPLES
from taskapi.api.openapi.examples import PARAMETERS as PARAMETER_EXAMPLES
from taskapi.api.openapi.fields import ID, Forms, Shape
from taskapi.api.openapi.operations import (
    BARE,
    BODIES,
    CONDITIONAL,
    OPERATIONS,
    PUBLIC,
    TAGGED,
    TAGS,
    WITHOUT_REFUSAL,
    Operation,
)

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
CHANGES: Final = ("PUT", "PATCH", "DELETE")


class App(Protocol):
    """What of an application is described."""

    @property
    def url_map(self) -> Map: ...

    @property
    def view_functions(self) -> Mapping[str, Callable[..., Any]]: ...


@lru_cache(maxsize=1)
def document(app: App) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of all that an application serves; made once."""
    plugin = MarshmallowPlugin()
    tags = [{"name": name, "description": text} for name, text in TAGS.items()]
    spec = APISpec(**parts.TOP, tags=tags, plugins=[plugin])
    forms = Forms(plugin, spec)
    _add_components(spec, forms)
    responses: set[str] = set()
    rules = sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule)
    for path, same in groupby(rules, lambda rule: rule.rule):
        methods = {
            method.lower(): _operation(spec, forms, responses, app, rule, method)
            for rule in same
            for method in METHODS
            if method in (rule.methods or ()) and rule.endpoint in OPERATIONS
        }
        if methods:
            spec.path(re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", path), operations=methods)
    return spec.to_dict()


def _add_components(spec: APISpec, forms: Forms) -> None:
    for name, schema in BODIES.items():
        forms.body(name, schema, **parts.BODY_RULES.get(name, {}))
    bodies: dict[str, Shape] = spec.components.schemas
    shapes = {**answers.entities(bodies), **answers.DATA, **parts.BARE}
    for name, shape in {**shapes, "Error": errors.ERROR, "ErrorCode": errors.ERROR_CODE}.items():
        spec.components.schema(name, shape)
    for name, header in parts.HEADERS.items():
        spec.components.header(name, header)
    for name, scheme in parts.SECURITY_SCHEMES.items():
        spec.components.security_scheme(name, scheme)
    for name, parameter in parts.PARAMETERS.items():
        spec.components.parameter(name, "header", parameter)


def _operation(
    spec: APISpec, forms: Forms, responses: set[str], app: App, rule: Rule, method: str
) -> dict[str, Any]:
    """Return one operation; its error responses become components, which operations share."""
    told = OPERATIONS[rule.endpoint]
    refusals = {}
    for status, codes in groupby(
        _codes(rule, method, told), lambda code: errors.CODES[code].status
    ):
        listed = list(codes)
        name = ".".join((str(status), *listed))
        if name not in responses:
            responses.add(name)
            spec.components.response(name, errors.response(status, listed))
        refusals[str(status)] = name
    summary = (app.view_functions[rule.endpoint].__doc__ or "").partition("\n")[0]
    name = rule.endpoint.replace(".", "_")
    return {
        "operationId": f"{name}_patch" if method == "PATCH" else name,
        "tags": [rule.endpoint.partition(".")[0]],
        "summary": summary,
        "description": f"Who may: {told.who}",
        "parameters": _parameters(forms, rule, method, told),
        **_request_body(told),
        "responses": {**_successes(rule.endpoint, method, told), **refusals},
        **({"security": []} if told.who is PUBLIC else {}),
    }


def _codes(rule: Rule, method: str, told: Operation) -> list[str]:
    """Return every code that an operation can answer, in the order of the table."""
    found = {"bad_request", "validation_failed", "method_not_allowed", "internal_error"}
    found.update(told.codes)
    if told.body:
        found |= {"malformed_json", "body_too_large", "not_json"}
    if rule.arguments:
        found |= {"no_such_route", "not_found"}
    if told.who is not PUBLIC:
        found |= {"unauthenticated", "too_many_failures"}
        found |= {"busy", "not_ready", "redis_unreachable", "redis_full"}
    if told.who not in WITHOUT_REFUSAL:
        found.add("forbidden")
    if method in CHANGES:
        found.add("version_mismatch")
    return [code for code in errors.CODES if code in found]


def _parameters(forms: Forms, rule: Rule, method: str, told: Operation) -> list[Any]:
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": ID}
        for name in re.findall(r":(\w+)>", rule.rule)
    ]
    names = ["X-Request-ID"]
    names += ["If-Match"] if method in CHANGES else []
    names += ["If-None-Match"] if told.data in CONDITIONAL else []
    found = [*in_path, *forms.query(told.query)]
    for parameter in found:
        if parameter["name"] in PARAMETER_EXAMPLES and parameter.get("required"):
            parameter["example"] = PARAMETER_EXAMPLES[parameter["name"]]
    return [*found, *names]


def _request_body(told: Operation) -> dict[str, Any]:
    if told.body is None:
        return {}
    content = {"schema": answers.ref(told.body), "example": BODY_EXAMPLES[told.body]}
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


def _successes(endpoint: str, method: str, told: Operation) -> dict[str, Any]:
    headers = list(_headers(method, told))
    content = {"schema": _enveloped(told), **_example(told)}
    sort = "text/html" if told.data == "Page" else "application/json"
    done = parts.success("Done.", headers, {sort: content})
    found = {str(told.status): done}
    if endpoint == "health.show":
        found["503"] = parts.success("Requests cannot be served.", headers, {sort: content})
    if told.data in CONDITIONAL:
        found["304"] = parts.success("It is the version that `If-None-Match` names.", headers, {})
    return found


def _headers(method: str, told: Operation) -> Iterator[str]:
    yield from parts.COMMON_HEADERS
    if told.status == 201:
        yield "Location"
    if told.data in TAGGED and method != "DELETE":
        yield "ETag"
    if "limit" in told.query.fields:
        yield "Connection"
    if told.data == "Page":
        yield "Content-Security-Policy"


def _enveloped(told: Operation) -> Shape:
    data = answers.ref(told.data)
    return data if told.data in BARE else answers.thing({"success": {"const": True}, "data": data})


def _example(told: Operation) -> dict[str, Any]:
    if told.data not in DATA_EXAMPLES:
        return {}
    data = DATA_EXAMPLES[told.data]
    return {"example": data if told.data in BARE else {"success": True, "data": data}}
