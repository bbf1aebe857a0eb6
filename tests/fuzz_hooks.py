"""What Schemathesis has to know of this service; loaded by the runs that tests/fuzz.py starts."""

from __future__ import annotations

from itertools import count
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode

WELL_FORMED: dict[int, set[str]] = {
    400: {"unknown_user", "unknown_group", "not_an_admin"},
    412: {"version_mismatch"},
}
"""Why a request whose form is right may be refused, beside what Schemathesis knows of."""

RESEED = "Only action=force can reseed PostgreSQL."
_WORDS = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=12)
_requests = count(1)

schemathesis.openapi.format("email", st.builds("{}@{}.example".format, _WORDS, _WORDS))


@schemathesis.hook
def before_load_schema(_: Any, raw_schema: dict[str, Any]) -> None:
    """Log in by the header only: each wrong Basic log-in would cost a slow hash."""
    del raw_schema["components"]["securitySchemes"]["basic"]
    raw_schema["security"].remove({"basic": []})


@schemathesis.hook
def before_call(_: Any, case: Any, kwargs: Any) -> None:
    """Let each request come from an address of its own: wrong log-ins are counted by address."""
    del kwargs
    number = next(_requests)
    address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    case.headers = {**(case.headers or {}), "X-Forwarded-For": address}


@schemathesis.check
def well_formed_requests_are_accepted(_: Any, response: Any, case: Any) -> None:
    """Schemathesis' positive_data_acceptance, but a refusal must say which thing is not there."""
    if case.meta is None or case.meta.generation.mode != GenerationMode.POSITIVE:
        return
    status = response.status_code
    if status in (400, 412, 413, 415, 422):
        error = response.json()
        is_excused = RESEED in str(error.get("fields")) or _has_float_for_whole(case.body)
        assert is_excused or error["code"] in WELL_FORMED.get(status, ()), error


def _has_float_for_whole(value: Any) -> bool:
    """Whether there is a 1.0 in it: a whole number to JSON Schema, and to us none."""
    if isinstance(value, dict | list):
        return any(map(_has_float_for_whole, value.values() if isinstance(value, dict) else value))
    return isinstance(value, float) and value.is_integer()
