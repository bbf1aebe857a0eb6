"""A test run reports error codes that its tests did not provoke."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from taskapi.api.error_codes import CODES
from tests.api.codes import mistakes, unprovoked
from tests.support import ROOT, without_coverage

PLUGIN = """
from tests.api.codes import Collector
def pytest_configure(config):
    config.pluginmanager.register(Collector())
"""
TESTS = """
import pytest
from taskapi.api.error_codes import CODES
from tests.api.codes import note

@pytest.mark.parametrize("code", [*CODES, "{extra}"])
def test_answer(code):
    status = CODES[code].status if code in CODES else 418
    if code != "{missing}":
        note(status, b'{{"success":false,"code":"' + code.encode() + b'"}}')

def test_end():
    {end}
"""
ALL = {(code, remedy.status) for code, remedy in CODES.items()}


def test_codes_that_differ_from_the_table_are_reported() -> None:
    assert mistakes(ALL) == unprovoked(ALL) == []
    assert unprovoked(ALL - {("busy", 503)}) == ["No test provokes the code busy."]
    assert mistakes({("busy", 409), ("made_up", 400)}) == [
        "The code busy came with 409 and has 503 in the table.",
        "The code made_up came with 400 and is in no table.",
    ]


def run(folder: Path, *options: str, extra: str = "busy", missing: str = "", end: str = "") -> str:
    """Run tests that provoke `extra` and all codes except `missing`.

    Return the exit status and the complaints.
    """
    (folder / "conftest.py").write_text(PLUGIN)
    (folder / "test_it.py").write_text(TESTS.format(extra=extra, missing=missing, end=end or "..."))
    env = without_coverage(dict(os.environ))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "xdist", *options],
        cwd=folder,
        env={**env, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    complaints = [line for line in done.stdout.splitlines() if "the code " in line.lower()]
    return " ".join([str(done.returncode), *complaints])


@pytest.mark.parametrize("processes", ["0", "2"])
@pytest.mark.long
def test_a_whole_run_fails_for_a_code_that_no_test_provokes(tmp_path: Path, processes: str) -> None:
    assert run(tmp_path, "-n", processes) == "0"
    outcome = run(tmp_path, "-n", processes, missing="fenced")
    assert outcome == "1 No test provokes the code fenced."


@pytest.mark.parametrize(
    ("end", "options", "status"),
    [
        ("pytest.skip()", (), "0"),
        ("assert False", (), "1"),
        ("assert False", ("-x",), "1"),
        ("", ("-k", "answer"), "0"),
        ("", ("test_it.py",), "0"),
        ("", ("--collect-only",), "0"),
    ],
)
def test_a_partial_run_does_not_report_missing_codes(
    tmp_path: Path, end: str, options: tuple[str, ...], status: str
) -> None:
    assert run(tmp_path, "-n", "0", *options, missing="fenced", end=end) == status


@pytest.mark.parametrize("end", ["", "pytest.skip()", "assert False"])
def test_any_run_fails_for_a_code_that_is_in_no_table(tmp_path: Path, end: str) -> None:
    outcome = run(tmp_path, "test_it.py", extra="made_up", end=end)
    assert outcome == "1 The code made_up came with 418 and is in no table."
