"""CPU time of the servers that a run has started; it varies less than rates on a busy machine."""

import os
from pathlib import Path
from typing import Final

TICKS: Final = os.sysconf("SC_CLK_TCK")
_PARENT: Final = 1
_TIMES: Final = slice(11, 13)
"""Positions in /proc/<pid>/stat after the name: the parent, user and system ticks."""


def seconds() -> float:
    """Return the CPU time used so far by the living processes below this one, in seconds."""
    processes = dict(filter(None, map(_read, Path("/proc").glob("[0-9]*"))))
    below, ticks = {os.getpid()}, 0
    while children := {pid for pid, (parent, _) in processes.items() if parent in below} - below:
        below |= children
        ticks += sum(processes[pid][1] for pid in children)
    return ticks / TICKS


def _read(folder: Path) -> tuple[int, tuple[int, int]] | None:
    """Return a process id with its parent and ticks; None if the process has ended."""
    try:
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return int(folder.name), (int(fields[_PARENT]), sum(map(int, fields[_TIMES])))
