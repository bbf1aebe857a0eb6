"""The model's own validation of bodies and queries, in plain Python, from the contract."""

import datetime
import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

Form = Mapping[str, Callable[[Any], bool]]

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
ROLES = ("user", "group_admin", "owner")
STATUSES = {"completed": (True,), "pending": (False,), "all": (True, False), "": (True, False)}
NEVER_SET = {"id", "created_at", "updated_at", "version"}
READ_ONLY = {
    "user": NEVER_SET,
    "group": NEVER_SET | {"admin", "users_count", "tasks_count"},
    "task": NEVER_SET,
    "week": {"user_id"},
    "member": set[str](),
    "batch": set[str](),
}


class Refused(Exception):
    """The request is refused with this status and changes nothing."""

    def __init__(self, status: int) -> None:
        self.status = status


def require(condition: object, status: int) -> None:
    if not condition:
        raise Refused(status)


def folded(text: str) -> str:
    """Return a form that is the same for texts that differ only in case."""
    return unicodedata.normalize("NFC", text).casefold()


def _text(low: int, high: int) -> Callable[[Any], bool]:
    return lambda v: isinstance(v, str) and low <= len(v.strip()) <= high


def _is_id(value: Any) -> bool:
    return type(value) is int and 1 <= value < 2**63


def _is_list_of_ids(value: Any) -> bool:
    return isinstance(value, list) and all(_is_id(item) for item in value)


def _is_email(value: Any) -> bool:
    return isinstance(value, str) and bool(
        re.fullmatch(r"[A-Za-z0-9.]+@[a-z0-9]+\.[a-z]+", value.strip(), re.ASCII)
    )


def _is_password(value: Any) -> bool:
    return isinstance(value, str) and 6 <= len(value) <= 128


def _is_week(value: Any) -> bool:
    return isinstance(value, dict) and all(
        day in DAYS and type(hours) in (int, float) and 0 <= hours <= 24
        for day, hours in value.items()
    )


def _is_deadline(value: Any) -> bool:
    if value is None:
        return True
    if not isinstance(value, str) or not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value.strip()):
        return False
    try:
        return bool(datetime.date.fromisoformat(value.strip()))
    except ValueError:
        return False


FORMS: dict[str, Form] = {
    "user": {
        "full_name": _text(1, 200),
        "role": lambda v: v in ROLES,
        "group_ids": lambda v: _is_list_of_ids(v) and len(set(v)) == len(v),
        "email": _is_email,
        "number": _text(0, 32),
        "work_times": _is_week,
        "password": _is_password,
    },
    "group": {"name": _text(1, 100), "admin_id": _is_id},
    "task": {
        "title": _text(1, 200),
        "status": lambda v: isinstance(v, bool),
        "priority": lambda v: type(v) is int and 1 <= v <= 3,
        "deadline": _is_deadline,
        "information": _text(0, 10_000),
        "group_id": _is_id,
        "user_id": _is_id,
    },
    "week": {"work_times": _is_week},
    "member": {"user_id": _is_id},
    "batch": {
        "task_ids": lambda v: _is_list_of_ids(v) and 1 <= len(v) <= 1000,
        "updates": lambda v: isinstance(v, dict),
        "action": lambda v: v in ("update", "mark_done", "delete"),
    },
}
QUERY: Form = {
    "limit": lambda v: bool(re.fullmatch(r"[1-9][0-9]{0,3}", v, re.ASCII)) and int(v) <= 1000,
    "after": lambda v: bool(re.fullmatch(r"0|[1-9][0-9]{0,15}", v, re.ASCII)),
    "q": lambda v: 1 <= len(v.strip()) <= 200,
    "status": lambda v: v in ("completed", "pending", "all"),
    "priority": lambda v: v in ("1", "2", "3"),
    "group_id": lambda v: bool(re.fullmatch(r"[1-9][0-9]{0,15}", v, re.ASCII)),
    "user_id": lambda v: bool(re.fullmatch(r"[1-9][0-9]{0,15}", v, re.ASCII)),
}


def read_body(kind: str, body: Any, *required: str) -> dict[str, Any]:
    """Return the fields that the body sets, trimmed; refuse a malformed body with 400."""
    require(isinstance(body, dict), 400)
    fields = {name: value for name, value in body.items() if name not in READ_ONLY[kind]}
    require(FORMS[kind].keys() >= fields.keys() >= set(required), 400)
    require(all(FORMS[kind][name](value) for name, value in fields.items()), 400)
    return {name: _normal(name, value) for name, value in fields.items()}


def read_query(query: Mapping[str, Any], *allowed: str) -> dict[str, str]:
    """Return the parameters, trimmed; refuse unknown, malformed or missing ones with 400."""
    require({*allowed, "limit", "after"} >= query.keys(), 400)
    require("q" in query or "q" not in allowed, 400)
    given = {name: str(value).strip() for name, value in query.items()}
    require(all(QUERY[name](value) for name, value in given.items()), 400)
    return given


def _normal(name: str, value: Any) -> Any:
    if name == "group_ids":
        return sorted(value)
    return value.strip() if isinstance(value, str) and name != "password" else value
