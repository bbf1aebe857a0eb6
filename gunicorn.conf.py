"""Settings for `gunicorn app:app`. gunicorn runs this file when it starts and when it reloads."""

import logging
import os
import sys
from multiprocessing import get_context

from gunicorn.glogging import Logger

from taskapi import logs
from taskapi.api import metrics_folder
from taskapi.config import ConfigError, load
from taskapi.doctor.ports import PortError, check_addresses
from taskapi.errors import Stale, TaskApiError, Unusable
from taskapi.sync import bootstrap

logs.configure(os.environ.get("LOG_FORMAT", "text"))
try:
    _settings = load(os.environ)
except ConfigError as error:
    logs.end(str(error))


class logger_class(Logger):
    def setup(self, cfg):  # log in the format of the service
        super().setup(cfg)
        self.error_log.handlers = logging.getLogger("taskapi").handlers

    def warning(self, text, *args, **kwargs):
        # Leave out the details of a malformed request: they may hold a password.
        super().warning(text.split(": ")[0] if "Invalid request" in text else text, *args, **kwargs)


bind = f"[{_settings.server_host}]:{_settings.server_port}"  # brackets: an IPv6 address needs them
workers = _settings.web_concurrency
threads = 16  # more than WAITING_MOST (api/password_checks.py) + PLACES (store/heavy.py)
reuse_port = True  # a socket for each worker: the kernel spreads connections evenly
keepalive = 75  # seconds; longer than nginx' 60, so that nginx never reuses a closed connection
graceful_timeout = 30  # seconds; REPLACING_SECONDS of api/password_checks.py is longer
control_socket_disable = True
_start_turn = get_context("fork").Semaphore(1)


def on_starting(server):
    if server.cfg.preload_app:
        logs.end("Do not preload the application: web processes forked from one copy lose changes.")
    try:
        check_addresses(_settings, server.cfg.address)
        bootstrap.prepare(_settings)
    except (PortError, Unusable) as error:
        logs.end(str(error))
    except TaskApiError as error:
        server.log.warning("%s The sync worker will try again.", error)
    metrics_folder.create(os.environ)  # only now: a refused start leaves nothing


def on_exit(_server):
    metrics_folder.remove(os.environ)


def on_reload(server):
    try:
        bootstrap.prepare(_settings)  # migrate before the new code runs
    except (TaskApiError, Stale) as error:
        server.log.warning("Not migrated: reload again, or restart the sync worker. %s", error)


def pre_fork(_server, _worker):
    # Wait until the previous worker listens, so that a reload never closes the port.
    _start_turn.acquire(timeout=10)
    for name in [name for name in sys.modules if name.startswith(("taskapi", "schemas"))]:
        del sys.modules[name]  # after a reload, each worker and this file import the new code


def post_fork(_server, _worker):
    _start_turn.release()
    metrics_folder.reserve(os.environ)


def post_worker_init(worker):
    worker.wsgi.extensions["taskapi"].watch.start()


def worker_exit(_server, worker):
    if worker.wsgi:
        worker.wsgi.extensions["taskapi"].watch.stop()
