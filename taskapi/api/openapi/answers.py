"""What is under `data` in each answer, and what it is made of."""

from typing import Any, Final

from schemas.admin import SYNC_ACTIONS
from schemas.tasks import ACTIONS
from schemas.users import WEEK
from taskapi.api.openapi.fields import HOURS, ID, Shape
from taskapi.store.codec import FIELDS
from taskapi.store.keys import Kind

COUNT: Final[Shape] = {"type": "integer", "minimum": 0}
TEXT: Final[Shape] = {"type": "string"}
FLAG: Final[Shape] = {"type": "boolean"}
TIME: Final[Shape] = {"type": "string", "format": "date-time"}
SECONDS: Final[Shape] = {"type": "number", "minimum": 0}
DURATION: Final[Shape] = {"type": "string", "pattern": "^([0-9]+h)?([0-9]+m)?[0-9]+s$"}
STORE: Final[Shape] = {"enum": ["connected", "error"]}
STAMPS: Final = {"id": ID, "user_id": ID, "created_at": TIME, "updated_at": TIME, "version": ID}


def ref(name: str) -> Shape:
    """Return the reference to a component."""
    return {"$ref": f"#/components/schemas/{name}"}


def array(items: Shape) -> Shape:
    return {"type": "array", "items": items}


def null_or(shape: Shape) -> Shape:
    return {"anyOf": [shape, {"type": "null"}]}


def tally(value: Shape) -> Shape:
    return {"type": "object", "additionalProperties": value}


def thing(fields: dict[str, Any], optional: dict[str, Any] | None = None) -> Shape:
    """Return the shape of an object with these fields and no others."""
    return {
        "type": "object",
        "properties": {**fields, **(optional or {})},
        "required": list(fields),
        "additionalProperties": False,
    }


def page(name: str, items: Shape, **more: Shape) -> Shape:
    """Return a list of what is there; `next_after` comes where a part was asked for."""
    fields = {**more, name: array(items), "count": COUNT}
    return thing(fields, {"next_after": null_or(ID)})


def entity(kind: Kind, body: Shape) -> Shape:
    """Return what a client sees of a kind, whose body says what its fields are."""
    known = body["properties"] | STAMPS
    return thing({name: _as_answered(known[name]) for name in FIELDS[kind]})


def _as_answered(shape: Shape) -> Shape:
    return {word: value for word, value in shape.items() if word not in ("default", "pattern")}


TOTALS: Final = {
    "total_tasks": COUNT,
    "completed_tasks": COUNT,
    "pending_tasks": COUNT,
    "completion_rate": {"type": "number", "minimum": 0, "maximum": 100},
}
BY_NAME: Final = {"user_task_counts": tally(COUNT)}
BY_GROUP: Final = {"group_task_counts": tally(COUNT)}
BY_TABLE: Final = thing({kind.plural: COUNT for kind in Kind})
KNOWN_BY_TABLE: Final = thing({kind.plural: null_or(COUNT) for kind in Kind})
DONE: Final = {"message": TEXT}
WORK_TIMES: Final[Shape] = {
    "type": "object",
    "properties": dict.fromkeys(WEEK, HOURS),
    "additionalProperties": False,
}
REFUSAL: Final = thing(
    {
        "type": {"enum": [kind.noun for kind in Kind]},
        "id": ID,
        **dict.fromkeys(("version", "sqlstate", "reason"), TEXT),
        "since": TIME,
    }
)

