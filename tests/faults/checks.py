"""What must be true of an installation when nothing changes any more."""

from __future__ import annotations

from taskapi.sync import passes
from tests.api.drift import drift
from tests.store.fsck import fsck
from tests.support import Installation


def faults(installation: Installation) -> list[str]:
    """What is wrong in Redis, and what PostgreSQL has otherwise; directly after a pass."""
    settings = installation.settings
    where = settings.redis_url, settings.key_prefix
    return [*fsck(*where), *drift(*where, settings.database_url)]


def settle(installation: Installation) -> None:
    """Do a pass, once nothing that was killed holds the lock, and find nothing wrong."""
    passes.run(installation.settings, wait_seconds=10)
    assert not faults(installation)
