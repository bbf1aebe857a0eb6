"""An installation on its own servers, behind proxies; a test may kill its processes."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from devserver.servers import Postgres, Valkey
from tests.client import Api, over_http
from tests.faults.proxy import Proxy
from tests.support import OWNER_PASSWORD, ROOT, Installation, eventually

WORKERS = 2


class Site:
    """Private servers, a proxy for each, and an installation that uses only the proxies.

    Valkey writes every change to disk before it answers, so no loss is permitted.
    """

    def __init__(self, folder: Path, **env: str) -> None:
        self.valkey = Valkey(folder / "valkey")
        self.postgres = Postgres(folder / "postgres", options=["fsync=off"])
        self.valkey.start()
        self.postgres.start()
        self.to_valkey, self.to_postgres = Proxy(self.valkey.port), Proxy(self.postgres.port)
        self.installation = Installation(
            folder,
            through(self.to_valkey.port, self.valkey.url),
            through(self.to_postgres.port, self.postgres.url),
            WEB_CONCURRENCY=str(WORKERS),
            **env,
        ).prepare()

    def close(self) -> None:
        self.to_valkey.close()
        self.to_postgres.close()
        self.valkey.stop()
        self.postgres.stop()


def through(port: int, url: str) -> str:
    """Return the URL of a server on this machine, but with another port."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{port}").geturl()


class Service:
    """The web and the sync process of a site, kept running as by a supervisor."""

    def __init__(self, site: Site) -> None:
        self._installation = site.installation
        self._logs = site.installation.folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        address = f"127.0.0.1:{site.installation.env['SERVER_PORT']}"
        self.api = Api(over_http(address), OWNER_PASSWORD)

    def start(self) -> None:
        """Start what does not run.

        After a kill, gunicorn can start only when the workers of the killed one have exited.
        """
        self._start("web", "-m", "gunicorn", "app:app")
        self._start("sync", "sync_worker.py")

    def stop(self) -> None:
        """Stop both as a supervisor does."""
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            process.wait(60)

    def kill_sync_worker(self) -> None:
        self._kill("sync")

    def kill_gunicorn(self) -> None:
        """Kill the master; its workers notice and exit."""
        self._kill("web")

    def kill_web_worker(self) -> None:
        """Kill one worker; gunicorn starts another."""
        booted = re.findall(r"Booting worker with pid: (\d+)", self.log("web"))
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(booted[-1]), signal.SIGKILL)

    def surprises(self) -> list[str]:
        """Return log lines that no outage explains."""
        lines = [line for name in self._running for line in self.log(name).splitlines()]
        return [line for line in lines if "Traceback" in line]

    def log(self, name: str) -> str:
        return (self._logs / f"{name}.log").read_text(errors="replace")

    def _start(self, name: str, *arguments: str) -> None:
        if name in self._running and self._running[name].poll() is None:
            return
        env = {"PATH": os.environ["PATH"], **self._installation.env}
        command = [sys.executable, *arguments]
        with (self._logs / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                command, cwd=ROOT, env=env, stdout=log, stderr=log
            )

    def _kill(self, name: str) -> None:
        self._running[name].kill()
        self._running[name].wait()

    def until(self, condition: Callable[[], bool], seconds: float = 60) -> None:
        """Keep both processes running until the condition is true."""

        def holds() -> bool:
            self.start()
            with contextlib.suppress(OSError, HTTPException):
                return condition()
            return False

        eventually(holds, seconds)

    def is_healthy(self) -> bool:
        return bool(self.api("GET", "/health").json["status"] == "healthy")


@contextlib.contextmanager
def running(folder: Path, **env: str) -> Iterator[tuple[Site, Service]]:
    """Yield a site whose service is running."""
    with contextlib.closing(Site(folder, **env)) as site:
        service = Service(site)
        try:
            service.until(service.is_healthy)
            yield site, service
        finally:
            service.stop()
