"""A client of openapi-typescript and openapi-fetch is compiled, and tells a whole story."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.api.factories import PASSWORD, ok
from tests.operations.nginx import program
from tests.support import OWNER_PASSWORD, ROOT, Installation

PACKAGES = ("openapi-typescript@7", "openapi-fetch@0.17", "typescript@5", "@types/node@20")
COMPILER = ("--strict", "--target", "es2022", "--module", "nodenext", "--skipLibCheck")


@pytest.mark.long
def test_a_typescript_client_tells_a_whole_story(
    installation: Installation, tmp_path: Path
) -> None:
    npm = program("npm", "npm")
    (tmp_path / "package.json").write_text('{"type": "module", "private": true}')
    run(tmp_path, npm, "install", "--silent", "--no-audit", "--no-fund", *PACKAGES)
    shutil.copy(ROOT / "tests/api/story.ts", tmp_path)
    with installation.serve(workers=1) as api:
        document = api("GET", "/openapi.json").json
        (tmp_path / "openapi.json").write_text(json.dumps(document))
        run(tmp_path, "npx", "openapi-typescript", "openapi.json", "-o", "taskapi.d.ts")
        run(tmp_path, "npx", "tsc", *COMPILER, "story.ts")
        told = run(tmp_path, "node", "story.js", api.url, OWNER_PASSWORD, PASSWORD)
        assert told.strip().endswith("the end")
        assert ok(api("GET", "/tasks/filter", by="owner"))["count"] == 2


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
