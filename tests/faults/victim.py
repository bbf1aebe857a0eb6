"""A process whose children kill themselves after a given step: `python -m tests.faults.victim`.

It reads orders as lines of JSON and answers each with a line: the step after which the child died,
"done" if the child ended before that step, or an error.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from importlib import import_module
from threading import Lock
from typing import Any

from taskapi import create_app
from taskapi.config import Settings, load
from taskapi.sync import backup, bootstrap, restore, sync_pass
from tests.client import Api, in_process
from tests.faults.steps import watch
from tests.support import ROOT, Installation

ANSWERS = 100  # a file descriptor that nothing else has


class Victim:
    """The test's handle of the process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.victim"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(
        self,
        installation: Installation,
        step: int,
        act: str,
        *words: str,
        store: str = "",
        **limits: int,
    ) -> str:
        """Run `act` in a child that dies after step number `step` of one store or of both.

        `limits` are constants to lower.
        """
        assert self._process.stdin
        assert self._process.stdout
        order = {"env": installation.env, "step": step, "store": store, "limits": limits}
        order["act"] = [act, *words]
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        self._process.communicate()


def main() -> None:
    os.dup2(1, ANSWERS)
    os.dup2(2, 1)  # log lines of the product must not be read as answers
    for line in sys.stdin:
        if not (child := os.fork()):
            os._exit(_live(json.loads(line)))
        os.waitpid(child, 0)


def _live(order: dict[str, Any]) -> int:
    left, lock = order["step"], Lock()

    def after(name: str) -> None:
        nonlocal left
        if name.startswith(order["store"]):
            with lock:  # a pass works in two threads
                left -= 1
                if left == 0:
                    _say(name)
                    os.kill(os.getpid(), signal.SIGKILL)

    for place, value in order["limits"].items():
        module, _, name = place.rpartition("__")
        setattr(import_module(f"taskapi.{module.replace('__', '.')}"), name, value)
    watch(setattr, after)
    try:
        _act(load(order["env"]), *order["act"])
    except Exception as error:
        _say(f"{type(error).__name__}: {error}")
        return 1
    _say("done")
    return 0


def _act(settings: Settings, act: str, *words: str) -> None:
    match act:
        case "pass":
            sync_pass.run(settings, wait_seconds=10)
        case "start":
            bootstrap.prepare(settings)
        case "restore":
            restore.force(settings, sync_pass.open_store(settings))
        case "backup":
            backup.force(settings, sync_pass.open_store(settings))
        case method:
            api = Api(in_process(create_app(settings)), settings.owner_password)
            answer = api(method, *words, by="owner")
            assert answer.status < 300, answer.body


def _say(text: str) -> None:
    os.write(ANSWERS, f"{text}\n".encode())


if __name__ == "__main__":
    main()
