"""`python -m taskapi doctor`: check everything that the service needs, and change nothing.

The connection to Redis is read-only, and so is the transaction in PostgreSQL. A finding never
contains a secret.
"""

import time
from collections.abc import Iterator

from taskapi.config import Settings
from taskapi.doctor import host_checks, store_checks
from taskapi.doctor.finding import Clock, Finding, Status

__all__ = ["Finding", "Status", "examine"]


def examine(settings: Settings, clock: Clock = time.time) -> Iterator[Finding]:
    """Yield a finding for each check; a store that does not answer gets only one."""
    yield from store_checks.examine(settings, clock)
    yield from host_checks.examine(settings)
