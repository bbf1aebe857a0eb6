"""Checks of both stores, for an installation to which no client writes any more."""

from __future__ import annotations

from taskapi.sync import sync_pass
from tests.api.drift import drift
from tests.store.fsck import fsck
from tests.support import Installation


def faults(installation: Installation) -> list[str]:
    """Return what is wrong in Redis, and how PostgreSQL differs from it, directly after a pass."""
    settings = installation.settings
    where = settings.redis_url, settings.key_prefix
    return [*fsck(*where), *drift(*where, settings.database_url)]


def settle(installation: Installation) -> None:
    """Wait until no killed process holds the lock, do a pass, and check both stores."""
    sync_pass.run(installation.settings, wait_seconds=10)
    assert not faults(installation)
