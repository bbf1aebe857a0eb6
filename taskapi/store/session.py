"""The reads of one request: all from one epoch of the store."""

from collections.abc import Container
from dataclasses import dataclass, field
from typing import Any

from orjson import loads

from taskapi.errors import Damaged, NewEpoch, NotReady, Stale, Unchecked, VersionMismatch
from taskapi.store import meta
from taskapi.store.codec import complete_json, decode
from taskapi.store.connection import Command, Connection, Store
from taskapi.store.deferral import Deferral
from taskapi.store.heavy import Heavy
from taskapi.store.keys import Keys, Kind
from taskapi.store.numbers import is_number
from taskapi.store.prefetched_read import Guess, PrefetchedRead
from taskapi.store.recent_tasks import RecentTasks

Guard = tuple[str, str, str]
"""Key, field and condition: see `Commit.guard`."""
_STATE = ("epoch", "state", "opened")
NOT_READY = "The store is empty, or is being restored: try again in a few seconds."


class StoredEntity(dict[str, Any]):
    """An entity as the store has it.

    Attributes:
        json: the answer's object, byte for byte.
    """

    json: bytes


@dataclass(slots=True)
class Session:
    """The store as one request reads it.

    Attributes:
        heavy: the heavy requests of the process.
        recent_tasks: the tasks that the process changed last.
        chunks: how many chunks of lists were read.
        epoch: the store's epoch at the first read; a restore starts a new one.
        rights: guards of the caller's rights, part of every commit.
        wanted: the versions in If-Match; None for any.
        actual: the version of the entity that the request is about.
        has_committed: a commit was done.
        deferral: keeps the commit back, if the answer is stored with it.
        prefetched: the commands of the first `read` that `open` sends too.
    """

    connection: Connection
    keys: Keys
    heavy: Heavy
    recent_tasks: RecentTasks
    chunks: int = 0
    epoch: str = ""
    rights: list[Guard] = field(default_factory=list)
    wanted: Container[str] | None = None
    actual: str = ""
    has_committed: bool = False
    deferral: Deferral | None = None
    prefetched: PrefetchedRead = field(default_factory=PrefetchedRead)

    def open(self, *commands: Command) -> list[Any]:
        """Do the first reads; the store's state must be the same before and after them.

        Raises:
            NotReady: the store is empty or being restored.
            Unchecked: Redis was started or set back, and may lack changes.
            Damaged: the store's description cannot be read.
        """
        seen, state = self.connection.issued.version, ("HMGET", self.keys.meta, *_STATE)
        guess = self.prefetched.take()
        try:
            before, *replies, after = self.connection.execute(
                state, *commands, *guess, (*state, "version")
            )
        except Damaged:
            if not guess:
                raise
            return self.open(*commands)  # the request may not need the damaged key
        if before != after[:3]:
            raise NotReady(NOT_READY)
        self._require_serving(after, seen)
        if not is_number(before[0]):
            raise meta.unreadable("epoch")
        self.epoch = before[0].decode()
        self.prefetched.keep(replies[len(commands) :])
        return replies[: len(commands)]

    def read(self, *commands: Command, guess: Guess | None = None) -> list[Any]:
        """Do further reads of the same epoch.

        Args:
            guess: returns what an equal request will read, if these are not the same commands.

        Raises:
            NewEpoch: the store was restored since; start again.
            NotReady: the store is being restored.
            Unchecked: Redis was started, and may lack changes.
        """
        if (found := self.prefetched.replies_to(commands, guess)) is not None:
            return found
        seen, state = self.connection.issued.version, ("HMGET", self.keys.meta, *_STATE, "version")
        *replies, after = self.connection.execute(*commands, state)
        self._require_serving(after, seen)
        if after[0] != self.epoch.encode():
            raise NewEpoch
        return replies

    def is_compared(self) -> bool:
        """Return whether PostgreSQL, which may be newer, was compared after Redis was started."""
        command = ("HMGET", self.keys.meta, "opened", "confirmed")
        # Not `self.read`, whose first call uses up the prefetched replies.
        ((opened, confirmed),) = self.connection.execute(command)
        return bool(opened == confirmed)

    def _require_serving(self, found: list[bytes | None], seen: int) -> None:
        epoch, state, opened, version = found
        if epoch is None or state not in (b"ready", b"fenced"):
            if epoch and not meta.is_state((state or b"").decode(errors="replace")):
                raise meta.unreadable("state")
            raise NotReady(NOT_READY)
        if state == b"ready" and opened != self.connection.run_id.encode():
            raise Unchecked
        if state == b"ready" and version and version.isdigit() and int(version) < seen:
            raise Unchecked  # the server was set back without a start

    def require_match(self) -> None:
        """Raise VersionMismatch unless the entity has a version that the caller wants."""
        if self.wanted is not None and self.actual not in self.wanted:
            raise VersionMismatch(self.actual)

    def find(self, kind: Kind, *ids: int) -> list[StoredEntity | None]:
        """Return the entities with these ids, None for each that does not exist."""
        if not ids:
            return []
        replies = self.read(*(fetch(self.keys, kind, i) for i in ids))
        return [entity(kind, i, reply) for i, reply in zip(ids, replies, strict=True)]

    def referred(self, kind: Kind, entity_id: int) -> StoredEntity:
        """Return an entity that another one refers to; raises Stale if it was deleted since."""
        (target,) = self.find(kind, entity_id)
        if target is None:
            raise Stale
        return target


def begin(store: Store) -> Session:
    """Return a session that has read nothing yet."""
    return Session(store.connection, store.keys, store.heavy, store.recent_tasks)


def fetch(keys: Keys, kind: Kind, entity_id: int) -> Command:
    """Return the command that reads an entity; `entity` decodes the reply."""
    key = keys.entity(kind, entity_id)
    fields = ("json", "version", "administers") if kind is Kind.USER else ("json", "version")
    return ("HMGET", key, *fields)


def entity(kind: Kind, entity_id: int, reply: list[bytes | None]) -> StoredEntity | None:
    """Return the entity of a reply to `fetch`; a user's has `administers`, not shown to clients.

    Raises:
        Damaged: it cannot be read, or its fields contradict each other.
    """
    json, version, *administers = reply
    if json is None and version is None:
        return None
    try:
        stored = StoredEntity(decode(kind, json or b""))
        if administers and administers[0] is not None:
            stored["administers"] = ids_of(administers[0])
    except (Damaged, ValueError) as error:
        raise Damaged(f"{kind.noun} {entity_id} cannot be read") from error
    if (stored["id"], str(stored["version"]).encode()) != (entity_id, version):
        raise Damaged(f"{kind.noun} {entity_id} contradicts itself")
    stored.json = complete_json(kind, json or b"", 1)
    return stored


def ids_of(json: bytes) -> list[int]:
    """Return the ids in a JSON list; raises ValueError for anything else."""
    ids = loads(json)
    if not isinstance(ids, list) or not {*map(type, ids)} <= {int}:
        raise ValueError
    return ids
