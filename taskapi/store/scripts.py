"""The Lua scripts, read once from the files beside this one."""

import hashlib
from pathlib import Path
from typing import Final

_FOLDER = Path(__file__).parent


def _load(name: str, flags: str = "") -> tuple[str, str]:
    source = f"#!lua{flags}\n{(_FOLDER / name).read_text()}"
    return hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest(), source


_ALL = (
    _load("commit.lua"),
    _load("commit.lua", " flags=allow-oom"),
    _load("page.lua", " flags=no-writes"),
    _load("changes.lua", " flags=no-writes"),
    _load("acknowledge.lua", " flags=allow-oom"),
    _load("load.lua"),
    _load("write.lua", " flags=allow-oom"),
    _load("arrive.lua", " flags=allow-oom"),
    _load("tally.lua", " flags=allow-oom"),
    _load("marks.lua", " flags=no-writes"),
)
COMMIT, COMMIT_WHEN_FULL, PAGE, CHANGES, ACKNOWLEDGE, LOAD, WRITE, ARRIVE, TALLY, MARKS = (
    sha for sha, _ in _ALL
)
SOURCES: Final = dict(_ALL)
"""SHA-1 of each script -> its source, for a Redis that does not know it yet."""
