"""`make run`: private servers for the stores that are not configured, and the Procfile's processes.

Ctrl-C, SIGTERM and SIGHUP stop the processes first and the stores last, so that the sync worker can
run its last pass. When one process ends, honcho stops the others, and kills them after 5 seconds.
"""

import os
import signal
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Thread

from honcho.environ import parse, parse_procfile
from honcho.manager import Manager
from honcho.printer import Message, Printer

from devserver.servers import Postgres, Server, ServerError, Valkey
from taskapi.config import ConfigError, Settings, load
from taskapi.doctor.ports import PortError, check_free, health_at
from taskapi.environment import POSTGRES_PARTS, REDIS_PARTS

ROOT = Path(__file__).resolve().parent.parent
REDIS_NAMES = ("REDIS_URL", "REDIS_URL_FILE", "REDIS_PASSWORD_FILE", *REDIS_PARTS)
POSTGRES_NAMES = ("DATABASE_URL", "DATABASE_URL_FILE", "POSTGRES_PASSWORD_FILE", *POSTGRES_PARTS)
HEALTHY_SECONDS = 30
POLL_SECONDS = 0.2
STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)  # honcho's exit codes after a signal


class Output(Printer):  # type: ignore[misc]
    """Prints the lines of all processes; stops the processes when standard output is closed."""

    def write(self, message: Message) -> None:
        try:
            super().write(message)
        except OSError:
            self.output = open(os.devnull, "w")  # noqa: SIM115 - used until this process ends
            os.kill(os.getpid(), signal.SIGTERM)


def main() -> int:
    """Run everything; return 0 after a signal, else the code of the first to exit, at least 1."""
    os.chdir(ROOT)
    os.umask(0o077)
    _exit_on_signals()
    try:
        env = environment()
        settings = load(env)
        check_free(settings.server_host, settings.server_port)
        with ExitStack() as stack:
            for name, server in private_servers(settings, env).items():
                env[name] = stack.enter_context(server).url
            return _run(settings, env)
    except (ConfigError, PortError, ServerError) as error:
        sys.exit(str(error))


def _exit_on_signals() -> None:
    """Exit on a signal. honcho replaces the handlers of SIGINT and SIGTERM while it runs."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup sets SIG_IGN
        signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))


def environment() -> dict[str, str]:
    """Return the environment of the processes: `.env`, overridden by this process's own."""
    try:
        variables = parse(Path(".env").read_text()) if Path(".env").exists() else {}
    except ValueError as error:
        raise ConfigError(f".env cannot be read: {error}.") from None
    env: dict[str, str] = variables | os.environ
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', os.defpath)}"
    env["PYTHONUNBUFFERED"] = "1"
    return env


def private_servers(settings: Settings, env: dict[str, str]) -> dict[str, Server]:
    """Return {name of the URL setting: server} for each store that `env` does not configure."""
    servers: dict[str, Server] = {}
    if not any(map(env.get, REDIS_NAMES)):
        servers["REDIS_URL"] = Valkey(settings.data_dir / "valkey")
    if not any(map(env.get, POSTGRES_NAMES)):
        servers["DATABASE_URL"] = Postgres(settings.data_dir / "postgres")
    return servers


def _run(settings: Settings, env: dict[str, str]) -> int:
    """Run the processes of the Procfile until one ends or a signal arrives."""
    manager = Manager(Output())
    for name, command in parse_procfile(Path("Procfile").read_text()).processes.items():
        manager.add_process(name, f"exec {command}", env=env, cwd=ROOT)
    Thread(target=print_first_command, args=[settings], daemon=True).start()
    manager.loop()
    code: int = manager.returncode
    return 0 if code in STOPPED else max(code, 1)


def print_first_command(settings: Settings) -> None:
    """Once the service is healthy, print a command to try; after 30 s, print its status instead."""
    deadline = time.monotonic() + HEALTHY_SECONDS
    while (health := health_at(settings.server_host, settings.server_port)) != "healthy":
        if time.monotonic() > deadline:
            text = f"After {HEALTHY_SECONDS} s /health is {health!r}: see the lines above."
            break
        time.sleep(POLL_SECONDS)
    else:
        password = settings.owner_password if settings.is_default_password else "$OWNER_PASSWORD"
        text = f'Ready. Try: curl -H "X-Owner-Password: {password}" {settings.url}/users'
    with suppress(OSError):
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
