"""A short run of requests generated from the OpenAPI document finds nothing."""

import re

import pytest

from tests.conftest import Install
from tests.fuzz import __main__ as fuzz

PHASES = ("Examples", "Coverage", "Fuzzing", "Stateful")


@pytest.mark.long
def test_requests_made_from_the_document_find_nothing(install: Install) -> None:
    with install(**fuzz.ENVIRONMENT).serve(app=fuzz.APP) as api:
        fuzz.populate(api)
        done = fuzz.run(api, 1, "--max-examples", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [phase for phase in PHASES if f"✅ {phase}" in done.stdout] == list(PHASES)
    selected, every, tested = re.findall(r"(?:Selected: |/|Tested: )(\d+)", done.stdout)[-3:]
    assert selected == every == tested
