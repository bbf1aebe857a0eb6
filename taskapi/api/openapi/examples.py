"""What bodies and answers look like, by component: the guide's own people and tasks."""

from typing import Any, Final

_STAMPS: Final = {
    "created_at": "2025-09-29T10:00:00Z",
    "updated_at": "2025-09-29T10:00:00Z",
    "version": 7,
}
_WEEK: Final = {"Monday": 8.0, "Tuesday": 8.0, "Wednesday": 8.0, "Thursday": 8.0, "Friday": 6.0}
_USER: Final = {
    "id": 3,
    "full_name": "John Doe",
    "role": "user",
    "group_ids": [1],
    "email": "john@company.com",
    "number": "+1234567890",
    "work_times": _WEEK,
    **_STAMPS,
}
_OUTLINE: Final = {name: _USER[name] for name in ("id", "full_name", "role", "email")}
_GROUP: Final = {"id": 1, "name": "Engineering", "admin_id": 2, **_STAMPS}
_ADMIN: Final = {"id": 2, "full_name": "Alice Admin", "email": "alice@company.com"}
_TASK: Final = {
    "id": 1,
    "title": "Implement Login API",
    "status": False,
    "priority": 1,
    "deadline": "2025-10-15",
    "information": "Create REST API for authentication",
    "user_id": 3,
    "group_id": 1,
    **_STAMPS,
}
_TOTALS: Final = {
    "total_tasks": 12,
    "completed_tasks": 5,
    "pending_tasks": 7,
    "completion_rate": 41.67,
}
_BY_NAME: Final = {"Alice Admin": 4, "Charlie Developer": 5, "Diana Coder": 3}
_COUNTS: Final = {"users": 10, "groups": 3, "tasks": 45}
_NO_COUNTS: Final = {"users": 0, "groups": 0, "tasks": 0}

BODIES: Final[dict[str, Any]] = {
    "NewUser": {
        "full_name": "John Doe",
        "email": "john@company.com",
        "password": "secure123",
        "role": "user",
        "group_ids": [1],
        "number": "+1234567890",
        "work_times": _WEEK,
    },
    "UserChanges": {
        "full_name": "John Updated",
        "number": "+9876543210",
        "work_times": {"Monday": 9.0, "Tuesday": 9.0},
    },
    "Week": {"work_times": {**_WEEK, "Saturday": 4.0, "Sunday": 0.0}},
    "NewGroup": {"name": "Engineering", "admin_id": 2},
    "GroupChanges": {"name": "Engineering Team", "admin_id": 2},
    "NewMember": {"user_id": 3},
    "NewTask": {
        "title": "Implement authentication",
        "priority": 1,
        "deadline": "2025-12-31",
        "information": "Add JWT-based authentication",
        "group_id": 1,
    },
    "TaskChanges": {"priority": 2, "information": "Updated: Critical bug"},
    "Batch": {
        "task_ids": [1, 2, 3],
        "updates": {"priority": 2, "deadline": "2025-11-01"},
        "action": "update",
    },
}
PARAMETERS: Final = {"user_id": 3, "group_id": 1, "task_id": 1, "q": "john"}
DATA: Final[dict[str, Any]] = {
    "User": _USER,
    "UserPage": {"users": [_USER], "count": 1},
    "UserChanged": {"message": "User updated.", "user": _USER},
    "UserDeleted": {
        "message": "User deleted.",
        "user": _USER,
        "deleted_tasks": 4,
        "reassigned_groups": [],
    },
    "UsersFound": {"query": "john", "results": [_USER], "count": 1},
    "WorkTimes": {"user_id": 3, "work_times": _WEEK},
    "WorkTimesChanged": {"message": "Work times updated.", "user_id": 3, "work_times": _WEEK},
    "GroupPage": {"groups": [_GROUP], "count": 1, "next_after": None},
    "GroupDetails": {**_GROUP, "admin": _ADMIN, "users_count": 3, "tasks_count": 12},
    "GroupChanged": {"message": "Group updated.", "group": _GROUP},
    "GroupDeleted": {
        "message": "Group deleted.",
        "group": _GROUP,
        "affected_users": 3,
        "deleted_tasks": 12,
    },
    "MemberPage": {"group_id": 1, "users": [_OUTLINE], "count": 1},
    "MemberAdded": {"message": "User added.", "group_id": 1, "user_id": 3},
    "MemberRemoved": {
        "message": "User removed.",
        "group_id": 1,
        "user_id": 3,
        "affected_tasks": 2,
        "moved_to": None,
    },
    "GroupTaskPage": {"group_id": 1, "tasks": [_TASK], "count": 1},
    "GroupStats": {
        "group": {"id": 1, "name": "Engineering"},
        "users_count": 3,
        **_TOTALS,
        "user_task_counts": _BY_NAME,
    },
    "UserTaskPage": {"user_id": 3, "tasks": [_TASK], "count": 1},
    "Task": _TASK,
    "TaskChanged": {"message": "Task updated.", "task": _TASK},
    "TasksFound": {
        "query": "authentication",
        "results": [{"user_id": 3, "task": _TASK}],
        "count": 1,
    },
    "TaskStats": {
        **_TOTALS,
        "user_task_counts": _BY_NAME,
        "group_task_counts": {"1": 8, "2": 4},
        "total_users": 5,
    },
    "FilteredTaskPage": {
        "filters": {"status": "pending", "priority": "1", "group_id": "1", "user_id": ""},
        "tasks": [_TASK],
        "count": 1,
    },
    "BatchDone": {
        "message": "Batch update: 1 of 2 done.",
        "action": "update",
        "total_requested": 2,
        "updated_count": 1,
        "updated_tasks": [_TASK],
        "deleted_count": 0,
        "deleted_ids": [],
        "errors": ["Task 2 does not exist."],
        "error_count": 1,
    },
    "Synced": {
        "action": "force",
        "message": "PostgreSQL has every change made so far.",
        "written": _COUNTS,
        "deleted": _NO_COUNTS,
        "duration_seconds": 0.048,
    },
    "Status": {
        "running": True,
        "interval": "15m0s",
        "last_sync": "2025-09-29T10:00:00Z",
        "time_since_last_sync": "5m30s",
        "healthy": True,
        "dirty_types": ["tasks"],
        "pending_changes": True,
        "redis_status": "connected",
        "postgres_status": "connected",
        "dirty_counts": {**_NO_COUNTS, "tasks": 2},
        "oldest_unsynced_seconds": 12.5,
        "quarantined": [],
        "quarantined_count": 0,
        "restore_progress": None,
        "last_error": None,
        "consecutive_failures": 0,
        "last_duration_seconds": 0.048,
        "warnings": [],
    },
    "Stats": {
        "postgresql": _COUNTS,
        "redis": {**_COUNTS, "tasks": 47},
        "sync": {"running": True, "healthy": True, "pending_changes": True},
    },
    "Health": {"status": "healthy", "timestamp": "2025-09-29T10:00:00Z"},
    "Index": {
        "service": "taskapi",
        "documentation": "/docs",
        "openapi": "/openapi.json",
        "health": "/health",
    },
}
