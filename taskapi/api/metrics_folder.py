"""The folder in which the web processes of one gunicorn count, for prometheus-client to add up."""

import logging
import os
import shutil
import tempfile
from collections.abc import MutableMapping
from pathlib import Path
from typing import Final

VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus-client reads it when it is imported."""
IN_MEMORY: Final = Path("/dev/shm")
FREE_BYTES: Final = 2**24
"""Memory that must be free for the folder to be there."""
RESERVED_BYTES: Final = 2**18
"""Size of each file of a process: more than the counts of all routes and statuses need."""
KINDS: Final = ("counter", "histogram")
"""The kinds of metrics that web processes count; prometheus-client has a file for each."""
log = logging.getLogger("taskapi")


def create(environ: MutableMapping[str, str]) -> None:
    """Create a folder for this process and its children, in memory if possible, and set VARIABLE.

    A process that replaces gunicorn inherits the variable, but must not use the folder, because the
    old process removes it.
    """
    prefix = f"taskapi-metrics-{os.getpid()}-"
    if prefix not in environ.get(VARIABLE, ""):
        is_usable = os.access(IN_MEMORY, os.W_OK)
        has_memory = is_usable and shutil.disk_usage(IN_MEMORY).free >= FREE_BYTES
        environ[VARIABLE] = tempfile.mkdtemp(prefix=prefix, dir=IN_MEMORY if has_memory else None)


def reserve(environ: MutableMapping[str, str]) -> None:
    """Reserve the space in which this process counts; without space it counts for itself.

    prometheus-client maps its files, and the kernel ends a process that writes to a mapped file for
    which no space is left (SIGBUS).
    """
    paths = [Path(environ[VARIABLE], f"{kind}_{os.getpid()}.db") for kind in KINDS]
    try:
        for path in paths:
            with path.open("ab") as file:
                os.posix_fallocate(file.fileno(), 0, RESERVED_BYTES)
    except OSError as error:
        for path in paths:
            path.unlink(missing_ok=True)
        text = "/metrics will miss requests to this process: %s: %s"
        log.warning(text, environ.pop(VARIABLE), error.strerror)


def remove(environ: MutableMapping[str, str]) -> None:
    """Remove the folder."""
    shutil.rmtree(environ[VARIABLE], ignore_errors=True)
