"""Query strings of searches, filters and the admin's actions."""

from typing import Final

from marshmallow import fields, validate

from schemas.common import Digits, Paged, Query, Text

STATUSES: Final = {"completed": True, "pending": False, "all": None}
PRIORITIES: Final = ("1", "2", "3")


class Search(Paged):
    q = Text(1, 200, required=True)


class UserTasks(Paged):
    status = fields.String(validate=validate.OneOf(STATUSES))
    priority = fields.String(validate=validate.OneOf(PRIORITIES))


class Filter(UserTasks):
    group_id = Digits()
    user_id = Digits()


class Sync(Query):
    action = fields.String(
        validate=validate.OneOf(("force", "restore", "backup")), load_default="force"
    )


SEARCH: Final = Search()
USER_TASKS: Final = UserTasks()
FILTER: Final = Filter()
SYNC: Final = Sync()
