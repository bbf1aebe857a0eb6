"""Finishing the deletes of processes that died."""

import logging
from typing import Final

from taskapi.errors import Damaged
from taskapi.store import deletions, groups, session, users
from taskapi.store.connection import Store
from taskapi.store.keys import Kind

log = logging.getLogger("taskapi")
FINISH: Final = {Kind.GROUP: groups.finish_delete, Kind.USER: users.finish_delete}


def resume(store: Store, known: dict[str, str]) -> dict[str, str]:
    """Finish the deletes without progress since `known` was read; return the unfinished ones.

    Raises:
        Stale: other changes won every race, or the store was restored: try again.
        Unavailable: Redis is unreachable or not ready.
    """
    found = deletions.unfinished(store)
    for name, version in found.items():
        if known.get(name) != version:
            continue
        kind, entity_id = Kind(name[:1]), int(name[2:])
        reader = session.begin(store)
        reader.open()
        if reader.find(kind, entity_id) == [None]:
            deletions.forget(store, name)
            continue
        try:
            FINISH[kind](reader, entity_id)
        except Damaged as error:
            log.error("The delete of %s %d waits: %s", kind.noun, entity_id, error)
        finally:
            reader.heavy.leave()
    return found
