"""Log lines: one an event, on standard output, whatever characters its values hold."""

import logging
import re
import sys
import time
from typing import TextIO

_CONTROL = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class OneLine(logging.Formatter):
    """`2025-09-29T10:00:00Z Info message`; line ends, of traces too, are escaped."""

    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(level)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")

    def format(self, record: logging.LogRecord) -> str:
        record.level = record.levelname.capitalize()
        return _CONTROL.sub(_escape, super().format(record))


class Stdout(logging.StreamHandler[TextIO]):
    """Writes to what standard output is at the time of the event."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stdout


def configure() -> None:
    """Send the service's log to standard output; doing it twice does no harm."""
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False  # unused, slow
    log = logging.getLogger("taskapi")
    log.setLevel(logging.INFO)
    log.propagate = False
    handler = Stdout()
    handler.setFormatter(OneLine())
    log.handlers = [handler]


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
