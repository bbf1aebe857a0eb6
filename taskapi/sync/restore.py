"""The restore: replaces the data in Redis with the data in PostgreSQL."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from taskapi.config import Settings
from taskapi.errors import Conflict, Damaged, Unavailable
from taskapi.store import meta, quarantine
from taskapi.store.codec import Entity
from taskapi.store.connection import Store
from taskapi.store.keys import Kind
from taskapi.store.loading import Loader
from taskapi.store.meta import Meta
from taskapi.store.server_start import SKIPPED_IDS, SKIPPED_VERSIONS
from taskapi.sync import backup, rows, state
from taskapi.sync.copy_changes import copy_all
from taskapi.sync.migrations import TABLES
from taskapi.sync.postgres import FORCE_SECONDS, Database
from taskapi.sync.state import PostgresState

log = logging.getLogger("taskapi")

PROGRESS_SECONDS: Final = 1.0
"""How often a restore publishes its progress."""
_LOCK_TABLES: Final = f"LOCK TABLE {', '.join(TABLES)} IN ROW EXCLUSIVE MODE"
"""Waits for locks of others before clients are blocked."""


def force(settings: Settings, store: Store) -> dict[str, Any]:
    """Run the owner's action=restore.

    Raises:
        AlreadyRunning: another restore, or a pass, is still running.
        Unavailable: a store is unreachable; nothing has changed unless Redis was cleared already.
    """
    begin = time.perf_counter()
    with Database(settings) as db:
        db.lock(FORCE_SECONDS)
        loaded = fill(settings, store)
    return {
        "message": "Redis has what PostgreSQL has.",
        "loaded": loaded,
        "duration_seconds": round(time.perf_counter() - begin, 3),
    }


def resume(settings: Settings, store: Store) -> None:
    """Fill an empty Redis, or finish a restore that was killed; the caller holds the lock.

    A restore that had changed nothing in Redis yet is cancelled: clients are served again.
    """
    loader = Loader(store)
    if former := loader.block_clients(can_reopen=True).former:
        loader.reopen(former)
        log.error("A restore was killed before it changed Redis: nothing was restored.")
    else:
        fill(settings, store)


def fill(settings: Settings, store: Store, *, can_reopen: bool = True) -> dict[str, int]:
    """Fill Redis from PostgreSQL while clients are blocked; the caller holds the lock.

    What only Redis has is saved first. If an error comes before this is saved, clients are served
    again. After a later error, clients stay blocked until this or another call succeeds; the next
    start calls `resume`.

    Args:
        can_reopen: whether Redis may serve clients again without this restore.
    """
    loader = Loader(store)
    with Database(settings) as db:
        _require_state(db)
        db.execute(_LOCK_TABLES)
        redis = loader.block_clients(can_reopen=can_reopen)
        with _reopening_on_error(store, loader, redis.former):
            copy = _save(settings, store, db, redis)
        loader.confirm_saved()
        run_id = store.connection.run_id
        epoch = state.begin_epoch(db, redis.epoch, run_id)
        loader.clear()
        loaded = _load(store, db, loader)
    is_known = copy.epoch == 0 or _is_known(copy, redis, store)
    loader.unblock_clients(
        epoch=str(epoch),
        installation=copy.installation,
        synced=str(copy.version),
        opened=run_id if is_known else "",
        confirmed=run_id,
        unconfirmed="",
        **_counters(copy, redis, store, is_known),
    )
    meta.publish_status(store, {"since": meta.now(store), "restored": None, "fenced": None})
    report = {kind.plural: count for kind, count in loaded.items()}
    log.info("Sync restored loaded=%s epoch=%d", report, epoch)
    return report


def _load(store: Store, db: Database, loader: Loader) -> dict[Kind, int]:
    """Load one state of PostgreSQL, and verify the counts."""
    db.freeze()
    sizes, progress = rows.count(db), _Progress(store)
    progress.total = sum(sizes.values())
    loaded = {kind: loader.load(kind, progress.watch(rows.read(db, kind))) for kind in Kind}
    if not sizes == loaded == meta.sizes(store):
        raise Unavailable("The restore did not load what PostgreSQL has: try again.")
    return loaded


class _Progress:
    """Publishes how far a restore is."""

    def __init__(self, store: Store) -> None:
        self.total = 0
        self._store, self._done, self._published = store, 0, time.monotonic()

    def watch(self, entities: Iterator[Entity]) -> Iterator[Entity]:
        """Yield the entities, counting them."""
        for entity in entities:
            yield entity
            self._done += 1
            if time.monotonic() > self._published + PROGRESS_SECONDS:
                self._published = time.monotonic()
                meta.publish_status(self._store, {"restored": f"{self._done} of {self.total}"})
                log.info("Sync in progress restored %d of %d", self._done, self.total)


@contextmanager
def _reopening_on_error(store: Store, loader: Loader, former: str) -> Iterator[None]:
    """Serve clients again, and say why, when something fails before Redis is cleared."""
    try:
        yield
    except Exception as error:
        if former:
            loader.reopen(former)
            meta.publish_status(store, {"last_error": error})
            log.error("Nothing was restored: %s", error)
        raise


def _save(settings: Settings, store: Store, db: Database, redis: Meta) -> PostgresState:
    """Save what only Redis has: in PostgreSQL if the history is the same, and in a backup file."""
    copy = _require_state(db)
    if not redis.epoch or redis.is_saved:
        return copy
    is_readable = not redis.damaged and state.has_same_history(redis, copy)
    is_pushed = is_readable and _push(db, store)
    copy = _require_state(db)
    try:
        backup.write(settings, store, is_before_restore=True)
    except Unavailable as error:
        if redis.former or not is_pushed:
            raise
        log.error("Sync restores without a file (%s) PostgreSQL has all changes.", error)
    rows.read_through(db)
    db.commit()
    return copy


def _push(db: Database, store: Store) -> bool:
    """Copy to PostgreSQL what can be read and is accepted; return whether that is everything."""
    try:
        copy_all(db, store)
        refused = len(quarantine.read(store))
    except Damaged as error:
        log.error("Sync restores without some changes since the last pass: %s", error)
        return False
    if refused:
        log.error("Sync restores without %d change(s) that PostgreSQL refused", refused)
    return not refused


def _require_state(db: Database) -> PostgresState:
    copy = state.find(db)
    if copy is None:
        raise Conflict(
            "PostgreSQL is empty: there is nothing to restore.", code="nothing_to_restore"
        )
    return copy


def _is_known(copy: PostgresState, redis: Meta, store: Store) -> bool:
    """Return whether Redis had all versions and ids issued, so that it needs no check."""
    is_served = redis.opened == store.connection.run_id
    return is_served and state.has_same_history(redis, copy) and not redis.damaged


def _counters(copy: PostgresState, redis: Meta, store: Store, is_known: bool) -> dict[str, str]:
    """Return the counters of the restored Redis, higher ones if more may have been issued.

    Changes before the version `forgotten` may be lost, although clients may have seen them.
    """
    skips, issued = not is_known, store.issued
    version = 1 + max(copy.version, redis.version, issued.version) + skips * SKIPPED_VERSIONS
    ids = {
        kind: max(copy.ids[kind] + skips * SKIPPED_IDS, redis.ids[kind], issued.ids[kind])
        for kind in Kind
    }
    counters = {"version": str(version), "forgotten": str(version)}
    return counters | {f"next:{kind}": str(last) for kind, last in ids.items()}
