"""Healing a Redis that lost its latest changes after PostgreSQL had received them."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from taskapi.store import meta, reconcile
from taskapi.store.conflicts import Change
from taskapi.store.connection import Store
from taskapi.store.keys import Kind
from taskapi.store.loading import Loader
from taskapi.store.meta import Meta
from taskapi.store.reconcile import Reconciliation
from taskapi.sync import rows, state
from taskapi.sync.postgres import Database
from taskapi.sync.state import PostgresState

log = logging.getLogger("taskapi")


def heal(db: Database, store: Store, redis: Meta) -> None:
    """Put back what Redis lost and PostgreSQL has; the caller holds the lock.

    Clients are blocked while changes are put back. If that fails or the process is killed, they
    stay blocked until the next pass or start restores Redis. If only the acknowledgement of a pass
    was lost, nothing is put back and clients are not blocked.
    """
    copy = state.find(db)
    if copy is None or redis.synced >= copy.version:
        return
    count = sum(1 for _ in _lost(db, store, redis.synced, Kind))
    if count or _is_behind(redis, copy):
        log.error("Sync heals: Redis lost changes, %d of them are put back from PostgreSQL", count)
        _put_back(db, store, copy, redis.synced)
    else:
        meta.write(store, synced=str(copy.version))


def _lost(
    db: Database, store: Store, synced: int, kinds: Iterable[Kind], only: Sequence[int] = ()
) -> Iterator[Change]:
    """Yield lost entities and deletes of these kinds; if `only` is not empty, only those ids."""
    for kind in kinds:
        for entity in reconcile.newer(store, kind, rows.read(db, kind, synced, only)):
            yield (kind, entity["id"]), entity
        for mark in reconcile.missing_deletes(store, rows.tombstones(db, kind, synced, only)):
            yield (kind, mark.id), mark


def _is_behind(redis: Meta, copy: PostgresState) -> bool:
    return redis.version < copy.version or any(redis.ids[kind] < copy.ids[kind] for kind in Kind)


def _put_back(db: Database, store: Store, copy: PostgresState, synced: int) -> None:
    loader = Loader(store)
    loader.block_clients()
    Reconciliation(store, loader, partial(_lost, db, store, synced)).run()
    redis = meta.read(store)
    loader.unblock_clients(
        version=str(max(redis.version, copy.version)),
        synced=str(copy.version),
        **{f"next:{kind}": str(max(redis.ids[kind], copy.ids[kind])) for kind in Kind},
    )
