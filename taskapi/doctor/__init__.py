"""`python -m taskapi doctor` and `check`: what the service needs, and whether its data agree.

Without --repair neither store is changed: only reads are sent to Redis, and the transaction in
PostgreSQL is read-only. A finding never contains a secret.
"""

import time
from collections.abc import Iterator

from taskapi.config import Settings
from taskapi.doctor import consistency, host_checks, store_checks
from taskapi.doctor.differences import Stores, lines
from taskapi.doctor.finding import Clock, Finding, Status
from taskapi.doctor.repair import repair
from taskapi.store.connection import WORKER_REPLY_SECONDS, Store
from taskapi.sync import row_versions, sync_pass
from taskapi.sync.postgres import FORCE_SECONDS, Database

__all__ = ["Finding", "Status", "check", "examine"]


def examine(settings: Settings, clock: Clock = time.time) -> Iterator[Finding]:
    """Yield a finding for each check; a store that does not answer gets only one."""
    yield from store_checks.examine(settings, clock)
    yield from host_checks.examine(settings)


def check(settings: Settings, *, repairs: bool = False) -> tuple[list[str], int]:
    """Compare all data of both stores, and repair differences if `repairs` is set.

    Returns:
        Lines that describe the differences, and how many differences remain.

    Raises:
        AlreadyRunning: a pass, restore or start does not let a repair begin.
        NotReady: Redis is empty or being restored.
        Unavailable: a store is unreachable.
    """
    with Database(settings) as db:
        row_versions.begin(db, read_only=not repairs)
        if not repairs:
            seconds = WORKER_REPLY_SECONDS
            store = Store(settings.redis_url, settings.key_prefix, seconds, read_only=True)
            found = lines(consistency.examine(Stores(store, db)))
            return [*found, f"{len(found)} difference(s)"], len(found)
        db.lock(FORCE_SECONDS)
        differences, remaining = map(lines, repair(Stores(sync_pass.open_store(settings), db)))
    shown = [f"found  {line}" for line in differences] + [f"remains  {line}" for line in remaining]
    end = f"{len(differences)} difference(s) found, {len(remaining)} remain(s)"
    return [*shown, end], len(remaining)
