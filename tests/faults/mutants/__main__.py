"""Remove safeguards, one at a time, and check that the test for each one fails.

`python -m tests.faults.mutants` works on copies and prints the score; it exits with 1
if a test does not fail.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.faults.mutants import (
    Mutant,
    api,
    clocks,
    damage,
    deletes,
    heavy,
    log_ins,
    postgres,
    questions,
    redis_server,
    searches,
    sizes,
    store,
    sync,
    tokens,
)

ROOT = Path(__file__).resolve().parents[3]
LEFT_OUT = shutil.ignore_patterns(".*")
GROUPS = (
    *(api, clocks, damage, deletes, heavy, log_ins, postgres),
    *(questions, redis_server, searches, sizes, store, sync, tokens),
)
MUTANTS = [mutant for group in GROUPS for mutant in group.MUTANTS]
AT_ONCE = 2
LONGEST_SECONDS = 300
SOME_FAILED = 1  # pytest's exit code for failed tests; other codes are errors of the run


def main() -> int:
    """Print how many mutants were noticed; return the exit code."""
    if gone := [mutant for mutant in MUTANTS if _source(ROOT, mutant).count(mutant.text) != 1]:
        return _say("\n".join(f"Must be in {m.file} exactly once: {m.text!r}" for m in gone), 1)
    tests = sorted({mutant.test for mutant in MUTANTS})
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(AT_ONCE) as pool:
        sound = _run(_copy(Path(folder) / "sound"), tests, processes=4)
        if sound.returncode != 0:
            return _say(f"The tests fail without a mutant: mend that first.\n{sound.stdout}", 1)
        copies = [Path(folder) / str(number) for number in range(len(MUTANTS))]
        noticed = sum(pool.map(_is_noticed, MUTANTS, copies))
    score = 100 * noticed // len(MUTANTS)
    return _say(f"{noticed} of {len(MUTANTS)} noticed: {score} %", noticed < len(MUTANTS))


def _is_noticed(mutant: Mutant, copy: Path) -> bool:
    """Return whether the test fails without the safeguard."""
    mutated = _source(_copy(copy), mutant).replace(mutant.text, mutant.replacement)
    (copy / mutant.file).write_text(mutated)
    is_noticed = _run(copy, [mutant.test]).returncode == SOME_FAILED
    shutil.rmtree(copy)
    _say(f"{'noticed ' if is_noticed else 'SURVIVED'} {mutant.safeguard}: {mutant.test}")
    return is_noticed


def _source(folder: Path, mutant: Mutant) -> str:
    return (folder / mutant.file).read_text()


def _copy(folder: Path) -> Path:
    shutil.copytree(ROOT, folder, ignore=LEFT_OUT)
    return folder


def _run(folder: Path, tests: list[str], processes: int = 0) -> subprocess.CompletedProcess[str]:
    options = ["-n", str(processes), "-x", "-q", "-p", "no:cacheprovider", "--show-capture=no"]
    command = [sys.executable, "-m", "pytest", *options, *(f"tests/{test}" for test in tests)]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=LONGEST_SECONDS, check=False
    )


def _say(text: str, code: int = 0) -> int:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
    return code


if __name__ == "__main__":
    sys.exit(main())
