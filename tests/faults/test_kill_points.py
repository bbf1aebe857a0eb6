"""kill -9 after every single step; the next start and pass repair everything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import count

import pytest

from taskapi.store import server_start
from tests.api.factories import everything, new_group, new_task, new_user, ok, path_of
from tests.client import Api
from tests.faults.checks import settle
from tests.faults.steps import STORES
from tests.faults.victim import Victim
from tests.stores import connect, root
from tests.support import Installation

MANY = 10_050
SMALL_CHUNKS = {"store__changes__CHUNK": 4}
SMALL_BATCHES = {"store__loading__BATCH": 2, "store__server_start__SETTLE_SECONDS": 0}

pytestmark = pytest.mark.long


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check of a start waits for no other process: there is none."""
    monkeypatch.setattr(server_start, "SETTLE_SECONDS", 0.0)


@pytest.fixture(scope="module")
def victim() -> Iterator[Victim]:
    with closing(Victim()) as victim:
        yield victim


_fresh = count()


class World:
    """A few users and groups that change in every round; their number stays the same."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._home = new_group(api)["id"]
        self._admin = new_user(api, self._home, role="group_admin")["id"]
        self._user = new_user(api, self._home)["id"]
        self._group = new_group(api, self._admin)["id"]

    def change_little(self) -> None:
        """Make a change that a pass copies in few steps."""
        ok(self._api("PUT", f"/users/{self._user}", by="owner", json={"number": str(next(_fresh))}))

    def change(self) -> None:
        """Make every kind of change: create, update, move and delete."""
        api = self._api
        ok(api("DELETE", f"/groups/{self._group}", by="owner"))
        self._group = new_group(api, self._admin)["id"]
        ok(api("POST", f"/groups/{self._group}/users", by="owner", json={"user_id": self._user}))
        kept, gone, moved = (new_task(api, self._user, self._group) for _ in range(3))
        ok(api("DELETE", path_of(gone), by="owner"))
        ok(api("PUT", path_of(moved), by="owner", json={"group_id": self._home}))
        ok(api("PUT", f"{path_of(kept)}/done", by="owner"))
        ok(api("PUT", f"/users/{self._user}", by="owner", json={"number": str(kept["id"])}))
        for task in ok(api("GET", f"/groups/{self._home}/tasks", by="owner"))["tasks"][:-2]:
            ok(api("DELETE", path_of(task), by="owner"))


def everywhere(
    victim: Victim, installation: Installation, api: Api, act: str, **limits: int
) -> Iterator[str]:
    """Kill the victim after each step in turn and yield the step, until the victim is done."""
    world = World(api)
    for store in STORES:
        for step in count(1):
            world.change() if act == "pass" else world.change_little()
            seen = everything(api)
            where = victim(installation, step, act, store=store, **limits)
            yield where
            assert everything(api) == seen, f"after {where}"
            if where == "done":
                break


def expire_pin(installation: Installation) -> None:
    """Let the pin of a dead backup expire."""
    with connect(installation) as connection:
        connection.delete(f"{root(installation)}pin")


def check_named(steps: list[str], *names: str) -> None:
    """Check that the important steps are among those that were reached."""
    assert steps[-1] == "done", steps
    missing = [name for name in names if not any(name in step for step in steps)]
    assert not missing, steps


def test_a_pass_may_die_anywhere(victim: Victim, installation: Installation, api: Api) -> None:
    steps = []
    for where in everywhere(victim, installation, api, "pass", **SMALL_CHUNKS):
        steps.append(where)
        settle(installation)
    check_named(steps, "pg_advisory_xact_lock", "read_chunk", "COPY new_users", "COPY new_tasks")
    check_named(steps, "INTO users", "INTO groups", "INTO tasks", "DELETE FROM tasks")
    check_named(steps, "SET CONSTRAINTS", "UPDATE sync_state", "COMMIT", "acknowledge")


def test_a_restore_may_die_anywhere(victim: Victim, installation: Installation, api: Api) -> None:
    steps = []
    for where in everywhere(victim, installation, api, "restore", **SMALL_BATCHES):
        steps.append(where)
        installation.prepare()
        expire_pin(installation)
        settle(installation)
    check_named(steps, "COMMIT", "full SET", "SELECT id, title", "SET epoch", "SCAN", "load")


def test_a_start_that_restores_may_die_anywhere(
    victim: Victim, installation: Installation, api: Api
) -> None:
    World(api).change()
    installation.sync()
    seen, steps = everything(api), []
    for store in STORES:
        for step in count(1):
            with connect(installation) as connection:
                connection.unlink(*connection.scan_iter(root(installation) + "*"))
            steps.append(victim(installation, step, "start", store=store, **SMALL_BATCHES))
            is_open = api("GET", "/users", by="owner").status != 503
            assert not is_open or everything(api) == seen
            installation.prepare()
            assert everything(api) == seen
            settle(installation)
            if steps[-1] == "done":
                break
    check_named(steps, "SET epoch", "load")


def test_a_backup_may_die_anywhere(victim: Victim, installation: Installation, api: Api) -> None:
    steps = []
    for where in everywhere(victim, installation, api, "backup", **SMALL_CHUNKS):
        steps.append(where)
        expire_pin(installation)
        ok(api("POST", "/admin/sync?action=backup", by="owner"))
        settle(installation)
        assert not list(installation.settings.backup_dir.glob("*.partial"))
    check_named(steps, "full SET", "read_chunk", "DEL pin")
