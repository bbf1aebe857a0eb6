"""An installation on a Redis of its own, which a test can set back to an earlier state."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from devserver.servers import Valkey
from taskapi.sync import start_check
from taskapi.sync.postgres import LOCK
from tests.api.drift import drift
from tests.api.factories import new_group, new_task, ok
from tests.store.fsck import fsck
from tests.stores import connect
from tests.support import Installation


class LossySite:
    """An installation on its own Redis, whose file can be set back to an earlier state."""

    def __init__(self, folder: Path, database_url: str, appendfsync: str) -> None:
        self.valkey = Valkey(folder / "valkey", options=[f"appendfsync {appendfsync}"])
        self.valkey.start()
        self.installation = Installation(folder, self.valkey.url, database_url).prepare()
        self.api = self.installation.client()

    def close(self) -> None:
        self.valkey.stop()
        self.installation.close()

    def restart(self) -> None:
        self.valkey.kill()
        self.valkey.start()

    @contextmanager
    def lost(self) -> Iterator[None]:
        """Changes in this block are lost: afterwards, Redis runs with its earlier file."""
        file, kept = (self.valkey.directory / name for name in ("appendonlydir", "kept"))
        with connect(self.installation) as connection:
            assert connection.waitaof(1, 0, 5000)
        shutil.copytree(file, kept)
        yield
        self.valkey.kill()
        shutil.rmtree(file)
        kept.rename(file)
        self.valkey.start()

    def is_whole(self) -> bool:
        settings = self.installation.settings
        assert not fsck(settings.redis_url, settings.key_prefix)
        assert not drift(settings.redis_url, settings.key_prefix, settings.database_url)
        return True


@contextmanager
def uncompared(site: LossySite) -> Iterator[None]:
    """Another session holds the lock in this block, so that no start of Redis is compared."""
    url = site.installation.settings.database_url
    with pytest.MonkeyPatch.context() as patch, closing(psycopg2.connect(url)) as connection:
        patch.setattr(start_check, "LOCK_SECONDS", 0.2)
        connection.cursor().execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        yield
        connection.cursor().execute("SELECT pg_advisory_unlock(%s)", (LOCK,))


def lose_task(site: LossySite) -> dict[str, Any]:
    """Return a task that only PostgreSQL has; Redis cannot take it, because its group is gone."""
    group = new_group(site.api)
    site.installation.sync()
    with site.lost():
        task = new_task(site.api, 1, group["id"])
        site.installation.sync()
    with uncompared(site):
        ok(site.api("DELETE", f"/groups/{group['id']}", by="owner"))
    return task
