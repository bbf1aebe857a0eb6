"""The safeguards, how each is removed, and the test that must fail then."""

from typing import NamedTuple


class Mutant(NamedTuple):
    """One safeguard taken out, and the test that must notice."""

    safeguard: str
    file: str
    text: str
    replacement: str
    test: str
