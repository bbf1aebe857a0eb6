"""Checks of the port to listen on, before anything binds it, and of a service that listens there.

With SO_REUSEPORT, as gunicorn.conf.py sets it, the kernel lets a second service share a port.
"""

import errno
import http.client
import json
import logging
import socket
import time
from collections.abc import Iterable
from typing import Any

from taskapi.config import EXPOSED, Settings, is_loopback, own_address

log = logging.getLogger("taskapi")

WAIT_SECONDS = 3  # for a service that is about to end
POLL_SECONDS = 0.05


class PortError(Exception):
    """The service must not listen there; the message says why and what to do."""


def check_addresses(settings: Settings, addresses: Iterable[Any]) -> None:
    """Check the addresses that gunicorn is about to bind; only TCP addresses are tuples.

    Raises:
        PortError: an address is taken, is not of this machine, or can be reached from other
            machines while the owner password is the default.
    """
    if settings.is_default_password:
        log.warning("OWNER_PASSWORD is the default of the public guide: set your own.")
    for host, port in (address for address in addresses if isinstance(address, tuple)):
        if settings.is_default_password and not is_loopback(host):
            raise PortError(EXPOSED.format(f"{host}:{port}"))
        check_free(host, port)


def check_free(host: str, port: int) -> None:
    """Check that `host`:`port` can be bound.

    Raises:
        PortError: it cannot be bound, or is still taken after WAIT_SECONDS.
    """
    deadline = time.monotonic() + WAIT_SECONDS
    while error := _bind_error(host, port):
        if error.errno != errno.EADDRINUSE:
            raise PortError(f"Cannot listen on {host}:{port}: {error.strerror}.")
        if time.monotonic() > deadline:
            raise PortError(
                f"Port {port} of {host} is taken: stop what listens there, or set SERVER_PORT."
            )
        time.sleep(POLL_SECONDS)


def health_at(host: str, port: int) -> str:
    """Return what /health of a service that listens there says, or `no answer: …`."""
    connection = http.client.HTTPConnection(own_address(host), port, timeout=5)
    try:
        connection.request("GET", "/health")
        return str(json.load(connection.getresponse())["status"])
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
        return f"no answer: {error}"
    finally:
        connection.close()


def _bind_error(host: str, port: int) -> OSError | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        return error
    return None
