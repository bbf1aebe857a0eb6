"""The sync pass: copies what changed in Redis to PostgreSQL, in one transaction."""

import logging
import time
from dataclasses import asdict, dataclass
from typing import Any, Final

from taskapi.config import Settings
from taskapi.errors import Conflict, NotReady
from taskapi.store import changes, conflicts, meta, quarantine
from taskapi.store.connection import WORKER_REPLY_SECONDS, Store
from taskapi.store.meta import Meta, State
from taskapi.sync import migrations, postgres, rollback, rows, start_check, state
from taskapi.sync.copy_changes import Progress, push
from taskapi.sync.postgres import Database

log = logging.getLogger("taskapi")

LOST: Final = "PostgreSQL has changes that Redis does not have: restore from it, or empty it first."
NO_FAILURE: Final = dict.fromkeys(("last_error", "failures", "problem", "uncompared"))
"""Status fields that a successful pass removes."""


@dataclass(frozen=True)
class SyncReport:
    """What a pass copied, by table."""

    written: dict[str, int]
    deleted: dict[str, int]
    duration_seconds: float


def run(settings: Settings, store: Store | None = None, wait_seconds: float = 0.0) -> SyncReport:
    """Run one pass: PostgreSQL then has every change made before it, except those in quarantine.

    If the process is killed, PostgreSQL has the whole pass or nothing of it, and every change is in
    PostgreSQL or still marked in Redis.

    Args:
        wait_seconds: how long to wait for a pass that is running.

    Raises:
        AlreadyRunning: another pass, or a restore, is still running.
        Fenced: Redis belongs to another installation or another history.
        NewerSchema: a newer program has migrated PostgreSQL.
        Unavailable: a store is unreachable or not ready.
    """
    store = store or open_store(settings)
    begin = time.perf_counter()
    with Database(settings) as db:
        db.lock(wait_seconds)
        redis = start_check.compare(db, store)
        progress = push(db, store, redis)
        state.prune(db, settings.deletes_kept_seconds)
    start_check.confirm(store, redis)
    return _report(store, progress, begin)


def force(settings: Settings, store: Store, reseed: bool = False) -> dict[str, Any]:
    """Run the owner's action=force; raises what `run` raises.

    Args:
        reseed: copy everything from Redis into a PostgreSQL that lost its data.
    """
    if reseed:
        report, message = _reseed(settings, store), "PostgreSQL has everything that Redis has."
    else:
        report = run(settings, store, postgres.FORCE_SECONDS)
        message = "PostgreSQL has every change made so far."
    if refused := len(quarantine.read(store)):
        message = f"{message[:-1]}, except for {refused} in quarantine: see /admin/status."
    return {"message": message, **asdict(report)}


def open_store(settings: Settings) -> Store:
    """Return a store with a long reply timeout, for work that no client waits for."""
    return Store(settings.redis_url, settings.key_prefix, WORKER_REPLY_SECONDS)


def _reseed(settings: Settings, store: Store) -> SyncReport:
    """Copy everything, as a new epoch, in one transaction; after a crash it can be repeated.

    Raises:
        Conflict: PostgreSQL has data that Redis does not have.
    """
    begin = time.perf_counter()
    with Database(settings) as db:
        db.lock(postgres.FORCE_SECONDS)
        migrations.migrate(db)
        redis = meta.read(store)
        if not redis.epoch or redis.state == State.RESTORING:
            raise NotReady("Redis is empty or being restored: there is nothing to write.")
        _heal(db, store, redis)
        redis = meta.read(store)
        _require_nothing_newer(db, redis)
        changes.require_whole(store)
        meta.write(store, state=State.FENCED, epoch=str(redis.epoch + 1), synced="0")
        meta.forget(store)  # the deletes that PostgreSQL had are cleared
        quarantine.release(store)
        changes.mark_everything(store)
        rows.clear(db)
        state.create(db, redis.installation, redis.epoch + 1)
        progress = push(db, store, meta.read(store))
        redis = start_check.compare(db, store)
    start_check.confirm(store, redis)
    return _report(store, progress, begin)


def _heal(db: Database, store: Store, redis: Meta) -> None:
    """Put back what Redis lost and PostgreSQL has, because a reseed would delete it there.

    Raises:
        Conflict: some of it cannot be put back.
    """
    copy = state.find(db)
    if copy and state.has_same_history(redis, copy):
        rollback.heal(db, store, redis)
        if any(entry["reason"] in conflicts.ONLY_IN_POSTGRES for entry in quarantine.read(store)):
            raise Conflict(LOST, code="not_empty")


def _require_nothing_newer(db: Database, redis: Meta) -> None:
    copy = state.find(db)
    has_rows = any(rows.count(db).values())
    if copy is None and has_rows:
        raise Conflict("PostgreSQL has data of unknown origin: empty it first.", code="not_empty")
    foreign = (state.FOREIGN, state.OLDER)
    if copy and (state.difference(redis, copy) in foreign or copy.version > redis.version):
        raise Conflict(LOST, code="not_empty")


def _report(store: Store, progress: Progress, begin: float) -> SyncReport:
    report = SyncReport(progress.written, progress.deleted, round(time.perf_counter() - begin, 3))
    fields = {"last_sync": meta.now(store), "last_duration": report.duration_seconds}
    damage = changes.find_damage(store)
    meta.publish_status(store, fields | {"damage": damage} | NO_FAILURE)
    meta.count(store, "passes")
    log.info("Sync done", extra={"fields": asdict(report)})
    return report
