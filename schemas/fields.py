"""Fields with exact JSON types, and the base classes of all schemas.

marshmallow's own fields accept more than the contract permits: `"1_000"` as an integer, `1` as a
boolean. The metadata of a field is for the OpenAPI document: `description`; `example`; `change`,
the example in a body that changes only some fields; `is_rare`, if no example of a body has the
field. `added` is the number of the migration that added the field.
"""

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from marshmallow import RAISE, Schema, ValidationError, fields, pre_load, validate

INT64_MOST: Final = 2**63 - 1
_FORBIDDEN = re.compile("[\0\ud800-\udfff]")


class Body(Schema):
    """A request body: unknown fields are refused by name, read-only fields are ignored."""

    READ_ONLY: ClassVar[frozenset[str]] = frozenset(
        {"id", "user_id", "created_at", "updated_at", "version"}
    )

    class Meta:
        unknown = RAISE

    @pre_load
    def ignore_read_only(self, data: Any, **_: Any) -> Any:
        if not isinstance(data, Mapping):
            raise ValidationError("Send a JSON object.")
        ignored = self.READ_ONLY - self.load_fields.keys()
        return {name: value for name, value in data.items() if name not in ignored}


class Query(Schema):
    """A query string: each parameter at most once, unknown ones are refused by name."""

    class Meta:
        unknown = RAISE


class Answer(Schema):
    """The `data` of an answer: documents it and names its fields; answers are not validated."""


class Text(fields.String):
    """Unicode text without NUL or lone surrogates, trimmed by default.

    Args:
        low: the minimum number of characters.
        high: the maximum number of characters.
        is_trimmed: whether white space at both ends is removed first.
    """

    def __init__(self, low: int, high: int, *, is_trimmed: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.low, self.high, self.is_trimmed = low, high, is_trimmed

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        if not isinstance(value, str):
            raise ValidationError("Must be a string.")
        text = value.strip() if self.is_trimmed else value
        if _FORBIDDEN.search(text):
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
    """Return the address; raises ValidationError unless it is an e-mail address in ASCII."""
    if not text.isascii():
        raise ValidationError("Must be an e-mail address in ASCII.")
    return Email._is_email(text)


class StrictInteger(fields.Field[int]):
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


class StrictBoolean(fields.Field[bool]):
    """A JSON true or false."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> bool:
        if not isinstance(value, bool):
            raise ValidationError("Must be true or false.")
        return value


class QueryBoolean(fields.Field[bool]):
    """`true` or `false` in a query string."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> bool:
        if value not in ("true", "false"):
            raise ValidationError("Must be true or false.")
        return bool(value == "true")


class QueryInteger(fields.Field[int]):
    """A number in a query string, in ASCII digits without a leading zero."""

    def __init__(self, low: int = 1, high: int = INT64_MOST, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.low, self.high = low, high

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> int:
        is_number = re.fullmatch("0|[1-9][0-9]{0,18}", value)
        if not is_number or not self.low <= int(value) <= self.high:
            raise ValidationError(f"Must be a whole number from {self.low} to {self.high}.")
        return int(value)


class SinceCursor(fields.Field[str]):
    """What a follower has: 0 for nothing, a version, or two versions with a `-` between them."""

    pattern = "^(0|[1-9][0-9]{0,17}(-[1-9][0-9]{0,17})?)$"

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        if not re.fullmatch(self.pattern[1:-1], value):
            raise ValidationError("Must be next_since of the page before, or 0.")
        return str(value)


class Cursor(fields.Field[Any]):
    """Where the next page begins: an id, or an opaque text."""


class Object(fields.Field[Any]):
    """An object in an answer, described by one of these schemas."""

    def __init__(self, *schemas: type[Schema], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.schemas = schemas


def objects(*schemas: type[Schema], **kwargs: Any) -> fields.List[Any]:
    """Return a field for a list of objects, each described by one of these schemas."""
    return fields.List(Object(*schemas), **kwargs)


def answer_field(example: object, **kwargs: Any) -> fields.Field[Any]:
    """Return a field of an answer with the type of the example; integers are counts, from 0."""
    kwargs["metadata"] = {"example": example}
    if isinstance(example, bool):
        return fields.Boolean(**kwargs)
    if isinstance(example, int):
        return StrictInteger(0, **kwargs)
    if isinstance(example, list):
        return fields.List(StrictInteger(), **kwargs)
    return fields.String(**kwargs)


def counts_by_name(example: dict[str, int]) -> fields.Field[Any]:
    """Return a field of an answer that maps names to counts."""
    return fields.Dict(values=StrictInteger(0), metadata={"example": example})


class Paged(Query):
    """The parameters of every list: at most `limit` entries, after the place `after`."""

    limit = QueryInteger(high=1000, load_default=None, allow_none=False)
    after: fields.Field[Any] = QueryInteger(0, load_default=0)


class Exported(Paged):
    """The parameters of a list of users or tasks, which may be CSV."""

    format = fields.String(
        validate=validate.OneOf(("json", "csv")),
        load_default=None,
        allow_none=False,
        metadata={"description": "Without it, `Accept: text/csv` asks for CSV."},
    )


class Page(Answer):
    """The fields of every list."""

    count = answer_field(1)
    next_after: fields.Field[Any] = StrictInteger(
        allow_none=True,
        metadata={"example": None, "description": "Present if the request has `limit` or `after`."},
    )

    class Meta:
        optional: ClassVar[tuple[str, ...]] = ("next_after",)


NOTHING: Final = Query()
"""No parameters at all."""
PAGED: Final = Paged()
EXPORTED: Final = Exported()
