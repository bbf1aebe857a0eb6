"""The README's tour works when it is pasted into a shell."""

import re
import subprocess

from tests.conftest import Install
from tests.support import ROOT

TOUR = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[0]
COMMANDS = [line for line in re.split(r"\n(?=curl|#|$)", TOUR) if line.startswith("curl")]


def curl(command: str, url: str, *options: str) -> str:
    """Send a command of the tour to `url`; return its output; fail if curl fails."""
    words = " ".join(["curl -sS --fail-with-body", *options])
    text = command.replace("http://localhost:7890", url).replace("curl", words, 1)
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


def test_the_tour_works_from_an_empty_installation(install: Install) -> None:
    with install(OWNER_PASSWORD="admin1234").serve(workers=1) as api:
        for command in COMMANDS:
            curl(command, api.url)
    assert len(COMMANDS) == 14
