"""Whole numbers as Redis has them."""

import re
from typing import Final

from taskapi.errors import Damaged

_DIGITS: Final = re.compile(rb"[0-9]{1,18}")
_SIGNED: Final = re.compile(rb"-?[0-9]{1,18}")


def is_number(stored: bytes) -> bool:
    """Return whether this is a whole number without a sign, such as an id or a version."""
    return _DIGITS.fullmatch(stored) is not None


def number(stored: bytes, what: str) -> int:
    """Return a whole number; raises Damaged, with `what` as its sentence, for anything else."""
    if not _SIGNED.fullmatch(stored):
        raise Damaged(what)
    return int(stored)
