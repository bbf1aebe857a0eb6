"""The primary moves, by Sentinel or within a Redis Cluster: no restart, no id twice."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from devserver.servers import Postgres, Valkey
from taskapi.errors import StoreUnreachable
from taskapi.store.connection import Store
from taskapi.sync.start_check import LOOK_SECONDS, StartWatch
from tests.api.factories import login, new_group, new_task, new_user, ok
from tests.client import Api, Caller
from tests.faults import nodes
from tests.faults.nodes import Cluster, Node, Watched
from tests.support import Installation, eventually

FAIL_OVER_SECONDS = 15
AFTER_SECONDS = 2.0
LAG_SECONDS = 1.0
"""Replication is asynchronous: changes acknowledged this long before a crash may be lost."""


class Creator(threading.Thread):
    """Creates tasks all the time. `made` has the time of each acknowledged one, by id."""

    def __init__(self, api: Api, by: Caller, path: str, group_id: int) -> None:
        super().__init__(daemon=True)
        self._api, self._by, self._path, self._group_id = api, by, path, group_id
        self.made: dict[int, float] = {}
        self.twice: list[int] = []
        self.stop = threading.Event()

    def run(self) -> None:
        while not self.stop.wait(0.01):
            body = {"title": f"Task {time.monotonic()}", "group_id": self._group_id}
            answer = self._api("POST", self._path, by=self._by, json=body)
            if answer.status == 201:
                task_id = answer.data["task"]["id"]
                self.twice += [task_id] if task_id in self.made else []
                self.made[task_id] = time.monotonic()
            else:
                assert answer.status == 503, answer.body

    def longest_pause(self) -> float:
        times = sorted(self.made.values())
        return max(later - earlier for earlier, later in pairwise(times))


class Site:
    """An installation whose Redis is one of several nodes, and what its primary is called."""

    def __init__(
        self,
        installation: Installation,
        primary: Node,
        elected: Callable[[], int],
        hand_over: Callable[[], object],
    ) -> None:
        self.installation, self.primary = installation, primary
        self.elected, self.hand_over = elected, hand_over


@pytest.fixture(params=["sentinel", "cluster"])
def site(request: Any, tmp_path: Path, postgres: Postgres) -> Iterator[Site]:
    with ExitStack() as stack:
        if request.param == "sentinel":
            several: Watched | Cluster = stack.enter_context(nodes.watched(tmp_path / "nodes"))
        else:
            several = stack.enter_context(nodes.cluster(tmp_path / "nodes"))
        installation = stack.enter_context(
            closing(Installation(tmp_path, several.url, postgres.url))
        ).prepare()
        yield _site(installation, several)


def _site(installation: Installation, several: Watched | Cluster) -> Site:
    if isinstance(several, Watched):
        sentinel = several.sentinels[0]
        command = ("SENTINEL", "FAILOVER", nodes.SERVICE)
        return Site(installation, several.primary, several.elected, lambda: sentinel.ask(*command))
    number = several.number_of(f"{{{installation.settings.key_prefix}}}:meta")
    primary, replica = several.primaries[number], several.replicas[number]

    def elected() -> int:
        return replica.port if replica.ask("ROLE")[0] == "master" else primary.port

    return Site(installation, primary, elected, lambda: replica.ask("CLUSTER", "FAILOVER"))


def kill(site: Site) -> None:
    site.primary.kill()


def freeze(site: Site) -> None:
    """Stop the primary; when it goes on, another one has been elected."""
    process = site.primary._process
    assert process
    process.send_signal(signal.SIGSTOP)
    try:
        eventually(lambda: site.elected() != site.primary.port, FAIL_OVER_SECONDS)
    finally:
        process.send_signal(signal.SIGCONT)


def hand_over(site: Site) -> None:
    """Let a replica take over while the primary serves."""
    site.hand_over()


@pytest.mark.long
@pytest.mark.parametrize("fault", [kill, freeze, hand_over])
def test_a_fail_over_under_load_needs_no_restart(site: Site, fault: Callable[[Site], None]) -> None:
    with site.installation.serve() as api, site.installation.worker():
        group = new_group(api)["id"]
        user = new_user(api, group)
        creators = [
            Creator(api, login(user), f"/users/{user['id']}/tasks", group) for _ in range(2)
        ]
        for creator in creators:
            creator.start()
        eventually(lambda: all(len(creator.made) > 50 for creator in creators))
        began = time.monotonic()
        fault(site)
        ended = time.monotonic()
        eventually(lambda: site.elected() != site.primary.port, FAIL_OVER_SECONDS)
        for creator in creators:
            eventually(lambda: _goes_on(creator), FAIL_OVER_SECONDS)  # noqa: B023
            creator.stop.set()
        for creator in creators:
            creator.join()
            assert creator.longest_pause() <= FAIL_OVER_SECONDS
        made = {task_id: at for creator in creators for task_id, at in creator.made.items()}
        assert len(made) == sum(len(creator.made) for creator in creators)
        assert not any(creator.twice for creator in creators)
        kept = {task["id"] for task in ok(api("GET", "/tasks/filter", by="owner"))["tasks"]}
        lost = {task_id: at for task_id, at in made.items() if task_id not in kept}
        last = ended + LOOK_SECONDS + LAG_SECONDS  # until each process has asked again
        assert all(began - LAG_SECONDS < at < last for at in lost.values()), lost
        if not site.primary.is_running():
            site.primary.start()
        eventually(lambda: site.primary.ask("ROLE")[0] == "slave", FAIL_OVER_SECONDS)
        eventually(lambda: api("GET", "/health").json["status"] == "healthy", FAIL_OVER_SECONDS)
        report = ok(api("POST", "/admin/sync", by="owner"))
        assert report["message"] == "PostgreSQL has every change made so far."
        assert max(kept) < new_task(api, user["id"], group)["id"]


def _goes_on(creator: Creator) -> bool:
    """Return whether changes have been acknowledged for a while after the last pause."""
    return creator.is_alive() and max(creator.made.values()) > time.monotonic() - 0.5


def test_a_server_that_is_not_the_primary_gets_no_request(tmp_path: Path, valkey: Valkey) -> None:
    password = f"masterauth {urlsplit(valkey.url).password}"
    replica = Valkey(tmp_path / "replica", options=[f"replicaof 127.0.0.1 {valkey.port}", password])
    with replica:
        store = Store(replica.url, "team")
        assert store.connection.execute(("PING",)) == [b"PONG"]
        store = Store(replica.url, "team")
        store.primary._find = lambda: ("127.0.0.1", replica.port)
        with pytest.raises(StoreUnreachable):
            store.connection.execute(("PING",))


def test_connections_are_opened_again_when_the_primary_has_moved(
    installation: Installation,
) -> None:
    settings = installation.settings
    store = Store(settings.redis_url, settings.key_prefix)
    store.connection.execute(("PING",))
    watch, generation = StartWatch(settings, store), store.generation
    watch._look()
    assert store.generation == generation
    store.primary._find = lambda: ("127.0.0.1", 1)
    watch._look()
    assert store.generation == generation + 1
