"""Whole numbers as Redis has them."""

import re
from typing import Final

from taskapi.errors import Damaged

_DIGITS: Final = re.compile(rb"[0-9]{1,18}")


def is_number(stored: bytes) -> bool:
    """Return whether this is a whole number that Redis can count with."""
    return _DIGITS.fullmatch(stored) is not None


def number(stored: bytes, what: str) -> int:
    """Return a whole number; raises Damaged, with `what` as its sentence, for anything else."""
    if not is_number(stored):
        raise Damaged(what)
    return int(stored)
