"""Sizes of a full run, and of a quick run that only shows that everything works."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Numbers of tasks, of one-second rounds, of passes and restores (`copies`), and of users."""

    small: int = 1_000
    middle: int = 100_000
    large: int = 1_000_000
    rounds: int = 9
    copies: int = 3
    crowd: int = 5_000


QUICK = Sizes(small=1_000, middle=30_000, large=40_000, rounds=1, copies=1, crowd=300)
