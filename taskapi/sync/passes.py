"""The sync pass: what changed in Redis comes into PostgreSQL, whole or not at all."""

import logging
import time
from dataclasses import asdict, dataclass
from typing import Any, Final

from taskapi.config import Settings
from taskapi.store import changes, meta
from taskapi.store.keys import Kind
from taskapi.store.link import WORKER_REPLY_SECONDS, Store
from taskapi.sync import rows, state
from taskapi.sync.postgres import Database

log = logging.getLogger("taskapi")

FORCE_SECONDS: Final = 30.0
PROGRESS_SECONDS: Final = 5.0
"""How often a long pass says how far it is."""


@dataclass(frozen=True)
class Report:
    """What a pass did, by table."""

    written: dict[str, int]
    deleted: dict[str, int]
    duration_seconds: float


class _Tally:
    """What a pass has done so far."""

    def __init__(self) -> None:
        self.written = {kind.plural: 0 for kind in Kind}
        self.deleted = dict(self.written)
        self.lasts: list[str] = []
        self.keep: list[str] = []
        self._said = time.monotonic()

    def add(self, chunk: changes.Chunk, done: rows.Written) -> None:
        """Count a chunk, and say so when it has been quiet for long."""
        for table in self.written:
            self.written[table] += done.written[table]
            self.deleted[table] += done.deleted[table]
        self.lasts.append(chunk.last)
        self.keep += chunk.odd + done.refused
        if time.monotonic() > self._said + PROGRESS_SECONDS:
            self._said = time.monotonic()
            log.info("Sync at work written=%s deleted=%s", self.written, self.deleted)


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
        epoch = state.check(db, store).epoch
        tally = push(db, store, epoch)
    report = Report(tally.written, tally.deleted, round(time.perf_counter() - begin, 3))
    meta.tell(store, {"last_sync": time.time(), "last_duration": report.duration_seconds})
    log.info("Sync done written=%s deleted=%s %.3fs", *asdict(report).values())
    return report


def force(settings: Settings, store: Store) -> dict[str, Any]:
    """Do a pass because the owner says so; raises as `run` does."""
    report = run(settings, store, FORCE_SECONDS)
    return {"message": "PostgreSQL has every change made so far.", **asdict(report)}


def open_store(settings: Settings) -> Store:
    """Return a store that waits long for Redis, for work that no client waits for."""
    return Store(settings.redis_url, settings.key_prefix, WORKER_REPLY_SECONDS)


def push(db: Database, store: Store, epoch: int) -> _Tally:
    """Write what changed, commit, and only then forget the marks. The lock is the caller's."""
    tally = _Tally()
    for chunk in changes.changed(store):
        if chunk.is_empty:
            break
        if not tally.lasts:
            rows.prepare(db)
        tally.add(chunk, rows.write(db, chunk))
    if tally.lasts:
        db.execute("SET CONSTRAINTS ALL IMMEDIATE")
        state.advance(db, int(tally.lasts[-1]), meta.read(store).ids)
    db.commit()
    changes.acknowledge(store, str(epoch), tally.lasts, tally.keep)
    return tally
