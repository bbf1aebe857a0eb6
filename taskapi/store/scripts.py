"""The Lua scripts, read once from the files in this directory.

`_load` puts a line with the flags before each. Some scripts are loaded twice: with `allow-oom` for
what frees memory or replaces data, and without it for other changes.
"""

import hashlib
from pathlib import Path
from typing import Any, Final

SOURCES: Final[dict[str, str]] = {}
"""SHA-1 of each script -> its source, for a Redis that does not have it yet."""


def _load(name: str, flags: str = "") -> str:
    source = f"#!lua{flags}\n{(Path(__file__).parent / name).read_text()}"
    sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
    SOURCES[sha] = source
    return sha


COMMIT: Final = _load("commit.lua")
COMMIT_WHEN_FULL: Final = _load("commit.lua", " flags=allow-oom")
PAGE: Final = _load("page.lua", " flags=no-writes")
READ_CHUNK: Final = _load("read_chunk.lua", " flags=no-writes")
LOOK: Final = _load("look.lua", " flags=no-writes")
STRAYS: Final = _load("strays.lua", " flags=no-writes")
MEND: Final = _load("mend.lua", " flags=allow-oom")
TOTALS: Final = _load("totals.lua", " flags=no-writes")
DIRTY_TASKS: Final = _load("dirty_tasks.lua", " flags=no-writes")
TASK_CHANGES: Final = _load("task_changes.lua", " flags=no-writes")
ACKNOWLEDGE: Final = _load("acknowledge.lua", " flags=allow-oom")
LOAD: Final = _load("load.lua")
LOAD_WHEN_FULL: Final = _load("load.lua", " flags=allow-oom")
SET_CLOSING: Final = _load("set_closing.lua", " flags=allow-oom")
EVEN_WHEN_FULL: Final = _load("even_when_full.lua", " flags=allow-oom")
IF_ABSENT_OR_EQUAL: Final = _load("if_absent_or_equal.lua")
IF_ABSENT_OR_EQUAL_WHEN_FULL: Final = _load("if_absent_or_equal.lua", " flags=allow-oom")
CLOSE_FOR_CLIENTS: Final = _load("close_for_clients.lua", " flags=allow-oom")
OPEN_FOR_CLIENTS: Final = _load("open_for_clients.lua", " flags=allow-oom")
REGISTER: Final = _load("register.lua", " flags=allow-oom")
WRITE_NOTHING: Final = _load("write_nothing.lua")
COUNT_FAILURES: Final = _load("count_failures.lua", " flags=allow-oom")


def with_source(command: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a command that works on a Redis that does not have its script yet."""
    if command[0] != "EVALSHA":
        return command
    return ("EVAL", SOURCES[command[1]], *command[2:])
