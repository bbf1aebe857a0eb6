"""Every `code` of an error answer: its status, and what its reader can do about it."""

from typing import Any, Final, NamedTuple

from taskapi.api.openapi.parts import COMMON_HEADERS


class Remedy(NamedTuple):
    """What a code comes with."""

    status: int
    advice: str


CODES: Final = {
    "bad_request": Remedy(400, "Send well-formed HTTP."),
    "malformed_json": Remedy(400, "Send strict JSON in UTF-8; the sentence names the place."),
    "validation_failed": Remedy(400, "Mend what `fields` names, by field or query parameter."),
    "unknown_user": Remedy(400, "Name a user who exists."),
    "unknown_group": Remedy(400, "Name groups that exist."),
    "not_an_admin": Remedy(400, "Name a user with role group_admin or owner as admin_id."),
    "unauthenticated": Remedy(401, "Send Basic credentials, or the owner's X-Owner-Password."),
    "forbidden": Remedy(403, "Ask somebody who may; whether the thing exists is not told."),
    "not_found": Remedy(404, "Ask for what is there: it was deleted, or never was."),
    "no_such_route": Remedy(404, "Compare the address with this document; ids are 1 to 2^63-1."),
    "method_not_allowed": Remedy(405, "Use one of the methods that `Allow` names."),
    "email_taken": Remedy(409, "Use another e-mail address; case does not matter."),
    "name_taken": Remedy(409, "Use another group name; case does not matter."),
    "already_member": Remedy(409, "Nothing: the user is in the group already."),
    "administers_groups": Remedy(409, "Give the groups that are named another admin first."),
    "system_owner": Remedy(409, "Leave user 1 the role owner, and alive."),
    "fenced": Remedy(409, "Decide which store is right, as /admin/status says."),
    "not_empty": Remedy(409, "Restore from PostgreSQL, or empty it first."),
    "nothing_to_restore": Remedy(409, "Check which PostgreSQL is configured: it holds nothing."),
    "already_running": Remedy(409, "Wait for the sync, restore or backup that is at work."),
    "version_mismatch": Remedy(412, "Read it again and decide anew; `ETag` is its version now."),
    "body_too_large": Remedy(413, "Send less at once."),
    "not_json": Remedy(415, "Send the body with Content-Type: application/json."),
    "too_many_failures": Remedy(429, "Wait for `Retry-After` seconds, then log in correctly."),
    "too_many_requests": Remedy(
        429, "From the proxy: wait for `Retry-After` seconds, then send fewer at once."
    ),
    "internal_error": Remedy(500, "Tell whoever runs the service the request id."),
    "bad_gateway": Remedy(
        502, "From the proxy: the service does not answer; look, then repeat after `Retry-After`."
    ),
    "busy": Remedy(503, "Repeat the request after `Retry-After` seconds."),
    "not_ready": Remedy(503, "Wait: the store is being restored."),
    "redis_unreachable": Remedy(503, "Wait, or start Redis."),
    "redis_full": Remedy(503, "Give Redis more memory; nothing was changed."),
    "postgres_unreachable": Remedy(503, "Wait, or start PostgreSQL."),
    "unavailable": Remedy(503, "Repeat it after `Retry-After` seconds; the sentence says why."),
    "gateway_timeout": Remedy(
        504, "From the proxy: it took too long; look whether it was done before you repeat it."
    ),
}
"""What an answer can say, in the order of the statuses."""

_REASONS: Final = {
    400: "What was sent cannot be used.",
    401: "No valid credentials.",
    403: "Not permitted; for all but owners also where there is nothing.",
    404: "It is not there.",
    405: "The address does not take the method.",
    409: "It would break what must hold.",
    412: "`If-Match` names another version.",
    413: "The body is too large.",
    415: "The body is not declared as JSON.",
    429: "Too many failed log-ins.",
    500: "A defect of the service.",
    503: "A store cannot serve now.",
}
_HEADERS: Final = {
    401: ("WWW-Authenticate",),
    405: ("Allow",),
    412: ("ETag",),
    429: ("Retry-After",),
    503: ("Retry-After",),
}

ERROR: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "success": {"const": False},
        "error": {"type": "string", "description": "One sentence that a person can act on."},
        "code": {"$ref": "#/components/schemas/ErrorCode"},
        "request_id": {"type": "string", "description": "As in `X-Request-ID` and in the log."},
        "fields": {
            "type": "object",
            "description": "What is wrong with each field; on `validation_failed` only.",
            "additionalProperties": {"type": "array", "items": {"type": "string"}},
        },
    },
    "required": ["success", "error", "code", "request_id"],
    "additionalProperties": False,
}
ERROR_CODE: Final[dict[str, Any]] = {
    "type": "string",
    "enum": list(CODES),
    "description": "\n".join(f"- `{code}` ({c.status}): {c.advice}" for code, c in CODES.items()),
}


def response(status: int, codes: list[str]) -> dict[str, Any]:
    """Return the response that has this status and one of these codes."""
    listed = "\n".join(f"- `{code}`: {CODES[code].advice}" for code in codes)
    ours = {"properties": {"code": {"enum": codes}}}
    content = {
        "schema": {"allOf": [{"$ref": "#/components/schemas/Error"}, ours]},
        "examples": {code: {"value": _example(code)} for code in codes},
    }
    return {
        "description": f"{_REASONS[status]}\n\n{listed}",
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in _names(status)},
        "content": {"application/json": content},
    }


def _names(status: int) -> tuple[str, ...]:
    return (*COMMON_HEADERS, *_HEADERS.get(status, ()))


def _example(code: str) -> dict[str, Any]:
    return {
        "success": False,
        "error": CODES[code].advice,
        "code": code,
        "request_id": "5f0c2b7a9d31e864",
        **({"fields": {"priority": ["…"]}} if code == "validation_failed" else {}),
    }
