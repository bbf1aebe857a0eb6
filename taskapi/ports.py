"""Which ports can be listened on, asked before anything binds them.

With SO_REUSEPORT, which our gunicorn uses, the kernel lets a second service share a port silently.
"""

import errno
import socket
import time

PATIENCE_SECONDS = 3  # a service that is just ending
POLL_SECONDS = 0.05


class PortError(Exception):
    """Nobody can listen there; the message says why and what to do."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


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


def _try(host: str, port: int) -> OSError | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        return error
    return None
