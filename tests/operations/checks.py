"""What the tests of `python -m taskapi check` share: a check, its world, and damage."""

from __future__ import annotations

import pytest

from taskapi import doctor
from taskapi.doctor import consistency
from tests.api.factories import ok, path_of
from tests.faults.test_damage import Damage, World, build
from tests.support import Installation

DIFFERS = "differs from PostgreSQL in:"


def synced_world(installation: Installation) -> World:
    """Users, groups and tasks that both stores have, and a change that only Redis has."""
    world = build(installation)
    installation.sync()
    ok(world.owner("PUT", path_of(world.tasks[3]), json={"title": "not copied"}))
    return world


def check(installation: Installation, *, repairs: bool = False) -> list[str]:
    """Return the lines of a check without the last one, which is their number."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(consistency, "PAUSE_SECONDS", 0.01)
        *lines, end = doctor.check(installation.settings, repairs=repairs)[0]
    assert repairs or end == f"{len(lines)} difference(s)"
    return lines


def hdel(name: str) -> Damage:
    return lambda connection, key: connection.hdel(key, name)


def zrem(member: str) -> Damage:
    return lambda connection, key: connection.zrem(key, member)
