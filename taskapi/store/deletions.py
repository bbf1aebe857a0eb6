"""Deleting a user or group that has more tasks or members than one commit may hold.

The first commit decides: it checks the caller's rights, closes the tasks to writes and records the
delete under `deleting`. Then tasks are deleted and members removed in batches, and at the end the
user or group is deleted. Each batch is a consistent state. If the process dies, the worker goes on.
"""

import random
import re
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from taskapi.errors import Damaged, NewEpoch, Stale
from taskapi.store import queries
from taskapi.store.codec import NEW_VERSION, Entity
from taskapi.store.commit import Commit
from taskapi.store.connection import Store
from taskapi.store.keys import Kind
from taskapi.store.queries import Scope
from taskapi.store.session import Session

BATCH: Final = 250
"""Tasks deleted, or members removed, in one commit: about 5 ms of Redis' time."""
TRIES: Final = 50
"""How often in a row a step may fail because of other changes."""
PAUSE_SECONDS: Final = 0.05
_MARK: Final = re.compile(r"[ug]:[0-9]{1,18}")


def decide(session: Session, commit: Commit, kind: Kind, entity: Entity) -> None:
    """Record that this user or group and all its tasks will be deleted."""
    commit.guard_unchanged(kind, entity)
    commit.close(kind, entity["id"])
    commit.add("HSET", session.keys.deleting, mark(kind, entity["id"]), NEW_VERSION)
    commit.run(frees_memory=True)


def finish(
    session: Session,
    kind: Kind,
    entity_id: int,
    scope: Scope,
    delete: Callable[[Session, Commit, Entity], bool],
) -> None:
    """Delete the tasks in scope in batches, and then the entity itself by calling `delete`.

    Another process may do the same at the same time.

    Args:
        delete: returns False if something is left after its commit: it is called again.

    Raises:
        Damaged: a task cannot be read; writes to the other tasks stay refused until it is repaired.
        Stale: every try failed because of other changes; the worker will go on.
    """
    session = replace(session, rights=[], wanted=None)  # the first commit has checked them
    tries = 0
    while tries < TRIES:
        session.heavy.step()
        try:
            (entity,) = session.find(kind, entity_id)
            if entity is None:
                return
            if not _delete_batch(session, kind, entity_id, scope):
                commit = Commit(session)
                commit.add("UNLINK", session.keys.closing(kind, entity_id))
                if delete(session, commit, entity):
                    return
            tries = 0
        except NewEpoch:
            raise
        except Stale:
            tries += 1
            session.heavy.rest()
            time.sleep(random.uniform(0, PAUSE_SECONDS))
    raise Stale


def _delete_batch(session: Session, kind: Kind, entity_id: int, scope: Scope) -> bool:
    """Delete some tasks in scope; return whether there were any."""
    page = queries.page(session, scope, limit=BATCH)
    if not page.size:
        (left,) = session.read(("ZCARD", scope.sources[0]))
        if left:
            raise Damaged(f"{left} task(s) of {kind.noun} {entity_id} cannot be read")
        return False
    commit = begin_batch(session, kind, entity_id)
    for task in page.entities(Kind.TASK):
        commit.delete(Kind.TASK, task)
    commit.run(frees_memory=True)
    return True


def begin_batch(session: Session, kind: Kind, entity_id: int) -> Commit:
    """Return a commit that records progress of a delete, and keeps the tasks closed."""
    commit = Commit(session)
    commit.add("HSET", session.keys.deleting, mark(kind, entity_id), NEW_VERSION)
    commit.close(kind, entity_id)
    return commit


def mark(kind: Kind, entity_id: int) -> str:
    """Return the field of `deleting` for a user or group."""
    return f"{kind}:{entity_id}"


def unfinished(store: Store) -> dict[str, str]:
    """Return the deletes that are not finished, with the version of the last batch of each.

    Fields that name neither a user nor a group are left out: `python -m taskapi check` removes them
    with `--repair`.
    """
    (reply,) = store.connection.execute(("HGETALL", store.keys.deleting))
    words = [word.decode(errors="replace") for word in reply]
    found = zip(words[::2], words[1::2], strict=True)
    return {name: version for name, version in found if _MARK.fullmatch(name)}


def forget(store: Store, name: str) -> None:
    """Remove an unfinished delete whose user or group is gone."""
    store.connection.execute(("HDEL", store.keys.deleting, name))
