"""The restore: Redis becomes what PostgreSQL has."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from taskapi.config import Settings
from taskapi.errors import Conflict, Unavailable
from taskapi.store import meta
from taskapi.store.keys import Kind
from taskapi.store.link import Store
from taskapi.store.loading import Loader
from taskapi.store.meta import Meta, State
from taskapi.sync import backup, passes, rows, state
from taskapi.sync.postgres import Database
from taskapi.sync.state import Copy

log = logging.getLogger("taskapi")

LOST_IDS: Final = 10_000
"""Ids left out where Redis may have given some out that nobody remembers."""


def force(settings: Settings, store: Store) -> dict[str, Any]:
    """Restore because the owner says so.

    Raises:
        AlreadyRunning: another restore, or a pass, is still at work.
        Unavailable: a store is away; before Redis was cleared, nothing has changed.
    """
    begin = time.perf_counter()
    with Database(settings) as guard:
        guard.lock(passes.FORCE_SECONDS)
        loaded = fill(settings, store)
    return {
        "message": "Redis has what PostgreSQL has.",
        "loaded": loaded,
        "duration_seconds": round(time.perf_counter() - begin, 3),
    }


def fill(settings: Settings, store: Store) -> dict[str, int]:
    """Fill Redis from PostgreSQL; nobody reads or writes meanwhile. The lock is the caller's.

    What Redis has and PostgreSQL not is pushed first, where Redis is of the same history. Killed
    anywhere after Redis was cleared, it leaves Redis closed, and has to be done again.
    """
    redis = meta.read(store)
    loader = Loader(store)
    with Database(settings) as db:
        with _open_again(store, redis):
            loader.close_doors()
            copy = _save(settings, store, db, redis)
            if redis.epoch:
                _read_through(db)
        epoch = state.begin_epoch(db, redis.epoch)
        loader.clear()
        db.freeze()
        sizes = rows.count(db)
        loaded = {kind: loader.load(kind, rows.read(db, kind)) for kind in Kind}
        if not sizes == loaded == meta.sizes(store):
            raise Unavailable("The restore did not load what PostgreSQL has: try again.")
    loader.open_doors(
        epoch=epoch,
        installation=copy.installation,
        version=max(copy.version, redis.version),
        ids=_ids(copy, redis),
    )
    meta.tell(store, {"since": time.time()})
    report = {kind.plural: count for kind, count in loaded.items()}
    log.info("Sync restored loaded=%s epoch=%d", report, epoch)
    return report


@contextmanager
def _open_again(store: Store, redis: Meta) -> Iterator[None]:
    """Undo the closing of the doors when what comes before the clearing fails."""
    try:
        yield
    except Exception:
        if redis.epoch:
            meta.write(store, state=redis.state)
        raise


def _save(settings: Settings, store: Store, db: Database, redis: Meta) -> Copy:
    """Bring what only Redis has to safety: into PostgreSQL where it belongs, and into a file."""
    copy = _copy(db)
    if _is_of(redis, copy):
        passes.push(db, store, redis.epoch)
        copy = _copy(db)
    is_half_filled = redis.state == State.RESTORING and redis.epoch != copy.epoch
    if redis.epoch and not is_half_filled:
        backup.write(settings, store, "before-restore")
    return copy


def _copy(db: Database) -> Copy:
    copy = state.find(db)
    if copy is None:
        raise Conflict(
            "PostgreSQL is empty: there is nothing to restore.", code="nothing_to_restore"
        )
    return copy


def _is_of(redis: Meta, copy: Copy) -> bool:
    return (redis.installation, redis.epoch) == (copy.installation, copy.epoch)


def _read_through(db: Database) -> None:
    """Make sure, before anything is cleared, that everything can be read."""
    for kind in Kind:
        for _ in rows.read(db, kind):
            pass
    db.commit()


def _ids(copy: Copy, redis: Meta) -> dict[Kind, int]:
    """Return the last ids given out, leaving some out where Redis no longer knows."""
    lost = 0 if copy.epoch == 0 or _is_of(redis, copy) else LOST_IDS
    return {kind: max(copy.ids[kind] + lost, redis.ids[kind]) for kind in Kind}
