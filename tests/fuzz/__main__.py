"""Sends requests generated from the OpenAPI document: `python -m tests.fuzz MINUTES SEED`."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from devserver.servers import Postgres, Valkey
from tests.api.factories import new_admin, new_group, new_task, new_user
from tests.client import Api
from tests.support import OWNER_PASSWORD, ROOT, Installation

APP = "tests.fuzz.app:app"
ENVIRONMENT = {"TRUSTED_PROXIES": "1"}
"""The environment of an installation for fuzzing: see hooks.before_call."""


def populate(api: Api) -> None:
    """Create entities with the first ids, so that not every request gets 404."""
    new_admin(api)
    for _ in range(4):
        new_group(api, 2)
        user = new_user(api, 1)
        new_task(api, user["id"], 1)


def run(api: Api, seed: int, *options: str) -> subprocess.CompletedProcess[str]:
    """Run Schemathesis with all its checks against a service; fail if it reports a problem."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", "tests/fuzz/fuzz.toml"),
            *("run", f"{api.url}/openapi.json", "--checks", "all"),
            *("--seed", str(seed), "--suppress-health-check", "all", "--no-color"),
            *("--generation-database", "none", *options),
        ],
        cwd=ROOT,
        env={**os.environ, "OWNER_PASSWORD": OWNER_PASSWORD},
        capture_output=True,
        text=True,
        check=False,
    )


def main(minutes: str = "10", seed: str = "") -> int:
    """Fuzz private servers for `minutes`; the printed seed repeats the run."""
    number = int(seed or random.randrange(1 << 32))
    print(f"Fuzzing for {minutes} minutes, seed {number}.", flush=True)  # noqa: T201
    with tempfile.TemporaryDirectory() as name:
        folders = [Path(name) / part for part in ("valkey", "postgres", "installation")]
        for folder in folders:
            folder.mkdir()
        with Valkey(folders[0]) as valkey, Postgres(folders[1]) as postgres:
            made = Installation(folders[2], valkey.url, postgres.url, **ENVIRONMENT).prepare()
            with made.serve(app=APP) as api:
                populate(api)
                seconds = str(max(1, int(60 * float(minutes))))
                done = run(api, number, "--max-time", seconds, "--continue-on-failure")
    print(done.stdout + done.stderr)  # noqa: T201
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
