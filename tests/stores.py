"""Reads and changes of an installation's stores that bypass the service."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pytest
import redis

from tests.support import Installation


def root(installation: Installation) -> str:
    return f"{{{installation.settings.key_prefix}}}:"


@contextlib.contextmanager
def connect(installation: Installation) -> Iterator[Any]:
    """Yield a connection to the installation's Redis; keys need the prefix that `root` returns."""
    with redis.Redis.from_url(installation.settings.redis_url, decode_responses=True) as connection:
        yield connection


def keys(installation: Installation) -> dict[str, Any]:
    """Return all keys of the installation with their values, as they are stored."""
    with connect(installation) as connection:
        return {
            key.removeprefix(root(installation)): connection.dump(key)
            for key in connection.scan_iter(root(installation) + "*", count=1000)
        }


def entities(installation: Installation) -> dict[str, Any]:
    """All entities by key, their JSON byte for byte."""
    with connect(installation) as connection:
        return {
            key.removeprefix(root(installation)): connection.hgetall(key)
            for noun in ("user", "group", "task")
            for key in connection.scan_iter(f"{root(installation)}{noun}:*", count=1000)
        }


def empty_redis(installation: Installation) -> None:
    """Lose every key, as a FLUSHALL or a restart without file would."""
    with connect(installation) as connection:
        for key in list(connection.scan_iter(root(installation) + "*", count=1000)):
            connection.delete(key)


def dirty(installation: Installation) -> dict[str, float]:
    """The marks with their versions."""
    with connect(installation) as connection:
        return dict(connection.zrange(root(installation) + "dirty", 0, -1, withscores=True))


def meta(installation: Installation) -> dict[str, str]:
    with connect(installation) as connection:
        found: dict[str, str] = connection.hgetall(root(installation) + "meta")
        return found


def sql(installation: Installation, statement: str, *values: Any) -> list[Any]:
    """Run a statement in the installation's database; return the rows, if there are any."""
    connection = psycopg2.connect(installation.settings.database_url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement, values)
            return list(cursor.fetchall()) if cursor.description else []
    finally:
        connection.close()


def before(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, act: Callable[[], Any]) -> None:
    """Call `act` once, directly before the first call of `module.name`."""
    step, pending = getattr(module, name), [act]

    def stepped(*args: Any, **kwargs: Any) -> Any:
        if pending:
            pending.pop()()
        return step(*args, **kwargs)

    monkeypatch.setattr(module, name, stepped)


def crash() -> None:
    """Raise an error in the middle of an operation, which ends it as a crash would."""
    raise ConnectionAbortedError
