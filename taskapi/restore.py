"""`python -m taskapi.restore FILE`: bring an empty installation back from a backup file.

Both stores have to be empty, or new. The file is read as a whole before anything is written.
"""

import os
import sys
from pathlib import Path

from taskapi import logs
from taskapi.config import ConfigError, load
from taskapi.errors import TaskApiError
from taskapi.sync import import_backup


def main(arguments: list[str]) -> str | None:
    """Return None when it is done, else the sentence that says why not."""
    if len(arguments) != 1:
        return "Usage: python -m taskapi.restore FILE"
    try:
        settings = load(os.environ)
        logs.configure(settings.log_format)
        import_backup.bring_back(settings, Path(arguments[0]))
    except (ConfigError, TaskApiError) as error:
        return str(error)
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
