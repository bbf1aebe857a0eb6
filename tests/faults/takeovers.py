"""Faults of a store that would lose acknowledged writes, were they not saved just before.

While clients are held, everything is copied to PostgreSQL or to a replica. So a Redis that is set
back, or another one that takes over, may lose nothing.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import redis

from devserver.servers import Valkey
from tests.faults.clients import Client
from tests.faults.postgres_faults import frozen, locked
from tests.faults.site import Service, Site
from tests.support import ROOT, eventually

PAUSE_SECONDS = 1.0
FENCE_SECONDS = 20
LEFT_SECONDS = 5


class Takeovers:
    """Sets Redis back, lets another one take over, and makes stores silent."""

    def __init__(
        self, site: Site, service: Service, clients: list[Client], choices: random.Random
    ) -> None:
        self._site, self._service, self._clients = site, service, clients
        self.choices = choices
        self._number = 0
        self.faults: dict[str, Callable[[], object]] = {
            "Redis set back, before the last sync": self.set_back,
            "fail-over, connections cut": lambda: self.fail_over(is_cut=True),
            "fail-over, connections kept": lambda: self.fail_over(is_cut=False),
            "two primaries": self.two_primaries,
            "an old replica's file started": self.start_old_replica,
            "clock of Redis ahead and back": self.set_clock_ahead,
            "Redis set back without a start": self.follow_older,
            "indexes damaged and repaired": self.damage_indexes,
            "table locked": self.lock_tables,
            "PostgreSQL frozen": self.freeze_postgres,
            "Redis frozen": self.freeze_redis,
        }

    def set_back(self) -> None:
        """Start Redis with an earlier file; PostgreSQL has everything since."""
        directory = self._site.valkey.directory
        file, kept = directory / "appendonlydir", directory / "kept"
        policy = self.choices.choice(["always", "everysec", "no"])
        with self._redis() as connection:
            connection.config_set("appendfsync", policy)
        with self._held():
            shutil.copytree(file, kept)
        time.sleep(PAUSE_SECONDS)
        with self._held():
            self._sync()
            self._site.valkey.kill()
            shutil.rmtree(file)
            kept.rename(file)
            self._site.valkey.start()

    def fail_over(self, *, is_cut: bool) -> None:
        """Let a replica with all writes take over; the old primary follows it, then ends."""
        with self._replica() as replica:
            with self._held():
                old = self._promote(replica)
                with self._redis(old) as connection:
                    connection.config_set("masterauth", (old.directory / "password").read_text())
                    connection.execute_command("REPLICAOF", "127.0.0.1", str(replica.port))
                if is_cut:
                    self._site.to_valkey.cut()
                    self._site.to_valkey.mend()
            time.sleep(PAUSE_SECONDS)
            old.stop()

    def start_old_replica(self) -> None:
        """Start a replica that lacks the last writes as the primary; PostgreSQL has them."""
        with self._replica() as replica:
            with self._held():
                self._copy_all()
                replica.stop()
            time.sleep(PAUSE_SECONDS)
            with self._held():
                self._sync()
                old = self._site.valkey
                old.kill()
                replica.options = ()
                replica.start()
                self._switch(replica)

    def two_primaries(self) -> None:
        """Let a replica take over while web processes stay connected to the old primary."""
        with self._replica() as replica, self._held():
            old = self._promote(replica)
            self._service.kill_sync_worker()
            self._service.start()
            eventually(lambda: self._is_fenced_or_left(old), FENCE_SECONDS)
            old.stop()

    def set_clock_ahead(self) -> None:
        """Set the last version an hour ahead, as a clock that was an hour ahead would leave it."""
        prefix = self._site.installation.settings.key_prefix
        with self._redis() as connection:
            connection.hincrby(f"{{{prefix}}}:meta", "version", 3600 * 1_000_000)

    def follow_older(self) -> None:
        """Let Redis follow, for a moment, a former replica that lacks changes PostgreSQL has."""
        with self._replica() as older:
            with self._held():
                self._copy_all()
                with self._redis(older) as connection:
                    connection.execute_command("REPLICAOF", "NO", "ONE")
            time.sleep(PAUSE_SECONDS)
            with self._held():
                self._sync()
                primary = self._site.valkey
                with self._redis() as connection:
                    connection.config_set("masterauth", (older.directory / "password").read_text())
                    connection.execute_command("REPLICAOF", "127.0.0.1", str(older.port))
                    eventually(lambda: self._has_copied(primary, is_full=False))
                    connection.execute_command("REPLICAOF", "NO", "ONE")
            older.stop()

    def damage_indexes(self) -> None:
        """Remove an index, give another one the wrong type, and repair both as an operator does."""
        prefix = self._site.installation.settings.key_prefix
        with self._redis() as connection:
            for pattern in ("tasks:u:*", "tasks:g:*"):
                keys = sorted(connection.scan_iter(f"{{{prefix}}}:{pattern}"))
                for key in self.choices.sample(keys, min(1, len(keys))):
                    connection.delete(key)
                    if pattern == "tasks:g:*":
                        connection.set(key, "damage")
        time.sleep(PAUSE_SECONDS)
        eventually(self._is_repaired, 60)

    def _is_repaired(self) -> bool:
        command = [sys.executable, "-m", "taskapi", "check", "--repair"]
        env = {"PATH": os.environ["PATH"], **self._site.installation.env}
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, check=False)
        return done.returncode == 0

    def lock_tables(self) -> None:
        """Lock a table as a careless administrator does."""
        with locked(self._site.installation, server=self._site.postgres):
            time.sleep(3 * PAUSE_SECONDS)

    def freeze_postgres(self) -> None:
        """Stop PostgreSQL for a while; it goes on as if nothing had happened."""
        with frozen(self._site.postgres):
            time.sleep(3 * PAUSE_SECONDS)

    def freeze_redis(self) -> None:
        """Stop Redis for a while; it goes on as if nothing had happened."""
        server = self._site.valkey._process
        assert server
        server.send_signal(signal.SIGSTOP)
        try:
            time.sleep(PAUSE_SECONDS)
        finally:
            server.send_signal(signal.SIGCONT)

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Hold all clients between two operations."""
        with ExitStack() as stack:
            for client in self._clients:
                stack.enter_context(client.turn)
            yield

    @contextmanager
    def _replica(self) -> Iterator[Valkey]:
        """Start a replica of the primary, and wait until it has its data."""
        primary = self._site.valkey
        self._number += 1
        folder = primary.directory.parent / f"valkey{self._number}"
        folder.mkdir()
        shutil.copy(primary.directory / "password", folder)
        password = (folder / "password").read_text()
        with self._redis() as connection:
            connection.config_set("repl-diskless-sync-delay", 0)
        replica = Valkey(
            folder, options=[f"replicaof 127.0.0.1 {primary.port}", f"masterauth {password}"]
        )
        replica.start()
        eventually(lambda: self._has_copied(replica))
        yield replica

    def _promote(self, replica: Valkey) -> Valkey:
        """Make a replica the primary for new connections; return the old primary."""
        self._copy_all()
        with self._redis(replica) as connection:
            connection.execute_command("REPLICAOF", "NO", "ONE")
        replica.options = ()
        old = self._site.valkey
        self._switch(replica)
        return old

    def _copy_all(self) -> None:
        """Wait until the replica has all writes."""
        with self._redis() as connection:
            connection.set("last", "write")
            assert connection.execute_command("WAIT", 1, 4000)

    def _switch(self, server: Valkey) -> None:
        self._site.valkey = server
        self._site.to_valkey.redirect(server.port)

    def _is_fenced_or_left(self, old: Valkey) -> bool:
        """Return whether the old primary is fenced, or no process of the service uses it.

        Web processes that were killed a moment ago may have ended before they could fence it, and
        those that have met the new primary keep connections here that they will not use again. A
        process that is still here asks every second.
        """
        key = f"{{{self._site.installation.settings.key_prefix}}}:meta"
        with self._redis(old) as connection:
            clients = connection.client_list(_type="normal")
            used = [each for each in clients if int(each["idle"]) < LEFT_SECONDS]
            return len(used) == 1 or bool(connection.hget(key, "state") == b"fenced")

    def _has_copied(self, replica: Valkey, *, is_full: bool = True) -> bool:
        with self._redis(replica) as connection:
            link, file = connection.info("replication"), connection.info("persistence")
        is_loaded = file["rdb_last_load_keys_loaded"] > 0 or not is_full
        return bool(link["master_link_status"] == "up" and is_loaded)

    def _sync(self) -> None:
        path = "/admin/sync?action=force"
        self._service.until(lambda: self._service.api("POST", path, by="owner").status == 200)

    @contextmanager
    def _redis(self, server: Valkey | None = None) -> Iterator[redis.Redis]:
        with redis.Redis.from_url((server or self._site.valkey).url) as connection:
            yield connection
