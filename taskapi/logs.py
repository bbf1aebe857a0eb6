"""The log: one line for each event, on standard output, as text or JSON; all values are escaped."""

import json
import logging
import re
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NoReturn

LONGEST: Final = {"event": 1000, "trace": 6000}
LONGEST_VALUE: Final = 200
"""The number of characters after which an event, a trace or any other value is cut."""
_CONTROL = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_PLAIN = re.compile(r"[\w.:@/*+-]+")
_dumps = json.JSONEncoder(separators=(",", ":"), default=str).encode
_stamp = (0, "")


def as_text(level: str, event: str, fields: dict[str, Any]) -> str:
    """Return `2026-09-29T10:00:00Z Info event name=value`; unusual values are quoted."""
    pairs = "".join([f" {name}={_quoted(name, value)}" for name, value in fields.items()])
    line = f"{_now()} {level} {_cut('event', event)}{pairs}"
    return line if line.isascii() and line.isprintable() else _CONTROL.sub(_escape, line)


def as_json(level: str, event: str, fields: dict[str, Any]) -> str:
    """Return a JSON object with `time`, `level`, `event` and the fields, in ASCII."""
    line = {"time": _now(), "level": level, "event": _cut("event", event)}
    line |= {name: _cut(name, value) for name, value in fields.items()}
    return _dumps(line).replace("\x7f", "\\u007f")


Style = Callable[[str, str, dict[str, Any]], str]
STYLES: Final[dict[str, Style]] = {"text": as_text, "json": as_json}
_style: Style = as_text


class Stdout(logging.Handler):
    """Writes records in the configured style, with the fields of `extra={"fields": …}`.

    It uses the current `sys.stdout`, because tests replace it.
    """

    def emit(self, record: logging.LogRecord) -> None:
        fields = dict(getattr(record, "fields", {}))
        if record.exc_info:
            trace = logging.Formatter().formatException(record.exc_info)
            fields["trace"] = trace[-LONGEST["trace"] :]
        _write(_style(record.levelname.capitalize(), record.getMessage(), fields))


def configure(style: str) -> None:
    """Send the service's log to standard output as `json`, or else as text; may be called again."""
    global _style
    _style = STYLES.get(style, as_text)
    log = logging.getLogger("taskapi")
    log.setLevel(logging.INFO)
    log.propagate = False
    log.handlers = [Stdout()]


def end(problem: str) -> NoReturn:
    """End the process with status 1 because of this problem: on standard error, or as JSON."""
    if _style is as_text:
        sys.exit(problem)
    for line in problem.splitlines():
        _write(as_json("Error", line, {}))
    sys.exit(1)


def request(method: str, path: str, status: int, seconds: float, fields: dict[str, Any]) -> None:
    """Write a request's line directly: a `logging` record would take twice as long."""
    level = "Info" if status < 400 else "Warning"
    took_ms = round(1000 * seconds, 3)
    if _style is as_text:
        _write(as_text(level, f"{method} {path} {status} {took_ms:.1f}ms", fields))
    else:
        line = {"method": method, "path": path, "status": status, "duration_ms": took_ms}
        _write(as_json(level, "request", line | fields))


def _write(line: str) -> None:
    """Write a whole line; a full disk or a closed pipe must not fail a request."""
    with suppress(OSError, ValueError):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def _now() -> str:
    """Return the current time as text, which is formatted only once a second."""
    global _stamp
    now, (second, text) = int(time.time()), _stamp
    if now != second:
        text = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
        _stamp = (now, text)
    return text


def _cut(name: str, value: Any) -> Any:
    if type(value) is not str:
        return value
    if not value.isascii():  # a lone surrogate cannot be encoded
        value = value.encode("utf-8", "backslashreplace").decode()
    return value[: LONGEST.get(name, LONGEST_VALUE)]


def _quoted(name: str, value: Any) -> str:
    if type(value) is not str:
        return "-" if value is None else str(value)
    text: str = _cut(name, value)
    return text if _PLAIN.fullmatch(text) else repr(text)


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()
