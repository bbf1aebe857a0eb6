"""Print what a run is doing."""

import sys
import time

_begin = time.monotonic()


def say(text: str) -> None:
    """Show a line on standard error, with the seconds since the start."""
    sys.stderr.write(f"[{seconds():4.0f} s] {text}\n")
    sys.stderr.flush()


def seconds() -> float:
    """Return the seconds since the start."""
    return time.monotonic() - _begin
