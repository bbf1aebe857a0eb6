"""No acknowledged write is lost when processes are killed and networks are cut under load."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from tests.faults.chaos import FEWEST, run

SECONDS = 8


@pytest.mark.long
def test_nothing_acknowledged_is_lost_under_fire(tmp_path: Path) -> None:
    figures = run(tmp_path, SECONDS, seed=secrets.randbelow(10**6))
    assert not figures.complaints, figures
    assert figures.ledger.acknowledged > 100, figures
    assert figures.caused.total() >= FEWEST, figures
