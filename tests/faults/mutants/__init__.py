"""The safeguards, how to remove each one, and the test that must then fail."""

from typing import NamedTuple


class Mutant(NamedTuple):
    """A change that removes one safeguard, and the test that must fail."""

    safeguard: str
    file: str
    text: str
    replacement: str
    test: str
