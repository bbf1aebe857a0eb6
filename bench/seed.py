"""Fill an installation of any size with the store's own code.

Users have ids from 2 on. Each group has a hundred users, and its first user is its admin. Users get
tasks in turn. One more user, the reader, has fifty tasks with ids above all others.
"""

import itertools
import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final, TypeVar

import orjson

from taskapi.store import codec
from taskapi.store.codec import Entity
from taskapi.store.connection import Store
from taskapi.store.indexes import Write, merged, reindex
from taskapi.store.keys import Keys, Kind
from taskapi.store.passwords import hash_password

PASSWORD: Final = "bench-5521"
MEMBERS: Final = 100
WIDE_GROUPS: Final = 300
WIDE_TASKS: Final = 6_000
OWN: Final = 50
"""Tasks of the reader."""
NEEDLE: Final = "zebrafink"
NEEDLE_EVERY: Final = 10_000
TITLE_LENGTH: Final = 20
INFORMATION_LENGTH: Final = 80
BATCH: Final = 1000
_NOW: Final = "2026-01-01T00:00:00Z"
_DAYS: Final = [str(date(2025, 1, 1) + timedelta(days=7 * i % 1097)) for i in range(1097)]
"""The days of three years, not in the order of ids."""
_SYLLABLES: Final = ("ba", "ce", "di", "fo", "gu", "ha", "je", "ki", "lo", "mu", "na", "pe", "qui")
T = TypeVar("T")

_MARK: Final = """
local ids, dirty, entity, kind, first, last = unpack(ARGV)
for _, id in ipairs(redis.call('ZRANGE', ids, first, last)) do
  redis.call('ZADD', dirty, redis.call('HGET', entity .. id, 'version'), kind .. ':' .. id)
end
"""


@dataclass(frozen=True)
class Population:
    """The numbers of users and tasks; everything else follows from them.

    Attributes:
        base: the version of users and groups; tasks have the versions after it.
    """

    users: int
    tasks: int
    base: int

    @property
    def reader(self) -> int:
        return self.users + 2

    @property
    def groups(self) -> int:
        return (self.users - 1) // MEMBERS + 1


