"""Who sent a request, and what a token does not permit."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from schemas.tokens import Access
from taskapi.errors import Forbidden
from taskapi.store.codec import Entity
from taskapi.store.tokens import Token

PASSWORD_FIELDS: Final = {"password", "email", "role"}
"""The fields of a user that a token cannot change: they decide who logs in, with which rights."""


class Caller(NamedTuple):
    """The user who sent a request, as stored when the request began.

    Attributes:
        access: what their token permits; None if they sent a password.
    """

    id: int
    role: str
    group_ids: frozenset[int]
    administers: tuple[int, ...]
    access: Access | None = None

    @property
    def is_owner(self) -> bool:
        return self.role == "owner"


def caller_of(user: Entity, token: Token | None = None) -> Caller:
    """Return the user as a caller; a token whose access is unknown permits only reads."""
    administers = tuple(user.get("administers", ()))
    access = None if token is None else Access.READ
    if token and token["access"] == Access.FULL:
        access = Access.FULL
    return Caller(user["id"], user["role"], frozenset(user["group_ids"]), administers, access)


def require_access(caller: Caller, *, is_read: bool, needs_password: bool) -> None:
    """Raise Forbidden if the caller's token does not permit the request.

    Args:
        is_read: the request changes nothing.
        needs_password: this is not permitted with a token.
    """
    if caller.access is Access.READ and not is_read:
        raise Forbidden("This token permits reading only.", code="read_only_token")
    if caller.access is not None and needs_password:
        raise Forbidden("A token cannot do this: send a password.", code="password_needed")


def require_fields_without_password(caller: Caller, changed: Iterable[str]) -> None:
    """Raise Forbidden if a token is to change fields of a user that need a password."""
    needed = sorted(PASSWORD_FIELDS.intersection(changed))
    if caller.access is not None and needed:
        problem = f"A token cannot change {', '.join(needed)}: send a password."
        raise Forbidden(problem, code="password_needed")
