"""Which ports can be listened on, asked before anything binds them, and who listens already.

With SO_REUSEPORT, which our gunicorn uses, the kernel lets a second service share a port silently.
"""

import errno
import http.client
import json
import random
import socket
import time
from typing import Final

PATIENCE_SECONDS = 3  # a service that is just ending
POLL_SECONDS = 0.05
QUIET_PORTS: Final = range(10_000, 32_000)
"""Below those that outgoing connections take theirs from, at any time."""


class PortError(Exception):
    """Nobody can listen there; the message says why and what to do."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on at this moment, nor is likely to soon."""
    while _try("127.0.0.1", port := random.choice(QUIET_PORTS)):
        pass
    return port


def check_free(host: str, port: int) -> None:
    """Return when `host`:`port` can be listened on; raises PortError when it cannot."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while error := _try(host, port):
        if error.errno != errno.EADDRINUSE:
            raise PortError(f"Cannot listen on {host}:{port}: {error.strerror}.")
        if time.monotonic() > deadline:
            raise PortError(
                f"Port {port} of {host} is taken: stop what listens there, or set SERVER_PORT."
            )
        time.sleep(POLL_SECONDS)


def own_address(host: str) -> str:
    """Where this machine itself finds what listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def health_at(host: str, port: int) -> str:
    """Return the status that a taskapi there has, or why there is no answer."""
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", "/health")
        return str(json.load(connection.getresponse())["status"])
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
        return f"no answer: {error}"
    finally:
        connection.close()


def _try(host: str, port: int) -> OSError | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        return error
    return None
