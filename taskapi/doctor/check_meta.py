"""Checks of the store's description: fields that cannot be read, the last ids and version."""

from collections.abc import Iterator
from typing import Final

from taskapi.doctor.differences import Difference, Step, Stores
from taskapi.store import meta
from taskapi.store.connection import Command
from taskapi.store.consistency import WRONG_TYPE, Repair, look, text_of
from taskapi.store.keys import Kind
from taskapi.store.server_start import SKIPPED_IDS
from taskapi.sync import state

RESTORE: Final = "no repair: action=restore fills Redis from PostgreSQL"
DERIVED: Final = "--repair derives it from what is in use"
COMPARED: Final = "--repair resets it, and the next pass compares everything"

VERSION_MOST: Final = 2**53
"""The highest version that a score can hold exactly."""


def check_description(stores: Stores, last_ids: dict[Kind, int]) -> Iterator[Difference]:
    """Check that the description can be read, and is not below the last ids and version in use."""
    key, in_use = stores.keys.meta, _in_use(stores, last_ids)
    described = meta.inspect(stores.store)  # read last, because new entities raise it
    names = [*{*described.damaged} | {*in_use}]
    replies = look(stores.store, [("HGET", key, name) for name in names])
    for name, stored in zip(names, replies, strict=True):
        guard = ("HGET", key, name), text_of(stored)
        if name in described.damaged:
            yield _damaged(stores, name, guard, in_use)
        elif stored != WRONG_TYPE and int(stored or 0) < in_use[name]:
            repair = Repair([guard], [("HSET", key, name, str(in_use[name]))])
            problem, remedy = f"{name} is below the last one in use", "--repair raises it"
            yield Difference("meta", problem, remedy, Step.DESCRIPTION, repair=repair)


def _in_use(stores: Stores, last_ids: dict[Kind, int]) -> dict[str, int]:
    """Return the last ids and version in use, by the field that must not be lower."""
    options = ("BYSCORE", "REV", "LIMIT", "0", "1", "WITHSCORES")
    newest = ("ZRANGE", stores.keys.dirty, str(VERSION_MOST), "0", *options)
    (mark,) = look(stores.store, [newest])
    marked = int(float(mark[1])) if mark and mark != WRONG_TYPE else 0
    copy = state.find(stores.db)
    last = {f"next:{kind}": last_ids[kind] for kind in Kind}
    return last | {"version": max(copy.version if copy else 0, marked)}


def _damaged(
    stores: Stores, name: str, guard: tuple[Command, str], in_use: dict[str, int]
) -> Difference:
    """Return the difference for a field that cannot be read.

    Ids are skipped, because an entity with a higher id may have been deleted from both stores.
    """
    copy = state.find(stores.db)
    derived = {"version": in_use["version"]}
    if copy:
        issued = {kind: max(in_use[f"next:{kind}"], copy.ids[kind]) for kind in Kind}
        derived |= {f"next:{kind}": last + SKIPPED_IDS for kind, last in issued.items()}
        derived["synced"] = copy.pruned
    problem, step = f"{name} cannot be read", Step.DESCRIPTION
    if name not in derived:
        return Difference("meta", problem, RESTORE, step)
    remedy = COMPARED if name == "synced" else DERIVED
    repair = Repair([guard], [("HSET", stores.keys.meta, name, str(derived[name]))])
    return Difference("meta", problem, remedy, step, repair=repair)
