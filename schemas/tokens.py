"""Access tokens of users."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from marshmallow import ValidationError, validate

from schemas.fields import (
    Answer,
    Body,
    Object,
    Page,
    StrictInteger,
    Text,
    answer_field,
    objects,
)
from schemas.times import Day, Instant, Timestamp


class Access(StrEnum):
    """What a token permits: only reads, or all that its user may do but what needs a password."""

    FULL = "full"
    READ = "read"


def require_future(time: str) -> None:
    """Raise ValidationError for a time that has passed."""
    if datetime.fromisoformat(time) <= datetime.now(UTC):
        raise ValidationError("Must be in the future.")


class Token(Body):
    """A token that logs in as its user."""

    READ_ONLY = Body.READ_ONLY | {"last_used_on"}

    id = StrictInteger(dump_only=True, metadata={"example": 1764519873123456})
    user_id = StrictInteger(dump_only=True, metadata={"example": 3})
    name = Text(1, 100, required=True, metadata={"example": "Nightly report"})
    access = Text(
        1,
        4,
        validate=validate.OneOf([*Access]),
        load_default=Access.FULL.value,
        metadata={"example": "read"},
    )
    created_at = Timestamp()
    expires_at = Instant(
        load_default=None,
        allow_none=True,
        validate=require_future,
        metadata={"example": "2099-12-31T23:59:59Z"},
    )
    last_used_on = Day(
        dump_only=True,
        allow_none=True,
        metadata={"example": None, "description": "The day of the last use, in UTC."},
    )


class TokenCreated(Answer):
    token = Object(Token)
    secret = answer_field("tk_3_" + 64 * "0")


class TokenPage(Page):
    user_id = StrictInteger(metadata={"example": 3})
    tokens = objects(Token)


class TokenRevoked(Answer):
    message = answer_field("Token revoked.")
    token = Object(Token)


CREATE_TOKEN: Final = Token()
