"""`make run`: private stores where none are configured, then every process of the Procfile.

Ctrl-C, SIGTERM and a closed terminal end everything in order, with exit code 0: the web processes,
the sync worker, which can still reach both stores in its last pass, then the stores. When one of
them ends by itself the rest is ended too, and the exit code says so. Where even this process is
killed, the kernel tells its children (see `leash.py`).
"""

import fcntl
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from honcho.colour import get_colours
from honcho.environ import parse, parse_procfile
from honcho.printer import Message, Printer
from honcho.process import Process

from devserver.leash import leashed
from devserver.servers import Postgres, Server, ServerError, Valkey
from taskapi.config import (
    DEFAULT_OWNER_PASSWORD,
    ConfigError,
    Settings,
    load,
)
from taskapi.doctor.ports import PortError, check_free, health_at, own_address
from taskapi.environment import POSTGRES_PARTS, REDIS_PARTS

ROOT = Path(__file__).resolve().parent.parent
REAL_REDIS = ("REDIS_URL", "REDIS_URL_FILE", *REDIS_PARTS, "REDIS_PASSWORD_FILE")
REAL_POSTGRES = (
    *("DATABASE_URL", "DATABASE_URL_FILE"),
    *(*POSTGRES_PARTS, "POSTGRES_PASSWORD_FILE"),
)
HEALTHY_SECONDS = 30
STOP_SECONDS = 60  # the worker's last pass may have much to write
POLL_SECONDS = 0.2


class Refused(Exception):
    """The run cannot begin; the message says why and what to do."""


class Supervisor:
    """Runs processes together, shows their output, and ends them in the order they were added.

    Everything that happens arrives in one queue, signals too, and is handled by one thread.
    """

    def __init__(self) -> None:
        self.exit_code: int | None = None  # None: nothing has ended yet
        self._events: SimpleQueue[Any] = SimpleQueue()
        self._printer = Printer(sys.stdout, width=len("postgres"))
        self._colours = get_colours()
        self._groups: dict[str, int] = {}
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
                signal.signal(number, lambda *_: self._put("signal"))

    def say(self, text: str) -> None:
        self._put("line", text)

    def add(self, name: str, command: str, env: dict[str, str]) -> None:
        """Start a shell command, which ends when this process does; returns when it has a pid."""
        leash = " ".join(map(shlex.quote, leashed([], "SIGTERM")))
        process = Process(
            f"exec {leash} {command}", name=name, colour=next(self._colours), env=env, cwd=ROOT
        )
        Thread(target=process.run, args=(self._events,), daemon=True).start()
        while name not in self._groups:
            self._take()

    def watch(self, server: Server) -> None:
        """End everything when `server` ends."""
        name = type(server).__name__.lower()
        self.in_background(lambda: self._put("stop", {"returncode": server.wait()}, name))

    def in_background(self, work: Callable[[], None]) -> None:
        Thread(target=work, daemon=True).start()

    def wait(self) -> int:
        """Return the exit code when something has ended or a signal says that all should."""
        while self.exit_code is None:
            self._take()
        return self.exit_code

    def stop(self) -> None:
        for name in list(self._groups):
            self._stop(name)

    def _stop(self, name: str) -> None:
        deadline = time.monotonic() + STOP_SECONDS
        with suppress(ProcessLookupError):
            os.kill(self._groups[name], signal.SIGTERM)  # it tells its own children, once
        while name in self._groups:
            if not self._take(timeout=max(0.0, deadline - time.monotonic())):
                self.say(f"{name} did not end within {STOP_SECONDS} s: killed")
                with suppress(ProcessLookupError):
                    os.killpg(self._groups[name], signal.SIGKILL)
                deadline += STOP_SECONDS

    def _put(self, kind: str, data: object = None, name: str = "system") -> None:
        self._events.put(Message(kind, data, datetime.now(), name, None))

    def _take(self, timeout: float | None = None) -> bool:
        """Handle the next event; False when none came within `timeout` seconds."""
        try:
            event = self._events.get(timeout=timeout)
        except Empty:
            return False
        match event.type:
            case "line":
                self._print(event)
            case "start":
                self._groups[event.name] = event.data["pid"]
            case "stop":
                self._groups.pop(event.name, None)
                self._ended(event.name, event.data["returncode"])
            case "signal" if self.exit_code is None:
                self.exit_code = 0
        return True

    def _ended(self, name: str, code: int) -> None:
        if self.exit_code is None:
            self.exit_code = code if code > 0 else 1
            self.say(f"{name} ended by itself (code {code}): stopping the rest")

    def _print(self, line: Any) -> None:
        try:
            self._printer.write(line)
        except OSError:  # nobody reads any more: the terminal or the next command has gone
            self.exit_code = self.exit_code or 1


