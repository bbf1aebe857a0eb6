"""Failed log-ins, counted for an account from an address, and for an address."""

import hashlib
from typing import Final

from taskapi.errors import TooManyFailures
from taskapi.store import scripts
from taskapi.store.keys import Keys
from taskapi.store.session import Session

WINDOW_SECONDS: Final = 300
ACCOUNT_MOST: Final = 10
ADDRESS_MOST: Final = 100


class LoginThrottle:
    """The two counters that an attempt belongs to; names are hashed before they become keys."""

    def __init__(self, keys: Keys, account: str, address: str) -> None:
        self.account, self.address = account, address
        self._account_key = keys.failures(_digest(f"{account}|{address}"))
        self._address_key = keys.failures(_digest(address))

    @property
    def keys(self) -> tuple[str, str]:
        """The two counters; what they hold is for `require_open`."""
        return self._account_key, self._address_key

    def require_account_open(self, session: Session, counts: list[bytes | None]) -> None:
        """Raise TooManyFailures while this account is held up for this address."""
        if int(counts[0] or 0) >= ACCOUNT_MOST:
            raise self._held_up(session, self._account_key)

    def require_open(self, session: Session, counts: list[bytes | None]) -> None:
        """Raise TooManyFailures while the account, or everything from the address, is held up."""
        self.require_account_open(session, counts)
        if int(counts[1] or 0) >= ADDRESS_MOST:
            raise self._held_up(session, self._address_key)

    def count(self, session: Session) -> None:
        """Count an attempt before its password is looked at; TooManyFailures past the last."""
        ((account, address),) = session.connection.execute(
            ("EVALSHA", scripts.TALLY, 2, *self.keys, 1, WINDOW_SECONDS)
        )
        if account > ACCOUNT_MOST:
            raise self._held_up(session, self._account_key)
        if address > ADDRESS_MOST:
            raise self._held_up(session, self._address_key)

    def forgive(self, session: Session) -> None:
        """Take back what `count` counted for a right password, and all failures of the account."""
        session.connection.execute(
            ("UNLINK", self._account_key),
            ("EVALSHA", scripts.TALLY, 1, self._address_key, -1, WINDOW_SECONDS),
        )

    def clear(self, session: Session, counts: list[bytes | None]) -> None:
        """Forget the account's failures, if there are any."""
        if counts[0] is not None:
            session.connection.execute(("UNLINK", self._account_key))

    def _held_up(self, session: Session, key: str) -> TooManyFailures:
        (seconds,) = session.connection.execute(("TTL", key))
        return TooManyFailures(max(seconds, 1))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:32]
