"""The sync pass: what changed in Redis comes into PostgreSQL, whole or not at all."""

import logging
import time
from dataclasses import asdict, dataclass
from typing import Any, Final

from taskapi.config import Settings
from taskapi.errors import Conflict, NotReady
from taskapi.store import changes, meta, quarantine
from taskapi.store.connection import WORKER_REPLY_SECONDS, Store
from taskapi.store.meta import Meta, State
from taskapi.sync import migrations, rollback, rows, state
from taskapi.sync.postgres import Database
from taskapi.sync.push import Tally, push

log = logging.getLogger("taskapi")

FORCE_SECONDS: Final = 30.0


@dataclass(frozen=True)
class Report:
    """What a pass did, by table."""

    written: dict[str, int]
    deleted: dict[str, int]
    duration_seconds: float


def run(settings: Settings, store: Store | None = None, wait_seconds: float = 0.0) -> Report:
    """Do one pass: afterwards PostgreSQL has every change made before it began.

    Killed anywhere, it leaves PostgreSQL as it was or with all of it, and every change either
    there or still marked in Redis.

    Args:
        wait_seconds: how long to wait for a pass that is running.

    Raises:
        AlreadyRunning: another pass, or a restore, is still at work.
        Fenced: Redis belongs to another installation or another time.
        Unavailable: a store is away or not ready.
    """
    store = store or open_store(settings)
    begin = time.perf_counter()
    with Database(settings) as db:
        db.lock(wait_seconds)
        redis = state.check(db, store)
        rollback.heal(db, store, redis)
        tally = push(db, store, meta.read(store))
    return _report(store, tally, begin)


def force(settings: Settings, store: Store, reseed: bool = False) -> dict[str, Any]:
    """Do a pass because the owner says so; raises as `run` does.

    Args:
        reseed: write everything that Redis has, into a PostgreSQL that lost what it had.
    """
    if reseed:
        report, message = _reseed(settings, store), "PostgreSQL has everything that Redis has."
    else:
        report = run(settings, store, FORCE_SECONDS)
        message = "PostgreSQL has every change made so far."
    return {"message": message, **asdict(report)}


def open_store(settings: Settings) -> Store:
    """Return a store that waits long for Redis, for work that no client waits for."""
    return Store(settings.redis_url, settings.key_prefix, WORKER_REPLY_SECONDS)


def _reseed(settings: Settings, store: Store) -> Report:
    """Write everything again, as another epoch, in one transaction; killed, it can be repeated.

    Raises:
        Conflict: PostgreSQL has something that Redis does not know of.
    """
    begin = time.perf_counter()
    with Database(settings) as db:
        db.lock(FORCE_SECONDS)
        migrations.migrate(db)
        redis = meta.read(store)
        if not redis.epoch or redis.state == State.RESTORING:
            raise NotReady("Redis is empty or being restored: there is nothing to write.")
        _require_older(db, redis)
        meta.write(store, state=State.FENCED, epoch=str(redis.epoch + 1), synced="0")
        quarantine.release(store)
        changes.mark_everything(store)
        rows.clear(db)
        state.create(db, redis.installation, redis.epoch + 1)
        tally = push(db, store, meta.read(store))
        state.check(db, store)
    return _report(store, tally, begin)


def _require_older(db: Database, redis: Meta) -> None:
    copy = state.find(db)
    has_rows = any(rows.count(db).values())
    if copy is None and has_rows:
        raise Conflict("PostgreSQL has data of unknown origin: empty it first.", code="not_empty")
    is_ours = copy is None or copy.installation == redis.installation
    if copy and not (is_ours and copy.epoch <= redis.epoch and copy.version <= redis.version):
        raise Conflict(
            "PostgreSQL has changes that Redis does not know of: restore from it, or empty it "
            "first.",
            code="not_empty",
        )


def _report(store: Store, tally: Tally, begin: float) -> Report:
    report = Report(tally.written, tally.deleted, round(time.perf_counter() - begin, 3))
    words = {"last_sync": time.time(), "last_duration": report.duration_seconds}
    meta.publish_status(store, {**words, "last_error": None, "failures": None})
    log.info("Sync done", extra={"fields": asdict(report)})
    return report
