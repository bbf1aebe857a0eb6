"""Loading a store while clients are blocked."""

import itertools
import secrets
from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

import orjson

from taskapi.errors import NewEpoch
from taskapi.store import codec, meta, scripts, tokens
from taskapi.store.codec import Entity
from taskapi.store.connection import Store
from taskapi.store.indexes import Write, merged, reindex
from taskapi.store.keys import Keys, Kind
from taskapi.store.meta import Meta, State
from taskapi.store.prefetch import prefetch

BATCH: Final = 500
"""Entities loaded in one call: about 5 ms of Redis' time."""
SCAN: Final = 1000
T = TypeVar("T")


class Loader:
    """One restore of a store. If another restore starts meanwhile, this one ends with NewEpoch.

    A store that has data can be restored when Redis is full: the new data take the place of the
    old. A store that was emptied is not filled beyond maxmemory.
    """

    def __init__(self, store: Store) -> None:
        self._store, self._keys = store, store.keys
        self._token, self._batches = secrets.token_hex(8), 0
        self._load_script = scripts.LOAD

    def block_clients(self, *, can_reopen: bool = False) -> Meta:
        """Refuse the reads and writes of all clients, and end other restores.

        Args:
            can_reopen: remember the state, so that `reopen` can return to it.

        Returns:
            The store's description, which no other process changes any more.
        """
        meta.write(self._store, loader=self._token, loaded="0")
        before = meta.inspect(self._store)
        self._load_script = scripts.LOAD_WHEN_FULL if before.epoch else scripts.LOAD
        former = before.former if before.state == State.RESTORING else before.state
        former = former if can_reopen else ""
        meta.write(self._store, state=State.RESTORING, former=former)
        return meta.inspect(self._store)

    def reopen(self, former: str) -> None:
        """Serve clients again as before `block_clients`, if nothing was changed since."""
        self.run([("HSET", self._keys.meta, "state", former, "former", "")])

    def confirm_saved(self) -> None:
        """Record that this restore, or the one that finishes it, may clear the store."""
        self.run([("HSET", self._keys.meta, "former", "", "saved", meta.SAVED)])

    def clear(self) -> None:
        """Delete all keys but `meta`, `sync`, `processes`, `deleting` and the stored answers."""
        keys = self._keys
        kept = {key.encode() for key in (keys.meta, keys.sync, keys.processes, keys.deleting)}
        answers = keys.answer_prefix.encode()  # a request that is sent again must not be done again
        for found in scan(self._store):
            unwanted = {key for key in set(found) - kept if not key.startswith(answers)}
            if unwanted:
                self.run([("UNLINK", *(key.decode() for key in unwanted))])

    def load(self, kind: Kind, entities: Iterable[Entity]) -> int:
        """Write entities with all their indexes; users carry their hidden values.

        Returns:
            The number of entities.

        Raises:
            NewEpoch: another restore has started, or Redis lost an earlier batch.
        """
        count = 0
        for size, writes in prefetch(self._written(kind, entities)):
            count += size
            self._run_batch(self._load_script, writes)
        return count

    def run(self, commands: list[Write]) -> None:
        """Run commands, all or none; raises NewEpoch as `load` does.

        They run also when Redis is full.
        """
        self._run_batch(scripts.LOAD_WHEN_FULL, orjson.dumps(commands))

    def unblock_clients(self, **fields: str) -> None:
        """Set fields of the store's description, and serve clients again."""
        words = itertools.chain(*fields.items())
        ended = ("state", State.READY, "former", "", "saved", "")
        self.run([("HSET", self._keys.meta, *words, *ended)])

    def _written(self, kind: Kind, entities: Iterable[Entity]) -> Iterator[tuple[int, bytes]]:
        """Yield batches: the number of entities and their commands."""
        for batch in batches(entities):
            writes = (it for each in batch for it in commands(self._keys, kind, None, each))
            yield len(batch), orjson.dumps(merged(writes))

    def _run_batch(self, script: str, commands: bytes) -> None:
        self._batches += 1
        batch = (self._token, self._batches, commands)
        call = ("EVALSHA", script, 1, self._keys.meta, *batch)
        (reply,) = self._store.connection.execute(call)
        if reply != b"OK":
            raise NewEpoch


def batches(items: Iterable[T]) -> Iterator[list[T]]:
    """Yield the items in lists of at most BATCH."""
    rest = iter(items)
    while batch := list(itertools.islice(rest, BATCH)):
        yield batch


def commands(keys: Keys, kind: Kind, old: Entity | None, new: Entity) -> Iterator[Write]:
    """Yield the commands that replace `old` by `new`, which keeps its version."""
    key, json = keys.entity(kind, new["id"]), codec.template(kind, new)
    yield ("HSET", key, "json", json, "version", str(new["version"]))
    yield from reindex(keys, kind, old, new)
    if kind is Kind.USER:
        yield ("SET", keys.password_hash(new["id"]), new["password_hash"])
        if old or new["tokens"]:
            yield tokens.write(keys, new["id"], new["tokens"])
        if new["administers"]:
            group_ids = orjson.dumps(new["administers"]).decode()
            yield ("HSET", key, "administers", group_ids)


def scan(store: Store) -> Iterator[list[bytes]]:
    """Yield all keys of an installation, in lists; one may come twice."""
    cursor = b"0"
    while True:
        command = ("SCAN", cursor, "MATCH", f"{store.keys.root}*", "COUNT", SCAN)
        ((cursor, keys),) = store.connection.execute(command)
        yield keys
        if cursor == b"0":
            return
