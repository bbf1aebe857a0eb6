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
"""Under this key, a process of the run sends the codes that it has seen."""
SELECTIONS: Final = (
    *("file_or_dir", "keyword", "markexpr", "lf", "stepwise", "collectonly"),
    *("deselect", "ignore", "ignore_glob"),
)
"""Options that deselect tests."""


def note(status: int, body: bytes) -> None:
    """Record the code of an error answer; an answer without the envelope has no code."""
    if status >= 400 and body.startswith(b'{"success":false'):
        PROVOKED.add((json.loads(body)["code"], status))


def mistakes(provoked: Provoked) -> list[str]:
    """Return a sentence for each answer whose code or status differs from the table."""
    tabled = {code: f"has {remedy.status} in the table" for code, remedy in CODES.items()}
    return [
        f"The code {code} came with {status} and {tabled.get(code, 'is in no table')}."
        for code, status in sorted(provoked)
        if code not in CODES or CODES[code].status != status
    ]


def unprovoked(provoked: Provoked) -> list[str]:
    """Return a sentence for each code in the table that was never answered."""
    seen = {code for code, _ in provoked}
    return [f"No test provokes the code {code}." for code in CODES if code not in seen]


class Collector:
    """The hooks of pytest; in a run of several processes, the controller compares."""

    def __init__(self) -> None:
        self._has_skipped = False
        self._complaints: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._has_skipped |= report.skipped

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        PROVOKED.update(getattr(node, "workeroutput", {}).get(HANDED_ON, ()))

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Compare the codes; missing codes fail only a whole run that passed."""
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
