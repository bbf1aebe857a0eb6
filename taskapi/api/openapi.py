"""The OpenAPI 3.1 document: made from routes, contracts, schemas and error codes."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import groupby
from typing import Any, Final

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from flask import Flask
from marshmallow import INCLUDE, Schema
from marshmallow.fields import Field, List
from werkzeug.routing import Rule

from schemas.fields import (
    Body,
    Day,
    Digits,
    Email,
    Flag,
    Object,
    Text,
    Timestamp,
    Whole,
)
from schemas.users import WEEK, GroupIds, WorkTimes
from taskapi.api import openapi_parts as parts
from taskapi.api.codes import CODES
from taskapi.api.contract import CONTRACTS, Contract
from taskapi.api.openapi_parts import ID, Shape
from taskapi.policy import ANYONE

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
CHANGES: Final = ("PUT", "PATCH", "DELETE")
NO_NUL: Final = r"^[^\u0000]*$"
NOT_BLANK: Final = r"^[^\u0000]*[^\s\u0000\u001c-\u001f\u0085\ufeff][^\u0000]*$"


@lru_cache(maxsize=1)
def document(app: Flask) -> Shape:
    """Return the OpenAPI document of all that an application serves; made once."""
    return _Document(app).build()


class _Document:
    """One document in the making; components are added when an operation first names them."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        plugin: Any = MarshmallowPlugin()
        self._spec = APISpec(**parts.TOP, plugins=[plugin])
        self._converter = plugin.converter
        self._converter.add_attribute_function(lambda _, field, ret: self._field_shape(field, ret))
        components = self._spec.components
        components.schema("Error", parts.ERROR)
        components.schema("ErrorCode", parts.ERROR_CODE)
        for name, header in parts.HEADERS.items():
            components.header(name, {"schema": parts.TEXT, **header})
        for name, scheme in parts.SECURITY_SCHEMES.items():
            components.security_scheme(name, scheme)
        for name, parameter in parts.PARAMETERS.items():
            components.parameter(name, "header", {"name": name, "schema": parts.TEXT, **parameter})

    def build(self) -> Shape:
        """Return the whole document."""
        rules = sorted(self._app.url_map.iter_rules(), key=lambda rule: rule.rule)
        for path, same in groupby(rules, lambda rule: rule.rule):
            operations = {
                method.lower(): self._operation(rule, method, contract)
                for rule in same
                if (contract := CONTRACTS.get(self._app.view_functions[rule.endpoint]))
                and contract.answers
                for method in METHODS
                if method in (rule.methods or ())
            }
            if operations:
                self._spec.path(re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", path), operations=operations)
        return self._spec.to_dict()

    def _operation(self, rule: Rule, method: str, contract: Contract) -> Shape:
        view, name = self._app.view_functions[rule.endpoint], rule.endpoint.replace(".", "_")
        who = contract.action.value.sentence if contract.action else parts.PUBLIC
        return {
            "operationId": f"{name}_patch" if method == "PATCH" else name,
            "tags": [rule.endpoint.partition(".")[0]],
            "summary": (view.__doc__ or "").partition("\n")[0],
            "description": f"Who may: {who} {contract.note}".rstrip(),
            "parameters": self._parameters(rule, method, contract),
            **({"requestBody": self._request_body(contract.body)} if contract.body else {}),
            "responses": {
                **self._successes(contract),
                **dict(self._errors(_codes(rule, method, contract))),
            },
            **({"security": []} if contract.is_public else {}),
        }

    def _parameters(self, rule: Rule, method: str, contract: Contract) -> list[Any]:
        in_path = [
            {"name": name, "in": "path", "required": True, "schema": ID, "example": 1}
            for name in re.findall(r":(\w+)>", rule.rule)
        ]
        in_query = self._converter.schema2parameters(contract.query, location="query")
        headers = ["X-Request-ID"]
        headers += ["If-Match"] if method in CHANGES else []
        headers += ["If-None-Match"] if contract.is_conditional else []
        return [*in_path, *in_query, *headers]

    def _request_body(self, schema: Body) -> Shape:
        name = _body_name(schema)
        if name not in self._spec.components.schemas:
            self._add_body(name, schema)
        content = {"schema": _ref(name), "example": _body_example(schema)}
        return {"required": True, "content": {"application/json": content}}

    def _add_body(self, name: str, schema: Body) -> None:
        if name == "Batch":  # its `updates` are the component TaskChanges
            self._request_body(schema.load_fields["updates"].schema)  # type: ignore[attr-defined]
        self._spec.components.schema(name, schema=schema)
        shape: Shape = self._spec.components.schemas[name]
        if schema.partial:
            for field in shape["properties"].values():
                field.pop("default", None)
        ignored = sorted(schema.READ_ONLY - schema.load_fields.keys())
        shape["properties"] |= dict.fromkeys(ignored, parts.READ_ONLY)
        shape |= {"additionalProperties": False, **parts.BODY_RULES.get(name, {})}

    def _successes(self, contract: Contract) -> Shape:
        headers = [*parts.COMMON_HEADERS]
        headers += ["Location"] if contract.statuses == (201,) else []
        headers += ["ETag"] if contract.has_etag else []
        headers += ["Link"] if "limit" in contract.query.fields else []
        content = {"application/json": self._envelope(contract)}
        found = {str(status): _response("Done.", headers, content) for status in contract.statuses}
        if contract.is_conditional:
            found["304"] = _response("`If-None-Match` names this version.", headers, {})
        return found

    def _envelope(self, contract: Contract) -> Shape:
        data = self._shapes(contract.answers)
        example = _example(contract.answers[0]().dump_fields)
        if contract.is_bare:
            return {"schema": data, "example": example}
        fields = {"success": {"const": True}, "data": data}
        return {
            "schema": _object(fields, list(fields)),
            "example": {"success": True, "data": example},
        }

    def _shapes(self, schemas: Iterable[type[Schema]]) -> Shape:
        """Return the reference to a component, or to one of several; adds them if they are new."""
        refs = []
        for schema in schemas:
            name = schema.__name__
            if name not in self._spec.components.schemas:
                self._spec.components.schema(name, {})  # first, for schemas that name each other
                self._spec.components.schemas[name] = self._answer_shape(schema)
            refs.append(_ref(name))
        return refs[0] if len(refs) == 1 else {"anyOf": refs}

    def _answer_shape(self, schema: type[Schema]) -> Shape:
        fields = schema().dump_fields
        shapes = {name: self._converter.field2property(field) for name, field in fields.items()}
        for shape in shapes.values():
            shape.pop("default", None)
        optional = getattr(schema.Meta, "optional", ())
        shape = _object(shapes, [name for name in fields if name not in optional])
        return shape | {"additionalProperties": schema().unknown == INCLUDE}

    def _field_shape(self, field: Field[Any], ret: Shape) -> Shape:
        """Return the shape of our own field classes; apispec knows those of marshmallow."""
        if isinstance(field, Object):
            shape = self._shapes(field.schemas)
            return {"anyOf": [shape, {"type": "null"}]} if field.allow_none else shape
        kind = next((kind for kind in FIELD_SHAPES if isinstance(field, kind)), None)
        if kind is None:
            return {}
        if kind is Digits:  # its default stands for an absent parameter
            ret.pop("default", None)
        shape = FIELD_SHAPES[kind](field)
        return shape | {"type": [shape["type"], "null"]} if field.allow_none else shape

    def _errors(self, codes: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Yield (status, component of its response); operations with the same codes share one."""
        for status, same in groupby(codes, lambda code: CODES[code].status):
            listed = list(same)
            name = ".".join((str(status), *listed))
            if name not in self._spec.components.responses:
                self._spec.components.response(name, _error_response(status, listed))
            yield str(status), name


def _codes(rule: Rule, method: str, contract: Contract) -> list[str]:
    """Return every code that an operation can answer, in the order of the table."""
    codes = {"bad_request", "validation_failed", "method_not_allowed", "internal_error"}
    codes.update(contract.codes)
    if contract.body:
        codes |= {"malformed_json", "body_too_large", "not_json"}
    if rule.arguments:
        codes |= {"no_such_route", "not_found"}
    if contract.action:
        codes |= {"unauthenticated", "too_many_failures"}
        codes |= {"busy", "not_ready", "redis_unreachable", "redis_full"}
        codes |= set() if ANYONE in contract.action.value.permitted else {"forbidden"}
    if method in CHANGES:
        codes.add("version_mismatch")
    return [code for code in CODES if code in codes]


def _error_response(status: int, codes: list[str]) -> Shape:
    listed = "\n".join(f"- `{code}`: {CODES[code].advice}" for code in codes)
    headers = [*parts.COMMON_HEADERS, *parts.ERROR_HEADERS.get(status, ())]
    content = {
        "schema": {"allOf": [_ref("Error"), {"properties": {"code": {"enum": codes}}}]},
        "examples": {code: {"value": _error_example(code)} for code in codes},
    }
    return _response(f"{parts.REASONS[status]}\n\n{listed}", headers, {"application/json": content})


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


def _object(fields: Shape, required: list[str]) -> Shape:
    return {
        "type": "object",
        "properties": fields,
        "required": required,
        "additionalProperties": False,
    }


def _ref(name: str) -> Shape:
    return {"$ref": f"#/components/schemas/{name}"}


def _body_name(schema: Body) -> str:
    """Return the component of a body: an entity's is NewTask, or TaskChanges if it is partial."""
    name = type(schema).__name__
    if schema.partial:
        return f"{name}Changes"
    return f"New{name}" if schema.dump_fields.keys() != schema.load_fields.keys() else name


def _body_example(schema: Body) -> Shape:
    """Return an example of a body; a partial one changes only some fields."""
    if not schema.partial:
        return _example(schema.load_fields)
    fields = schema.load_fields.items()
    return {name: f.metadata["change"] for name, f in fields if "change" in f.metadata}


def _example(fields: Mapping[str, Field[Any]]) -> Shape:
    """Return an object made of the fields' examples."""
    return {name: _field_example(field) for name, field in fields.items()}


def _field_example(field: Field[Any]) -> Any:
    if "example" in field.metadata:
        return field.metadata["example"]
    if isinstance(field, Object):
        return _example(field.schemas[0]().dump_fields)
    return [_field_example(field.inner)] if isinstance(field, List) else None


def _text(field: Text) -> Shape:
    if field.validators:
        return {"type": "string"}
    pattern = NOT_BLANK if field.is_trimmed and field.low > 0 else NO_NUL
    sizes = {"minLength": field.low} if field.low else {}
    return {"type": "string", **sizes, "maxLength": field.high, "pattern": pattern}


def _email(field: Email) -> Shape:
    return {"type": "string", "format": "email", "minLength": field.low, "maxLength": field.high}


def _number(field: Whole | Digits) -> Shape:
    return ID | {"minimum": getattr(field, "low", 1), "maximum": field.high}


FIELD_SHAPES: Final[dict[type[Field[Any]], Callable[[Any], Shape]]] = {
    Email: _email,
    Text: _text,
    Whole: _number,
    Digits: _number,
    Flag: lambda _: {"type": "boolean"},
    Day: lambda _: {"type": "string", "format": "date"},
    Timestamp: lambda _: {"type": "string", "format": "date-time"},
    GroupIds: lambda _: {"type": "array", "items": ID, "uniqueItems": True},
    WorkTimes: lambda _: _object(dict.fromkeys(WEEK, parts.HOURS), []),
}
"""The shape of each field class; apispec adds what its validators say."""
