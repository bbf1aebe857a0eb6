"""The restore: Redis becomes what PostgreSQL has."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from taskapi.config import Settings
from taskapi.errors import Conflict, Unavailable
from taskapi.store import meta, quarantine
from taskapi.store.codec import Entity
from taskapi.store.connection import LOST_IDS, Store
from taskapi.store.keys import Kind
from taskapi.store.loading import Loader
from taskapi.store.meta import Meta, State
from taskapi.sync import backup, passes, rows, state
from taskapi.sync.postgres import Database
from taskapi.sync.push import push
from taskapi.sync.state import PostgresState

log = logging.getLogger("taskapi")

PROGRESS_SECONDS: Final = 1.0
"""How often a restore says how far it is."""
OFTEN: Final = 1000
"""Entities between two looks at the clock."""


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
            loader.block_clients()
            copy = _save(settings, store, db, redis)
            if redis.epoch:
                rows.read_through(db)
                db.commit()
        epoch = state.begin_epoch(db, redis.epoch)
        loader.clear()
        loaded = _load(store, db, loader)
    loader.unblock_clients(
        epoch=str(epoch),
        installation=copy.installation,
        version=str(max(copy.version, redis.version)),
        synced=str(copy.version),
        **{f"next:{kind}": str(last) for kind, last in _ids(copy, redis).items()},
    )
    meta.publish_status(store, {"since": time.time(), "restored": None, "fenced": None})
    report = {kind.plural: count for kind, count in loaded.items()}
    log.info("Sync restored loaded=%s epoch=%d", report, epoch)
    return report


def _load(store: Store, db: Database, loader: Loader) -> dict[Kind, int]:
    """Load everything of one state of PostgreSQL, and see that it is all there."""
    db.freeze()
    sizes, progress = rows.count(db), _Progress(store)
    progress.total = sum(sizes.values())
    loaded = {kind: loader.load(kind, progress.watch(rows.read(db, kind))) for kind in Kind}
    if not sizes == loaded == meta.sizes(store):
        raise Unavailable("The restore did not load what PostgreSQL has: try again.")
    return loaded


class _Progress:
    """Tells the status how far a restore is."""

    def __init__(self, store: Store) -> None:
        self.total = 0
        self._store, self._done, self._said = store, 0, time.monotonic()

    def watch(self, entities: Iterator[Entity]) -> Iterator[Entity]:
        """Yield the entities, counting them."""
        for entity in entities:
            yield entity
            self._done += 1
            if not self._done % OFTEN and time.monotonic() > self._said + PROGRESS_SECONDS:
                self._said = time.monotonic()
                meta.publish_status(self._store, {"restored": f"{self._done} of {self.total}"})
                log.info("Sync at work restored %d of %d", self._done, self.total)


@contextmanager
def _open_again(store: Store, redis: Meta) -> Iterator[None]:
    """Undo the closing of the doors when what comes before the clearing fails."""
    try:
        yield
    except Exception:
        if redis.epoch:
            meta.write(store, state=redis.state)
        raise


def _save(settings: Settings, store: Store, db: Database, redis: Meta) -> PostgresState:
    """Bring what only Redis has to safety: into PostgreSQL where it belongs, and into a file."""
    copy = _copy(db)
    if state.is_of(redis, copy):
        push(db, store, meta.read(store))
        copy = _copy(db)
        if refused := len(quarantine.read(store)):
            log.error("Sync restores without %d change(s) that PostgreSQL refused", refused)
    is_half_filled = redis.state == State.RESTORING and redis.epoch != copy.epoch
    if redis.epoch and not is_half_filled:
        backup.write(settings, store, is_before_restore=True)
    return copy


def _copy(db: Database) -> PostgresState:
    copy = state.find(db)
    if copy is None:
        raise Conflict(
            "PostgreSQL is empty: there is nothing to restore.", code="nothing_to_restore"
        )
    return copy


def _ids(copy: PostgresState, redis: Meta) -> dict[Kind, int]:
    """Return the last ids given out, leaving some out where Redis no longer knows."""
    lost = 0 if copy.epoch == 0 or state.is_of(redis, copy) else LOST_IDS
    return {kind: max(copy.ids[kind] + lost, redis.ids[kind]) for kind in Kind}
