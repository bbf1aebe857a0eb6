"""What the doctor says of one thing."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

Clock = Callable[[], float]


class Status(StrEnum):
    """How bad it is: a failure has to be mended, a warning should be known."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was seen of one thing, and what to do where it is not as it should be."""

    name: str
    status: Status
    detail: str
    remedy: str = ""

    def __str__(self) -> str:
        line = f"{self.status:<4}  {self.name}: {self.detail}"
        return f"{line} – {self.remedy}" if self.remedy else line  # noqa: RUF001


def finding(name: str, detail: str, *, fail: str = "", warn: str = "") -> Finding:
    """A finding with the remedy of a failure, else that of a warning, else none."""
    kind = Status.FAIL if fail else Status.WARN if warn else Status.OK
    return Finding(name, kind, detail, fail or warn)
