"""How much is measured: in full, or just enough to see that everything runs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Numbers of tasks, and of rounds: of a second each, and of copies from store to store."""

    small: int = 1_000
    middle: int = 100_000
    large: int = 1_000_000
    rounds: int = 9
    copies: int = 3


QUICK = Sizes(small=1_000, middle=30_000, large=40_000, rounds=1, copies=1)
