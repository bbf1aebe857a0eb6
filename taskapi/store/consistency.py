"""Values derived from entities, read at one instant and repaired if nothing has changed."""

import hashlib
import secrets
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import orjson

from taskapi.store import codec, scripts, tokens
from taskapi.store.codec import NEW_VERSION, Entity
from taskapi.store.commit import ABSENT, Commit, equals
from taskapi.store.connection import Command, Store
from taskapi.store.indexes import Write, reindex
from taskapi.store.keys import TYPES, Keys, Kind
from taskapi.store.session import Session

WRONG_TYPE: Final = b"!"
"""The reply to a read of a key that has the wrong type."""
DAMAGED: Final = "damaged:"
"""Prefix of the keys to which damaged values are moved."""


class Entry(NamedTuple):
    """One value that an index must have for an entity: how to read it, its text, its write."""

    read: Command
    value: str
    write: Write


class Repair(NamedTuple):
    """Writes, and what they rely on: reads with their replies as `text_of` returns them."""

    guards: list[tuple[Command, str]]
    writes: list[Write]


class Removal(NamedTuple):
    """A command that removes an entry whose name is not UTF-8; it needs no guard."""

    command: tuple[str, str, bytes]


def look(store: Store, commands: Sequence[Command]) -> list[Any]:
    """Return the replies to reads at one instant."""
    if not commands:
        return []
    (replies,) = store.connection.execute(
        ("EVALSHA", scripts.LOOK, 1, store.keys.meta, orjson.dumps(commands))
    )
    return list(replies)


def text_of(reply: bytes | None) -> str:
    """Return a reply as the text of a guard: its SHA-1 if it is not UTF-8, empty for none."""
    try:
        return (reply or b"").decode()
    except UnicodeDecodeError:
        return hashlib.sha1(reply or b"", usedforsecurity=False).hexdigest()


def members(store: Store, keys: Sequence[str], most: int) -> Iterator[tuple[str, str, str]]:
    """Yield key, member and score, or field and value, of hashes and sorted sets.

    Names that are not UTF-8 have surrogates: see `raw_name`. Of a set of tasks, yield only members
    whose task does not seem to belong there. Keys of the wrong type count as empty.
    """
    cursors = dict.fromkeys(keys, "0")
    while cursors:
        pages = _pages(store, cursors, str(most))
        for key, (_, found) in pages.items():
            words = [word.decode(errors="surrogateescape") for word in found]
            yield from ((key, *pair) for pair in zip(words[::2], words[1::2], strict=True))
        cursors = {key: at.decode() for key, (at, _) in pages.items() if at != b"0"}


def _pages(
    store: Store, cursors: dict[str, str], most: str
) -> dict[str, tuple[bytes, list[bytes]]]:
    """Return the next cursor and members of each key."""
    keys = store.keys
    words = {key: key.removeprefix(keys.root).split(":") for key in cursors}
    tasks = [key for key in cursors if words[key][0] == "tasks"]
    others = [key for key in cursors if words[key][0] != "tasks"]
    scans = [("HSCAN" if TYPES[words[key][0]] == "hash" else "ZSCAN", key) for key in others]
    replies = look(store, [(*scan, cursors[scan[1]], "COUNT", most) for scan in scans])
    pages = {
        key: (b"0", []) if reply == WRONG_TYPE else reply
        for key, reply in zip(others, replies, strict=True)
    }
    prefix = keys.entity(Kind.TASK, "")
    calls = [
        ("EVALSHA", scripts.STRAYS, 1, key, cursors[key], most, prefix, _text(*words[key]))
        for key in tasks
    ]
    return pages | dict(zip(tasks, store.connection.execute(*calls) if calls else [], strict=True))


def _text(_: str, letter: str = "", owner: str = "") -> str:
    """Return what the JSON of each task in a set contains."""
    return {"u": f'"user_id":{owner},', "g": f'"group_id":{owner},'}.get(letter, "{")


def is_utf8(name: str) -> bool:
    """Return whether a name that `members` yields has no surrogates."""
    return all(not "\ud800" <= char <= "\udfff" for char in name)


def raw_name(name: str) -> bytes:
    """Return a name that `members` yields as Redis has it."""
    return name.encode(errors="surrogateescape")


def remove(store: Store, removals: Sequence[Removal]) -> None:
    """Do removals."""
    if removals:
        store.connection.execute(*(each.command for each in removals))


def mend(store: Store, repairs: Iterable[Repair]) -> int:
    """Do the repairs whose guards hold; return their number."""
    query = orjson.dumps([tuple(each) for each in repairs])
    call = ("EVALSHA", scripts.MEND, 1, store.keys.meta, query, secrets.token_hex(8))
    (done,) = store.connection.execute(call)
    return int(done)


def entries(keys: Keys, kind: Kind, entity: Entity) -> list[Entry]:
    """Return what all indexes must have for an entity; counters are no entries."""
    found = []
    for write in reindex(keys, kind, None, entity):
        if write[0] == "ZADD":
            _, key, score, member = write
            found.append(Entry(("ZSCORE", key, member), score, write))
        elif write[0] == "HSET":
            _, key, name, value = write
            found.append(Entry(("HGET", key, name), value, write))
    return found


def put_back(session: Session, kind: Kind, entity: Entity) -> None:
    """Write an entity under a new version, if the store lacks it or still has its old version.

    Its indexes are repaired later.

    Raises:
        Stale: the store has the entity in another version.
        Damaged, NotReady, Unavailable: as a commit raises them.
    """
    commit, key = Commit(session), session.keys.entity(kind, entity["id"])
    (stored,) = session.read(("HGET", key, "version"))
    commit.guard(key, "version", equals(entity["version"]) if stored else ABSENT)
    text = codec.template(kind, {**entity, "version": NEW_VERSION})
    commit.add("HSET", key, "json", text, "version", NEW_VERSION)
    if kind is Kind.USER:
        commit.add("SET", session.keys.password_hash(entity["id"]), entity["password_hash"])
        commit.add(*tokens.write(session.keys, entity["id"], entity["tokens"]))
    mark = f"{kind}:{entity['id']}"
    commit.add("ZREM", session.keys.tombstones, mark)
    commit.add("ZADD", session.keys.dirty, NEW_VERSION, mark)
    commit.run()
