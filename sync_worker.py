"""The sync worker: brings what changed in Redis into PostgreSQL, and heals what was lost.

It does a pass at its start, every SYNC_INTERVAL, and once more when it is told to stop. It outlives
any outage of either store.
"""

import logging
import os
import signal
import sys
import time
from contextlib import suppress
from threading import Event, Thread
from typing import Final

import schedule

from taskapi import logs
from taskapi.config import ConfigError, Settings, load
from taskapi.errors import Stale, TaskApiError
from taskapi.store import meta, quarantine, server
from taskapi.sync import bootstrap, passes, status

log = logging.getLogger("taskapi")

LONGEST_PAUSE_SECONDS: Final = 60
"""Between two tries of what fails."""
QUARANTINE_SECONDS: Final = 24 * 60 * 60
"""How long what PostgreSQL refused is left alone before it is tried again."""


class Worker:
    """Works until `stop` is set, which may be done from anywhere."""

    def __init__(self, settings: Settings) -> None:
        self.stop = Event()
        self._settings = settings
        self._store = passes.open_store(settings)
        self._schedule = schedule.Scheduler()
        self._is_prepared = False
        self._failures = 0
        self._run = ""
        self._release_at = 0.0

    def run(self) -> None:
        """Work until told to stop; the last pass is part of it."""
        Thread(target=self._beat, daemon=True).start()
        self._sync()
        while not self.stop.wait(min(status.BEAT_SECONDS, self._schedule.idle_seconds or 0)):
            if self._has_another_redis():
                self._sync()
            self._schedule.run_pending()
        self._sync()

    def _beat(self) -> None:
        """Tell that the worker lives, in long passes too."""
        while True:
            with suppress(TaskApiError):
                status.beat(self._settings, self._store)
            if self.stop.wait(status.BEAT_SECONDS):
                return

    def _has_another_redis(self) -> bool:
        """Whether Redis has been emptied, replaced or restarted since the last pass."""
        with suppress(TaskApiError):
            is_other = meta.read(self._store).run != self._run
            return not self._failures and (is_other or not bootstrap.is_ready(self._store))
        return False

    def _sync(self) -> None:
        """Make both stores ready and do a pass; plan the next, sooner after a failure."""
        pause = int(self._settings.sync_interval_seconds)
        try:
            self._pass()
            self._failures = 0
        except server.Evicting as error:
            self._fail(error)
            if not self._is_prepared:
                sys.exit(str(error))
        except Exception as error:  # the worker's one guard: it goes on, whatever happens
            self._fail(error)
        if self._failures:
            pause = min(2**self._failures, LONGEST_PAUSE_SECONDS, pause)
        self._schedule.clear()
        self._schedule.every(pause).seconds.do(self._sync)

    def _pass(self) -> None:
        if not (self._is_prepared and bootstrap.is_ready(self._store)):
            bootstrap.prepare(self._settings, self._store)
            self._is_prepared = True
        self._run = meta.read(self._store).run
        if time.monotonic() >= self._release_at:
            quarantine.release(self._store)
            self._release_at = time.monotonic() + QUARANTINE_SECONDS
        passes.run(self._settings, self._store)

    def _fail(self, error: Exception) -> None:
        is_expected = isinstance(error, TaskApiError | Stale)
        text = str(error) or "Redis was restored or restarted meanwhile."
        log.error("Error Sync failed: %s", text, exc_info=None if is_expected else error)
        self._failures += 1
        with suppress(TaskApiError):
            meta.publish_status(self._store, {"last_error": text, "failures": self._failures})


def set_on_signals(stop: Event) -> None:
    """Set the event at SIGTERM or SIGINT, which all threads begun later leave to a thread for that.

    A signal handler could not: one that interrupts a wait for the event waits for it in turn.
    """
    numbers = {signal.SIGTERM, signal.SIGINT}

    def listen() -> None:
        signal.sigwait(numbers)
        stop.set()

    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    Thread(target=listen, daemon=True).start()


def main() -> None:
    """Run a worker until SIGTERM or SIGINT."""
    os.environ["TZ"] = "UTC"
    time.tzset()
    try:
        settings = load(os.environ)
    except ConfigError as error:
        sys.exit(str(error))
    logs.configure(settings.log_format)
    worker = Worker(settings)
    set_on_signals(worker.stop)
    log.info("Sync worker begins, interval %s", status.duration(settings.sync_interval_seconds))
    worker.run()
    log.info("Sync worker ends")


if __name__ == "__main__":
    main()
