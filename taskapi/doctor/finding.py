"""The result of one check."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

Clock = Callable[[], float]


class Status(StrEnum):
    """FAIL must be fixed; WARN may be acceptable."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check, with a remedy unless it is OK."""

    name: str
    status: Status
    detail: str
    remedy: str = ""

    def __str__(self) -> str:
        line = f"{self.status:<4}  {self.name}: {self.detail}"
        return f"{line} – {self.remedy}" if self.remedy else line  # noqa: RUF001


def finding(name: str, detail: str, *, fail: str = "", warn: str = "") -> Finding:
    """Return a finding: a failure if `fail` has a remedy, a warning if `warn` has one, else ok."""
    kind = Status.FAIL if fail else Status.WARN if warn else Status.OK
    return Finding(name, kind, detail, fail or warn)
