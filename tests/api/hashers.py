"""Argon2 under conditions that tests cannot bring about."""

from typing import Literal

from argon2 import PasswordHasher
from argon2.exceptions import HashingError, VerificationError


class Exhausted(PasswordHasher):
    """Argon2 as it is when it gets no memory."""

    def hash(self, *_: object, **__: object) -> str:
        raise HashingError("Memory allocation error")

    def verify(self, *_: object, **__: object) -> Literal[True]:
        raise VerificationError("Memory allocation error")
