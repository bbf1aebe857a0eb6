"""Tasks, filters and statistics."""

from typing import Any, Final
from zoneinfo import ZoneInfo

from marshmallow import ValidationError, fields, validate, validates_schema

from schemas.fields import (
    Answer,
    Body,
    Cursor,
    Exported,
    Object,
    Page,
    Paged,
    Query,
    QueryBoolean,
    QueryInteger,
    SinceCursor,
    StrictBoolean,
    StrictInteger,
    Text,
    answer_field,
    counts_by_name,
    objects,
)
from schemas.times import Day, QueryInstant, Timestamp, Zone

STATUSES: Final = {"completed": True, "pending": False, "all": None}
PRIORITIES: Final = ("1", "2", "3")
SORTS: Final = ("id", "deadline", "priority", "created_at", "updated_at", "title")
_ID_OR_0: Final = QueryInteger(0)


class Task(Body):
    """A task of a user in a group."""

    id = StrictInteger(dump_only=True, metadata={"example": 1})
    title = Text(1, 200, required=True, metadata={"example": "Implement Login API"})
    status = StrictBoolean(load_default=False, metadata={"example": False})
    priority = StrictInteger(
        1,
        3,
        load_default=2,
        metadata={"example": 1, "change": 2, "description": "1 is high, 2 medium, 3 low."},
    )
    deadline = Day(allow_none=True, load_default=None, metadata={"example": "2025-12-31"})
    information = Text(
        0, 10_000, load_default="", metadata={"example": "Create REST API for authentication"}
    )
    user_id = StrictInteger(
        metadata={
            "example": 3,
            "is_rare": True,
            "description": "Another user hands the task over. A task that is created under the "
            "path of a user belongs to that user: leave it out there.",
        }
    )
    group_id = StrictInteger(required=True, metadata={"example": 1})
    created_at = Timestamp()
    updated_at = Timestamp()
    version = StrictInteger(dump_only=True, metadata={"example": 7})


class TaskSearch(Paged):
    q = Text(1, 200, required=True, metadata={"example": "login"})


class TaskList(Exported):
    """The conditions and the order of a list of tasks."""

    status = fields.String(validate=validate.OneOf(STATUSES))
    priority = fields.String(validate=validate.OneOf(PRIORITIES))
    q = Text(1, 200, metadata={"description": "A part of the title or the information."})
    due_after = Day(metadata={"description": "The first day on which a task may be due."})
    due_before = Day(metadata={"description": "The last day on which a task may be due."})
    has_deadline = QueryBoolean()
    overdue = fields.String(
        validate=validate.OneOf(("true",)),
        metadata={"description": "Pending, with a deadline before today in `timezone`."},
    )
    timezone = Zone(
        load_default=ZoneInfo("UTC"), metadata={"description": "It decides which day is today."}
    )
    created_after = QueryInstant(is_rounded_up=True)
    created_before = QueryInstant()
    updated_after = QueryInstant(is_rounded_up=True)
    updated_before = QueryInstant()
    sort = fields.String(
        validate=validate.OneOf([sign + name for name in SORTS for sign in ("", "-")]),
        load_default="id",
        metadata={"description": "`-` for descending; tasks without deadline come last."},
    )
    after = Text(
        1,
        3500,
        load_default="0",
        metadata={"description": "`next_after` of the page before; 0 for the first page."},
    )
    total = QueryBoolean(
        load_default=False, metadata={"description": "Add `total`, the number of all matches."}
    )

    @validates_schema
    def require_id(self, data: dict[str, Any], **_: Any) -> None:
        if data["sort"] == "id":
            try:
                _ID_OR_0.deserialize(data["after"])
            except ValidationError as error:
                raise ValidationError(error.messages, "after") from None


class ChangesQuery(Query):
    """The parameters of the changes of all tasks."""

    since = SinceCursor(
        load_default="0",
        metadata={"description": "`next_since` of the page before; 0 for the beginning."},
    )
    limit = QueryInteger(high=1000, load_default=1000)


class UserTasks(TaskList):
    group_id = QueryInteger()


class GroupTasks(TaskList):
    user_id = QueryInteger()


class Filter(TaskList):
    group_id = QueryInteger()
    user_id = QueryInteger()


class TaskPage(Page):
    """A page of tasks."""

    next_after = Cursor(
        allow_none=True,
        metadata={"example": None, "description": "Present if the request has `limit` or `after`."},
    )
    total = StrictInteger(0, metadata={"example": 1, "description": "Present with `total=true`."})

    class Meta:
        optional = ("next_after", "total")


class UserTaskPage(TaskPage):
    user_id = StrictInteger(metadata={"example": 3})
    tasks = objects(Task)


class GroupTaskPage(TaskPage):
    group_id = StrictInteger(metadata={"example": 1})
    tasks = objects(Task)


class Filters(Answer):
    status = answer_field("pending")
    priority = answer_field("1")
    group_id = answer_field("1")
    user_id = answer_field("")


class FilteredTaskPage(TaskPage):
    filters = Object(Filters)
    tasks = objects(Task)


class TaskChanged(Answer):
    message = answer_field("Task updated.")
    task = Object(Task)


class DeletedTask(Answer):
    id = StrictInteger(metadata={"example": 2})
    version = StrictInteger(metadata={"example": 9})


class TaskChange(Answer):
    """A task that was changed, as it is now, or a task that was deleted."""

    task = Object(Task)
    deleted = Object(DeletedTask)

    class Meta:
        optional = ("task", "deleted")


class Changes(Answer):
    changes = objects(TaskChange)
    next_since = Cursor(metadata={"example": 9})
    has_more = answer_field(False)


class TaskFound(Answer):
    user_id = StrictInteger(metadata={"example": 3})
    task = Object(Task)


class TasksFound(Page):
    query = answer_field("login")
    results = objects(TaskFound)


class Totals(Answer):
    total_tasks = answer_field(12)
    completed_tasks = answer_field(5)
    pending_tasks = answer_field(7)
    completion_rate = fields.Float(validate=validate.Range(0, 100), metadata={"example": 41.67})


class OwnerStats(Totals):
    user_task_counts = counts_by_name({"Alice Admin": 4, "Charlie Developer": 8})
    group_task_counts = counts_by_name({"1": 8, "2": 4})
    total_users = answer_field(5)


class GroupAdminStats(Totals):
    user_task_counts = counts_by_name({"Alice Admin": 4, "Charlie Developer": 8})
    group_task_counts = counts_by_name({"1": 12})
    administered_groups = answer_field([1])


PriorityCounts = Answer.from_dict(
    {rank: answer_field(4) for rank in PRIORITIES}, name="PriorityCounts"
)


class UserStats(Totals):
    user_id = StrictInteger(metadata={"example": 3})
    priority_counts = Object(PriorityCounts)


CREATE_TASK: Final = Task()
EDIT_TASK: Final = Task(partial=True)
SEARCH_TASKS: Final = TaskSearch()
USER_TASKS: Final = UserTasks()
GROUP_TASKS: Final = GroupTasks()
FILTER: Final = Filter()
CHANGES_SINCE: Final = ChangesQuery()
