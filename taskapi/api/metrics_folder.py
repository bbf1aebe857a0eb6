"""The folder in which the web processes of one gunicorn count, for prometheus-client to add up."""

import os
import shutil
import tempfile
from collections.abc import MutableMapping
from pathlib import Path
from typing import Final

VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus-client reads it when it is imported."""
IN_MEMORY: Final = Path("/dev/shm")


def create(environ: MutableMapping[str, str]) -> None:
    """Create a folder for this process and its children, in memory if possible, and set VARIABLE.

    A full disk must not end a web process that counts. A process that replaces gunicorn inherits
    the variable, but must not use the folder, because the old process removes it.
    """
    prefix = f"taskapi-metrics-{os.getpid()}-"
    if prefix not in environ.get(VARIABLE, ""):
        parent = IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else None
        environ[VARIABLE] = tempfile.mkdtemp(prefix=prefix, dir=parent)


def remove(environ: MutableMapping[str, str]) -> None:
    """Remove the folder."""
    shutil.rmtree(environ[VARIABLE], ignore_errors=True)
