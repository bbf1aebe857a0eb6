"""Hooks of Schemathesis for this service; loaded by the runs of tests/fuzz."""

from __future__ import annotations

from itertools import count
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.core.failures import Failure
from schemathesis.openapi.checks import RejectedPositiveData

WELL_FORMED: dict[int, set[str]] = {
    400: {"unknown_user", "unknown_group", "not_an_admin"},
    412: {"version_mismatch"},
}
"""Why a request whose form is right may be refused, beside what Schemathesis knows of."""
FIELD_ERRORS = (
    "Must be a whole number",  # a 1.0 is one to JSON Schema, and to us none
    "Only action=force can reseed PostgreSQL.",  # two parameters at once: no schema says that
)
MOST_ID = 10
"""Ids up to this are there as a rule."""
_WORDS = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=12)
_requests = count(1)

schemathesis.openapi.format("email", st.builds("{}@{}.example".format, _WORDS, _WORDS))


@schemathesis.hook
def before_load_schema(_: Any, raw_schema: dict[str, Any]) -> None:
    """Log in by the header only: each wrong Basic log-in would cost a slow hash."""
    del raw_schema["components"]["securitySchemes"]["basic"]
    raw_schema["security"].remove({"basic": []})


@schemathesis.hook
def filter_body(_: Any, body: Any) -> bool:
    """Leave out white space around strings: the service cuts it off before it looks at lengths."""
    if isinstance(body, dict | list):
        parts = body.values() if isinstance(body, dict) else body
        return all(filter_body(_, part) for part in parts)
    return not isinstance(body, str) or body == body.strip()


@schemathesis.hook
def before_call(_: Any, case: Any, kwargs: Any) -> None:
    """Make more requests get through to what they are about.

    Each comes from an address of its own, since wrong log-ins are counted by address; an empty id
    would ask for the collection, as a path that ends in a slash does; and of the requests whose
    form is right half want any version, and name what is probably there.
    """
    del kwargs
    number = next(_requests)
    address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    case.headers = {**(case.headers or {}), "X-Forwarded-For": address}
    if "" in (case.path_parameters or {}).values():
        case.path_parameters = {name: id or "0" for name, id in case.path_parameters.items()}
    if number % 2 and case.meta and case.meta.generation.mode == GenerationMode.POSITIVE:
        case.headers.pop("If-Match", None)
        case.body = _with_low_ids(case.body)


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
    """Accept that a request whose form is right is refused for what it names."""
    del case
    if not isinstance(failure, RejectedPositiveData):
        return True
    error = response.json()
    sentences = [
        sentence for sentences in error.get("fields", {}).values() for sentence in sentences
    ]
    is_excused = error["code"] in WELL_FORMED.get(response.status_code, ())
    return not (is_excused or (sentences and all(s.startswith(FIELD_ERRORS) for s in sentences)))
