"""The one door for writes: what a request decided, done as a whole or not at all."""

from typing import Final, NamedTuple

import orjson

from taskapi.errors import NewEpoch, NotReady, Stale, Unavailable
from taskapi.store import codec, scripts
from taskapi.store.codec import NEW_ID, NEW_VERSION, NOW, Entity
from taskapi.store.indexes import Write, reindex
from taskapi.store.keys import Kind
from taskapi.store.session import Guard, Session

PRESENT: Final = True
ABSENT: Final = False


class Written(NamedTuple):
    """What a commit made of one entity."""

    id: int
    json: bytes


class Stamp(NamedTuple):
    """What only the store knows of a commit."""

    id: str
    version: str
    time: str

    def fill(self, template: str) -> bytes:
        """Return the text with its slots filled, as `commit.lua` filled them."""
        filled = template.replace(NEW_ID, self.id).replace(NEW_VERSION, self.version)
        return filled.replace(NOW, self.time).encode()


class Commit:
    """Guards and commands of one operation, collected and then handed over in one call."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._keys = session.keys
        self._guards: list[Guard] = list(session.rights)
        self._commands: list[Write] = []
        self._created: Kind | None = None

    def guard(self, key: str, field: str, value: str | bool) -> None:
        """Refuse unless the hash field has this value, is PRESENT or is ABSENT."""
        self._guards.append((key, field, value))

    def guard_size(self, key: str, size: int) -> None:
        """Refuse unless the sorted set has this many members."""
        self._guards.append((key, False, size))

    def guard_unchanged(self, kind: Kind, entity: Entity) -> None:
        """Refuse if the entity has changed or gone since it was read."""
        self.guard(self._keys.entity(kind, entity["id"]), "version", str(entity["version"]))

    def add(self, *command: str) -> None:
        """Do a command too."""
        self._commands.append(command)

    def create(self, kind: Kind, fields: Entity) -> str:
        """Write a new entity with the next id of its kind; return its template."""
        self._created = kind
        new = {"id": NEW_ID, **fields, "created_at": NOW}
        return self._put(kind, None, new)

    def update(self, kind: Kind, old: Entity, changes: Entity) -> str:
        """Write a changed entity, provided that it is still `old`; return its template."""
        self.guard_unchanged(kind, old)
        return self._put(kind, old, {**old, **changes})

    def delete(self, kind: Kind, old: Entity) -> None:
        """Remove an entity, provided that it is still `old`, and leave a tombstone."""
        self.guard_unchanged(kind, old)
        self._commands.extend(reindex(self._keys, kind, old, None))
        self.add("UNLINK", self._keys.entity(kind, old["id"]))
        self._mark(kind, str(old["id"]))
        self.add("ZADD", self._keys.tombs, NEW_VERSION, f"{kind}:{old['id']}")

    def run(self, *, frees_memory: bool = False) -> Stamp:
        """Do it all.

        Args:
            frees_memory: whether to go on when Redis is full.

        Raises:
            VersionMismatch: the caller wants another version than the present one.
            Stale: what was read has changed; nothing was done: read and decide again.
            NewEpoch: the same, since the store was restored.
            NotReady: the store takes no writes now; nothing was done.
            Unavailable: Redis does not answer; whether it was done is not known.
        """
        self._session.require_match()
        link = self._session.link
        argument = orjson.dumps(
            {
                "epoch": self._session.epoch,
                "op": link.operation_field,
                "n": link.next_number(),
                "guards": self._guards,
                "next": f"next:{self._created}" if self._created else False,
                "commands": self._commands,
            }
        )
        script = scripts.COMMIT_WHEN_FULL if frees_memory else scripts.COMMIT
        (reply,) = link.trip(("EVALSHA", script, 1, self._keys.meta, argument))
        word, *stamp = reply.decode().split(" ")
        if word != "OK":
            refusal, *message = _REFUSALS[word]
            raise refusal(*message)
        return Stamp(*stamp)

    def _put(self, kind: Kind, old: Entity | None, new: Entity) -> str:
        new |= {"updated_at": NOW, "version": NEW_VERSION}
        template = codec.template(kind, new)
        key = self._keys.entity(kind, new["id"])
        self.add("HSET", key, "json", template, "version", NEW_VERSION)
        self._commands.extend(reindex(self._keys, kind, old, new))
        self._mark(kind, str(new["id"]))
        return template

    def _mark(self, kind: Kind, entity_id: str) -> None:
        self.add("ZADD", self._keys.dirty, NEW_VERSION, f"{kind}:{entity_id}")


_REFUSALS: Final[dict[str, tuple[type[Exception], ...] | tuple[type[Exception], str]]] = {
    "CONFLICT": (Stale,),
    "EPOCH": (NewEpoch,),
    "NOEPOCH": (NotReady, "The store is empty: it will be restored in a moment."),
    "RESTORING": (NotReady, "The store is being restored: try again in a few seconds."),
    "FENCED": (
        NotReady,
        "Redis and PostgreSQL hold different histories: the owner has to restore or reseed.",
    ),
    "STALE": (Unavailable, "The change came too late to be done: send it again."),
}
