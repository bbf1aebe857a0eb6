"""Digests of verified credentials in Redis: for all web processes, and after a restart of them.

If Redis refuses these commands, the password is checked again.
"""

import time
from contextlib import suppress
from typing import Final

from taskapi.errors import Unavailable
from taskapi.store.session import Session

REMEMBERED_SECONDS: Final = 12 * 60 * 60
"""How long Redis remembers the digests of a user who adds and renews none."""
REMEMBERED_MOST: Final = 16
"""Digests of one user: a password has one for each address that it was used from."""
AHEAD_SECONDS: Final = 60.0
"""How far the clock of another process may be ahead. Digests from later are removed: they would
count as the newest ones, and push out each new one."""


def has(session: Session, user_id: int, digest: str) -> bool:
    """Return whether a process has verified these credentials."""
    with suppress(Unavailable):
        (score,) = session.connection.execute(
            ("ZSCORE", session.keys.verified(user_id), digest),
        )
        return score is not None
    return False


def add(session: Session, user_id: int, digest: str) -> None:
    """Remember verified credentials, or renew them; the oldest ones of the user go first."""
    key, now = session.keys.verified(user_id), time.time()
    with suppress(Unavailable):
        session.connection.execute(
            ("ZREMRANGEBYSCORE", key, now + AHEAD_SECONDS, "+inf"),
            ("ZADD", key, now, digest),
            ("ZREMRANGEBYRANK", key, 0, -REMEMBERED_MOST - 1),
            ("EXPIRE", key, REMEMBERED_SECONDS),
        )
