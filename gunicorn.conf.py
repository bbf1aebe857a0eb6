"""How gunicorn serves `app:app`: it reads this file from the folder it is started in."""

import os
import sys
from collections import Counter

from gunicorn import sock
from gunicorn.arbiter import Arbiter
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.workers.base import Worker

from taskapi import garbled, logs
from taskapi.config import ConfigError, is_loopback, load
from taskapi.doctor.ports import PortError, check_free
from taskapi.errors import TaskApiError
from taskapi.store.server import Evicting
from taskapi.sync import bootstrap

try:
    _settings = load(os.environ)
except ConfigError as error:
    sys.exit(str(error))
logs.configure(_settings.log_format)  # at each reload again: what it imports then is new


class OurLogger(Logger):
    """Writes gunicorn's lines where the service writes its own, and like them."""

    def setup(self, cfg: Config) -> None:
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setStream(sys.stdout)
            handler.setFormatter(logs.OneLine())


_host = f"[{_settings.server_host}]" if ":" in _settings.server_host else _settings.server_host
bind = f"{_host}:{_settings.server_port}"
workers = _settings.web_concurrency
worker_class = garbled.Worker  # gthread
threads = 4
keepalive = 75  # above nginx' 60: it never sends a request on a connection that is being closed
graceful_timeout = 30  # what runs is finished before a worker ends
forwarded_allow_ips = "127.0.0.1"
control_socket_disable = True
accesslog = None  # the service logs its requests itself
logger_class = OurLogger


def on_starting(arbiter: Arbiter) -> None:
    """Refuse what must not start; say and do what comes before the first request."""
    for address in arbiter.cfg.address:
        if isinstance(address, tuple):  # else a Unix socket or an inherited one
            _check_address(arbiter, *address[:2])
    if _settings.is_default_password:
        arbiter.log.warning("OWNER_PASSWORD is the default, which everybody knows: set your own.")
    try:
        bootstrap.prepare(_settings)
    except Evicting as error:
        sys.exit(str(error))
    except TaskApiError as error:
        arbiter.log.warning("%s The sync worker will try again.", error)
    _listen(arbiter)


def _listen(arbiter: Arbiter) -> None:
    """Open a socket for each worker, as with reuse_port, but here, where it outlives the worker.

    One for all: one worker took all kept-alive connections. One of the worker's own: its end
    resets what waits there, at each reload. Unix and inherited sockets are left to gunicorn.
    """
    cfg = arbiter.cfg
    is_inherited = arbiter.master_pid or "LISTEN_FDS" in os.environ
    if is_inherited or not all(isinstance(address, tuple) for address in cfg.address):
        return
    cfg.set("reuse_port", True)
    for _ in range(cfg.workers):
        arbiter.LISTENERS += sock.create_sockets(cfg, arbiter.log)
    cfg.set("reuse_port", False)


def pre_fork(arbiter: Arbiter, worker: Worker) -> None:
    """Give the worker the sockets that fewest of the newest others have: the oldest may be ending.

    So as many of the newest as there are sockets always have one each.
    """
    width = len(arbiter.cfg.address)
    others = len(arbiter.LISTENERS) // width - 1
    by_age = sorted(arbiter.WORKERS.values(), key=lambda other: other.age, reverse=True)
    used = Counter(other.sockets[0] for other in by_age[:others])
    first = min(range(0, len(arbiter.LISTENERS), width), key=lambda n: used[arbiter.LISTENERS[n]])
    worker.sockets = arbiter.LISTENERS[first : first + width]


def on_reload(_arbiter: Arbiter) -> None:
    """Let new workers read the code anew: they would inherit what this process has loaded."""
    for name in [name for name in sys.modules if name.split(".")[0] in ("schemas", "taskapi")]:
        del sys.modules[name]


def nworkers_changed(arbiter: Arbiter, new: int, _old: int | None) -> None:
    """Keep a worker at each socket, whatever SIGTTOU says."""
    fewest = len(arbiter.LISTENERS) // max(1, len(arbiter.cfg.address))
    if new < fewest:
        arbiter.num_workers = fewest


def _check_address(arbiter: Arbiter, host: str, port: int) -> None:
    if _settings.is_default_password and not is_loopback(host):
        sys.exit(
            f"OWNER_PASSWORD is the default, and {host}:{port} is reachable from other machines: "
            "set a password of your own, or listen on 127.0.0.1."
        )
    if not arbiter.master_pid:  # else it takes over from a running one, which has the port
        try:
            check_free(host, port)
        except PortError as error:
            sys.exit(str(error))
