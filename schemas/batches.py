"""Batches: one action on many tasks."""

from typing import Any, Final

from marshmallow import ValidationError, fields, validate, validates_schema

from schemas.fields import Answer, Body, StrictBoolean, StrictInteger, Text, answer_field, objects
from schemas.tasks import Task

CHANGES: Final = ("update", "mark_done", "delete")
CREATE: Final = "create"
BATCH_MOST: Final = 1000


class Batch(Body):
    """One action on many tasks, or many tasks to create."""

    READ_ONLY = frozenset[str]()

    task_ids = fields.List(
        StrictInteger(),
        validate=validate.Length(1, BATCH_MOST, error="Send 1 to 1000 ids."),
        metadata={
            "example": [1, 2, 3],
            "description": "In an update, the tasks together may have at most 4 MB of JSON.",
        },
    )
    updates = fields.Nested(Task(partial=True), metadata={"example": {"priority": 2}})
    tasks = fields.List(
        fields.Nested(Task()),
        validate=validate.Length(1, BATCH_MOST, error="Send 1 to 1000 tasks."),
        metadata={
            "is_rare": True,
            "description": "The tasks to create, each with a `user_id`, by default the caller's.",
        },
    )
    action = Text(
        1,
        20,
        validate=validate.OneOf((CREATE, *CHANGES)),
        load_default="update",
        metadata={"example": "update"},
    )
    atomic = StrictBoolean(
        load_default=False,
        metadata={"example": False, "description": "Change nothing if anything is refused."},
    )

    @validates_schema
    def require_fields(self, data: dict[str, Any], **_: Any) -> None:
        if data["action"] != CREATE and "task_ids" not in data:
            raise ValidationError("Missing data for required field.", "task_ids")
        if data["action"] == "update" and "updates" not in data:
            raise ValidationError("Send the fields to update.", "updates")
        if data["action"] == CREATE and "tasks" not in data:
            raise ValidationError("Send the tasks to create.", "tasks")
        for name in ("task_ids", "updates") if data["action"] == CREATE else ("tasks",):
            if name in data:
                raise ValidationError(f"Not permitted with action {data['action']}.", name)


class BatchDone(Answer):
    message = answer_field("Batch update: 1 of 2 done.")
    action = fields.String(validate=validate.OneOf(CHANGES), metadata={"example": "update"})
    total_requested = answer_field(2)
    updated_count = answer_field(1)
    updated_tasks = objects(Task)
    deleted_count = answer_field(0)
    deleted_ids = answer_field([])
    errors = fields.List(fields.String(), metadata={"example": ["Task 2 does not exist."]})
    error_count = answer_field(1)

    class Meta:
        optional = ("errors", "error_count")


class BatchCreated(Answer):
    message = answer_field("Batch create: 1 of 2 done.")
    action = fields.String(validate=validate.Equal(CREATE), metadata={"example": CREATE})
    total_requested = answer_field(2)
    created_count = answer_field(1)
    created_ids = fields.List(
        StrictInteger(allow_none=True),
        metadata={
            "example": [4, None],
            "description": "In the request's order; null if refused.",
        },
    )
    errors = fields.List(
        fields.String(),
        metadata={"example": ["Item 2: There is no group 9: name one that exists."]},
    )
    error_count = answer_field(1)

    class Meta:
        optional = ("errors", "error_count")


BATCH: Final = Batch()
