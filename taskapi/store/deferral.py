"""A commit that waits until the answer to its request is known, and then stores the answer too."""

import hmac
import secrets
from typing import TYPE_CHECKING, Final

from taskapi.store.codec import NEW_ID, NEW_VERSION, NOW

if TYPE_CHECKING:
    from taskapi.store.commit import Commit, Stamp

KEPT_SECONDS: Final = 24 * 3600
"""How long an answer is stored."""


class Deferral:
    """The commit of one request, and placeholders for what Redis will give to it.

    The view makes its answer with the placeholders. They are random, so nothing else in an answer
    is equal to one of them.

    Attributes:
        secret: 64 hexadecimal digits for a new token. They are derived from `phrase`, so a stored
            answer can do without them.
        running: what is stored instead of the answer while the request runs.
    """

    def __init__(self, phrase: str, salt: str = "") -> None:
        """Use a phrase that is in neither store, and the salt of a stored answer if any."""
        self.salt = salt or secrets.token_hex(32)
        self.secret = hmac.digest(phrase.encode(), self.salt.encode(), "sha256").hex()
        self.running = f"running {self.salt}"
        self.id, self.version = (str(10**17 + secrets.randbelow(10**17)) for _ in range(2))
        year, minute = 5000 + secrets.randbelow(5000), secrets.randbelow(60)
        self.time = f"{year}-02-{1 + secrets.randbelow(28):02}T07:{minute:02}:01Z"
        self._commit: Commit | None = None
        self._frees_memory = False

    @property
    def has_commit(self) -> bool:
        """Whether the view has made a commit."""
        return self._commit is not None

    def keep(self, commit: "Commit", *, frees_memory: bool) -> None:
        """Keep a commit until `send`."""
        if self._commit is not None:
            raise RuntimeError("A request with Idempotency-Key has made two commits.")
        self._commit, self._frees_memory = commit, frees_memory

    def send(self, key: str, answer: str) -> "Stamp":
        """Send the commit together with the answer; raises what `Commit.send` raises.

        Nothing is written if another request with this key runs, or has stored its answer.
        """
        assert self._commit is not None
        self._commit.guard_no_other(key, self.running)
        self._commit.add("SET", key, self._template(answer), "EX", str(KEPT_SECONDS))
        return self._commit.send(frees_memory=self._frees_memory)

    def masked(self, text: str) -> str:
        """Return the text without the secret."""
        return text.replace(self.secret, self._mark)

    def unmasked(self, text: str) -> str:
        """Return the text to which `masked` was applied."""
        return text.replace(self._mark, self.secret)

    def fill(self, text: str, stamp: "Stamp") -> str:
        """Replace the placeholders by what Redis gave to the commit."""
        text = text.replace(self.id, stamp.id).replace(self.version, stamp.version)
        return text.replace(self.time, stamp.time)

    @property
    def _mark(self) -> str:
        return f"secret-{self.salt}"

    def _template(self, text: str) -> str:
        """Return the text with the placeholders that `commit.lua` fills."""
        text = text.replace(self.id, NEW_ID).replace(self.version, NEW_VERSION)
        return text.replace(self.time, NOW)
