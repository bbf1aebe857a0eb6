"""Runs reloads.py in a network namespace of its own, with the kernel setting of deploy/sysctl.d."""

import os
import re
import subprocess
import sys

import pytest
import yaml

from tests.operations.nginx import program
from tests.support import ROOT

SYSCTL = (ROOT / "deploy/sysctl.d/60-taskapi.conf").read_text()
SETTINGS = re.findall(r"(?m)^(\S+) = (\S+)$", SYSCTL)
SET_UP = " && ".join(
    ["ip link set lo up"]
    + [f"echo {value} > /proc/sys/{name.replace('.', '/')}" for name, value in SETTINGS]
)


def in_namespace(*command: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a network namespace with its own loopback and kernel settings."""
    program("ip", "iproute2")
    script = f'{SET_UP} && exec "$@"'
    return subprocess.run(
        [program("unshare", "util-linux"), "--net", "sh", "-c", script, "sh", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_compose_sets_what_the_sysctl_file_sets() -> None:
    compose = yaml.safe_load((ROOT / "compose.yml").read_text())
    assert compose["services"]["web"]["sysctls"] == {name: int(value) for name, value in SETTINGS}


@pytest.mark.long
def test_reloads_reset_nothing_with_the_kernel_setting_that_we_ship() -> None:
    probe = in_namespace("true")
    if probe.returncode and not os.environ.get("CI"):
        pytest.skip(f"no network namespace can be made here: {probe.stderr.strip()}")
    assert probe.returncode == 0, probe.stderr
    pytest_ = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"]
    done = in_namespace(*pytest_, "tests/operations/reloads.py")
    assert done.returncode == 0, done.stdout + done.stderr