def main() -> int:
    """Return the exit code: 0 after a signal, 1 after a failure, 2 for mistakes in the settings."""
    os.chdir(ROOT)
    os.umask(0o077)
    supervisor = Supervisor()
    try:
        env = _environment()
        settings = load(env)
        check_free(settings.server_host, settings.server_port)
        with _data_dir(settings.data_dir), ExitStack() as stack:
            return _run(supervisor, settings, env, stack)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except (Refused, PortError, ServerError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _run(supervisor: Supervisor, settings: Settings, env: dict[str, str], stack: ExitStack) -> int:
    for server in _private_servers(settings, env):
        stack.enter_context(server)
        supervisor.watch(server)
    stack.callback(supervisor.stop)
    for name, command in parse_procfile(Path("Procfile").read_text()).processes.items():
        supervisor.add(name, command, env)
    supervisor.in_background(lambda: supervisor.say(_invitation(settings)))
    return supervisor.wait()


def _environment() -> dict[str, str]:
    """The environment of the processes: what is set for us, then `.env`, then what they need."""
    try:
        written = parse(Path(".env").read_text()) if Path(".env").exists() else {}
    except ValueError as error:
        raise Refused(f".env cannot be read: {error}.") from None
    env = written | os.environ
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', os.defpath)}"
    env["PYTHONUNBUFFERED"] = "1"
    return env


def _private_servers(settings: Settings, env: dict[str, str]) -> Iterator[Server]:
    """The servers to start, each named to the processes in `env`."""
    if not any(map(env.get, REAL_REDIS)):
        valkey = Valkey(settings.data_dir / "valkey")
        env["REDIS_URL"] = valkey.url
        yield valkey
    if not any(map(env.get, REAL_POSTGRES)):
        postgres = Postgres(settings.data_dir / "postgres")
        env["DATABASE_URL"] = postgres.url
        yield postgres


@contextmanager
def _data_dir(path: Path) -> Iterator[None]:
    """Hold DATA_DIR for this run alone; a new one is closed to other users."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not any(path.iterdir()):
            path.chmod(0o700)
        lock = (path / "lock").open("w")
    except OSError as error:
        raise Refused(f"DATA_DIR {path} cannot be used: {error.strerror}.") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(
                f"DATA_DIR {path} is in use by another run: stop that, or set another DATA_DIR."
            ) from None
        yield


def _invitation(settings: Settings) -> str:
    """A command to try as soon as the service is healthy, or what it says when that is too long."""
    host = own_address(settings.server_host)
    deadline = time.monotonic() + HEALTHY_SECONDS
    while (health := health_at(host, settings.server_port)) != "healthy":
        if time.monotonic() > deadline:
            return f"After {HEALTHY_SECONDS} s /health says {health!r}: see the lines above."
        time.sleep(POLL_SECONDS)
    password = DEFAULT_OWNER_PASSWORD if settings.is_default_password else "$OWNER_PASSWORD"
    return f'Ready. Try: curl -H "X-Owner-Password: {password}" {settings.url}/users'


if __name__ == "__main__":
    sys.exit(main())
