"""Users and their working hours."""

from typing import Any, Final

from marshmallow import ValidationError, fields, validate

from schemas.fields import (
    Answer,
    Body,
    Email,
    Object,
    Page,
    Paged,
    StrictInteger,
    Text,
    answer_field,
    objects,
    whole,
)
from schemas.times import Timestamp

WEEK: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
ROLES: Final = ("user", "group_admin", "owner")


class WorkTimes(fields.Field[dict[str, float]]):
    """Weekday name -> hours from 0 to 24, in the order of the week."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(metadata={"example": {"Monday": 8.0, "Friday": 6.0}}, **kwargs)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> dict[str, float]:
        if not isinstance(value, dict):
            raise ValidationError("Must be an object of weekday names and hours.")
        mistakes = {
            day: [f"Must map one of {', '.join(WEEK)} to hours from 0 to 24."]
            for day, hours in value.items()
            if day not in WEEK or not _is_hours(hours)
        }
        if mistakes:
            raise ValidationError(mistakes)
        return {day: float(value[day]) for day in WEEK if day in value}


class GroupIds(fields.Field[list[int]]):
    """Ids of groups, each at most once; sorted."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> list[int]:
        if not isinstance(value, list):
            raise ValidationError("Must be a list of group ids.")
        ids = sorted(whole(item) for item in value)
        if len(set(ids)) < len(ids):
            raise ValidationError("Must name each group once.")
        return ids


class User(Body):
    """A user; the password is accepted and never shown."""

    id = StrictInteger(dump_only=True, metadata={"example": 3})
    full_name = Text(
        1, 200, required=True, metadata={"example": "John Doe", "change": "John Updated"}
    )
    role = Text(
        1,
        20,
        validate=validate.OneOf(ROLES),
        load_default="user",
        metadata={"example": "user"},
    )
    group_ids = GroupIds(load_default=list, metadata={"example": [1]})
    email = Email(required=True, metadata={"example": "john@company.com"})
    number = Text(
        0, 32, load_default="", metadata={"example": "+1234567890", "change": "+9876543210"}
    )
    work_times = WorkTimes(load_default=dict)
    password = Text(
        6,
        128,
        is_trimmed=False,
        required=True,
        load_only=True,
        metadata={"example": "secure123"},
    )
    created_at = Timestamp()
    updated_at = Timestamp()
    version = StrictInteger(dump_only=True, metadata={"example": 7})


class Week(Body):
    """The working hours of one user."""

    work_times = WorkTimes(required=True)


class UserSearch(Paged):
    q = Text(1, 200, required=True, metadata={"example": "john"})


class UserPage(Page):
    users = objects(User)


class UserChanged(Answer):
    message = answer_field("User updated.")
    user = Object(User)


class UserDeleted(Answer):
    message = answer_field("User deleted.")
    user = Object(User)
    deleted_tasks = answer_field(4)
    reassigned_groups = answer_field([2])


class UsersFound(Page):
    query = answer_field("john")
    results = objects(User)


class WorkTimesShown(Answer):
    user_id = StrictInteger(metadata={"example": 3})
    work_times = WorkTimes()


class WorkTimesChanged(WorkTimesShown):
    message = answer_field("Work times updated.")


class UserOutline(Answer):
    """The fields of a user that other members of a group see."""

    id = StrictInteger(metadata={"example": 3})
    full_name = answer_field("John Doe")
    role = answer_field("user")
    email = answer_field("john@company.com")


CREATE_USER: Final = User()
EDIT_USER: Final = User(partial=True)
REPLACE_WEEK: Final = Week()
SEARCH_USERS: Final = UserSearch()


def _is_hours(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 24
