"""Healing a Redis that lost its latest changes after PostgreSQL had received them."""

import logging
from itertools import chain, islice
from typing import Final

from taskapi.store import meta, reconcile
from taskapi.store.connection import Store
from taskapi.store.keys import Kind
from taskapi.store.loading import Loader
from taskapi.store.meta import Meta
from taskapi.store.reconcile import Lost, Reconciliation
from taskapi.sync import rows, state
from taskapi.sync.postgres import Database
from taskapi.sync.state import PostgresState

HEALED_MOST: Final = 10_000
"""How many entities are put back one by one: they take about 4 KiB each in memory."""

log = logging.getLogger("taskapi")


class TooManyLost(Exception):
    """Redis lost so much that a restore takes less memory than putting it back."""


def heal(db: Database, store: Store, redis: Meta) -> None:
    """Put back what Redis lost and PostgreSQL has; the caller holds the lock.

    Clients are blocked while changes are put back. If the process is killed then, they stay blocked
    until the next start restores Redis. If only the acknowledgement of a pass was lost, nothing is
    put back and clients are not blocked.

    Raises:
        TooManyLost: Redis lost more than HEALED_MOST entities, and nothing was changed in it since
            it was started.
    """
    copy = state.find(db)
    if copy is None or redis.synced >= copy.version:
        return
    lost = _lost(db, store, redis.synced, None if redis.opened else HEALED_MOST + 1)
    if len(lost) > HEALED_MOST and not redis.opened:
        raise TooManyLost
    if lost or _is_behind(redis, copy):
        log.error("Sync heals: Redis lost changes, %d are restored from PostgreSQL", len(lost))
        _put_back(db, store, copy, redis.synced)
    else:
        meta.write(store, synced=str(copy.version))


def _lost(db: Database, store: Store, synced: int, most: int | None = None) -> Lost:
    entities = (
        ((kind, entity["id"]), entity)
        for kind in Kind
        for entity in reconcile.newer(store, kind, rows.read(db, kind, above=synced))
    )
    deletes = reconcile.alive(store, rows.tombstones(db, above=synced))
    marks = (((Kind(mark.kind), mark.id), mark) for mark in deletes)
    return dict(islice(chain(entities, marks), most))


def _is_behind(redis: Meta, copy: PostgresState) -> bool:
    return redis.version < copy.version or any(redis.ids[kind] < copy.ids[kind] for kind in Kind)


def _put_back(db: Database, store: Store, copy: PostgresState, synced: int) -> None:
    loader = Loader(store)
    loader.block_clients()
    Reconciliation(store, loader, _lost(db, store, synced)).run()
    redis = meta.read(store)
    loader.unblock_clients(
        version=str(max(redis.version, copy.version)),
        synced=str(copy.version),
        **{f"next:{kind}": str(max(redis.ids[kind], copy.ids[kind])) for kind in Kind},
    )
