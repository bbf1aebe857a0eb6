"""Bodies about tasks, one or many."""

from typing import Any, Final

from marshmallow import ValidationError, fields, validate, validates_schema

from schemas.common import Day, Flag, Strict, Text, Whole

ACTIONS: Final = ("update", "mark_done", "delete")
BATCH_MOST: Final = 1000


class Task(Strict):
    title = Text(1, 200, required=True)
    status = Flag(load_default=False)
    priority = Whole(1, 3, load_default=2)
    deadline = Day(allow_none=True, load_default=None)
    information = Text(0, 10_000, load_default="")
    group_id = Whole(required=True)


class Batch(Strict):
    READ_ONLY = frozenset[str]()

    task_ids = fields.List(
        Whole(), required=True, validate=validate.Length(1, BATCH_MOST, error="Name 1 to 1000 ids.")
    )
    updates = fields.Nested(Task(partial=True))
    action = Text(1, 20, validate=validate.OneOf(ACTIONS), load_default="update")

    @validates_schema
    def require_updates(self, data: dict[str, Any], **_: Any) -> None:
        if data["action"] == "update" and "updates" not in data:
            raise ValidationError("Say what to update.", "updates")


CREATE_TASK: Final = Task()
EDIT_TASK: Final = Task(partial=True)
BATCH: Final = Batch()
