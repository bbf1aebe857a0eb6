"""Bodies about users and their working hours."""

from typing import Any, Final

from marshmallow import ValidationError, fields, validate

from schemas.common import Email, Strict, Text, whole

WEEK: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
ROLES: Final = ("user", "group_admin", "owner")


class WorkTimes(fields.Field[dict[str, float]]):
    """Weekday name -> hours from 0 to 24, in the order of the week."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> dict[str, float]:
        if not isinstance(value, dict):
            raise ValidationError("Must be an object of weekday names and hours.")
        mistakes = {
            day: [f"Must be a number of hours from 0 to 24 under one of {', '.join(WEEK)}."]
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


class User(Strict):
    full_name = Text(1, 200, required=True)
    role = Text(1, 20, validate=validate.OneOf(ROLES), load_default="user")
    group_ids = GroupIds(load_default=list)
    email = Email(required=True)
    number = Text(0, 32, load_default="")
    work_times = WorkTimes(load_default=dict)
    password = Text(6, 128, is_trimmed=False, required=True, load_only=True)


class Week(Strict):
    work_times = WorkTimes(required=True)


CREATE_USER: Final = User()
EDIT_USER: Final = User(partial=True)
REPLACE_WEEK: Final = Week()


def _is_hours(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 24
