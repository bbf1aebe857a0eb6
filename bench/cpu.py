"""CPU time and memory of the servers that a run has started.

CPU time varies less than rates on a busy machine.
"""

import os
from pathlib import Path
from typing import Final, NamedTuple, Self

TICKS: Final = os.sysconf("SC_CLK_TCK")
_PARENT: Final = 1
_TIMES: Final = slice(11, 13)
"""Positions in /proc/<pid>/stat after the name: the parent, user and system ticks."""


class Used(NamedTuple):
    """CPU seconds of the living processes below this one."""

    web: float
    redis: float

    def since(self, before: Self) -> "Used":
        """Return what was used after `before`."""
        return Used(self.web - before.web, self.redis - before.redis)


class _Process(NamedTuple):
    id: int
    parent: int
    name: str
    ticks: int


def used() -> Used:
    """Return the CPU time used so far by web processes and by Redis, in seconds.

    Web processes are all those in Python.
    """
    below = _below()
    return Used(*(_seconds(below, name) for name in ("python", "valkey")))


def seconds() -> float:
    """Return the CPU time used so far by all living processes below this one, in seconds."""
    return _seconds(_below(), "")


def web_processes() -> set[int]:
    """Return the ids of the web processes that run."""
    return {each.id for each in _below() if "python" in each.name}


def largest(process_ids: set[int]) -> int:
    """Return the resident memory of the largest of these processes, in bytes."""
    return max(map(_resident, process_ids))


def _resident(process_id: int) -> int:
    pages = Path(f"/proc/{process_id}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _seconds(processes: list[_Process], name: str) -> float:
    return sum(each.ticks for each in processes if name in each.name) / TICKS


def _below() -> list[_Process]:
    processes = dict(filter(None, map(_read, Path("/proc").glob("[0-9]*"))))
    below, found = {os.getpid()}, []
    while children := {i for i, each in processes.items() if each.parent in below} - below:
        below |= children
        found += [processes[i] for i in children]
    return found


def _read(folder: Path) -> tuple[int, _Process] | None:
    """Return a process by its id; None if it has ended."""
    try:
        before, _, after = (folder / "stat").read_text().rpartition(")")
    except OSError:
        return None
    fields = after.split()
    ticks = sum(map(int, fields[_TIMES]))
    process = int(folder.name), int(fields[_PARENT]), before.partition("(")[2], ticks
    return process[0], _Process(*process)
