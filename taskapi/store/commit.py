"""Commits, the only way to write: all changes of a request, or none."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Final, NamedTuple

from taskapi.errors import (
    Crowded,
    Damaged,
    NewEpoch,
    NotReady,
    OutcomeUnknown,
    Stale,
    Unavailable,
    Unchecked,
)
from taskapi.store import codec, meta, scripts
from taskapi.store.codec import NEW_ID, NEW_VERSION, NOW, Entity
from taskapi.store.indexes import Write, merged, reindex
from taskapi.store.keys import Kind
from taskapi.store.session import Guard, Session

PRESENT: Final = "+"
ABSENT: Final = "-"
"""Conditions on a hash field; `equals` returns a third one."""
CLOSING_SECONDS: Final = 3
"""How long writes to a user or group are refused while its tasks are read."""
COUNT_SECONDS: Final = 15
"""The same while more tasks are counted than one commit deletes."""
BIG_COMMIT: Final = 1000
"""A commit with more guards gets a longer reply timeout."""
MERGED_LEAST: Final = 20
"""With fewer writes, merging costs more than it saves."""
SECONDS_EACH: Final = 0.001
"""Reply timeout for each guard of a big commit; a guard and its writes take about 10 µs."""


def equals(value: str | int) -> str:
    """Return the condition that a hash field has this value, or a set this size."""
    return f"={value}"


class WrittenEntity(NamedTuple):
    """The id and the JSON of an entity that a commit created or changed."""

    id: int
    json: bytes


class Stamp(NamedTuple):
    """The id, version and time that Redis gave to a commit."""

    id: str
    version: str
    time: str

    def fill(self, template: str) -> bytes:
        """Fill in a template as `commit.lua` does."""
        text, nul, end = template.partition("\0")
        end = (nul + end).replace(NEW_ID, self.id).replace(NEW_VERSION, self.version)
        return (text + end.replace(NOW, self.time)).encode()


class Commit:
    """Guards and commands of one operation, collected and then sent in one call."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._keys = session.keys
        self._guards: dict[Guard, None] = dict.fromkeys(session.rights)
        self._commands: list[Write] = []
        self._task_writes: list[Write] = []
        self._created: Kind | None = None
        self._count = 1

    def guard(self, key: str, field: str, condition: str) -> None:
        """Refuse the commit unless the hash field meets the condition."""
        self._guards[(key, field, condition)] = None

    def guard_size(self, key: str, size: int) -> None:
        """Refuse the commit unless the sorted set has this many members."""
        self._guards[(key, "", equals(size))] = None

    def guard_no_other(self, key: str, value: str) -> None:
        """Refuse the commit if the string exists and has another value."""
        self.guard(key, "", f"?{value}")

    def guard_unchanged(self, kind: Kind, entity: Entity) -> None:
        """Refuse the commit if the entity was changed or deleted since it was read."""
        self.guard(self._keys.entity(kind, entity["id"]), "version", equals(entity["version"]))

    def guard_not_closing(self, user_id: int, group_id: int) -> None:
        """Refuse the commit while the user or the group of a task is closed: see `closed`."""
        for kind, entity_id in ((Kind.USER, user_id), (Kind.GROUP, group_id)):
            self.guard(self._keys.closing(kind, entity_id), "until", ABSENT)

    @contextmanager
    def closed(self, kind: Kind, entity_id: int, seconds: int = CLOSING_SECONDS) -> Iterator[None]:
        """Refuse writes to the tasks of a user or group until this commit, for at most `seconds`.

        Otherwise frequent writes would make a commit on all these tasks fail again and again. The
        tasks are read in the block; if it raises Damaged or Crowded, writes are possible again at
        once.
        """
        self._session.require_match()  # a commit that will be refused must not block others
        key, execute = self._keys.closing(kind, entity_id), self._session.connection.execute
        execute(("EVALSHA", scripts.SET_CLOSING, 1, key, seconds))
        self.add("UNLINK", key)
        try:
            with self._session.heavy.keeping_turn():  # the key must not expire before the commit
                yield
        except (Damaged, Crowded):
            execute(("UNLINK", key))
            raise

    def close(self, kind: Kind, entity_id: int) -> None:
        """Refuse writes to the tasks of a user or group from this commit on, without a limit."""
        key = self._keys.closing(kind, entity_id)
        self.add("HSET", key, "until", "gone")
        self.add("PERSIST", key)

    def add(self, *command: str) -> None:
        """Add a Redis command to this commit."""
        self._commands.append(command)

    def create(self, kind: Kind, fields: Entity, entity_id: int | str = NEW_ID) -> str:
        """Create an entity with the next id of its kind, or a reserved one; return its template."""
        if entity_id == NEW_ID:
            self._created = kind
        else:
            self.guard(self._keys.entity(kind, entity_id), "version", ABSENT)
        new = {"id": entity_id, **fields, "created_at": NOW, "updated_at": NOW}
        return self._put(kind, None, new)

    def reserve(self, kind: Kind, count: int) -> range:
        """Run this commit, and return ids that no other commit will use."""
        self._created, self._count = kind, count
        if count > 1:  # the commit itself takes one
            self.add("HINCRBY", self._keys.meta, f"next:{kind}", str(count - 1))
        first = int(self.send().id)
        return range(first, first + count)

    def update(self, kind: Kind, old: Entity, changes: Entity, updated_at: str = NOW) -> str:
        """Change an entity if it is still `old`; return its template."""
        self.guard_unchanged(kind, old)
        return self._put(kind, old, {**old, **changes, "updated_at": updated_at})

    def delete(self, kind: Kind, old: Entity) -> None:
        """Delete an entity if it is still `old`, and add a tombstone."""
        self.guard_unchanged(kind, old)
        writes, mark = self._writes(kind), f"{kind}:{old['id']}"
        writes += reindex(self._keys, kind, old, None)
        writes.append(("UNLINK", self._keys.entity(kind, old["id"])))
        writes.append(("ZADD", self._keys.dirty, NEW_VERSION, mark))
        writes.append(("ZADD", self._keys.tombstones, NEW_VERSION, mark))

    def run(self, *, frees_memory: bool = False) -> Stamp:
        """Send the commit, or keep it back until the answer is known; see `Deferral`.

        Raises:
            VersionMismatch: If-Match does not name the current version.
            The errors of `send`.
        """
        self._session.require_match()
        deferral = self._session.deferral
        if deferral is None:
            return self.send(frees_memory=frees_memory)
        deferral.keep(self, frees_memory=frees_memory)
        return Stamp(deferral.id, deferral.version, deferral.time)

    def send(self, *, frees_memory: bool = False) -> Stamp:
        """Send the commit.

        Args:
            frees_memory: whether Redis may run it when its memory is full.

        Raises:
            Stale: data that was read has changed; nothing was written: read and decide again.
            NewEpoch: the store was restored; nothing was written.
            Unchecked: Redis was started since; nothing was written: wait until it is checked.
            NotReady: the store takes no writes now; nothing was written.
            Damaged: a key has the wrong type; nothing was written.
            OutcomeUnknown: an attempt got no reply; the changes may have been written.
            Unavailable: Redis cannot serve; nothing was written.
        """
        connection = self._session.connection
        script = scripts.COMMIT_WHEN_FULL if frees_memory else scripts.COMMIT
        seconds = len(self._guards) * SECONDS_EACH if len(self._guards) > BIG_COMMIT else None
        command = ("EVALSHA", script, 1, self._keys.meta, *self._arguments())
        try:
            (reply,) = connection.execute(command, seconds=seconds)
        except Unavailable as error:
            if connection.lacks_reply:
                raise OutcomeUnknown from error
            raise
        word, *stamp = reply.decode(errors="replace").split(" ")
        if word != "OK" and connection.lacks_reply:
            raise OutcomeUnknown  # the first attempt may have been made before this refusal
        if word != "OK":
            if word not in _REFUSALS:
                raise meta.unreadable("state")
            refusal, *message = _REFUSALS[word]
            raise refusal(*message)
        self._session.has_committed = True
        result = Stamp(*stamp)
        ids = {self._created: int(result.id) + self._count - 1} if self._created else {}
        connection.issued.note(int(result.version), ids)
        return result

    def _arguments(self) -> Iterator[str | int]:
        """Yield the arguments of `commit.lua`."""
        connection = self._session.connection
        yield from (self._session.epoch, connection.run_id, connection.issued.version)
        yield from (connection.operation_field, connection.next_number())
        yield f"next:{self._created}" if self._created else ""
        yield len(self._guards)
        yield from chain.from_iterable(self._guards)
        tasks = self._task_writes
        for command in (*(merged(tasks) if len(tasks) > MERGED_LEAST else tasks), *self._commands):
            yield len(command)
            yield from command

    def _put(self, kind: Kind, old: Entity | None, new: Entity) -> str:
        new["version"] = NEW_VERSION
        template = codec.template(kind, new)
        writes, key = self._writes(kind), self._keys.entity(kind, new["id"])
        writes.append(("HSET", key, "json", template, "version", NEW_VERSION))
        writes += reindex(self._keys, kind, old, new)
        writes.append(("ZADD", self._keys.dirty, NEW_VERSION, f"{kind}:{new['id']}"))
        return template

    def _writes(self, kind: Kind) -> list[Write]:
        """Return the list to add to: tasks are written before their user or group is deleted."""
        return self._task_writes if kind is Kind.TASK else self._commands


_REFUSALS: Final[dict[str, tuple[type[Exception], ...] | tuple[type[Exception], str]]] = {
    "CONFLICT": (Stale,),
    "EPOCH": (NewEpoch,),
    "CHECKING": (Unchecked,),
    "NOEPOCH": (NotReady, "The store is empty: it will be restored in a moment."),
    "RESTORING": (NotReady, "The store is being restored: try again in a few seconds."),
    "FENCED": (
        NotReady,
        "Redis and PostgreSQL hold different histories: the owner has to restore or reseed.",
    ),
    "STALE": (Unavailable, "The change was not made in time: send it again."),
}