def populate(store: Store, users: int, tasks: int) -> tuple[Population, float]:
    """Fill a new installation; return its population and the bytes of memory for each task."""
    total = users + tasks + OWN + users // MEMBERS + 2
    population = Population(users, tasks, time.time_ns() // 1000 - total)
    _write(store, Kind.GROUP, _groups(population))
    _write(store, Kind.USER, _users(population))
    before = _memory(store)
    _write(store, Kind.TASK, all_tasks(population))
    taken = _memory(store) - before
    _set_counters(store, (users + 2, population.groups, tasks + OWN))
    return population, taken / (tasks + OWN)


def add_wide_admin(store: Store, population: Population) -> int:
    """Add an admin of WIDE_GROUPS groups with WIDE_TASKS tasks, all marked; return their id."""
    user_id, first = population.reader + 1, population.tasks + OWN + 1
    base = time.time_ns() // 1000 - first - WIDE_TASKS
    group_ids = [population.groups + 1 + i for i in range(WIDE_GROUPS)]
    user = {"id": user_id, "full_name": "Wide Admin", "email": "wide@example.com", "number": ""}
    user |= {"role": "group_admin", "group_ids": group_ids, "administers": group_ids}
    user |= {"work_times": {}, "password_hash": hash_password(PASSWORD)}
    groups = [{"id": i, "name": f"Wide {i}", "admin_id": user_id} for i in group_ids]
    tasks = [
        task | {"id": first + i, "group_id": group_ids[i % WIDE_GROUPS]}
        for i, task in enumerate(itertools.islice(all_tasks(population), WIDE_TASKS))
    ]
    for kind, entities in ((Kind.GROUP, groups), (Kind.USER, [user]), (Kind.TASK, tasks)):
        stamped = [entity | _stamps(base + entity["id"]) for entity in entities]
        _write(store, kind, stamped)
        marks = ((str(e["version"]), f"{kind}:{e['id']}") for e in stamped)
        _send(store, (("ZADD", store.keys.dirty, *mark) for mark in marks))
    _set_counters(store, (user_id, group_ids[-1], first + WIDE_TASKS - 1))
    return user_id


def _set_counters(store: Store, ids: tuple[int, ...]) -> None:
    """Set the last ids, and a version above all others."""
    counted = itertools.chain(*((f"next:{kind}", i) for kind, i in zip(Kind, ids, strict=True)))
    version = time.time_ns() // 1000
    store.connection.execute(("HSET", store.keys.meta, *counted, "version", version))


def mark(store: Store) -> None:
    """Mark everything as dirty, so that the next pass writes it."""
    keys = store.keys
    for kind, ids in ((Kind.USER, keys.users), (Kind.GROUP, keys.groups), (Kind.TASK, keys.tasks)):
        (size,) = store.connection.execute(("ZCARD", ids))
        names = (ids, keys.dirty, keys.entity(kind, ""), kind)
        for start in range(0, size, BATCH):
            store.connection.execute(("EVAL", _MARK, 0, *names, start, start + BATCH - 1))


def change_tasks(store: Store, population: Population) -> None:
    """Give every task a new title and a new version, as updates do."""
    base = time.time_ns() // 1000 - population.tasks - OWN
    for batch in batches(all_tasks(population)):
        new = ({"title": "c" * 20, "version": base + task["id"]} for task in batch)
        changed = [(task, task | fields) for task, fields in zip(batch, new, strict=True)]
        _send(store, (w for old, new in changed for w in writes(store.keys, Kind.TASK, old, new)))
    store.connection.execute(("HSET", store.keys.meta, "version", time.time_ns() // 1000))
    mark(store)


def all_tasks(population: Population) -> Iterator[Entity]:
    """Yield the tasks, with ids from 1 on."""
    titles, informations = _texts(TITLE_LENGTH), _texts(INFORMATION_LENGTH)
    for i in range(1, population.tasks + OWN + 1):
        user_id = 2 + (i - 1) % population.users if i <= population.tasks else population.reader
        information = informations[i % len(informations)]
        if i % NEEDLE_EVERY == 0:
            information = f"{information[: -len(NEEDLE) - 1]} {NEEDLE}"
        yield {
            "id": i,
            "title": titles[i % len(titles)],
            "status": i % 2 == 0,
            "priority": 1 + i % 3,
            "deadline": _DAYS[i % len(_DAYS)] if i % 3 else None,
            "information": information,
            "user_id": user_id,
            "group_id": _group_of(population, user_id),
            **_stamps(population.base + i),
        }


def _users(population: Population) -> Iterator[Entity]:
    secret = hash_password(PASSWORD)
    for i in range(2, population.reader + 1):
        leads = i < population.reader and (i - 2) % MEMBERS == 0
        yield {
            "id": i,
            "full_name": f"Person {i}",
            "role": "group_admin" if leads else "user",
            "group_ids": [_group_of(population, i)],
            "email": f"person{i}@example.com",
            "number": "",
            "work_times": {"Monday": 8.0},
            **_stamps(population.base),
            "password_hash": secret,
            "administers": [_group_of(population, i)] if leads else [],
        }


def _groups(population: Population) -> Iterator[Entity]:
    for i in range(1, population.groups + 1):
        admin_id = 2 + (i - 1) * MEMBERS
        yield {"id": i, "name": f"Group {i}", "admin_id": admin_id, **_stamps(population.base)}


def group_of(user_id: int) -> int:
    """Return the group of a user who is not the reader."""
    return (user_id - 2) // MEMBERS + 1


def _group_of(population: Population, user_id: int) -> int:
    return 1 if user_id == population.reader else group_of(user_id)


def _stamps(version: int) -> Entity:
    return {"created_at": _NOW, "updated_at": _NOW, "version": version}


def _texts(length: int) -> list[str]:
    """Return texts of made-up words, the same in every run."""
    chance = random.Random(length)
    words = ["".join(chance.choices(_SYLLABLES, k=chance.randint(1, 4))) for _ in range(4000)]
    return [" ".join(chance.choices(words, k=length // 2))[:length].strip() for _ in range(9973)]


def writes(keys: Keys, kind: Kind, old: Entity | None, new: Entity) -> Iterator[Write]:
    """Yield the commands that turn `old` into `new`, as a restore does."""
    key = keys.entity(kind, new["id"])
    yield ("HSET", key, "json", codec.template(kind, new), "version", str(new["version"]))
    yield from reindex(keys, kind, old, new)
    if kind is Kind.USER:
        yield ("SET", keys.password_hash(new["id"]), new["password_hash"])
        if new["administers"]:
            yield ("HSET", key, "administers", orjson.dumps(new["administers"]).decode())


def _write(store: Store, kind: Kind, entities: Iterable[Entity]) -> None:
    for batch in batches(entities):
        _send(store, (w for entity in batch for w in writes(store.keys, kind, None, entity)))


def batches(items: Iterable[T]) -> Iterator[list[T]]:
    """Yield the items in lists that are short enough for one round trip."""
    rest = iter(items)
    while batch := list(itertools.islice(rest, BATCH)):
        yield batch


def _send(store: Store, writes: Iterable[Write]) -> None:
    store.connection.execute(*merged(writes))


def _memory(store: Store) -> int:
    (text,) = store.connection.execute(("INFO", "memory"))
    return int(text.partition(b"used_memory:")[2].split()[0])
