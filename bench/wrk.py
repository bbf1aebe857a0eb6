"""The load generator: wrk (`apt-get install wrk`), one process, kept-alive connections."""

import re
import shutil
import statistics
import subprocess
import sys
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple, Self

from bench.progress import say

CONNECTIONS: Final = 8
SECONDS: Final = 1
"""Of one measurement; many short rounds even out how the kernel spreads connections."""
SCRIPT: Final = Path(__file__).parent / "request.lua"


class Sample(NamedTuple):
    """What one run, or the median of several, has shown."""

    rate: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Tasks:
    """Which tasks the requests of an operation name in turn: `first`, `first + step`, …"""

    first: int = 1
    step: int = 1
    count: int = 1
    users: int = 1


@dataclass
class Operation:
    """One kind of request; see request.lua for what stands in braces.

    Attributes:
        by: id and password for Basic; None sends none.
        many: how many tasks one request is about.
        is_once: whether each task serves one request only.
        skip: how many requests have been sent.
    """

    url: str
    path: str
    by: tuple[int, str] | None = None
    method: str = "GET"
    body: str = ""
    tasks: Tasks = field(default_factory=Tasks)
    many: int = 1
    is_once: bool = False
    connections: int = CONNECTIONS
    skip: int = 0

    def measure(self, seconds: int = SECONDS) -> Sample:
        """Send requests for a while; every answer has to be a success."""
        words = _run(self._command(seconds))
        requests, duration, p50, p99, refused, broken = map(int, words)
        self.skip += requests + self.connections
        if refused or broken or not requests:
            sys.exit(f"{self.method} {self.path}: {refused} refused, {broken} broken of {requests}")
        if self.is_once and self.skip * self.many > self.tasks.count:
            sys.exit(f"{self.method} {self.path}: more than {self.tasks.count} tasks are needed")
        return Sample(requests / duration * 1e6, p50 / 1000, p99 / 1000)

    def _command(self, seconds: int) -> list[str]:
        headers = {"Authorization": basic(*self.by)} if self.by else {}
        return [
            *("wrk", "--threads=1", f"--connections={self.connections}", f"--duration={seconds}s"),
            *("--timeout=10s", f"--script={SCRIPT}"),
            *chain(*(("--header", f"{name}: {value}") for name, value in headers.items())),
            *(self.url, "--", self.method, self.path, self.body, str(self.skip)),
            *(str(self.tasks.first), str(self.tasks.step), str(self.tasks.count)),
            *(str(self.tasks.users), str(self.many)),
        ]


class Rounds:
    """Samples of several operations, measured in turn, so that a drift of the machine is shared."""

    def __init__(self, operations: dict[str, Operation]) -> None:
        self._operations = operations
        self._samples: dict[str, list[Sample]] = {name: [] for name in operations}

    def run(self, title: str, rounds: int, seconds: int = SECONDS) -> Self:
        """Measure; a first round warms up and does not count."""
        for number in range(rounds + 1):
            say(f"{title}: round {number} of {rounds}")
            for name, operation in self._operations.items():
                sample = operation.measure(seconds)
                if number:
                    self._samples[name].append(sample)
        return self

    def median(self, name: str) -> Sample:
        """Return the median of each figure of an operation."""
        return Sample(*map(statistics.median, zip(*self._samples[name], strict=True)))

    def ratio(self, name: str, limit: str) -> float:
        """Return the median of how an operation's rate was to another's in the same round."""
        pairs = zip(self._samples[name], self._samples[limit], strict=True)
        return statistics.median(one.rate / other.rate for one, other in pairs)


def basic(user_id: int, password: str) -> str:
    """Return the Authorization header of these credentials."""
    return "Basic " + b64encode(f"{user_id}:{password}".encode()).decode()


def require() -> None:
    """End the program with advice where wrk is missing."""
    if shutil.which("wrk") is None:
        sys.exit("The bench needs wrk: apt-get install wrk")


def _run(command: Sequence[str]) -> list[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"^RESULT (.*)$", done.stdout, re.MULTILINE)
    if found is None:
        sys.exit(f"wrk failed: {done.stdout} {done.stderr}")
    return found[1].split()
