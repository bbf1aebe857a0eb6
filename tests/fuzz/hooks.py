"""Hooks of Schemathesis for this service; loaded by the runs of tests/fuzz."""

from __future__ import annotations

import re
from itertools import count
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.core.failures import Failure
from schemathesis.openapi.checks import RejectedPositiveData

WELL_FORMED: dict[int, set[str]] = {
    400: {"unknown_user", "unknown_group", "not_an_admin"},
    410: {"too_old"},
    412: {"version_mismatch"},
    422: {"idempotency_key_reused"},
}
"""Codes with which a valid request may be refused, besides those that Schemathesis knows."""
FIELD_ERRORS = (
    "Must be a whole number",  # JSON Schema takes 1.0 as an integer, the service does not
    "Only action=force can reseed PostgreSQL.",  # no schema can express this
    "Must be in the future.",
    "Must be the user in the path",
    "Must be the next_after of a page with the same sort",
    "Must be an IANA time zone",
    "Must be a time in RFC 3339",  # leap seconds, and times whose year in UTC is 10000
)
MOST_ID = 10
"""Ids up to this usually exist."""
_WORDS = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=12)
_requests = count(1)

schemathesis.openapi.format("email", st.builds("{}@{}.example".format, _WORDS, _WORDS))


@schemathesis.hook
def before_load_schema(_: Any, raw_schema: dict[str, Any]) -> None:
    """Log in by the header only: each wrong Basic log-in would cost a slow hash."""
    for scheme in ("basic", "bearer"):
        del raw_schema["components"]["securitySchemes"][scheme]
    operations = [each for path in raw_schema["paths"].values() for each in path.values()]
    for place in [raw_schema, *(each for each in operations if each.get("security"))]:
        place["security"] = [{"ownerPassword": []}]


@schemathesis.hook
def filter_body(_: Any, body: Any) -> bool:
    """Skip strings with white space at an end: the service trims it before it checks lengths."""
    if isinstance(body, dict | list):
        parts = body.values() if isinstance(body, dict) else body
        return all(filter_body(_, part) for part in parts)
    return not isinstance(body, str) or body == body.strip()


@schemathesis.hook
def before_call(_: Any, case: Any, kwargs: Any) -> None:
    """Change requests so that more of them reach an entity.

    Each request has its own client address, because wrong log-ins are counted by address. An empty
    id is replaced: it would request the collection. Half of the valid requests accept any version
    and use ids that probably exist.
    """
    del kwargs
    number = next(_requests)
    address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    headers = {name: value for name, value in (case.headers or {}).items() if _is_http(value)}
    case.headers = headers | {"X-Forwarded-For": address}
    if "" in (case.path_parameters or {}).values():
        case.path_parameters = {name: id or "0" for name, id in case.path_parameters.items()}
    if number % 2 and case.meta and case.meta.generation.mode == GenerationMode.POSITIVE:
        case.headers.pop("If-Match", None)
        case.body = _with_low_ids(case.body)


def _is_http(value: Any) -> bool:
    """Return whether a header can have this value: gunicorn refuses control characters."""
    return not re.search("[\\x00-\\x08\\x0a-\\x1f\\x7f]", str(value))


def _with_low_ids(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _with_low_ids(item, key) for key, item in value.items()}
    if name.endswith("_ids") and isinstance(value, list):
        return list(dict.fromkeys(_with_low_ids(item, "_id") for item in value))
    if name.endswith("_id") and isinstance(value, int):
        return 1 + value % MOST_ID
    return value


@schemathesis.hook
def filter_failure(_: Any, failure: Failure, case: Any, response: Any) -> bool:
    """Ignore that a valid request was refused, if no schema can express the reason."""
    del case
    if not isinstance(failure, RejectedPositiveData):
        return True
    error = response.json()
    sentences = [
        sentence for sentences in error.get("fields", {}).values() for sentence in sentences
    ]
    is_excused = error["code"] in WELL_FORMED.get(response.status_code, ())
    return not (is_excused or (sentences and all(s.startswith(FIELD_ERRORS) for s in sentences)))
