"""Many installations share one Redis Cluster: each is whole on one node."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from taskapi.errors import Unavailable
from taskapi.store.connection import Store
from taskapi.store.keys import Kind
from tests.faults import nodes
from tests.faults.nodes import Cluster

INSTALLATIONS = 200
KEYS = 20
LEAST_SHARE = 0.25
"""Of three nodes, each should have a third of the installations."""

pytestmark = pytest.mark.long


def test_200_installations_spread_over_three_nodes_and_one_death_stops_only_its_own(
    tmp_path: Path,
) -> None:
    with nodes.cluster(tmp_path) as several:
        stores = {f"team{i}": Store(several.url, f"team{i}") for i in range(INSTALLATIONS)}
        for store in stores.values():
            value = "x" * 1000
            commands = [("SET", f"{store.keys.entity(Kind.TASK, i)}", value) for i in range(KEYS)]
            store.connection.execute(*commands)
        homes = {name: several.number_of(store.keys.meta) for name, store in stores.items()}
        spread = Counter(homes.values())
        assert min(spread.values()) >= LEAST_SHARE * INSTALLATIONS, spread
        for number, node in enumerate(several.primaries):
            assert int(node.ask("DBSIZE")) == KEYS * spread[number]
        memory = _memory(several)
        assert max(memory) < 2 * min(memory), memory
        several.replicas[0].kill()
        several.primaries[0].kill()
        served = {name: _answers(store) for name, store in stores.items()}
        assert served == {name: home != 0 for name, home in homes.items()}


def _memory(several: Cluster) -> list[float]:
    used = [node.ask("INFO", "memory") for node in several.primaries]
    return [
        round(int(text.partition("used_memory_dataset:")[2].split()[0]) / 1e6, 1) for text in used
    ]


def _answers(store: Store) -> bool:
    try:
        return store.connection.execute(("STRLEN", store.keys.entity(Kind.TASK, 1))) == [1000]
    except Unavailable:
        return False
