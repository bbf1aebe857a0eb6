"""`python -m taskapi doctor`: look at all that the service needs, and change nothing of it.

Redis is asked by an onlooker, whose connection leaves nothing behind, and PostgreSQL in a read-only
transaction. What is found never has a secret in it.
"""

import time
from collections.abc import Iterator

from taskapi.config import Settings
from taskapi.doctor import host, stores
from taskapi.doctor.finding import Clock, Finding, Status

__all__ = ["Finding", "Status", "examine"]


def examine(settings: Settings, clock: Clock = time.time) -> Iterator[Finding]:
    """Yield what is found of each thing; where a store is away, no more of that one."""
    yield from stores.examine(settings, clock)
    yield from host.examine(settings)
