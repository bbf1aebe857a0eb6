"""Limits on failed log-ins: for an account from one address, and for an address."""

import hashlib
from functools import lru_cache
from typing import Final

from taskapi.errors import Damaged, TooManyFailures
from taskapi.store import scripts
from taskapi.store.numbers import number
from taskapi.store.session import Session

WINDOW_SECONDS: Final = 300
ACCOUNT_MOST: Final = 10
ADDRESS_MOST: Final = 100
CACHED_MOST: Final = 1_000
"""Cached digests: two for each login and address. One takes 0.5 KiB, and saves a microsecond."""
CACHED_LONGEST: Final = 320
"""Characters of a login and an address; anybody can send longer ones: they are not cached."""


class LoginThrottle:
    """The two failure counters of one log-in; their keys contain hashes, not names."""

    def __init__(self, session: Session, account: str, address: str) -> None:
        self.account, self.address, self._session = account, address, session
        self._account_key = session.keys.failures(_digest(f"{account}|{address}"))
        self._address_key = session.keys.failures(_digest(address))

    @property
    def keys(self) -> tuple[str, str]:
        """The keys of both counters; their values are the `counts` of the other methods."""
        return self._account_key, self._address_key

    def require_account_open(self, counts: list[bytes | None]) -> None:
        """Raise TooManyFailures while this account is blocked for this address."""
        if _failures(counts[0]) >= ACCOUNT_MOST:
            raise self._blocked(self._account_key)

    def require_open(self, counts: list[bytes | None]) -> None:
        """Raise TooManyFailures while the account or the whole address is blocked."""
        self.require_account_open(counts)
        if _is_blocked(counts):
            raise self._blocked(self._address_key)

    def require_address_open(self, counts: list[bytes | None]) -> None:
        """If the whole address is blocked, count the attempt for the account, and raise an error.

        A blocked address may use a password that is remembered. Without this count, it could guess
        remembered passwords without limit. Unknown accounts are counted too: the times and headers
        of answers must not tell which accounts exist.
        """
        if _is_blocked(counts):
            self._count(self._account_key)
            raise self._blocked(self._address_key)

    def count_for_account(self) -> None:
        """Count an attempt that gets no check; raises TooManyFailures past the limit."""
        (account,) = self._count(self._account_key)
        if account > ACCOUNT_MOST:
            raise self._blocked(self._account_key)

    def count_for_address(self) -> None:
        """Count a wrong token, for the address only; raises TooManyFailures past the limit."""
        (address,) = self._count(self._address_key)
        if address > ADDRESS_MOST:
            raise self._blocked(self._address_key)

    def count(self) -> None:
        """Count an attempt for the account and the address; raises TooManyFailures past the limit.

        A password is counted before its check, a wrong owner header after it.
        """
        account, address = self._count(*self.keys)
        if account > ACCOUNT_MOST:
            raise self._blocked(self._account_key)
        if address > ADDRESS_MOST:
            raise self._blocked(self._address_key)

    def forgive(self) -> None:
        """Undo `count` after a correct password, and clear the account's failures."""
        self._session.connection.execute(
            ("UNLINK", self._account_key),
            ("EVALSHA", scripts.COUNT_FAILURES, 1, self._address_key, -1, WINDOW_SECONDS),
        )

    def clear(self, counts: list[bytes | None]) -> None:
        """Clear the account's failures, if there are any.

        Not while the address is blocked: whoever guesses there could guess again after each success
        of the user.
        """
        if counts[0] is not None and not _is_blocked(counts):
            self._session.connection.execute(("UNLINK", self._account_key))

    def _count(self, *keys: str) -> list[int]:
        words = (len(keys), *keys, 1, WINDOW_SECONDS)
        (counts,) = self._session.connection.execute(("EVALSHA", scripts.COUNT_FAILURES, *words))
        return list(counts)

    def _blocked(self, key: str) -> TooManyFailures:
        (seconds,) = self._session.connection.execute(("TTL", key))
        return TooManyFailures(max(seconds, 1))


def _is_blocked(counts: list[bytes | None]) -> bool:
    """Return whether the whole address is blocked."""
    return _failures(counts[1]) >= ADDRESS_MOST


def _failures(count: bytes | None) -> int:
    """Return the value of a counter; 0 if it cannot be read, because `count` resets it then."""
    try:
        return number(count or b"0", "a counter of failed log-ins is no number")
    except Damaged:
        return 0


def _digest(text: str) -> str:
    """Return a digest of a login and an address; those of short texts are cached."""
    return _cached_digest(text) if len(text) <= CACHED_LONGEST else _cached_digest.__wrapped__(text)


@lru_cache(CACHED_MOST)
def _cached_digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:32]
