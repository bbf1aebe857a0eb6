"""Reading a request: ids in paths, queries, strict JSON bodies."""

import json
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import Any, Final, NoReturn

import orjson
from flask.globals import request_ctx
from marshmallow import Schema, ValidationError
from werkzeug.exceptions import UnsupportedMediaType
from werkzeug.routing import BaseConverter
from werkzeug.routing import ValidationError as NoSuchRoute

from schemas.fields import INT64_MOST, NOTHING
from taskapi import errors

JSON: Final = ("application/json",)
JSON_TYPES: Final = {"PATCH": (*JSON, "application/merge-patch+json")}
"""The content types of a body; RFC 7396 names the second one."""
DEEPEST: Final = 16
"""Levels of nesting that a body may have."""
ME: Final = 0
"""The id, in a path, of the caller."""
MISTAKES_MOST: Final = 50
"""Mistakes that one answer names."""
REMEMBERED_QUERIES: Final = 512
REMEMBERED_LENGTH: Final = 200
"""Query strings that a process keeps with what they mean, and their longest length in bytes.

Programs send the same few again and again, and to validate one takes 40 µs.
"""


class EntityId(BaseConverter):
    """An id in a path: 1 to 2^63-1 in ASCII digits, no leading zero. Other words match no route."""

    regex = r"[1-9][0-9]{0,18}"

    def to_python(self, value: str) -> int:
        if int(value) > INT64_MOST:
            raise NoSuchRoute
        return int(value)


class UserId(EntityId):
    """The id of a user in a path, or the word `me` for the caller: it becomes ME."""

    regex = rf"me|{EntityId.regex}"

    def to_python(self, value: str) -> int:
        return ME if value == "me" else super().to_python(value)


def query(schema: Schema = NOTHING) -> dict[str, Any]:
    """Return the request's query string, validated.

    Raises:
        Invalid: a parameter is unknown, repeated, missing or not usable.
    """
    query_string = request_ctx.request.query_string
    if schema is NOTHING and not query_string:
        return {}
    if len(query_string) > REMEMBERED_LENGTH:
        return _query(schema)
    return dict(_remembered_query(schema, query_string))


@lru_cache(REMEMBERED_QUERIES)
def _remembered_query(schema: Schema, _query_string: bytes) -> dict[str, Any]:
    return _query(schema)


def _query(schema: Schema) -> dict[str, Any]:
    arguments = request_ctx.request.args
    repeated = [name for name, values in arguments.lists() if len(values) > 1]
    if repeated:
        _refuse({name: ["Give it once."] for name in repeated}, "query")
    return _load(schema, arguments.to_dict(), "query")


def body(schema: Schema) -> dict[str, Any]:
    """Return the request's JSON body, validated; a request with a body takes no query.

    Raises:
        UnsupportedMediaType: the body is not declared as JSON.
        Invalid: the body is not strict JSON, or a field is unknown, missing or not usable.
    """
    request = request_ctx.request
    raw = request.get_data()
    if request.content_length is None:
        request.stream.read(1)  # werkzeug refuses a chunked body only when read past the limit
    if raw and request.mimetype not in JSON_TYPES.get(request.method, JSON):
        raise UnsupportedMediaType
    query()
    return _load(schema, parse(raw), "body")


def parse(raw: bytes) -> Any:
    """Return the value of strict JSON: UTF-8, no NaN, no duplicate keys, at most 16 levels.

    Raises:
        Invalid: the message has the mistake and, if known, its place.
    """
    try:
        if _is_deeper(orjson.loads(raw), DEEPEST):  # orjson also refuses NaN and lone surrogates
            raise ValueError(f"it has more than {DEEPEST} levels")
        return _DECODER.decode(raw.decode())
    except ValueError as error:
        text = f"The body is not strict JSON: {error}."
        raise errors.Invalid(text, code="malformed_json") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("an object has the same key twice")
    return members


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique)


def _is_deeper(value: Any, levels: int) -> bool:
    """Return whether a value has more levels of objects and arrays."""
    if not isinstance(value, list | dict):
        return False
    children = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(child, levels - 1) for child in children)


def _load(schema: Schema, data: Any, part: str) -> dict[str, Any]:
    try:
        loaded: dict[str, Any] = schema.load(data)
    except ValidationError as error:
        _refuse(dict(islice(_flatten(error.messages_dict), MISTAKES_MOST)), part)
    return loaded


def _flatten(messages: Any, prefix: str = "") -> Iterator[tuple[str, list[str]]]:
    """Yield (field, sentences) pairs; nested fields have dots: `updates.priority`."""
    for name, value in messages.items():
        shown = "" if name == "_schema" else str(name)[:80].encode(errors="replace").decode()
        path = ".".join(part for part in (prefix, shown) if part)
        if isinstance(value, dict):
            yield from _flatten(value, path)
        else:
            yield path or "body", value


def _refuse(fields: dict[str, list[str]], part: str) -> NoReturn:
    name, sentences = next(iter(fields.items()))
    text = f"The {part} is not usable: {name}: {sentences[0]}"
    raise errors.Invalid(text, code="validation_failed", fields=fields)
