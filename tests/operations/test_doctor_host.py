"""The doctor checks this machine: secrets, the port, the backup folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from devserver.servers import Valkey
from taskapi.config import load
from taskapi.doctor import ports
from tests.conftest import Install
from tests.operations.test_doctor import examine, seen
from tests.support import ROOT, Installation

FULL_DISK = """
import json, resource, sys
from taskapi.config import load
from taskapi.doctor import host_checks
resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
print(*host_checks.examine(load(json.load(sys.stdin))), sep="\\n")
"""


def test_default_passwords_are_reported(installation: Installation) -> None:
    assert seen(installation.settings, "owner password")[0] == "ok"
    assert seen(installation.settings, "postgresql password")[0] == "ok"
    parts = {"DATABASE_URL": "", "DB_PORT": "1", "OWNER_PASSWORD": ""}
    near = load(installation.env | parts)
    assert seen(near, "owner password")[0] == "warn"
    assert seen(near, "postgresql password")[0] == "warn"
    far = load(installation.env | parts | {"DB_HOST": "0.0.0.0"})
    assert seen(far, "postgresql password")[0] == "fail"


@pytest.mark.parametrize(
    ("mode", "status"), [(0o600, "ok"), (0o440, "ok"), (0o644, "warn"), (0o620, "fail")]
)
@pytest.mark.parametrize("name", ["owner", ".env"])
def test_secret_files_open_to_other_users_are_reported(
    installation: Installation,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    mode: int,
    status: str,
    name: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    path.write_text("canary-file-1")
    path.chmod(mode)
    env = installation.env | {"OWNER_PASSWORD": "", "OWNER_PASSWORD_FILE": str(path)}
    settings = load(env) if name == "owner" else installation.settings
    found_status, detail = seen(settings, "secret file")
    assert (found_status, detail.endswith(f"{name} has mode {mode:04o}")) == (status, True)


def test_a_port_in_use_by_another_program_fails(
    install: Install, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports, "WAIT_SECONDS", 0)
    installation = install()
    assert seen(installation.settings, "port")[0] == "ok"
    taken = load(installation.env | {"SERVER_PORT": str(valkey.port)})
    assert seen(taken, "port")[0] == "fail"
    assert "set SERVER_PORT" in examine(taken)["port"].remedy


@pytest.mark.parametrize(
    ("variable", "url", "status", "health"),
    [
        ("REDIS_URL", "redis://127.0.0.1:1/0", "fail", "unhealthy"),
        ("DATABASE_URL", "postgresql://127.0.0.1:1/x", "warn", "degraded"),
    ],
)
def test_a_running_service_that_is_not_healthy_is_reported(
    installation: Installation, variable: str, url: str, status: str, health: str
) -> None:
    installation.env[variable] = url
    with installation.serve(workers=1) as api:
        settings = load(installation.env | {"SERVER_PORT": str(urlsplit(api.url).port)})
        assert seen(settings, "port") == (status, f"a taskapi at {api.url[7:]} is {health}")


def test_a_backup_folder_that_cannot_be_made_fails(
    installation: Installation, tmp_path: Path
) -> None:
    assert seen(installation.settings, "backups")[0] == "ok"
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "backups"):
        settings = load(installation.env | {"BACKUP_DIR": str(folder)})
        assert seen(settings, "backups")[0] == "fail"


def test_a_backup_folder_on_a_full_disk_fails(installation: Installation) -> None:
    folder = installation.settings.backup_dir
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK], cwd=ROOT, check=True,
        input=json.dumps(installation.env), capture_output=True, text=True,
    )  # fmt: skip
    assert f"fail  backups: {folder} cannot be written: File too large" in done.stdout
    assert seen(installation.settings, "backups")[0] == "ok"
    assert not [*folder.iterdir()]
