"""Query strings of searches, filters and the admin's actions."""

from typing import Any, Final

from marshmallow import ValidationError, fields, validate, validates_schema

from schemas.common import Digits, Paged, Query, Text

STATUSES: Final = {"completed": True, "pending": False, "all": None}
PRIORITIES: Final = ("1", "2", "3")
SYNC_ACTIONS: Final = ("force", "restore", "backup")


class Search(Paged):
    q = Text(1, 200, required=True)


class UserTasks(Paged):
    status = fields.String(validate=validate.OneOf(STATUSES))
    priority = fields.String(validate=validate.OneOf(PRIORITIES))


class Filter(UserTasks):
    group_id = Digits()
    user_id = Digits()


class Sync(Query):
    action = fields.String(validate=validate.OneOf(SYNC_ACTIONS), load_default="force")
    reseed = fields.String(validate=validate.OneOf(("true", "false")), load_default="false")

    @validates_schema
    def require_force(self, data: dict[str, Any], **_: Any) -> None:
        if data["reseed"] == "true" and data["action"] != "force":
            raise ValidationError("Only action=force can reseed PostgreSQL.", "reseed")


SEARCH: Final = Search()
USER_TASKS: Final = UserTasks()
FILTER: Final = Filter()
SYNC: Final = Sync()
