"""Sending the second read of a request along with its first one."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Final

from taskapi.store.connection import Command

REMEMBERED_MOST: Final = 5_000
LONGEST: Final = 1_000
"""The number of bytes of a script's arguments that are remembered: a list needs about 300."""

Guesses = dict[Hashable, tuple[Command, ...]]


@dataclass(slots=True)
class ReadAhead:
    """The commands that a request will probably read, because an equal request did before.

    The replies are used only if the request then reads with exactly these commands: nothing is
    decided on a guess. A request that is refused before it reads takes its guess away, so that
    wrong passwords cost Redis no reads.

    Attributes:
        guesses: the commands that requests read, by what is equal in equal requests.
    """

    guesses: Guesses = field(default_factory=dict)
    key: Hashable = None
    _sent: tuple[Command, ...] = ()
    _replies: list[Any] | None = None
    _is_over: bool = False

    def take(self) -> tuple[Command, ...]:
        """Remove and return the commands to send along with the first read."""
        self._sent = self.guesses.pop(self.key, ())
        return self._sent

    def keep(self, replies: list[Any]) -> None:
        """Keep the replies to these commands."""
        self._replies = replies

    def replies_to(self, commands: tuple[Command, ...]) -> list[Any] | None:
        """Return the replies if these commands were sent, and remember them as the next guess.

        Only for the first call: later reads may repeat the commands to see what has changed.
        """
        if self._is_over or self.key is None:
            return None
        self._is_over = True
        if not any(isinstance(word, bytes) and len(word) > LONGEST for word in commands[0]):
            if len(self.guesses) >= REMEMBERED_MOST:
                self.guesses.clear()
            self.guesses[self.key] = commands
        return self._replies if commands == self._sent else None
