"""The safeguards, how each is taken out, and the test that must notice."""

from typing import NamedTuple


class Mutant(NamedTuple):
    """One safeguard taken out, and the test that must notice."""

    safeguard: str
    file: str
    text: str
    replacement: str
    test: str
