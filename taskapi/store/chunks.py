"""Entities read at one instant, and those among them that are damaged."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import orjson

from taskapi.errors import Damaged
from taskapi.store import tokens
from taskapi.store.codec import Entity, decode, decode_list
from taskapi.store.keys import Kind
from taskapi.store.passwords import is_hash

WRONG_TYPE: Final = "its key in Redis has the wrong type"
UNREADABLE: Final = "its JSON in Redis cannot be read, lacks fields or has another id or version"
MISSING: Final = "an index in Redis names it, but the entity is gone"
NO_PASSWORD_HASH: Final = "its password hash in Redis is gone or cannot be read"
BAD_TOKENS: Final = "its tokens in Redis cannot be read"


class Mark(NamedTuple):
    """The kind, id and version of a changed or deleted entity."""

    kind: str
    id: int
    version: int

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}"


class Damage(NamedTuple):
    """An entity that cannot be read, with its JSON if there is any."""

    mark: Mark
    reason: str
    json: str = ""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Entities as they were at one instant.

    Attributes:
        entities: by kind; users with their `password_hash` and `tokens`.
        inconsistent: marks with neither an entity nor a tombstone of their version.
        damaged: entities that cannot be read; they are in none of the other lists.
        last: the score up to which everything was read; empty if there was nothing.
        is_last: nothing followed at that instant.
        sizes: the number of entities of each kind at that instant.
    """

    entities: dict[Kind, list[Entity]] = field(default_factory=lambda: {kind: [] for kind in Kind})
    deleted: list[Mark] = field(default_factory=list)
    inconsistent: list[Mark] = field(default_factory=list)
    damaged: list[Damage] = field(default_factory=list)
    last: str = ""
    is_last: bool = True
    sizes: dict[Kind, int] = field(default_factory=dict)

    @property
    def marks(self) -> list[Mark]:
        """The marks of all entities and deletes."""
        pairs = ((kind, entity) for kind, part in self.entities.items() for entity in part)
        return [Mark(kind, each["id"], each["version"]) for kind, each in pairs] + self.deleted

    def rows(self) -> "Iterator[Chunk]":
        """Yield a chunk for each entity and each delete."""
        for kind, part in self.entities.items():
            for entity in part:
                row = Chunk()
                row.entities[kind].append(entity)
                yield row
        for mark in self.deleted:
            yield Chunk(deleted=[mark])


def parse(  # in the order of the result of read_chunk.lua
    last: bytes,
    follows: int,
    sizes: list[int],
    texts: list[list[bytes]],
    versions: list[bytes],
    password_hashes: list[bytes],
    stored_tokens: list[bytes],
    *marks: bytes,
) -> Chunk:
    """Return the chunk in a reply of `read_chunk.lua`."""
    deleted, inconsistent, unreadable, missing = map(_marks, marks)
    damaged = [Damage(mark, WRONG_TYPE) for mark in unreadable]
    damaged += [Damage(mark, MISSING) for mark in missing]
    stored = zip(Kind, texts, versions, strict=True)
    entities = {kind: _entities(kind, each, pairs, damaged) for kind, each, pairs in stored}
    hidden = zip(_pairs(versions[0]), password_hashes, stored_tokens, strict=True)
    by_pair = {pair: (hashed, stored) for pair, hashed, stored in hidden}
    entities[Kind.USER] = [*_with_hidden(entities[Kind.USER], by_pair, damaged)]
    return Chunk(
        entities=entities,
        deleted=deleted,
        inconsistent=inconsistent,
        damaged=damaged,
        last=last.decode(),
        is_last=not follows,
        sizes=dict(zip(Kind, sizes, strict=True)),
    )


def _entities(
    kind: Kind, texts: list[bytes], versions: bytes, damaged: list[Damage]
) -> list[Entity]:
    """Return the entities whose JSON is whole; add the others to `damaged`."""
    try:
        entities = decode_list(kind, b",".join(texts))
    except Damaged:
        entities = []
    found = ",".join([f"[{entity['id']},{entity['version']}]" for entity in entities])
    if found.encode() == versions:
        return entities
    return [*_readable(kind, zip(texts, _pairs(versions), strict=True), damaged)]


def _readable(
    kind: Kind, stored: Iterable[tuple[bytes, tuple[int, int]]], damaged: list[Damage]
) -> Iterator[Entity]:
    """Yield one entity after the other, as `_entities` does for a whole chunk."""
    for text, pair in stored:
        with suppress(Damaged):
            entity = decode(kind, text)
            if (entity["id"], entity["version"]) == pair:
                yield entity
                continue
        damaged.append(Damage(Mark(kind, *pair), UNREADABLE, text.decode(errors="replace")))


def _with_hidden(
    users: list[Entity], hidden: dict[tuple[int, int], tuple[bytes, bytes]], damaged: list[Damage]
) -> Iterator[Entity]:
    """Yield users with their password hash and tokens; add those that lack them to `damaged`."""
    for user in users:
        pair = user["id"], user["version"]
        password_hash, stored = hidden[pair]
        if not is_hash(password_hash):
            damaged.append(Damage(Mark(Kind.USER, *pair), NO_PASSWORD_HASH))
        elif not tokens.are_readable(stored):
            damaged.append(Damage(Mark(Kind.USER, *pair), BAD_TOKENS))
        else:
            yield user | {"password_hash": password_hash.decode(), "tokens": tokens.parse(stored)}


def _pairs(versions: bytes) -> list[tuple[int, int]]:
    """Return (id, version) of each `[<id>,<version>]`."""
    return [(key_id, version) for key_id, version in orjson.loads(b"[" + versions + b"]")]


def _marks(joined: bytes) -> list[Mark]:
    words = (mark.split(":") for mark in joined.decode().split(",") if mark)
    return [Mark(kind, int(key_id), int(version)) for kind, key_id, version in words]
