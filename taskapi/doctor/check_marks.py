"""Checks of marks, tombstones and unfinished deletes, and of rows that Redis lacks."""

from collections.abc import Callable, Iterator
from typing import Any

from taskapi.doctor.check_keys import GONE, TAKEN, gone, ref_in
from taskapi.doctor.differences import Difference, Step, Stores, named
from taskapi.store.connection import Command
from taskapi.store.consistency import WRONG_TYPE, Repair, look, text_of
from taskapi.store.keys import EntityRef, Kind
from taskapi.store.numbers import is_number
from taskapi.sync import row_versions


def check_marks(stores: Stores, marks: list[str]) -> Iterator[Difference]:
    """Check that each mark has an entity or a tombstone of its version."""
    for mark, state in stores.look(marks, lambda mark: _reads(stores, mark)):
        if WRONG_TYPE not in state:
            yield from _check_mark(stores, mark, state)


def ref_of_mark(mark: str) -> EntityRef | None:
    """Return the entity of a mark; None if it names none."""
    return ref_in(mark, {kind.value: kind for kind in Kind})


def check_deletes(stores: Stores, marks: list[str]) -> Iterator[Difference]:
    """Check that each unfinished delete is that of a user or a group."""
    key = stores.keys.deleting
    for mark in marks:
        ref, read = ref_of_mark(mark), ("HGET", key, mark)
        (version,) = look(stores.store, [read])
        if (ref is None or ref[0] is Kind.TASK) and version not in (None, WRONG_TYPE):
            repair = Repair([(read, text_of(version))], [("HDEL", key, mark)])
            problem, remedy = "names neither a user nor a group", "--repair removes that"
            yield Difference("deleting", problem, remedy, Step.MARKS, mark, repair)


def _reads(stores: Stores, mark: str) -> list[tuple[str, ...]]:
    keys, ref = stores.keys, ref_of_mark(mark) or (Kind.TASK, 0)
    return [
        ("ZSCORE", keys.dirty, mark),
        ("ZSCORE", keys.tombstones, mark),
        ("EXISTS", keys.entity(*ref)),
        ("HGET", keys.entity(*ref), "version"),
        ("ZSCORE", keys.index(ref[0]), str(ref[1])),
        ("ZCARD", keys.index(ref[0])),
        ("HGET", keys.meta, "version"),
    ]


def _check_mark(stores: Stores, mark: str, state: list[Any]) -> Iterator[Difference]:
    """Check a mark; `state` has the replies to `_reads`."""
    score, tombstone, exists, version, listed, size, last_version = state
    keys, ref = stores.keys, ref_of_mark(mark)
    subject = named(ref) if ref else f"mark {mark}"
    dirty = ("ZSCORE", keys.dirty, mark), (score or b"").decode()
    buried = ("ZSCORE", keys.tombstones, mark), (tombstone or b"").decode()
    alive = ("EXISTS", keys.entity(*(ref or (Kind.TASK, 0)))), str(exists)

    def difference(problem: str, remedy: str, *write: str) -> Difference:
        repair = Repair([dirty, buried, alive], [write]) if write else None
        return Difference(subject, problem, remedy, Step.MARKS, repair=repair)

    if ref is None:
        remove = ("ZREM", keys.dirty if score else keys.tombstones, mark)
        yield difference("names nothing", "--repair removes it", *remove)
    elif score and not _is_version(score, last_version):
        write = _set(keys.dirty, mark, version) or ("ZREM", keys.dirty, mark)
        yield difference("has an invalid mark", "--repair corrects or removes it", *write)
    elif tombstone and (exists or not is_number(tombstone)):
        remove = ("ZREM", keys.tombstones, mark)
        words = "is alive and has a tombstone" if exists else "has an invalid tombstone"
        yield difference(words, "--repair removes the tombstone", *remove)
    elif tombstone and tombstone != score:
        words = "was deleted, and no pass will copy the delete"
        write = _set(keys.dirty, mark, tombstone)
        yield difference(words, "--repair marks the delete for the next pass", *write)
    elif score and version and is_number(version) and float(version) > float(score):
        words = "is marked with an older version"
        yield difference(words, "--repair marks it again", *_set(keys.dirty, mark, version))
    elif score and not exists and not tombstone:
        yield _lost(stores, ref, dirty, difference, is_listed=bool(listed) or size == 0)


def _set(key: str, mark: str, version: bytes | None) -> tuple[str, ...]:
    """Return the command that sets the version of a mark; nothing if the version is no number."""
    return ("ZADD", key, version.decode(), mark) if version and is_number(version) else ()


def _is_version(score: bytes, last: bytes | None) -> bool:
    """Return whether a mark's score can be a version; `last` is the last one, if it can be read."""
    has_last = last is not None and is_number(last)
    return is_number(score) and (not has_last or int(score) <= int(last or 0))


def _lost(
    stores: Stores,
    ref: EntityRef,
    dirty: tuple[Any, str],
    difference: Callable[..., Difference],
    *,
    is_listed: bool,
) -> Difference:
    """Return the difference for a mark with neither an entity nor a tombstone.

    The tombstone is lost if the index does not name the entity and the row is older than the mark.
    Otherwise Redis lost the entity. Without a row, only the mark is left.
    """
    keys, mark = stores.keys, f"{ref[0]}:{ref[1]}"
    row = row_versions.of(stores.db, ref[0], [ref[1]]).get(ref[1])
    if row is None:
        remove = Repair([dirty], [("ZREM", keys.dirty, mark), ("HDEL", keys.quarantine, mark)])
        words, remedy = "is gone from both stores", "--repair removes its mark"
        return Difference(named(ref), words, remedy, Step.INDEXES, repair=remove)
    if is_listed or row >= float(dirty[1]):
        return Difference(named(ref), GONE, TAKEN, Step.ENTITIES, repair=ref)
    add = ("ZADD", keys.tombstones, dirty[1], mark)
    return difference("was deleted, and its tombstone is gone", "--repair adds it", *add)


def check_lost_rows(stores: Stores, refs: list[EntityRef]) -> Iterator[Difference]:
    """Check that Redis has each row's entity, or a mark for it."""
    keys = stores.keys

    def reads(ref: EntityRef) -> list[Command]:
        return [("EXISTS", keys.entity(*ref)), ("ZSCORE", keys.dirty, f"{ref[0]}:{ref[1]}")]

    lost = [ref for ref, found in stores.look(refs, reads) if found == [0, None]]
    yield from gone(stores, lost)
