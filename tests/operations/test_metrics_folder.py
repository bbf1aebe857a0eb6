"""A full /dev/shm ends no web process: a process that counts in a mapped file needs its space."""

import os
import subprocess
import sys

import pytest

from taskapi.api.metrics_folder import FREE_BYTES
from tests.operations.nginx import program
from tests.support import ROOT

MOUNT = 'mount -t tmpfs -o size="$1" none /dev/shm && shift && exec "$@"'
COUNT = """
import os, shutil, sys
from taskapi import logs
from taskapi.api import metrics_folder

def fill():
    with open("/dev/shm/others", "wb", buffering=0) as file:
        try:
            while file.write(bytes(2**12)):
                pass
        except OSError:
            pass

logs.configure("text")
metrics_folder.create(os.environ)
folder = os.environ[metrics_folder.VARIABLE]
print(folder)
for word in sys.argv[1:]:
    {"fill": fill, "reserve": lambda: metrics_folder.reserve(os.environ)}[word]()
from taskapi.api import metrics
for rule in range(60):
    for status in (200, 304, 400, 401, 403, 404, 412, 429, 503):
        counter, histogram = metrics._metrics_of((f"/users/<int:user_id>/{rule}", "GET", status))
        counter.inc()
        histogram.observe(0.1)
shutil.rmtree(folder)
"""


def count_in_memory(size: int, *steps: str) -> subprocess.CompletedProcess[str]:
    """Count requests to 60 routes in a /dev/shm of this many bytes, after these steps."""
    command = [sys.executable, "-c", COUNT, *steps]
    return subprocess.run(
        [program("unshare", "util-linux"), "--mount", "sh", "-c", MOUNT, "sh", str(size), *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(autouse=True)
def _can_mount() -> None:
    probe = count_in_memory(2 * FREE_BYTES)
    if probe.returncode and not os.environ.get("CI"):
        pytest.skip(f"nothing can be mounted here: {probe.stderr.strip()}")
    assert probe.returncode == 0, probe.stderr


def test_a_process_counts_on_when_others_fill_the_memory() -> None:
    assert count_in_memory(2 * FREE_BYTES, "fill").returncode != 0, "without space it must end"
    done = count_in_memory(2 * FREE_BYTES, "reserve", "fill")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("/dev/shm/taskapi-metrics-")
    assert len(done.stdout.splitlines()) == 1, "nothing to say"


def test_a_process_that_finds_no_memory_counts_for_itself_and_says_so() -> None:
    done = count_in_memory(2 * FREE_BYTES, "fill", "reserve")
    assert done.returncode == 0, done.stderr
    assert "Warning" in done.stdout
    assert "/metrics will miss requests to this process: /dev/shm/taskapi-metrics-" in done.stdout
    assert "No space left on device" in done.stdout


def test_little_memory_is_left_to_others() -> None:
    done = count_in_memory(FREE_BYTES // 2, "reserve")
    assert done.returncode == 0, done.stderr
    assert "/dev/shm" not in done.stdout
