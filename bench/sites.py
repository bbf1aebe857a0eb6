"""The servers of a run: stores, limit routes, the service. They stop when the run ends."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import psycopg2

from bench import seed
from bench.debian import DebianPostgres
from bench.progress import say
from bench.wrk import Callers
from devserver.servers import Postgres, Valkey, free_port
from taskapi.config import Settings, load
from taskapi.store.connection import Store
from taskapi.sync import bootstrap, sync_pass

ROOT: Final = Path(__file__).resolve().parent.parent
OWNER: Final = (1, "owner-bench-7731")
USERS_MOST: Final = 10_000
START_SECONDS: Final = 30


class Site:
    """An installation with a given number of tasks, with its own key prefix and database.

    Attributes:
        bytes_per_task: memory in Redis for each task.
    """

    def __init__(
        self,
        name: str,
        users: int,
        tasks: int,
        folder: Path,
        valkey: Valkey,
        postgres: Postgres,
    ) -> None:
        self.env = {
            "PATH": os.environ["PATH"],
            "OWNER_PASSWORD": OWNER[1],
            "REDIS_URL": valkey.url,
            "DATABASE_URL": _database(postgres, name),
            "KEY_PREFIX": name,
            "DATA_DIR": str(folder / name),
        }
        self.settings: Settings = load(self.env)
        bootstrap.prepare(self.settings)
        self.store: Store = sync_pass.open_store(self.settings)
        self.population, self.bytes_per_task = seed.populate(self.store, users, tasks)

    @property
    def reader(self) -> tuple[int, str]:
        """The credentials of the user with fifty tasks."""
        return self.population.reader, seed.PASSWORD

    def sql(self, statement: str) -> list[tuple[object, ...]]:
        """Run a statement in the database, outside of any transaction."""
        connection = psycopg2.connect(self.settings.database_url)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()


class Stage(ExitStack):
    """Starts the stores, and creates installations and services on first use."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.has_trigrams = DebianPostgres.is_installed()
        kind = DebianPostgres if self.has_trigrams else Postgres
        self.valkey = Valkey(folder / "valkey", options=["appendonly no"])
        self.postgres = kind(folder / "postgres", options=["max_wal_size=4GB"])
        self.callers: dict[str, Callers] = {}
        self._sites: dict[str, Site] = {}
        self._urls: dict[str, str] = {}

    def start(self) -> None:
        """Start both stores."""
        self.enter_context(self.valkey)
        self.enter_context(self.postgres)

    def site(self, tasks: int, purpose: str = "site", users: int = USERS_MOST) -> Site:
        """Return an installation with this number of tasks, and at most as many users."""
        name = f"{purpose}{tasks}"
        if name not in self._sites:
            say(f"seeding {tasks:,} tasks".replace(",", " "))
            numbers = min(tasks, users), tasks
            self._sites[name] = Site(name, *numbers, self.folder, self.valkey, self.postgres)
        return self._sites[name]

    def url(self, site: Site) -> str:
        """Return the URL of the service, as shipped, for a site."""
        name = site.settings.key_prefix
        if name not in self._urls:
            self._urls[name] = self.enter_context(self.serve(site))
        return self._urls[name]

    def limit_url(self) -> str:
        """Return the URL of the limit routes, with the fastest packages and settings known."""
        if "limit" not in self._urls:
            flags = "-k gthread -w 2 --threads 4 --reuse-port --keep-alive 75 --no-control-socket"
            # Without this empty configuration, gunicorn reads the gunicorn.conf.py of the service.
            words = ["-c", "python:bench", *flags.split(), "bench.limits:app"]
            python = environment(self.folder / "limit", ROOT / "bench/limits.txt")
            serving = self.gunicorn("limit", words, "/r", python=python)
            self._urls["limit"] = self.enter_context(serving)
        return self._urls["limit"]

    @contextmanager
    def serve(self, site: Site, root: Path = ROOT, **settings: str) -> Iterator[str]:
        """Run the service of the tree `root` inside the `with` block; yield its URL."""
        port, name = free_port(), site.settings.key_prefix
        env = site.env | settings | {"SERVER_PORT": str(port), "WEB_CONCURRENCY": "2"}
        python = sys.executable if root == ROOT else root / ".venv/bin/python"
        command = [str(python), "-m", "gunicorn", "app:app"]
        with _serving(_start(command, env, self.folder / name, root), port, "/health") as url:
            yield url

    @contextmanager
    def gunicorn(self, name: str, words: list[str], path: str, python: Path) -> Iterator[str]:
        """Run another application inside the `with` block; yield its URL.

        Args:
            words: the arguments of gunicorn, except for the address.
            path: what answers when the application is ready.
            python: the Python of its environment.
        """
        port = free_port()
        env = {"PATH": os.environ["PATH"], "REDIS_URL": self.valkey.url}
        command = [str(python), "-m", "gunicorn", *words, "-b", f"127.0.0.1:{port}"]
        with _serving(_start(command, env, self.folder / name, ROOT), port, path) as url:
            yield url


def environment(folder: Path, requirements: Path) -> Path:
    """Create an environment with these packages, and return its Python."""
    say(f"installing {requirements.name}")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [folder / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-r", requirements], check=True)
    return folder / "bin/python"


@contextmanager
def _serving(process: subprocess.Popen[bytes], port: int, path: str) -> Iterator[str]:
    """Wait until the process answers, yield its URL, and end it."""
    try:
        _wait(process, f"127.0.0.1:{port}", path)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _start(
    command: list[str], env: dict[str, str], place: Path, root: Path
) -> subprocess.Popen[bytes]:
    """Start a process with the log file `place`.log."""
    with place.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(command, cwd=root, env=env, stdout=log, stderr=log)


def _wait(process: subprocess.Popen[bytes], address: str, path: str) -> None:
    """Wait until the server answers; raise SystemExit if it does not."""
    for _ in range(START_SECONDS * 50):
        if process.poll() is not None:
            break
        try:
            connection = HTTPConnection(address, timeout=5)
            connection.request("GET", path)
            connection.getresponse()
            connection.close()
            return
        except OSError:
            time.sleep(0.02)
    sys.exit(f"{process.args!r} does not answer")


def _database(postgres: Postgres, name: str) -> str:
    connection = psycopg2.connect(postgres.url)
    try:
        connection.autocommit = True
        connection.cursor().execute(f"CREATE DATABASE {name}")
    finally:
        connection.close()
    return urlsplit(postgres.url)._replace(path=f"/{name}").geturl()
