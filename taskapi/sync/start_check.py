"""The check of a start of Redis, and the search for another Redis that has taken over."""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Lock, Thread
from typing import Final

from taskapi.config import Settings
from taskapi.errors import NewEpoch, Stale, TaskApiError
from taskapi.store import meta, server, server_start
from taskapi.store.connection import Store
from taskapi.store.meta import Meta, State
from taskapi.sync import rollback, state
from taskapi.sync.postgres import Database
from taskapi.sync.step_guard import StepGuard

log = logging.getLogger("taskapi")

TICK_SECONDS: Final = 0.25
"""How often a process looks whether Redis was started."""
REGISTER_SECONDS: Final = 10.0
LOOK_SECONDS: Final = 2.0
"""How often a process asks PostgreSQL whether another Redis has taken over."""
ANSWER_SECONDS: Final = 1.0
LOCK_SECONDS: Final = 2.5
"""Time for PostgreSQL to answer, and then to give the lock; after that, ids are skipped."""
UNCOMPARED: Final = (
    "Redis was started while PostgreSQL could not be compared: ids are skipped, and the next sync "
    "puts back what Redis lost."
)


def compare(db: Database, store: Store) -> Meta:
    """Check that Redis belongs to this PostgreSQL, and put back what it lost.

    A Redis that was started is then opened for clients. The caller holds the lock, commits, and
    then calls `confirm`. Raises what `state.check` raises, and NewEpoch if Redis was started again.
    """
    redis = state.check(db, store)
    rollback.heal(db, store, redis)
    if redis.opened != store.connection.run_id and (copy := state.find(db)):
        store.issued.note(copy.registered, copy.ids)
        server_start.open_for_clients(store, is_compared=redis.version >= copy.registered)
        log.info("Redis was started: its data has been compared with PostgreSQL.")
    redis = meta.read(store)
    state.record_start(db, store.connection.run_id, redis.ids)
    if redis.opened != store.connection.run_id:
        raise NewEpoch
    return redis


def confirm(store: Store, redis: Meta) -> None:
    """Record in Redis that PostgreSQL knows its run id."""
    if redis.confirmed != redis.opened:
        meta.write(store, confirmed=redis.opened, unconfirmed="")
        meta.publish_status(store, {"uncompared": None})


class StartWatch:
    """Registers this process, and checks each start of Redis from a thread of its own."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings, self._store = settings, store
        self._stop, self._turn = Event(), Lock()
        self._registered_at = -REGISTER_SECONDS
        self._run_id, self._is_recorded = "", False

    def start(self) -> None:
        """Watch until `stop`."""
        for step, seconds in ((self._tick, TICK_SECONDS), (self._look, LOOK_SECONDS)):
            Thread(target=self._repeat, args=(step, seconds), daemon=True).start()

    def stop(self) -> None:
        """End, and unregister this process."""
        self._stop.set()
        with suppress(TaskApiError):
            server_start.unregister(self._store)

    def wake(self) -> None:
        """Check a start of Redis now; called by the first request that finds it."""
        if self._turn.acquire(blocking=False):
            Thread(target=self._check, daemon=True).start()

    def _repeat(self, step: Callable[[], None], seconds: float) -> None:
        guard = StepGuard("the watch for starts of Redis")
        while not self._stop.is_set():
            guard.run(step)
            self._stop.wait(seconds)

    def _tick(self) -> None:
        needs_check = server_start.needs_check(self._store)
        run_id = self._store.connection.run_id
        is_due = time.monotonic() > self._registered_at + REGISTER_SECONDS
        if needs_check or is_due or run_id != self._run_id:
            server_start.register(self._store)
            self._run_id, self._registered_at = run_id, time.monotonic()
        if needs_check:
            self.wake()

    def _check(self) -> None:
        """Compare Redis with PostgreSQL; if PostgreSQL is unreachable, open Redis with ids skipped.

        If Redis was started again meanwhile, that start is left to the next check.
        """
        start, answered, locked = self._store.run_id, Event(), Event()
        try:
            comparison = Thread(target=self._compare, args=(answered, locked), daemon=True)
            comparison.start()
            if answered.wait(ANSWER_SECONDS) and locked.wait(LOCK_SECONDS + ANSWER_SECONDS):
                comparison.join()
            with suppress(TaskApiError):
                needs_check = server_start.needs_check(self._store) and self._store.run_id == start
                if needs_check and server_start.open_for_clients(self._store, is_compared=False):
                    log.error("%s", UNCOMPARED)
                    meta.publish_status(self._store, {"uncompared": UNCOMPARED})
                    if meta.read(self._store).confirmed == start:  # another process compared it
                        meta.publish_status(self._store, {"uncompared": None})
        finally:
            self._turn.release()

    def _compare(self, answered: Event, locked: Event) -> None:
        try:
            with suppress(TaskApiError, Stale), Database(self._settings) as db:
                answered.set()
                db.lock(LOCK_SECONDS)
                locked.set()
                redis = compare(db, self._store)
                db.commit()
                confirm(self._store, redis)
        finally:
            answered.set()  # a PostgreSQL that refuses is not waited for
            locked.set()

    def _look(self) -> None:
        """Connect again if Redis became a replica; fence a Redis that another one has replaced.

        PostgreSQL knows which Redis is served, and is asked twice before this one is fenced.
        """
        if self._store.primary.has_moved() or server.is_replica(self._store):
            self._store.reconnect()
            return
        if not self._is_recorded:
            self._record()
        suspect = self._superseded()
        if suspect and not self._stop.wait(1) and self._superseded() == suspect:
            meta.write(self._store, state=State.FENCED)
            meta.publish_status(self._store, {"fenced": state.SUPERSEDED})
            self._store.reconnect()
            log.error("%s", state.SUPERSEDED)

    def _record(self) -> None:
        """Record in PostgreSQL the version that Redis issues for the start of this process."""
        version = server_start.register(self._store, is_first=True)
        if version:
            with Database(self._settings) as db:
                state.record_registration(db, version)
            self._is_recorded = True

    def _superseded(self) -> str:
        """Return text that identifies the Redis served instead of this one; empty if none is."""
        redis = meta.read(self._store)
        if redis.state != State.READY or redis.opened != self._store.connection.run_id:
            return ""
        return state.find_successor(self._settings, redis)
