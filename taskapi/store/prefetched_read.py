"""Sending the second read of a request together with the first one."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

from taskapi.store.connection import Command

REMEMBERED_MOST: Final = 5_000
"""Guesses of at most about 4 kB each."""
LONGEST: Final = 1_000
"""Bytes that an argument in a guess, or a query string, may have; a list needs about 300."""
COMMANDS_MOST: Final = 20
"""Commands of a guess; statistics have three for each group."""

Guess = Callable[[], tuple[Command, ...]]
Guesses = dict[Hashable, Guess]


@dataclass(slots=True)
class PrefetchedRead:
    """The commands of a request's first `read`, guessed from the last equal request.

    The replies are used only if the request then reads with exactly these commands: nothing is
    decided on a guess. Opening a session removes the guess, and the first `read` stores it again,
    so that repeated wrong passwords send it only once.

    Attributes:
        guesses: functions that return the commands of each key's next request.
        key: what equal requests have in common; None to remember nothing.
    """

    guesses: Guesses = field(default_factory=dict)
    key: Hashable = None
    _sent: tuple[Command, ...] = ()
    _replies: list[Any] | None = None
    _is_over: bool = False

    def take(self) -> tuple[Command, ...]:
        """Remove and return the guess, to be sent with the first reads."""
        guess = self.guesses.pop(self.key, None)
        self._sent = guess() if guess else ()
        return self._sent

    def keep(self, replies: list[Any]) -> None:
        """Keep the replies to the guess."""
        self._replies = replies

    def replies_to(
        self, commands: tuple[Command, ...], guess: Guess | None = None
    ) -> list[Any] | None:
        """Remember the next guess; return the replies to these commands if they were sent.

        By default, the next guess is these commands.

        Later calls return None, because a view may repeat a read to see what has changed.
        """
        if self._is_over or self.key is None:
            return None
        self._is_over = True
        if _are_small(commands):
            if len(self.guesses) >= REMEMBERED_MOST:
                self.guesses.clear()
            self.guesses[self.key] = guess or (lambda: commands)
        return self._replies if commands == self._sent else None


def _are_small(commands: tuple[Command, ...]) -> bool:
    words = (word for word in chain.from_iterable(commands) if isinstance(word, bytes))
    return len(commands) <= COMMANDS_MOST and all(len(word) <= LONGEST for word in words)
