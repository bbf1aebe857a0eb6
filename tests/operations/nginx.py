"""Helpers: nginx with deploy/nginx.conf, concurrent clients, reloads of gunicorn."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from devserver.servers import free_port
from tests.client import Answer, Api, over_http
from tests.support import OWNER_PASSWORD, ROOT, eventually

PAUSE_SECONDS = 0.03
"""Between two requests of a client, so that reloads get CPU time too."""
SITE = (ROOT / "deploy/nginx.conf").read_text()
AROUND = """
{user}
worker_processes 2;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/site.conf;
}}
"""


def program(name: str, package: str) -> str:
    """Return the path of a program; if it is missing, skip the test, or fail it in CI."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None and not os.environ.get("CI"):
        pytest.skip(f"{name} is not installed: apt-get install {package}")
    assert path is not None, f"{name} is not installed"
    return path


class Edge:
    """An nginx in front of a service. `api` is a client that goes through nginx."""

    def __init__(
        self, folder: Path, service: str, site: str = SITE, owner_password: str = OWNER_PASSWORD
    ) -> None:
        self.folder, self.port, self.tls_port = folder, free_port(), free_port()
        site = re.sub(r"(?m)^ *(#tls )?listen \[::\].*\n", "", site)
        site = site.replace("127.0.0.1:7890", service.removeprefix("http://"))
        site = site.replace("listen 80 ", f"listen 127.0.0.1:{self.port} ")
        site = site.replace("listen 443 ", f"listen 127.0.0.1:{self.tls_port} ")
        site = site.replace("/var/log/nginx/taskapi.log", f"{folder}/access.log")
        (folder / "site.conf").write_text(site.replace("/etc/ssl/taskapi", str(folder)))
        user = "user root;" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(AROUND.format(user=user, folder=folder))
        self.address = f"127.0.0.1:{self.port}"
        self.api = Api(over_http(self.address), owner_password, f"http://{self.address}")

    @contextlib.contextmanager
    def running(self) -> Iterator[Edge]:
        command = [program("nginx", "nginx"), "-c", str(self.folder / "nginx.conf")]
        command += ["-e", str(self.folder / "error.log"), "-g", "daemon off;"]
        with subprocess.Popen(command) as self.process:
            try:
                eventually(lambda: self._listens())
                yield self
            finally:
                self.process.send_signal(signal.SIGTERM)

    def log(self) -> list[dict[str, Any]]:
        """Return the lines of the access log."""
        return [json.loads(line) for line in self.access_log().splitlines()]

    def access_log(self) -> str:
        return (self.folder / "access.log").read_text()

    def client(self, source: str) -> Api:
        """Return a client that connects from `source`, an address in 127.0.0.0/8."""
        return Api(over_http(self.address, source), OWNER_PASSWORD)

    def _listens(self) -> bool:
        assert self.process.poll() is None, (self.folder / "error.log").read_text()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port)).close()
            return True
        return False


def master_of(api: Api) -> int:
    """Return the process id of gunicorn's master, from its log."""
    began = re.search(r"Listening at: .* \((\d+)\)", api.log())
    assert began
    return int(began[1])


def reload_gunicorn(api: Api, reloads: int = 1) -> None:
    """Reload gunicorn, as reload number `reloads`; wait until all earlier workers have exited."""
    os.kill(master_of(api), signal.SIGHUP)
    eventually(lambda: len(re.findall("Worker exiting", api.log())) >= 2 * reloads, 40)


class Load:
    """Clients that send requests all the time; `results` counts statuses and exceptions."""

    def __init__(self, asks: list[Callable[[], Answer]]) -> None:
        self.results: Counter[object] = Counter()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._client, args=(ask,)) for ask in asks]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        self.goes_on()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def goes_on(self, requests: int = 200) -> None:
        """Wait until `requests` more requests have been answered."""
        before = self.results.total()
        eventually(lambda: self.results.total() >= before + requests, 30)

    def _client(self, ask: Callable[[], Answer]) -> None:
        while not self._over.is_set():
            try:
                result: object = ask().status
            except (OSError, http.client.HTTPException) as error:
                result = repr(error)
            self.results[result] += 1
            time.sleep(PAUSE_SECONDS)


def seconds_of(ask: Callable[[], Answer]) -> float:
    """Return how long a request takes."""
    began = time.monotonic()
    ask()
    return time.monotonic() - began


def raw(api: Api, sent: bytes) -> Answer:
    """Send raw bytes; return the answer."""
    host, _, port = api.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(sent)
        response = http.client.HTTPResponse(connection)
        response.begin()
        return Answer(response.status, response.headers, response.read())
