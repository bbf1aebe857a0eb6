"""Filling a store anew, closed to everybody while it lasts."""

import itertools
import secrets
from collections.abc import Iterable, Iterator
from typing import Final

import orjson

from taskapi.errors import NewEpoch
from taskapi.store import codec, meta, scripts
from taskapi.store.codec import Entity
from taskapi.store.connection import Store
from taskapi.store.indexes import Write, filed, merged, reindex
from taskapi.store.keys import Keys, Kind
from taskapi.store.meta import State
from taskapi.store.prefetch import prefetch

BATCH: Final = 500
"""Entities loaded in one call, about 5 ms of Redis' time."""
SCAN: Final = 1000


class Loader:
    """One restore of a store. A second one begun meanwhile stops the first, whatever it does."""

    def __init__(self, store: Store) -> None:
        self._store, self._keys = store, store.keys
        self._token, self._batches = secrets.token_hex(8), 0

    def block_clients(self) -> None:
        """From now on nobody reads or writes but this loader."""
        run = self._store.connection.server
        meta.write(self._store, state=State.RESTORING, loader=self._token, loaded="0", run=run)

    def clear(self) -> None:
        """Remove all entities, indexes and marks, but what the store knows of itself."""
        spared = {self._keys.meta.encode(), self._keys.sync.encode()}
        cursor = b"0"
        while True:
            scan = ("SCAN", cursor, "MATCH", _literally(self._keys.root) + "*", "COUNT", SCAN)
            ((cursor, found),) = self._store.connection.execute(scan)
            if doomed := set(found) - spared:
                self.run([("UNLINK", *(key.decode() for key in doomed))])
            if cursor == b"0":
                return

    def load(self, kind: Kind, entities: Iterable[Entity]) -> int:
        """Write entities with all their indexes; users carry `password_hash` and `administers`.

        Returns:
            How many there were.

        Raises:
            NewEpoch: another restore has begun.
        """
        count = 0
        for size, writes in prefetch(self._written(kind, iter(entities))):
            count += size
            self._do(writes)
        return count

    def run(self, commands: list[Write]) -> None:
        """Do commands, all or none; raises NewEpoch when another restore has begun."""
        self._do(orjson.dumps(commands))

    def unblock_clients(self, **fields: str) -> None:
        """Serve again what is in the store now, after setting fields of its description."""
        words = itertools.chain(*fields.items())
        self.run([("HSET", self._keys.meta, *words, "state", State.READY)])

    def _written(self, kind: Kind, entities: Iterator[Entity]) -> Iterator[tuple[int, bytes]]:
        """Yield batches: how many entities each writes, and its commands."""
        while batch := list(itertools.islice(entities, BATCH)):
            if kind is Kind.TASK:
                writes = [_stored(self._keys, kind, task) for task in batch]
                writes += filed(self._keys, batch)
            else:
                each = (commands(self._keys, kind, None, entity) for entity in batch)
                writes = merged(itertools.chain.from_iterable(each))
            yield len(batch), orjson.dumps(writes)

    def _do(self, commands: bytes) -> None:
        self._batches += 1
        self._send(self._batches, commands)

    def _send(self, number: int, commands: bytes) -> None:
        call = ("EVALSHA", scripts.LOAD, 1, self._keys.meta, self._token, number, commands)
        (reply,) = self._store.connection.execute(call)
        if reply != b"OK":
            raise NewEpoch


def commands(keys: Keys, kind: Kind, old: Entity | None, new: Entity) -> Iterator[Write]:
    """Yield what makes `old` into `new`, whose version stays what it is."""
    yield _stored(keys, kind, new)
    yield from reindex(keys, kind, old, new)
    if kind is Kind.USER:
        yield ("SET", keys.password_hash(new["id"]), new["password_hash"])
        if new["administers"]:
            duties = orjson.dumps(new["administers"]).decode()
            yield ("HSET", keys.entity(kind, new["id"]), "administers", duties)


def _stored(keys: Keys, kind: Kind, new: Entity) -> Write:
    key, json = keys.entity(kind, new["id"]), codec.template(kind, new)
    return ("HSET", key, "json", json, "version", str(new["version"]))


def _literally(text: str) -> str:
    """Return a SCAN pattern that matches this text only."""
    return "".join(f"\\{c}" if c in "*?[]\\^" else c for c in text)
