"""The index commands that follow from a change of an entity."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from taskapi.store import codec
from taskapi.store.codec import Entity
from taskapi.store.keys import Keys, Kind

Write = tuple[str, ...]


def fold(text: str) -> str:
    """Return the same text for texts that differ only in case or Unicode composition."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def reindex(keys: Keys, kind: Kind, old: Entity | None, new: Entity | None) -> Iterator[Write]:
    """Yield the commands that update the indexes from `old` to `new`; None means absent."""
    return _BY_KIND[kind](keys, old, new)


def merged(writes: Iterable[Write]) -> list[Write]:
    """Return fewer commands with the same effect.

    Only for writes whose order does not matter, such as those of different or new entities.
    """
    joined: dict[Write, list[str]] = {}
    sums: Counter[Write] = Counter()
    others: list[Write] = []
    for write in writes:
        if write[0] == "HINCRBY":
            sums[write[:3]] += int(write[3])
        elif write[0] in _FIXED_WORDS:
            fixed = _FIXED_WORDS[write[0]]
            joined.setdefault(write[:fixed], []).extend(write[fixed:])
        else:
            others.append(write)
    return others + _calls(joined, sums)


def _calls(joined: dict[Write, list[str]], sums: Counter[Write]) -> list[Write]:
    calls: list[Write] = [(*head, str(delta)) for head, delta in sums.items()]
    for head, words in joined.items():
        calls += [(*head, *words[i : i + _WORDS_MOST]) for i in range(0, len(words), _WORDS_MOST)]
    return calls


def _user(keys: Keys, old: Entity | None, new: Entity | None) -> Iterator[Write]:
    if new is None and old:
        user_id = str(old["id"])
        yield ("ZREM", keys.users, user_id)
        yield ("HDEL", keys.counts, user_id)
        yield ("HDEL", keys.full_names, user_id)
        yield ("UNLINK", keys.password_hash(user_id), keys.user_tasks(user_id))
    if new:
        user_id = str(new["id"])
        yield ("ZADD", keys.users, user_id, user_id)
        yield ("HSET", keys.full_names, user_id, new["full_name"])
    yield from _renamed(keys.emails, user_id, "email", old, new)
    before, after = set(old["group_ids"] if old else ()), set(new["group_ids"] if new else ())
    for group_id in sorted(before - after):
        yield ("ZREM", keys.members(group_id), user_id)
    for group_id in after - before:
        yield ("ZADD", keys.members(group_id), user_id, user_id)


def _group(keys: Keys, old: Entity | None, new: Entity | None) -> Iterator[Write]:
    if new is None and old:
        group_id = str(old["id"])
        yield ("ZREM", keys.groups, group_id)
        yield ("UNLINK", keys.members(group_id), keys.group_tasks(group_id))
        yield ("UNLINK", keys.group_counts(group_id))
    if new:
        group_id = str(new["id"])
        yield ("ZADD", keys.groups, group_id, group_id)
    yield from _renamed(keys.names, group_id, "name", old, new)


def _renamed(
    index: str, entity_id: str, field: str, old: Entity | None, new: Entity | None
) -> Iterator[Write]:
    before, after = (fold(entity[field]) if entity else None for entity in (old, new))
    if before and before != after:
        yield ("HDEL", index, before)
    if after and before != after:
        yield ("HSET", index, after, entity_id)


def _task(keys: Keys, old: Entity | None, new: Entity | None) -> Iterator[Write]:
    task_id = str((new or old or {})["id"])
    if new:
        yield from (("ZADD", scope, codec.score(new), task_id) for scope in _sets(keys, new))
    if old and new and all(old[name] == new[name] for name in ("user_id", "group_id")):
        return
    before, after = _sets(keys, old), _sets(keys, new)
    yield from (("ZREM", scope, task_id) for scope in before if scope not in after)
    counted, counts = _counts(keys, old), _counts(keys, new)
    yield from (("HINCRBY", *count, "-1") for count in counted if count not in counts)
    yield from (("HINCRBY", *count, "1") for count in counts if count not in counted)


def _sets(keys: Keys, task: Entity | None) -> Sequence[str]:
    """Return the sorted sets that a task belongs to."""
    if task is None:
        return ()
    return keys.tasks, keys.user_tasks(task["user_id"]), keys.group_tasks(task["group_id"])


def _counts(keys: Keys, task: Entity | None) -> Sequence[tuple[str, str]]:
    """Return the counters, as key and field, that count a task."""
    if task is None:
        return ()
    user_id = str(task["user_id"])
    return (keys.counts, user_id), (keys.group_counts(task["group_id"]), user_id)


_FIXED_WORDS: Final = {"ZADD": 2, "ZREM": 2, "UNLINK": 1}
"""Commands that take many members or keys -> the number of words before those."""
_WORDS_MOST: Final = 1000
"""Words in one command: even, because ZADD takes pairs; Lua unpacks at most 8000."""
_BY_KIND = {Kind.USER: _user, Kind.GROUP: _group, Kind.TASK: _task}
