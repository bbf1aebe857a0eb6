"""Fields with exact JSON types; marshmallow's own are more generous than the contract."""

import datetime
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from marshmallow import RAISE, Schema, ValidationError, fields, pre_load, validate

INT64_MOST: Final = 2**63 - 1
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class Strict(Schema):
    """A body: unknown fields are refused by name, fields that only we set are passed over."""

    READ_ONLY: ClassVar[frozenset[str]] = frozenset(
        {"id", "user_id", "created_at", "updated_at", "version"}
    )

    class Meta:
        unknown = RAISE

    @pre_load
    def pass_over_read_only(self, data: Any, **_: Any) -> Any:
        if not isinstance(data, Mapping):
            raise ValidationError("Send a JSON object.")
        passed = self.READ_ONLY - self.fields.keys()
        return {name: value for name, value in data.items() if name not in passed}


class Query(Schema):
    """A query string: each parameter at most once, and only those that are named."""

    class Meta:
        unknown = RAISE


class Text(fields.String):
    """Valid Unicode without NUL, trimmed unless told otherwise, of so many characters."""

    def __init__(self, low: int, high: int, *, is_trimmed: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.low, self.high, self.is_trimmed = low, high, is_trimmed

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        if not isinstance(value, str):
            raise ValidationError("Must be a string.")
        text = value.strip() if self.is_trimmed else value
        if "\0" in text or not is_unicode(text):
            raise ValidationError("Must be Unicode text without NUL or lone surrogates.")
        if not self.low <= len(text) <= self.high:
            raise ValidationError(f"Must have {self.low} to {self.high} characters.")
        return text


class Email(Text):
    """An ASCII e-mail address of at most 254 characters."""

    _is_email = validate.Email(error="Must be an e-mail address in ASCII.")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(3, 254, **kwargs)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        return email(super()._deserialize(value))


def email(text: str) -> str:
    """Return the address; raises ValidationError unless it is one, in ASCII."""
    if not text.isascii():
        raise ValidationError("Must be an e-mail address in ASCII.")
    return Email._is_email(text)


class Whole(fields.Field[int]):
    """A JSON integer from `low` to `high`: no boolean, no 1.0, no "1"."""

    def __init__(self, low: int = 1, high: int = INT64_MOST, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.low, self.high = low, high

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> int:
        return whole(value, self.low, self.high)


def whole(value: Any, low: int = 1, high: int = INT64_MOST) -> int:
    """Return the value; raises ValidationError unless it is an integer in the range."""
    if type(value) is not int or not low <= value <= high:
        raise ValidationError(f"Must be a whole number from {low} to {high}.")
    return value


class Flag(fields.Field[bool]):
    """A JSON true or false."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> bool:
        if not isinstance(value, bool):
            raise ValidationError("Must be true or false.")
        return value


class Day(fields.Field[str]):
    """A real date, `YYYY-MM-DD`."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        day = value.strip() if isinstance(value, str) else ""
        if _DAY.fullmatch(day) and _is_date(day):
            return day
        raise ValidationError("Must be a real date, YYYY-MM-DD, or null.")


class Digits(fields.Field[int]):
    """A number in a query string, in ASCII digits without a leading zero."""

    def __init__(self, high: int = INT64_MOST, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.high = high

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> int:
        if not re.fullmatch("[1-9][0-9]{0,18}", value) or int(value) > self.high:
            raise ValidationError(f"Must be a whole number from 1 to {self.high}.")
        return int(value)


class Paged(Query):
    """What every list takes: at most `limit` entries, with ids above `after`."""

    limit = Digits(high=1000, load_default=None)
    after = Digits(load_default=0)


class Nothing(Query):
    """No parameters at all."""


NOTHING: Final = Nothing()
PAGED: Final = Paged()


def is_unicode(text: str) -> bool:
    """Whether the text can be written as UTF-8, that is, has no lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_date(text: str) -> bool:
    try:
        datetime.date.fromisoformat(text)
    except ValueError:
        return False
    return True