DATA: Final[dict[str, Shape]] = {
    "UserPage": page("users", ref("User")),
    "UserChanged": thing({**DONE, "user": ref("User")}),
    "UserDeleted": thing(
        {**DONE, "user": ref("User"), "deleted_tasks": COUNT, "reassigned_groups": array(ID)}
    ),
    "UsersFound": page("results", ref("User"), query=TEXT),
    "WorkTimes": thing({"user_id": ID, "work_times": WORK_TIMES}),
    "WorkTimesChanged": thing({**DONE, "user_id": ID, "work_times": WORK_TIMES}),
    "UserOutline": thing({"id": ID, "full_name": TEXT, "role": TEXT, "email": TEXT}),
    "GroupPage": page("groups", ref("Group")),
    "GroupChanged": thing({**DONE, "group": ref("Group")}),
    "GroupDeleted": thing(
        {**DONE, "group": ref("Group"), "affected_users": COUNT, "deleted_tasks": COUNT}
    ),
    "MemberPage": page("users", {"anyOf": [ref("User"), ref("UserOutline")]}, group_id=ID),
    "MemberAdded": thing({**DONE, "group_id": ID, "user_id": ID}),
    "MemberRemoved": thing(
        {**DONE, "group_id": ID, "user_id": ID, "affected_tasks": COUNT, "moved_to": null_or(ID)}
    ),
    "GroupTaskPage": page("tasks", ref("Task"), group_id=ID),
    "GroupStats": thing(
        {"group": thing({"id": ID, "name": TEXT}), "users_count": COUNT, **TOTALS, **BY_NAME}
    ),
    "UserTaskPage": page("tasks", ref("Task"), user_id=ID),
    "TaskChanged": thing({**DONE, "task": ref("Task")}),
    "TasksFound": page("results", thing({"user_id": ID, "task": ref("Task")}), query=TEXT),
    "OwnerStats": thing({**TOTALS, **BY_NAME, **BY_GROUP, "total_users": COUNT}),
    "GroupAdminStats": thing({**TOTALS, **BY_NAME, **BY_GROUP, "administered_groups": array(ID)}),
    "UserStats": thing(
        {"user_id": ID, **TOTALS, "priority_counts": thing(dict.fromkeys("123", COUNT))}
    ),
    "TaskStats": {"anyOf": [ref("OwnerStats"), ref("GroupAdminStats"), ref("UserStats")]},
    "FilteredTaskPage": page(
        "tasks",
        ref("Task"),
        filters=thing(dict.fromkeys(("status", "priority", "group_id", "user_id"), TEXT)),
    ),
    "BatchDone": thing(
        {
            **DONE,
            "action": {"enum": list(ACTIONS)},
            "total_requested": COUNT,
            "updated_count": COUNT,
            "updated_tasks": array(ref("Task")),
            "deleted_count": COUNT,
            "deleted_ids": array(ID),
        },
        {"errors": array(TEXT), "error_count": COUNT},
    ),
    "Synced": thing(
        {
            "action": {"enum": list(SYNC_ACTIONS)},
            **DONE,
            "duration_seconds": SECONDS,
        },
        {
            **dict.fromkeys(("written", "deleted", "loaded", "saved"), BY_TABLE),
            **{"file": TEXT, "size_bytes": COUNT, "sha256": TEXT},
        },
    ),
    "Status": thing(
        {
            **dict.fromkeys(("running", "pending_changes"), null_or(FLAG)),
            **{"interval": DURATION, "healthy": FLAG},
            **{"last_sync": null_or(TIME), "time_since_last_sync": null_or(DURATION)},
            **{"redis_status": STORE, "postgres_status": STORE},
            "dirty_types": null_or(array({"enum": [kind.plural for kind in Kind]})),
            "dirty_counts": null_or(BY_TABLE),
            "oldest_unsynced_seconds": null_or(SECONDS),
            "quarantined": null_or(array(REFUSAL)),
            **dict.fromkeys(("quarantined_count", "consecutive_failures"), null_or(COUNT)),
            **dict.fromkeys(("restore_progress", "last_error"), null_or(TEXT)),
            "last_duration_seconds": null_or(SECONDS),
            "warnings": array(TEXT),
        }
    ),
    "Stats": thing(
        {
            **{"postgresql": KNOWN_BY_TABLE, "redis": KNOWN_BY_TABLE},
            "sync": thing(
                {
                    **{"running": null_or(FLAG), "healthy": FLAG},
                    "pending_changes": null_or(FLAG),
                }
            ),
        }
    ),
    "Health": thing(
        {"status": {"enum": ["healthy", "degraded", "unhealthy"]}, "timestamp": TIME},
        {"issues": array(TEXT)},
    ),
    "Index": thing({**dict.fromkeys(("service", "documentation", "openapi", "health"), TEXT)}),
}
"""The components of the answers, by name; `entities` adds User, Group and Task."""


def entities(bodies: dict[str, Shape]) -> dict[str, Shape]:
    """Return User, Group, GroupDetails and Task, from the bodies that create them."""
    group = entity(Kind.GROUP, bodies["NewGroup"])
    admin = thing({"id": ID, "full_name": TEXT, "email": TEXT})
    details = {"admin": admin, "users_count": COUNT, "tasks_count": COUNT}
    return {
        "User": entity(Kind.USER, bodies["NewUser"]),
        "Group": group,
        "GroupDetails": thing({**group["properties"], **details}),
        "Task": entity(Kind.TASK, bodies["NewTask"]),
    }
