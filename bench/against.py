"""python -m bench.against COMMIT [ROUNDS]: compare single requests with those of another commit.

The services of both trees use the same servers at once and are measured in turn, so other load on
the machine affects both. The other tree has the packages of its own requirements.txt. Its code
must be able to read what this tree stores, except for password hashes.
"""

import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from werkzeug.security import generate_password_hash

from bench import seed, table, wrk
from bench.requests import INFORMATION
from bench.sites import ROOT, Site, Stage, environment
from bench.wrk import Operation, Rounds, Tasks

TASKS: Final = 1_000
ROUNDS: Final = 40
"""Single rounds differ by up to 10 %; the median of 40 rounds shows differences of about 3 %."""


def main(commit: str, rounds: str = str(ROUNDS)) -> None:
    """Print, for each operation, the rate of this tree and its ratio to the rate of the commit."""
    wrk.require()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        before = _tree(commit, folder / "before")
        stage = stack.enter_context(Stage(folder))
        stage.start()
        older, site = stage.site(TASKS, "older"), stage.site(TASKS)
        _hash_by_scrypt(older)
        then = stack.enter_context(stage.serve(older, before))
        now = stack.enter_context(stage.serve(site))
        for name, todays in _operations(site, now).items():
            operations = {"before": _operations(older, then)[name], "now": todays}
            done = Rounds(operations).run(name, int(rounds))
            for row in _rows(name, done, f">= 0.97 of {commit}"):
                sys.stdout.write(f"{table.line(row)}\n")


def _hash_by_scrypt(site: Site) -> None:
    """Hash the reader's password as programs did before Argon2id, which they cannot read."""
    user_id, password = site.reader
    secret = generate_password_hash(password, "scrypt:32768:8:1")
    site.store.connection.execute(("SET", site.store.keys.password_hash(user_id), secret))


def _rows(name: str, done: Rounds, target: str) -> list[table.Row]:
    """Return a row for the rate and one for the CPU time of a request."""
    now, rate, cpu = (
        done.median("now"),
        done.ratio("now", "before"),
        done.cpu_ratio("now", "before"),
    )
    used = table.Row(name, now.cpu_us, "us CPU/request")
    return [
        table.Row.of(name, now).with_target(target, rate >= 0.97, rate),
        used.with_target(target, cpu >= 0.97, cpu),
    ]


def _tree(commit: str, folder: Path) -> Path:
    """Return a folder with the files and packages of a commit; raise SystemExit if unknown."""
    folder.mkdir()
    packed = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=False)
    if packed.returncode:
        sys.exit(packed.stderr.decode().strip())
    subprocess.run(["tar", "-x"], cwd=folder, input=packed.stdout, check=True)
    environment(folder / ".venv", folder / "requirements.txt")
    return folder


def _operations(site: Site, url: str) -> dict[str, Operation]:
    user, login = f"/users/{site.population.reader}", site.reader
    own = Tasks(first=site.population.tasks + 1, count=seed.OWN)
    task, title = f"{user}/tasks/{{task}}", f"At {url[-5:]} number {{n}}"
    fields = f'{{"title":"{title}","group_id":1,"information":"{INFORMATION}"}}'
    return {
        "GET /users/{id}/tasks/{tid}": Operation(url, task, login, tasks=own),
        "GET /users/{id}/tasks, 50 tasks": Operation(url, f"{user}/tasks?limit=50", login),
        "PUT /users/{id}/tasks/{tid}": Operation(
            url, task, login, "PUT", f'{{"title":"{title}"}}', own
        ),
        "POST /users/{id}/tasks": Operation(url, f"{user}/tasks", login, "POST", fields),
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
