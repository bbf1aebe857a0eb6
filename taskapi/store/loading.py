"""Filling a store anew, closed to everybody while it lasts."""

import itertools
import secrets
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import orjson

from taskapi.errors import NewEpoch
from taskapi.store import codec, meta, scripts
from taskapi.store.codec import Entity
from taskapi.store.indexes import Write, merged, reindex
from taskapi.store.keys import Keys, Kind
from taskapi.store.link import Store
from taskapi.store.meta import State

BATCH: Final = 500
"""Entities loaded in one call, about 5 ms of Redis' time."""
SCAN: Final = 1000


class Loader:
    """One restore of a store. A second one begun meanwhile stops the first, whatever it does."""

    def __init__(self, store: Store) -> None:
        self._store, self._keys = store, store.keys
        self._token, self._batches = secrets.token_hex(8), 0

    def close_doors(self) -> None:
        """From now on nobody reads or writes but this loader."""
        run = self._store.link.server
        meta.write(self._store, state=State.RESTORING, loader=self._token, loaded="0", run=run)

    def clear(self) -> None:
        """Remove all entities, indexes and marks, but what the store knows of itself."""
        spared = {self._keys.meta.encode(), self._keys.sync.encode()}
        cursor = b"0"
        while True:
            scan = ("SCAN", cursor, "MATCH", _literally(self._keys.root) + "*", "COUNT", SCAN)
            ((cursor, found),) = self._store.link.trip(scan)
            if doomed := set(found) - spared:
                self.run([("UNLINK", *(key.decode() for key in doomed))])
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
            while batch := list(itertools.islice(rest, BATCH)):
                count += len(batch)
                each = (commands(self._keys, kind, None, entity) for entity in batch)
                writes = merged(itertools.chain.from_iterable(each))
                sent.result()
                self._batches += 1
                sent = sender.submit(self._send, self._batches, orjson.dumps(writes))
            sent.result()
        return count

    def run(self, commands: list[Write]) -> None:
        """Do commands, all or none; raises NewEpoch when another restore has begun."""
        self._batches += 1
        self._send(self._batches, orjson.dumps(commands))

    def open_doors(self, **fields: str) -> None:
        """Serve again what is in the store now, after setting fields of its description."""
        words = itertools.chain(*fields.items())
        self.run([("HSET", self._keys.meta, *words, "state", State.READY)])

    def _send(self, number: int, commands: bytes) -> None:
        call = ("EVALSHA", scripts.LOAD, 1, self._keys.meta, self._token, number, commands)
        (reply,) = self._store.link.trip(call)
        if reply != b"OK":
            raise NewEpoch


def commands(keys: Keys, kind: Kind, old: Entity | None, new: Entity) -> Iterator[Write]:
    """Yield what makes `old` into `new`, whose version stays what it is."""
    key = keys.entity(kind, new["id"])
    yield ("HSET", key, "json", codec.template(kind, new), "version", str(new["version"]))
    yield from reindex(keys, kind, old, new)
    if kind is Kind.USER:
        yield ("SET", keys.secret(new["id"]), new["secret"])
        if new["administers"]:
            yield ("HSET", key, "administers", orjson.dumps(new["administers"]).decode())


def _literally(text: str) -> str:
    """Return a SCAN pattern that matches this text only."""
    return "".join(f"\\{c}" if c in "*?[]\\^" else c for c in text)
