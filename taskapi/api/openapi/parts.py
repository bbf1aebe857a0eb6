"""What does not depend on an endpoint: the head of the document, headers, ways to log in."""

from typing import Any, Final

from taskapi.api.openapi.fields import Shape

ABOUT: Final = """\
Tasks of teams. Owners run groups, group admins run their members, users run their tasks.

A success is `{"success": true, "data": …}`; a refusal is `{"success": false, "error": …, "code":
…, "request_id": …}`, with `fields` where single fields are at fault. Checked in this order: route
(404, 405), credentials (401, 429), reach of what the path names (403, 404), form of the body or
query (413, 415, 400), what it asks for (403, 400), state (409, 412). The proxy before the service
answers 429, 502 and 504 of its own in the same form. All codes are listed under `ErrorCode`.

JSON types are exact, texts are trimmed, unknown fields and query parameters are refused. `PATCH` is
`PUT`: only what is named changes. `HEAD` is `GET` without the body. Lists are ordered by id.
"""
TOP: Final[dict[str, Any]] = {
    "title": "taskapi",
    "version": "0.1.0",
    "openapi_version": "3.1.0",
    "info": {"description": ABOUT, "license": {"name": "MIT", "identifier": "MIT"}},
    "servers": [{"url": "/"}],
    "security": [{"basic": []}, {"ownerPassword": []}],
}
SECURITY_SCHEMES: Final = {
    "basic": {
        "type": "http",
        "scheme": "basic",
        "description": "`id:password` or `email:password`.",
    },
    "ownerPassword": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Owner-Password",
        "description": "The owner's password: acts as user 1.",
    },
}
_TEXT: Final[Shape] = {"type": "string"}
_SECONDS: Final[Shape] = {"type": "integer", "minimum": 1}
HEADERS: Final = {
    "X-Request-ID": {"description": "The caller's, if it was sane, else new.", "schema": _TEXT},
    "X-Content-Type-Options": {
        "description": "The type is what `Content-Type` says.",
        "schema": {"const": "nosniff"},
    },
    "Cache-Control": {"description": "Nothing is to be kept.", "schema": {"const": "no-store"}},
    "Location": {"description": "The path of what was created.", "schema": _TEXT},
    "Connection": {"description": 'The next part: `<…>; rel="next"`.', "schema": _TEXT},
    "ETag": {"description": "The present version, in quotation marks.", "schema": _TEXT},
    "Retry-After": {"description": "Seconds to wait.", "schema": _SECONDS},
    "WWW-Authenticate": {"description": "How to log in.", "schema": _TEXT},
    "Content-Security-Policy": {"description": "What the page may load.", "schema": _TEXT},
    "Allow": {"description": "The methods that the address takes.", "schema": _TEXT},
}
COMMON_HEADERS: Final = ("X-Request-ID", "X-Content-Type-Options", "Cache-Control")
"""Of every answer."""
PARAMETERS: Final[dict[str, dict[str, Any]]] = {
    "X-Request-ID": {
        "name": "X-Request-ID",
        "description": "1 to 64 letters, digits and `. _ -`; anything else is replaced.",
        "schema": _TEXT,
    },
    "If-Match": {
        "name": "If-Match",
        "description": "Change it only if this is its version, as in `ETag`.",
        "schema": _TEXT,
        "example": '"7"',
    },
    "If-None-Match": {
        "name": "If-None-Match",
        "description": "Answer 304 if this is its version, as in `ETag`.",
        "schema": _TEXT,
        "example": '"7"',
    },
}
BODY_RULES: Final[dict[str, Shape]] = {
    "Batch": {
        "if": {"properties": {"action": {"const": "update"}}},
        "then": {"required": ["updates"]},
    }
}
"""What a schema checks of several fields together."""

BARE: Final[dict[str, Shape]] = {
    "OpenAPI": {"type": "object", "description": "This document."},
    "Page": {"type": "string", "description": "This document, to be read."},
}


def success(text: str, headers: list[str], content: dict[str, Any]) -> dict[str, Any]:
    """Return a response that is no error."""
    found = {name: {"$ref": f"#/components/headers/{name}"} for name in headers}
    return {"description": text, "headers": found, **({"content": content} if content else {})}
