"""Preparing both stores: migrate, create an installation, restore an empty Redis."""

import logging
from datetime import UTC, datetime
from typing import Final

from taskapi.config import Settings
from taskapi.errors import AlreadyRunning, NotReady
from taskapi.store import meta, server
from taskapi.store.chunks import Chunk
from taskapi.store.codec import Entity, complete
from taskapi.store.connection import Store
from taskapi.store.keys import Kind
from taskapi.store.meta import State
from taskapi.store.passwords import hash_password
from taskapi.sync import migrations, restore, rows, start_check, state
from taskapi.sync import server as postgres_server
from taskapi.sync.postgres import Database

log = logging.getLogger("taskapi")

WAIT_SECONDS: Final = 10.0
"""How long a start waits for another process that prepares the stores."""
READY_SECONDS: Final = 1.0
"""How long a start waits if Redis is ready, so that clients are served soon."""


def prepare(settings: Settings, store: Store | None = None) -> None:
    """Make both stores ready. Several processes may call this at once.

    Two empty stores become a new installation. An empty Redis is restored from PostgreSQL. A Redis
    that belongs to another PostgreSQL is fenced: it refuses changes, and the log says so.

    Args:
        store: by default one with the timeouts of a request, so that a silent Redis does not delay
            the start of the web processes for long.

    Raises:
        Unusable: a store is too old, or would lose or change data.
        Unavailable: a store is unreachable, or another process holds the lock.
        NewerSchema: a newer program has migrated PostgreSQL.
    """
    store = store or Store(settings.redis_url, settings.key_prefix)
    server.require_usable(store)
    wait_seconds = READY_SECONDS if is_ready(store) else WAIT_SECONDS
    try:
        _create(settings, store, wait_seconds)
        with Database(settings) as db:
            db.lock(wait_seconds)
            if is_ready(store):
                redis = start_check.compare(db, store)
                db.commit()
                start_check.confirm(store, redis)
            else:
                restore.resume(settings, store)
    except AlreadyRunning as error:
        raise NotReady(str(error)) from error
    except state.Fenced as error:
        log.error("%s", error)


def is_ready(store: Store) -> bool:
    """Return whether Redis has data and is not being restored."""
    redis = meta.read(store)
    return bool(redis.epoch) and redis.state != State.RESTORING


def _create(settings: Settings, store: Store, wait_seconds: float) -> None:
    with Database(settings) as db:
        db.lock(wait_seconds)
        postgres_server.require_utf8(db)
        migrations.migrate(db)
        migrations.index_searches(db)
        if state.find(db) is None and not meta.read(store).epoch:
            _create_installation(db, settings)


def _create_installation(db: Database, settings: Settings) -> None:
    """Write a new installation and its System Owner; a restore copies them to Redis."""
    now = datetime.now(UTC)
    owner: Entity = {
        "id": 1,
        "full_name": "System Owner",
        "role": "owner",
        "group_ids": [],
        "email": settings.owner_email,
        "number": "",
        "work_times": {},
        "created_at": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        "updated_at": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        "version": int(now.timestamp() * 1_000_000),
        "password_hash": hash_password(settings.owner_password),
        "tokens": [],
    }
    rows.prepare(db)
    rows.copy(db, Chunk({Kind.USER: [complete(Kind.USER, owner)]}))
    state.create(db)
    state.advance(db, owner["version"], {Kind.USER: 1, Kind.GROUP: 0, Kind.TASK: 0})
