"""The parts of the OpenAPI document that are the same for all endpoints."""

from typing import Any, Final, NamedTuple

from schemas.fields import INT64_MOST
from taskapi.api.error_codes import CODES

Shape = dict[str, Any]
PASSWORDS: Final[list[Shape]] = [{"basic": []}, {"ownerPassword": []}]

ABOUT: Final = """\
Tasks of teams. Owners manage groups, group admins manage their members, users manage their tasks.

A success is `{"success": true, "data": …}`. An error is `{"success": false, "error": …, "code": …,
"request_id": …}`, with `fields` where single fields are wrong. The service checks in this order:
route (404, 405), credentials (401, 429), access to what the path names (403, 404), form of the body
or query (413, 415, 400), what the request asks for (403, 400), state (409, 412). The proxy in front
of the service answers 429, 502 and 504 in the same form. `ErrorCode` lists all codes.

A value must have exactly the documented JSON type. White space at both ends of a text is removed,
except in passwords. Unknown fields and query parameters are refused, read-only fields ignored.
`PATCH` and `PUT` do the same: fields that are not named stay as they are. `HEAD` is `GET` without
the body. Lists are ordered by id, lists of tasks by `sort`.
"""
TOP: Final[Shape] = {
    "title": "taskapi",
    "version": "0.1.0",
    "openapi_version": "3.1.0",
    "info": {
        "description": ABOUT,
        "contact": {"name": "Whoever runs this installation"},
        "license": {"name": "MIT", "identifier": "MIT"},
    },
    "servers": [{"url": "/"}],
    "security": [*PASSWORDS, {"bearer": []}],
    "tags": [
        {"name": "users", "description": "People and their working hours."},
        {"name": "tokens", "description": "A user's tokens, with which scripts log in."},
        {"name": "groups", "description": "Groups, their members and their statistics."},
        {"name": "tasks", "description": "A user's tasks, and all tasks that a caller may see."},
        {"name": "admin", "description": "Both stores and the sync; for owners."},
        {"name": "health", "description": "Whether requests are served."},
        {"name": "docs", "description": "What this service offers."},
    ],
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
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A token of a user: `tk_…`. With access `read`, it only reads.",
    },
}
PUBLIC: Final = "Everyone, without credentials."
TEXT: Final[Shape] = {"type": "string"}
HEADERS: Final[dict[str, Shape]] = {
    "X-Request-ID": {"description": "The id in the request, if it is usable, else a new one."},
    "X-Content-Type-Options": {"description": "Always `nosniff`.", "schema": {"const": "nosniff"}},
    "Cache-Control": {"description": "Always `no-store`.", "schema": {"const": "no-store"}},
    "Location": {"description": "The path of what was created."},
    "Idempotent-Replayed": {
        "description": "`true` if this is the stored answer of an earlier request.",
    },
    "Link": {"description": 'The next page: `<…>; rel="next"`.'},
    "ETag": {"description": "The version, in quotation marks."},
    "Retry-After": {
        "description": "Seconds to wait.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "WWW-Authenticate": {"description": "How to log in."},
    "Allow": {"description": "The methods of this address."},
}
COMMON_HEADERS: Final = ("X-Request-ID", "X-Content-Type-Options", "Cache-Control")
ERROR_HEADERS: Final = {
    401: ["WWW-Authenticate"],
    405: ["Allow"],
    412: ["ETag"],
    429: ["Retry-After"],
    503: ["Retry-After"],
}
PARAMETERS: Final[dict[str, Shape]] = {
    "X-Request-ID": {"description": "1 to 64 letters, digits and `. _ -`; others are replaced."},
    "Idempotency-Key": {
        "description": "1 to 255 visible ASCII characters, new ones for each change. For 24 "
        "hours, the same request with the same key gets the first answer, and changes nothing.",
        "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
    },
    "If-Match": {"description": 'Change the target only if this is its version: `"7"`.'},
    "If-None-Match": {"description": 'Answer 304 if this is the version of the target: `"7"`.'},
}
"""Without examples: the page at /docs would send them."""
REASONS: Final = {
    400: "The request is not usable.",
    401: "No valid credentials.",
    403: "Not permitted, or the target does not exist and the caller must not know that.",
    404: "There is no such target.",
    405: "The address does not take the method.",
    409: "The request conflicts with what is stored.",
    410: "What the client has is too old.",
    412: "`If-Match` names another version.",
    413: "The body is too large.",
    415: "The body is not declared as JSON.",
    422: "The `Idempotency-Key` was used at this path with another body.",
    429: "Too many failed log-ins.",
    500: "A defect of the service.",
    503: "A store cannot serve now.",
}
ERROR: Final[Shape] = {
    "type": "object",
    "properties": {
        "success": {"const": False},
        "error": {"type": "string", "description": "One sentence that a person can act on."},
        "code": {"$ref": "#/components/schemas/ErrorCode"},
        "request_id": {"type": "string", "description": "As in `X-Request-ID` and in the log."},
        "fields": {
            "type": "object",
            "description": "What is wrong with each field, for `validation_failed`; the `errors` "
            "of a batch, for `batch_refused`.",
            "additionalProperties": {"type": "array", "items": TEXT},
        },
    },
    "required": ["success", "error", "code", "request_id"],
    "additionalProperties": False,
}
ERROR_CODE: Final[Shape] = {
    "type": "string",
    "enum": list(CODES),
    "description": "\n".join(f"- `{code}` ({c.status}): {c.advice}" for code, c in CODES.items()),
}


class Variant(NamedTuple):
    """One form of a body: the values of `action`, and the other fields that it has."""

    action: Shape
    required: tuple[str, ...]
    optional: tuple[str, ...]


VARIANTS: Final[dict[str, dict[str, Variant]]] = {
    "Batch": {
        "BatchCreate": Variant({"const": "create"}, ("action", "tasks"), ("atomic",)),
        "BatchUpdate": Variant({"const": "update"}, ("task_ids", "updates"), ("action", "atomic")),
        "BatchChange": Variant(
            {"enum": ["mark_done", "delete"]}, ("action", "task_ids"), ("updates", "atomic")
        ),
    }
}
"""Body -> its forms by name."""
READ_ONLY: Final[Shape] = {"description": "Set by the service: ignored in a body."}
ID: Final[Shape] = {"type": "integer", "format": "int64", "minimum": 1, "maximum": INT64_MOST}
HOURS: Final[Shape] = {"type": "number", "minimum": 0, "maximum": 24}
PATH_IDS: Final[dict[str, Shape]] = {
    "id": ID,
    "user": {"anyOf": [ID, {"const": "me"}], "description": "A user's id, or `me`: the caller."},
}
"""Name of a converter in a route -> the schema of its values."""
