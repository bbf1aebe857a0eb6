"""The error codes that the tests provoked, compared with the table after a whole run."""

from __future__ import annotations

import json
from collections.abc import Set
from typing import Any, Final

import pytest

from taskapi.api.error_codes import CODES

Provoked = Set[tuple[str, int]]
PROVOKED: Final[set[tuple[str, int]]] = set()
"""Every code with the status that it came with."""
HANDED_ON: Final = "codes"
"""Under which a process of the run hands on what it has seen."""
SELECTIONS: Final = (
    *("file_or_dir", "keyword", "markexpr", "lf", "stepwise", "collectonly"),
    *("deselect", "ignore", "ignore_glob"),
)
"""Options that leave tests out."""


def note(status: int, body: bytes) -> None:
    """Remember the code of an error answer; what is no envelope has none."""
    if status >= 400 and body.startswith(b'{"success":false'):
        PROVOKED.add((json.loads(body)["code"], status))


def mistakes(provoked: Provoked) -> list[str]:
    """Sentences on what was answered and is otherwise in the table, or not at all."""
    tabled = {code: f"has {remedy.status} in the table" for code, remedy in CODES.items()}
    return [
        f"The code {code} came with {status} and {tabled.get(code, 'is in no table')}."
        for code, status in sorted(provoked)
        if code not in CODES or CODES[code].status != status
    ]


def unprovoked(provoked: Provoked) -> list[str]:
    """Sentences on what is in the table and was never answered."""
    seen = {code for code, _ in provoked}
    return [f"No test provokes the code {code}." for code in CODES if code not in seen]


class Collector:
    """The hooks of pytest; of several processes that share a run, the first one judges."""

    def __init__(self) -> None:
        self._has_skipped = False
        self._complaints: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._has_skipped |= report.skipped

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        PROVOKED.update(getattr(node, "workeroutput", {}).get(HANDED_ON, ()))

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Judge what was provoked; what was not is held only against a whole run that passed."""
        options, output = session.config.option, getattr(session.config, "workeroutput", None)
        if output is not None:
            output[HANDED_ON] = sorted(PROVOKED)
            return
        is_whole = not self._has_skipped and not any(vars(options).get(it) for it in SELECTIONS)
        self._complaints = mistakes(PROVOKED)
        if is_whole and exitstatus == pytest.ExitCode.OK:
            self._complaints += unprovoked(PROVOKED)
        if self._complaints and exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._complaints:
            terminalreporter.section("error codes", red=True)
        for sentence in self._complaints:
            terminalreporter.line(sentence, red=True)
