"""The README's tour works when pasted into a shell, from an empty installation on."""

import re
import subprocess

from tests.conftest import Install
from tests.support import ROOT

TOUR = re.search(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def test_the_tour_works_from_an_empty_installation(install: Install) -> None:
    assert TOUR is not None
    commands = [line for line in re.split(r"\n(?=curl|#|$)", TOUR[1]) if line.startswith("curl")]
    with install(OWNER_PASSWORD="admin1234").serve() as api:
        for command in commands:
            text = command.replace("http://localhost:7890", api.url)
            done = subprocess.run(
                ["bash", "-c", text.replace("curl", "curl -sS --fail-with-body", 1)],
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, (command, done.stdout, done.stderr)
    assert len(commands) == 13
