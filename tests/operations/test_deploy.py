"""The deployment files: Procfile, systemd units, Dockerfile, compose.yml."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from honcho.environ import parse_procfile

from devserver.servers import free_port
from sync_worker import STOP_SECONDS
from taskapi.doctor.ports import health_at
from tests.client import Api, over_http
from tests.support import OWNER_PASSWORD, ROOT, Installation, eventually

PROCFILE = parse_procfile((ROOT / "Procfile").read_text()).processes
COMPOSE = yaml.safe_load((ROOT / "compose.yml").read_text())
SERVICES = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", "")
STEPS = [tuple(line.split(None, 1)) for line in DOCKERFILE.splitlines() if line[:1].isupper()]
UNITS = {"web": "gunicorn app:app", "sync": "python sync_worker.py"}
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"


@contextmanager
def started(
    command: str, folder: Path, log: Path, env: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    with (
        log.open("w") as output,
        subprocess.Popen(
            shlex.split(command), cwd=folder, env=env, stdout=output, stderr=output
        ) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()


def environment(installation: Installation, **env: str) -> dict[str, str]:
    """Return the environment that a platform sets: PORT instead of SERVER_PORT."""
    given = {"PATH": PATH, "PYTHONUNBUFFERED": "1"} | installation.env | env
    del given["SERVER_PORT"]
    return given


def steps(instruction: str) -> list[str]:
    return [rest for name, rest in STEPS if name == instruction]


def test_the_procfile_has_exactly_the_two_processes() -> None:
    assert PROCFILE == UNITS


def test_honcho_runs_the_procfile_on_the_given_port(
    installation: Installation, tmp_path: Path
) -> None:
    port, log = free_port(), tmp_path / "log"
    command = f"{sys.executable} -m honcho -e {os.devnull} start -p {port}"
    with started(command, ROOT, log, environment(installation)) as honcho:
        eventually(lambda: health_at("127.0.0.1", port) == "healthy", 30)
        eventually(lambda: "Sync worker starts" in log.read_text())
    assert honcho.returncode in (0, 143), log.read_text()
    assert "Sync worker ends" in log.read_text()


def test_the_web_process_listens_on_the_port_of_the_platform(
    installation: Installation, tmp_path: Path
) -> None:
    port = free_port()
    env = environment(installation, PORT=str(port))
    with started(PROCFILE["web"], ROOT, tmp_path / "log", env) as web:
        eventually(lambda: health_at("127.0.0.1", port) == "healthy", 30)
    assert web.returncode == 0


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
@pytest.mark.parametrize("name", UNITS)
def test_systemd_accepts_the_unit_and_finds_little_exposed(name: str, tmp_path: Path) -> None:
    unit = tmp_path / f"taskapi-{name}.service"
    text = (ROOT / "deploy/systemd" / unit.name).read_text()
    unit.write_text(
        text.replace("/opt/taskapi/.venv/bin", str(Path(sys.executable).parent)).replace(
            "/opt/taskapi", str(ROOT)
        )
    )
    for command in (["verify"], ["security", "--offline=true", "--threshold=20"]):
        done = subprocess.run(
            ["systemd-analyze", *command, str(unit)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert unit.name not in done.stderr


@pytest.mark.parametrize("name", UNITS)
def test_the_unit_starts_what_the_procfile_does(name: str) -> None:
    text = (ROOT / f"deploy/systemd/taskapi-{name}.service").read_text()
    settings = dict(re.findall(r"(?m)^(\w+)=(.*)$", text))
    assert settings["ExecStart"] == f"/opt/taskapi/.venv/bin/{PROCFILE[name]}"
    assert int(settings["TimeoutStopSec"]) > {"web": 30, "sync": STOP_SECONDS}[name]
    assert "OWNER_PASSWORD" not in text


@pytest.mark.long
def test_the_image_runs_both_processes_as_an_ordinary_user(
    installation: Installation, tmp_path: Path
) -> None:
    """Run the steps of the Dockerfile in a folder with its own virtual environment."""
    image = tmp_path / "image"
    image.mkdir()
    copy_into(image)
    env = environment(installation, PORT=str(port := free_port()), PATH=install_into(tmp_path))
    command = " ".join(yaml.safe_load(steps("CMD")[0]))
    log = tmp_path / "sync.log"
    with (
        started(command, image, tmp_path / "web.log", env) as web,
        started(SERVICES["sync"]["command"], image, log, env) as sync,
    ):
        eventually(lambda: health_at("127.0.0.1", port) == "healthy", 30)
        eventually(lambda: "Sync worker starts" in log.read_text())
    assert (web.returncode, sync.returncode) == (0, 0)
    assert steps("USER") == ["10001"]  # a number: Kubernetes cannot tell that a name is not root
    assert command == PROCFILE["web"]


def test_a_reload_loads_new_code(installation: Installation, tmp_path: Path) -> None:
    copy_into(tmp_path)
    port = free_port()
    api = Api(over_http(f"127.0.0.1:{port}"), OWNER_PASSWORD)
    env = environment(installation, PORT=str(port), PYTHONDONTWRITEBYTECODE="1")
    with started(PROCFILE["web"], tmp_path, tmp_path / "log", env) as web:
        eventually(lambda: health_at("127.0.0.1", port) == "healthy", 30)
        errors = tmp_path / "taskapi/errors.py"  # the master imports this module too
        for before, words in pairwise(
            ("No valid credentials", "Unknown credentials", "Log in first")
        ):
            errors.write_text(errors.read_text().replace(before, words))
            web.send_signal(signal.SIGHUP)
            eventually(lambda: answers_with(api, words), 30)  # noqa: B023


def answers_with(api: Api, words: str) -> bool:
    """Return whether a refusal has these words; a reload may reset the request."""
    try:
        return words in api("GET", "/users").json["error"]
    except (OSError, HTTPException):
        return False


def copy_into(image: Path) -> None:
    for step in steps("COPY"):
        *sources, target = step.split()
        for source in sources:
            copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
            copy(ROOT / source, image / target)  # type: ignore[operator]


def install_into(folder: Path) -> str:
    """Run the install step; return a PATH that begins with the installed programs."""
    venv.create(folder / "venv", with_pip=True)
    path = f"{folder / 'venv/bin'}:/usr/bin:/bin"
    (install,) = (step for step in steps("RUN") if step.startswith("pip "))
    done = subprocess.run(
        install.replace("--no-cache-dir", ""),
        shell=True,
        cwd=folder / "image",
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return path


def test_what_the_image_copies_is_not_ignored() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if "!" in line}
    assert kept == {source for step in steps("COPY") for source in step.split()[:-1]}


def test_compose_has_the_guides_ports_on_this_machine_only() -> None:
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert ports == {
        "web": ["127.0.0.1:7890:7890"],
        "redis": ["127.0.0.1:6380:6379"],
        "postgres": ["127.0.0.1:5433:5432"],
    }


def test_compose_runs_the_procfile_on_stores_that_keep_every_write() -> None:
    assert {name: SERVICES[name]["command"] for name in PROCFILE} == PROCFILE
    redis = SERVICES["redis"]["command"]
    for option in ("--appendonly yes", "--appendfsync always", "--maxmemory-policy noeviction"):
        assert option in redis
    used = {volume.split(":")[0] for each in SERVICES.values() for volume in each["volumes"]}
    assert used == set(COMPOSE["volumes"])


def test_compose_starts_the_processes_after_healthy_stores() -> None:
    for name in ("web", "redis", "postgres"):
        assert SERVICES[name]["healthcheck"]["test"][0].startswith("CMD")
    for name in PROCFILE:
        assert set(SERVICES[name]["depends_on"]) == {"redis", "postgres"}


@pytest.mark.parametrize("name", ["OWNER_PASSWORD", "POSTGRES_PASSWORD"])
def test_compose_does_not_start_without_a_secret(name: str) -> None:
    values = [value for each in SERVICES.values() if (value := variables(each).get(name))]
    assert values
    assert all(value.startswith(f"${{{name}:?") for value in values)


def test_the_health_check_of_compose_fails_when_the_service_is_down(
    installation: Installation,
) -> None:
    _, _, *check = SERVICES["web"]["healthcheck"]["test"]
    with installation.serve() as api:
        address = api.url.removeprefix("http://")
        command = [sys.executable, *(part.replace("127.0.0.1:7890", address) for part in check)]
        assert subprocess.run(command, check=False).returncode == 0
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0


def variables(service: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = service.get("environment", {})
    return found
