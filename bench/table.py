"""The table of results, as text and as JSON."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self

from bench.wrk import Sample

OUT: Final = Path(__file__).parent / "out"
_HEADS: Final = (
    *("operation", "value", "unit", "p50 ms", "p99 ms"),
    *("web us", "Redis us", "ratio", "target", "met"),
)


@dataclass(frozen=True)
class Row:
    """One measured operation.

    Attributes:
        web_us: CPU time of the web processes for each request, in microseconds; None if unknown.
        redis_us: the same of Redis.
        ratio: to the limit, or to the same operation at another size; `target` names which.
        target: the figure that the operation must reach; empty if there is none.
        is_met: whether the target is reached; None if there is none.
    """

    operation: str
    value: float
    unit: str
    p50_ms: float | None = None
    p99_ms: float | None = None
    web_us: float | None = None
    redis_us: float | None = None
    ratio: float | None = None
    target: str = ""
    is_met: bool | None = None

    @classmethod
    def of(cls, operation: str, sample: Sample, unit: str = "requests/s", per: int = 1) -> Self:
        """Return a row for a sample; each request counts as `per` units."""
        times = (sample.p50_ms, sample.p99_ms, sample.web_us, sample.redis_us)
        return cls(operation, sample.rate * per, unit, *times)

    def with_target(self, target: str, is_met: bool, ratio: float | None = None) -> Self:
        """Return the row with a target."""
        return replace(self, target=target, is_met=is_met, ratio=ratio)


def show(rows: Sequence[Row]) -> str:
    """Return the rows as a table in Markdown."""
    cells = [_HEADS, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True))
        for line in cells
    ]
    lines.insert(1, " | ".join("-" * width for width in widths))
    return "".join(f"| {line} |\n" for line in lines)


def line(row: Row) -> str:
    """Return one row as a line of progress."""
    return " ".join(filter(None, _cells(row)))


def save(rows: Sequence[Row], seconds: float) -> Path:
    """Write the rows as JSON, with the date and the machine's size; return the file."""
    OUT.mkdir(exist_ok=True)
    now = datetime.now(UTC)
    run = {
        "date": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        "duration_seconds": round(seconds),
        "machine": machine(),
        "rows": [asdict(row) for row in rows],
    }
    path = OUT / f"{now:%Y%m%d-%H%M%S}.json"
    path.write_text(json.dumps(run, indent=1) + "\n")
    return path


def machine() -> str:
    """Return cores, memory, Python and load, on which the figures depend."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()},"
        f" load {os.getloadavg()[0]:.1f}"
    )


def _cells(row: Row) -> tuple[str, ...]:
    met = {None: "", True: "yes", False: "NO"}[row.is_met]
    return (
        *(row.operation, _number(row.value), row.unit),
        *map(_number, (row.p50_ms, row.p99_ms, row.web_us, row.redis_us)),
        *("" if row.ratio is None else f"{row.ratio:.2f}", row.target, met),
    )


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}".replace(",", " ") if value >= 100 else f"{value:.2f}"
