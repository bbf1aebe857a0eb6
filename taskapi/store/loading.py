"""Filling a store anew, closed to everybody while it lasts."""

import secrets
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Final

import orjson

from taskapi.errors import NewEpoch
from taskapi.store import codec, meta, scripts
from taskapi.store.codec import Entity
from taskapi.store.indexes import Write, reindex
from taskapi.store.keys import Kind
from taskapi.store.link import Store
from taskapi.store.meta import State

BATCH: Final = 500
"""Entities loaded in one call, about 5 ms of Redis' time."""
SCAN: Final = 1000


class Loader:
    """One restore of a store. A second one begun meanwhile stops the first."""

    def __init__(self, store: Store) -> None:
        self._store, self._keys = store, store.keys
        self._token, self._batches = secrets.token_hex(8), 0

    def close_doors(self) -> None:
        """From now on nobody reads or writes but this loader."""
        meta.write(self._store, state=State.RESTORING, loader=self._token, loaded="0")

    def clear(self) -> None:
        """Remove all entities, indexes and marks, but what the store knows of itself."""
        spared = {self._keys.meta.encode(), self._keys.sync.encode()}
        cursor = b"0"
        while True:
            scan = ("SCAN", cursor, "MATCH", _literally(self._keys.root) + "*", "COUNT", SCAN)
            ((cursor, found),) = self._store.link.trip(scan)
            if doomed := set(found) - spared:
                self._store.link.trip(("UNLINK", *doomed))
            if cursor == b"0":
                return

    def load(self, kind: Kind, entities: Iterable[Entity]) -> int:
        """Write entities with all their indexes; users carry `secret` and `administers`.

        Returns:
            How many there were.

        Raises:
            NewEpoch: another restore has begun.
        """
        rest, count = iter(entities), 0
        with ThreadPoolExecutor(1) as sender:  # Redis works on one batch, we on the next
            sent = sender.submit(lambda: None)
            while batch := list(islice(rest, BATCH)):
                count += len(batch)
                commands = [command for entity in batch for command in self._commands(kind, entity)]
                sent.result()
                self._batches += 1
                sent = sender.submit(self._send, self._batches, orjson.dumps(commands))
            sent.result()
        return count

    def open_doors(
        self, *, epoch: int, installation: str, version: int, ids: dict[Kind, int]
    ) -> None:
        """Serve what was loaded, as another epoch."""
        meta.write(
            self._store,
            epoch=str(epoch),
            installation=installation,
            version=str(version),
            synced=str(version),
            state=State.READY,
            **{f"next:{kind}": str(last) for kind, last in ids.items()},
        )
        self._store.link.trip(("HDEL", self._keys.meta, "loader", "loaded"))

    def _send(self, number: int, commands: bytes) -> None:
        call = ("EVALSHA", scripts.LOAD, 1, self._keys.meta, self._token, number, commands)
        (reply,) = self._store.link.trip(call)
        if reply != b"OK":
            raise NewEpoch

    def _commands(self, kind: Kind, entity: Entity) -> Iterator[Write]:
        key = self._keys.entity(kind, entity["id"])
        yield ("HSET", key, "json", codec.template(kind, entity), "version", str(entity["version"]))
        yield from reindex(self._keys, kind, None, entity)
        if kind is Kind.USER:
            yield ("SET", self._keys.secret(entity["id"]), entity["secret"])
            if entity["administers"]:
                yield ("HSET", key, "administers", orjson.dumps(entity["administers"]).decode())


def _literally(text: str) -> str:
    """Return a SCAN pattern that matches this text only."""
    return "".join(f"\\{c}" if c in "*?[]\\^" else c for c in text)
