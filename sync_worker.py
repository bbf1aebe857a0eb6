"""The sync worker: copies changes from Redis to PostgreSQL, and restores what Redis lost.

The worker runs a pass at start, every SYNC_INTERVAL, when SYNC_MAX_PENDING changes wait, after a
restart of Redis, and before it stops.
An outage of either store does not end the worker.
"""

import logging
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Thread
from typing import Final

import schedule

from taskapi import logs
from taskapi.config import ConfigError, Settings, load
from taskapi.errors import AlreadyRunning, Stale, TaskApiError, Unusable
from taskapi.store import changes, meta, quarantine, unfinished
from taskapi.store.connection import Store
from taskapi.store.meta import State
from taskapi.sync import bootstrap, status, sync_pass
from taskapi.sync.postgres_errors import public_reason
from taskapi.sync.start_check import StartWatch
from taskapi.sync.step_guard import StepGuard

log = logging.getLogger("taskapi")

RETRY_SECONDS: Final = 60
"""The longest pause after a failed pass."""
EARLY_SECONDS: Final = 5.0
"""The shortest time between a pass and one that begins early because many changes wait."""
STOP_SECONDS: Final = 4.0
"""How long after SIGTERM the worker ends even if the last pass is not done."""
QUARANTINE_SECONDS: Final = 24 * 60 * 60
"""How often all changes in quarantine are retried."""


class Worker:
    """Runs passes until any thread sets `stop`."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self.stop = Event()
        self._clock = clock
        self._settings = settings
        self._store = Store(settings.redis_url, settings.key_prefix)
        self._patient_store = sync_pass.open_store(settings)
        self._schedule = schedule.Scheduler()
        self._is_prepared = False
        self._failures = 0
        self._opened = ""
        self._deletes: dict[str, str] = {}
        self._release_at = self._early_at = self._due_at = 0.0
        self._deletes_guard, self._sync_guard = map(StepGuard, ("unfinished deletes", "the sync"))

    def run(self) -> None:
        """Run passes until `stop` is set, then a last one."""
        Thread(target=self._publish_heartbeats, daemon=True).start()
        watch = StartWatch(self._settings, self._store)
        watch.start()
        self.sync()
        while not self.stop.wait(min(status.HEARTBEAT_SECONDS, self._schedule.idle_seconds or 0)):
            self._deletes_guard.run(self.finish_deletes)
            self._sync_guard.run(self._sync_if_due)
        self.sync()
        watch.stop()

    def _sync_if_due(self) -> None:
        if self.is_due() or self._clock() >= self._due_at:
            self.sync()
        self._schedule.run_pending()

    def _publish_heartbeats(self) -> None:
        """Publish heartbeats until `stop` is set, also while a pass runs."""
        guard = StepGuard("the heartbeat of the sync worker")
        while True:
            guard.run(lambda: status.publish_heartbeat(self._settings, self._store))
            if self.stop.wait(status.HEARTBEAT_SECONDS):
                return

    def finish_deletes(self) -> None:
        """Finish the deletes that have made no progress since the last call."""
        try:
            self._deletes = unfinished.resume(self._store, self._deletes)
        except (TaskApiError, Stale) as error:
            log.warning("A delete is not finished yet: %s", error)

    def is_due(self) -> bool:
        """Return whether a pass must begin before its time.

        This is so if Redis was emptied, replaced, restarted or fenced since the last pass, or if
        SYNC_MAX_PENDING changes wait and the last pass ended at least EARLY_SECONDS ago. After a
        failed pass the result is False: the pause decides.
        """
        with suppress(TaskApiError):
            redis = meta.read(self._store)
            if self._failures:
                return False
            if redis.opened != self._opened or not bootstrap.is_ready(self._store):
                return True
            if redis.state == State.FENCED:
                return True
            waiting = changes.size_above(self._store, redis.synced)
            return self._clock() >= self._early_at and waiting >= self._settings.sync_max_pending
        return False

    def sync(self) -> None:
        """Run a pass and schedule the next one, sooner after a failure."""
        pause = int(self._settings.sync_interval_seconds)
        try:
            self._run_pass()
            self._failures = 0
        except AlreadyRunning as error:  # another worker, or the owner
            log.info("No pass: %s", error)
        except Unusable as error:
            self._report_failure(error)
            if not self._is_prepared:
                logs.end(str(error))
        except Exception as error:  # a failed pass must not end the worker
            self._report_failure(error)
        if self._failures:
            pause = min(2**self._failures, RETRY_SECONDS, pause)
        self._early_at = self._clock() + EARLY_SECONDS
        self._due_at = self._clock() + pause  # `schedule` uses a clock that may be set back
        self._schedule.clear()
        self._schedule.every(pause).seconds.do(self.sync)

    def _run_pass(self) -> None:
        if not (self._is_prepared and bootstrap.is_ready(self._store)):
            bootstrap.prepare(self._settings, self._patient_store)
            self._is_prepared = True
        if self._clock() >= self._release_at:
            quarantine.release(self._patient_store)
            self._release_at = self._clock() + QUARANTINE_SECONDS
        sync_pass.run(self._settings, self._patient_store)
        self._opened = meta.read(self._store).opened

    def _report_failure(self, error: Exception) -> None:
        is_expected = isinstance(error, TaskApiError | Stale)
        text = str(error) or "Redis was restored or restarted during the pass."
        log.error("Sync failed: %s", text, exc_info=None if is_expected else error)
        self._failures += 1
        fields = {"last_error": text, "failures": self._failures}
        fields["problem"] = public_reason(error)
        self._sync_guard.run(lambda: meta.publish_status(self._store, fields))
        self._sync_guard.run(lambda: meta.count(self._store, "failed_passes"))


def set_on_signals(stop: Event) -> None:
    """Set the event on SIGTERM or SIGINT, and end the process STOP_SECONDS later if it still runs.

    This is done in a separate thread. A signal handler runs in the main thread, which may wait for
    a silent store, and where `stop.set()` can deadlock with `stop.wait()`. A pass may end at any
    step: PostgreSQL rolls it back.
    """
    numbers = {signal.SIGTERM, signal.SIGINT}

    def listen() -> None:
        signal.sigwait(numbers)
        stop.set()
        time.sleep(STOP_SECONDS)
        log.warning("Sync worker ends before its last pass is done: changes wait in Redis.")
        os._exit(0)

    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    Thread(target=listen, daemon=True).start()


def main() -> None:
    """Run a worker until SIGTERM or SIGINT."""
    os.environ["TZ"] = "UTC"
    time.tzset()
    logs.configure(os.environ.get("LOG_FORMAT", "text"))
    try:
        settings = load(os.environ)
    except ConfigError as error:
        logs.end(str(error))
    worker = Worker(settings)
    set_on_signals(worker.stop)
    log.info("Sync worker starts, interval %s", status.duration(settings.sync_interval_seconds))
    worker.run()
    log.info("Sync worker ends")


if __name__ == "__main__":
    main()
