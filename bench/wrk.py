"""The load generator: wrk (`apt-get install wrk`), one process, kept-alive connections."""

import re
import shutil
import statistics
import subprocess
import sys
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, Self

from bench import cpu
from bench.progress import say

CONNECTIONS: Final = 8
SECONDS: Final = 1
"""Duration of a round; many short rounds even out how the kernel spreads connections."""
SCRIPT: Final = Path(__file__).parent / "request.lua"


class Sample(NamedTuple):
    """The result of one run, or the median of several.

    Attributes:
        web_us: CPU time of the web processes for each request, in microseconds.
        redis_us: CPU time of Redis for each request, in microseconds.
    """

    rate: float
    p50_ms: float
    p99_ms: float
    web_us: float = 0.0
    redis_us: float = 0.0
    worst_ms: float = 0.0

    @property
    def cpu_us(self) -> float:
        """CPU time of the web processes and Redis for each request, in microseconds."""
        return self.web_us + self.redis_us


@dataclass(frozen=True)
class Tasks:
    """The task ids that the requests of an operation use in turn: `first`, `first + step`, …"""

    first: int = 1
    step: int = 1
    count: int = 1


@dataclass(frozen=True)
class Callers:
    """Those who send the requests of an operation in turn, each over a connection that they keep.

    Attributes:
        file: a line for each caller: id, group, Authorization header. request.lua reads it.
        users: number of users; task 1 belongs to user 2, task 2 to user 3, and so on.
        each: tasks of each caller.
    """

    file: Path
    users: int
    each: int


@dataclass
class Operation:
    """One kind of request; request.lua explains the placeholders in braces.

    Attributes:
        by: id and password for HTTP Basic, a token, or many callers; None sends no credentials.
        many: number of task ids in one request.
        skip: where {n} begins: at least the number of requests sent so far.
        runs: how often it was measured.
    """

    url: str
    path: str
    by: tuple[int, str] | str | Callers | None = None
    method: str = "GET"
    body: str = ""
    tasks: Tasks = field(default_factory=Tasks)
    many: int = 1
    connections: int = CONNECTIONS
    skip: int = 0
    runs: int = 0

    @property
    def threads(self) -> int:
        """Threads of wrk: with one for each connection, a caller keeps their connection."""
        return self.connections if isinstance(self.by, Callers) else 1

    def measure(self, seconds: int = SECONDS) -> Sample:
        """Send requests for `seconds`; raise SystemExit if an answer is not a success."""
        before = cpu.used()
        words = _run(self._command(seconds))
        web, redis = cpu.used().since(before)
        requests, duration, p50, p99, worst, refused, broken = map(int, words)
        self.skip += self.threads * (requests + self.connections)
        self.runs += 1
        if refused or broken or not requests:
            sys.exit(f"{self.method} {self.path}: {refused} refused, {broken} broken of {requests}")
        used_us = (1e6 * web / requests, 1e6 * redis / requests)
        return Sample(requests / duration * 1e6, p50 / 1000, p99 / 1000, *used_us, worst / 1000)

    def _command(self, seconds: int) -> list[str]:
        many = self.by if isinstance(self.by, Callers) else None
        users, each = (many.users, many.each) if many else (1, 0)
        return [
            *("wrk", f"--threads={self.threads}", f"--connections={self.connections}"),
            *(f"--duration={seconds}s", "--timeout=10s", f"--script={SCRIPT}"),
            *self._header(),
            *(self.url, "--", self.method, self.path, self.body, str(self.skip)),
            *(str(self.tasks.first), str(self.tasks.step), str(self.tasks.count)),
            *(str(users), str(self.many), str(many.file) if many else "", str(each)),
            *(str(self.threads), str(self.runs)),
        ]

    def _header(self) -> list[str]:
        if self.by is None or isinstance(self.by, Callers):
            return []
        given = f"Bearer {self.by}" if isinstance(self.by, str) else basic(*self.by)
        return ["--header", f"Authorization: {given}"]


class Rounds:
    """Samples of several operations, measured in turn, so other load affects all of them."""

    def __init__(self, operations: dict[str, Operation]) -> None:
        self._operations = operations
        self._samples: dict[str, list[Sample]] = {name: [] for name in operations}

    def run(self, title: str, rounds: int, seconds: int = SECONDS) -> Self:
        """Measure all operations; the first round is a warm-up and is not recorded."""
        for number in range(rounds + 1):
            say(f"{title}: round {number} of {rounds}")
            for name, operation in self._operations.items():
                sample = operation.measure(seconds)
                if number:
                    self._samples[name].append(sample)
        return self

    def median(self, name: str) -> Sample:
        """Return the median of each figure of an operation."""
        return median(self._samples[name])

    def ratio(self, name: str, limit: str) -> float:
        """Return the median, over rounds, of an operation's rate divided by that of `limit`."""
        pairs = zip(self._samples[name], self._samples[limit], strict=True)
        return statistics.median(one.rate / other.rate for one, other in pairs)

    def cpu_ratio(self, name: str, limit: str) -> float:
        """Return the median, over rounds, of the CPU time of `limit` divided by an operation's."""
        pairs = zip(self._samples[name], self._samples[limit], strict=True)
        return statistics.median(other.cpu_us / one.cpu_us for one, other in pairs)


def median(samples: Sequence[Sample]) -> Sample:
    """Return the median of each figure."""
    return Sample(*map(statistics.median, zip(*samples, strict=True)))


def basic(user_id: int, password: str) -> str:
    """Return the Authorization header of these credentials."""
    return "Basic " + b64encode(f"{user_id}:{password}".encode()).decode()


def require() -> None:
    """Raise SystemExit if wrk is not installed."""
    if shutil.which("wrk") is None:
        sys.exit("The bench needs wrk: apt-get install wrk")


def _run(command: Sequence[str]) -> list[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    match = re.search(r"^RESULT (.*)$", done.stdout, re.MULTILINE)
    if match is None:
        sys.exit(f"wrk failed: {done.stdout} {done.stderr}")
    return match[1].split()
