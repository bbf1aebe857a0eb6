"""After a start of the Redis server, requests wait until it is known what it may have lost.

The first connection to a server that was started closes the store for clients. Each process then
registers the highest version and ids that it has seen, PostgreSQL is compared, and the store opens
with higher ones.
"""

import secrets
import time
from typing import Final

from taskapi.store import meta, scripts
from taskapi.store.connection import Store
from taskapi.store.meta import State

SKIPPED_IDS: Final = 10_000
SKIPPED_VERSIONS: Final = 10_000_000
"""How many to skip if more may have been issued than is known; versions are microseconds."""
SETTLE_SECONDS: Final = 0.3
"""How long the other processes get to connect to a server that was started."""
PATIENCE_SECONDS: Final = 0.8
"""How long a registered process is waited for."""
POLL_SECONDS: Final = 0.05


def needs_check(store: Store) -> bool:
    """Return whether the store waits for the check of a start; note what was issued.

    A server can be set back to an earlier version without a start, for example when it becomes a
    replica of an older one. The store is then closed for clients: it needs the same check.
    """
    seen = store.issued.version
    redis = meta.read(store)
    store.issued.note(redis.version, redis.ids)
    if redis.state == State.READY and redis.version < seen:
        run_id = store.connection.run_id
        call = ("EVALSHA", scripts.CLOSE_FOR_CLIENTS, 1, store.keys.meta, run_id, seen)
        store.connection.execute(call)
        return True
    return redis.state == State.READY and redis.opened != store.connection.run_id


def register(store: Store, *, is_first: bool = False) -> int:
    """Register this process, with what it has seen issued.

    Args:
        is_first: issue a version, so that a server that is set back later has a lower one.

    Returns:
        The last version issued; 0 in an empty store.
    """
    call = ("EVALSHA", scripts.REGISTER, 2, store.keys.processes, store.keys.meta, store.process)
    words = (store.connection.run_id, int(is_first), *_issued(store))
    (version,) = store.connection.execute((*call, *words))
    return int(version)


def unregister(store: Store) -> None:
    """Remove this process, which ends: nobody need wait for it."""
    store.connection.execute(("HDEL", store.keys.processes, store.process))


def open_for_clients(store: Store, *, is_compared: bool) -> bool:
    """Open the store for clients when all processes have registered, or time is up.

    Args:
        is_compared: the store has everything that PostgreSQL has. Otherwise ids are skipped.

    Returns:
        Whether this call opened the store: it may be open already, or clients are blocked.
    """
    begin = time.monotonic()
    time.sleep(SETTLE_SECONDS)
    while True:
        reply = _open(store, is_compared, time.monotonic() < begin + PATIENCE_SECONDS)
        if reply != b"WAIT":
            return reply == b"OK"
        time.sleep(POLL_SECONDS)


def _open(store: Store, is_compared: bool, is_patient: bool) -> bytes:
    keys, run_id = store.keys, store.connection.run_id
    call = ("EVALSHA", scripts.OPEN_FOR_CLIENTS, 2, keys.meta, keys.processes, run_id)
    choices = (int(is_patient), int(is_compared), SKIPPED_IDS, SKIPPED_VERSIONS)
    words = (*choices, secrets.token_hex(8), *_issued(store))
    (reply,) = store.connection.execute((*call, *words))
    return bytes(reply)


def _issued(store: Store) -> tuple[int, ...]:
    return (store.issued.version, *store.issued.ids.values())
