"""Compare PostgreSQL with Redis row by row, without importing the product."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import psycopg2
from psycopg2.extras import RealDictCursor

from tests.store.fsck import KINDS, Store, entities, fsck, load
from tests.support import Installation

ROWS = {
    "user": """
        SELECT id, full_name, role, email, number, work_times, created_at, updated_at, version,
               password_hash, tokens,
               ARRAY(SELECT group_id FROM memberships WHERE user_id = id ORDER BY 1) AS group_ids
          FROM users""",
    "group": "SELECT id, name, admin_id, created_at, updated_at, version FROM groups",
    "task": """
        SELECT id, title, status, priority, to_char(deadline, 'YYYY-MM-DD') AS deadline,
               information, user_id, group_id, created_at, updated_at, version
          FROM tasks""",
    "tombstone": "SELECT kind::text || ':' || id AS mark FROM tombstones",
    "orphan": "SELECT * FROM memberships WHERE user_id NOT IN (SELECT id FROM users)",
}


def check_stores(installation: Installation) -> None:
    """Check, after a pass, that indexes match the entities and that PostgreSQL equals Redis."""
    settings = installation.settings
    faults = fsck(settings.redis_url, settings.key_prefix)
    faults += drift(settings.redis_url, settings.key_prefix, settings.database_url)
    assert not faults, "\n".join(faults)


def drift(url: str, prefix: str, database_url: str) -> list[str]:
    """Return the differences between PostgreSQL and Redis after a pass, one sentence each."""
    store, tables = load(url, prefix), _tables(database_url)
    differences = [f"Redis still has {name}" for name in ("dirty", "tombs") if store.get(name)]
    differences += [f"membership of a user that does not exist: {row}" for row in tables["orphan"]]
    buried = {row["mark"] for row in tables["tombstone"]}
    for kind, letter in KINDS.items():
        in_redis = _expected(store, kind)
        in_postgres = {row["id"]: row for row in tables[kind]}
        differences += _differences(kind, in_redis, in_postgres)
        differences += [
            f"{kind} {i} exists and has a tombstone" for i in in_redis if f"{letter}:{i}" in buried
        ]
    return differences


def _tables(database_url: str) -> dict[str, list[dict[str, Any]]]:
    connection = psycopg2.connect(database_url)
    try:
        return {name: _rows(connection, query) for name, query in ROWS.items()}
    finally:
        connection.close()


def _rows(connection: Any, query: str) -> list[dict[str, Any]]:
    with connection.cursor(cursor_factory=RealDictCursor) as cursor:
        cursor.execute(query)
        return [dict(row) for row in cursor.fetchall()]


def _expected(store: Store, kind: str) -> dict[int, dict[str, Any]]:
    expected = {}
    for entity_id, entity in entities(store, kind).items():
        times = {k: datetime.fromisoformat(entity[k]) for k in ("created_at", "updated_at")}
        expected[entity_id] = entity | times
        if kind == "user":
            hidden = {"password_hash": store[f"secret:{entity_id}"]}
            hidden["tokens"] = store[f"user:{entity_id}"].get("tokens", [])
            expected[entity_id] |= hidden
    return expected


def _differences(kind: str, redis: dict[int, Any], postgres: dict[int, Any]) -> Iterator[str]:
    for entity_id in sorted(redis.keys() | postgres.keys()):
        entity, row = redis.get(entity_id), postgres.get(entity_id)
        if entity != row:
            yield f"{kind} {entity_id} is {entity} in Redis, {row} in PostgreSQL"
