"""Several Redis servers that know each other: a primary watched by Sentinel, and a cluster."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import redis

from devserver.servers import Valkey, free_port
from tests.support import eventually

PASSWORD, SENTINEL_PASSWORD = "nodes-canary-7719", "sentinel-canary-2205"
SERVICE = "main"
DOWN_MS = 1000
"""How long a node may be silent before the others act."""
SLOTS = 16384


class Node(Valkey):
    """A server whose password all nodes share."""

    def __init__(self, directory: Path, *options: str, password: str = PASSWORD) -> None:
        directory.mkdir(parents=True)
        (directory / "password").write_text(password)
        super().__init__(directory, options=[f"masterauth {password}", *options])

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def ask(self, *words: object) -> Any:
        """Return the reply to a command."""
        options = {"password": self._password, "decode_responses": True, "protocol": 2}
        with redis.Redis(port=self.port, **options) as client:
            client.response_callbacks.clear()
            return client.execute_command(*words)

    def is_running(self) -> bool:
        with suppress(redis.RedisError):
            return bool(self.ask("PING"))
        return False


class ClusterNode(Node):
    """A node of a cluster. The usual port of its bus, 10000 above the other, may be in use."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.bus_port = free_port()
        super().__init__(directory, *options, f"cluster-port {self.bus_port}")


class Sentinel(Node):
    """A Sentinel that watches a primary."""

    def __init__(self, directory: Path, primary: Node) -> None:
        super().__init__(directory, password=SENTINEL_PASSWORD)
        self._primary = primary

    def _command(self) -> list[str]:
        lines = ["bind 127.0.0.1", f"port {self.port}", f"dir {self.directory}"]
        lines += [f"requirepass {self._password}", f"sentinel sentinel-pass {self._password}"]
        lines += [
            f"sentinel monitor {SERVICE} 127.0.0.1 {self._primary.port} 2",
            f"sentinel auth-pass {SERVICE} {PASSWORD}",
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_MS}",
            f"sentinel failover-timeout {SERVICE} 5000",
        ]
        file = self.directory / "sentinel.conf"
        *guard, program, _ = super()._command()
        file.write_text("\n".join(lines))
        return [*guard, program, str(file), "--sentinel"]

    def _wait_until_ready(self, _process: Any) -> None:
        eventually(self.is_running)


class Watched:
    """A primary with two replicas, watched by three Sentinels."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.primary = stack.enter_context(Node(folder / "node1"))
        follow = f"replicaof 127.0.0.1 {self.primary.port}"
        self.nodes = [self.primary]
        self.nodes += [stack.enter_context(Node(folder / f"node{i}", follow)) for i in (2, 3)]
        for replica in self.nodes[1:]:
            eventually(lambda: replica.ask("ROLE")[3] == "connected")  # noqa: B023
        folders = [folder / f"sentinel{i}" for i in (1, 2, 3)]
        self.sentinels = [stack.enter_context(Sentinel(each, self.primary)) for each in folders]
        for sentinel in self.sentinels:
            eventually(lambda: self._knows_all(sentinel))  # noqa: B023

    @property
    def url(self) -> str:
        nodes = ",".join(sentinel.address for sentinel in self.sentinels)
        options = f"service={SERVICE}&sentinel_password={SENTINEL_PASSWORD}"
        return f"redis+sentinel://:{PASSWORD}@{nodes}/0?{options}"

    def elected(self) -> int:
        """Return the port of the primary, as Sentinel says."""
        running = next(sentinel for sentinel in self.sentinels if sentinel.is_running())
        return int(running.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1])

    def _knows_all(self, sentinel: Sentinel) -> bool:
        fields = sentinel.ask("SENTINEL", "MASTER", SERVICE)
        state = dict(zip(fields[::2], fields[1::2], strict=True))
        return (state["num-slaves"], state["num-other-sentinels"]) == ("2", "2")


class Cluster:
    """Three primaries with a replica each; `primaries[i]` and `replicas[i]` have the same slots."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        options = ("cluster-enabled yes", f"cluster-node-timeout {DOWN_MS}")
        options = (*options, "cluster-require-full-coverage no")
        nodes = [stack.enter_context(ClusterNode(folder / f"node{i}", *options)) for i in range(6)]
        self.primaries, self.replicas = nodes[:3], nodes[3:]
        for number, node in enumerate(self.primaries):
            first, end = SLOTS * number // 3, SLOTS * (number + 1) // 3
            node.ask("CLUSTER", "ADDSLOTSRANGE", first, end - 1)
        for node in nodes[1:]:
            node.ask("CLUSTER", "MEET", "127.0.0.1", nodes[0].port, nodes[0].bus_port)
        eventually(lambda: all(_known(node) == len(nodes) for node in nodes), 30)
        for primary, replica in zip(self.primaries, self.replicas, strict=True):
            replica.ask("CLUSTER", "REPLICATE", primary.ask("CLUSTER", "MYID"))
        eventually(lambda: all(node.ask("ROLE")[3] == "connected" for node in self.replicas), 30)
        eventually(lambda: all(_is_ok(node) for node in nodes), 30)

    @property
    def url(self) -> str:
        nodes = ",".join(node.address for node in self.primaries)
        return f"redis+cluster://:{PASSWORD}@{nodes}"

    def number_of(self, key: str) -> int:
        """Return the number of the primary that has a key."""
        slot = int(self.primaries[0].ask("CLUSTER", "KEYSLOT", key))
        return next(i for i in range(3) if slot < SLOTS * (i + 1) // 3)


def _known(node: Node) -> int:
    return len(node.ask("CLUSTER", "NODES").splitlines()) if node.is_running() else 0


def _is_ok(node: Node) -> bool:
    return "cluster_state:ok" in node.ask("CLUSTER", "INFO")


@contextmanager
def watched(folder: Path) -> Iterator[Watched]:
    with ExitStack() as stack:
        yield Watched(folder, stack)


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(folder, stack)


def seconds_until(condition: Any, most: float) -> float:
    """Return how long a condition takes to hold."""
    began = time.monotonic()
    eventually(condition, most)
    return time.monotonic() - began
