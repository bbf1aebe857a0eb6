"""Fields for dates, times and time zones."""

import datetime
import re
from contextlib import suppress
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from marshmallow import ValidationError, fields

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]{0,30}(/[A-Za-z0-9_+-]{1,30}){0,2}")
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def _or_null(field: fields.Field[str]) -> str:
    return ", or null" if field.allow_none else ""


class Day(fields.Field[str]):
    """A real date, `YYYY-MM-DD`."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        day = value.strip() if isinstance(value, str) else ""
        with suppress(ValueError):
            if _DAY.fullmatch(day):
                return datetime.date.fromisoformat(day).isoformat()
        raise ValidationError(f"Must be a date that exists, YYYY-MM-DD{_or_null(self)}.")


class Instant(fields.Field[str]):
    """A time in RFC 3339; loaded in UTC with `Z`, without fractions of a second.

    Args:
        is_rounded_up: whether a fraction becomes a whole second.
    """

    def __init__(self, *, is_rounded_up: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.is_rounded_up = is_rounded_up

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        text = value.strip() if isinstance(value, str) else ""
        with suppress(ValueError, OverflowError):
            if _TIME.fullmatch(text):
                utc = datetime.datetime.fromisoformat(text.upper()).astimezone(datetime.UTC)
                if self.is_rounded_up and utc.microsecond:
                    utc += datetime.timedelta(seconds=1)
                return utc.replace(microsecond=0, tzinfo=None).isoformat() + "Z"
        text = "Must be a time in RFC 3339, such as 2027-01-31T12:00:00Z"
        raise ValidationError(f"{text}{_or_null(self)}.")


class QueryInstant(Instant):
    """An `Instant` in a query string; a `+` that is not encoded arrives as a space."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        return super()._deserialize(value.strip().replace(" ", "+"))


class Zone(fields.Field[ZoneInfo]):
    """The name of a time zone in a query string."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> ZoneInfo:
        with suppress(ZoneInfoNotFoundError, ValueError, OSError):
            if _ZONE.fullmatch(value):
                return ZoneInfo(value)
        raise ValidationError("Must be an IANA time zone, such as Europe/Berlin or UTC.")


class Timestamp(fields.Field[str]):
    """A UTC time in RFC 3339 with `Z`, set only by the service."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(dump_only=True, metadata={"example": "2025-09-29T10:00:00Z"}, **kwargs)
