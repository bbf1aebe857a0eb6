"""Requests made from the OpenAPI document find nothing; `make fuzz` asks for longer."""

from tests import fuzz
from tests.conftest import Install


def test_requests_made_from_the_document_find_nothing(install: Install) -> None:
    with install(**fuzz.PLACES).serve() as api:
        fuzz.populate(api)
        done = fuzz.run(api, 1, "--max-examples", "5", "--max-time", "25")
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
