"""PostgreSQL's description of the installation, and whether Redis belongs to it."""

from dataclasses import dataclass
from typing import Any, Final

from taskapi.config import Settings
from taskapi.errors import Conflict, DatabaseUnreachable, NotReady
from taskapi.store import meta
from taskapi.store.connection import Store
from taskapi.store.keys import Kind
from taskapi.store.meta import Meta, State
from taskapi.sync import migrations, shared_connection
from taskapi.sync.postgres import Database

_SELECT: Final = "SELECT to_jsonb(sync_state) FROM sync_state"
"""As JSON, because columns are missing in a database whose migration is still to come."""

NO_SCHEMA: Final = (
    "The PostgreSQL user cannot use any schema in its search_path: grant USAGE on the schema that "
    "has the tables, and set search_path."
)
FOREIGN: Final = (
    "Redis and PostgreSQL have different histories, so changes are refused. Check which stores are "
    "configured; action=restore fills Redis from PostgreSQL."
)
BEHIND: Final = (
    "PostgreSQL has lost data, so changes are refused. Check which stores are "
    "configured; action=force&reseed=true copies all of Redis to PostgreSQL, action=restore "
    "fills Redis from PostgreSQL."
)
OLDER: Final = (
    "PostgreSQL has removed tombstones of deletes that Redis may lack, so changes are refused. "
    "Check which stores are configured; action=restore fills Redis from PostgreSQL."
)
SUPERSEDED: Final = (
    "Another Redis has taken over, so changes are refused here. Check which Redis is configured; "
    "action=restore fills this one from PostgreSQL."
)

_PRUNE: Final = """
  WITH pruned AS (
    DELETE FROM tombstones WHERE deleted_at < now() - make_interval(secs => %s) RETURNING version
  )
UPDATE sync_state
   SET pruned_version = greatest(pruned_version, (SELECT max(version) FROM pruned))
 WHERE EXISTS (SELECT FROM pruned)
"""


class Fenced(Conflict):
    """Redis and PostgreSQL have different histories: no writes until the stores agree again."""

    code = "fenced"


@dataclass(frozen=True, slots=True)
class PostgresState:
    """PostgreSQL's description of what it holds.

    Attributes:
        epoch: a number that each restore and each reseed raises; 0 before the first one.
        run_id: run id of the Redis that served clients last, as far as known; empty if none.
        version: every change up to this version is here.
        pruned: deletes up to this version may have no tombstone any more.
        registered: the highest version that Redis had when a process was started.
        ids: the last ids issued, as far as known, by kind.
    """

    installation: str
    epoch: int
    run_id: str
    version: int
    pruned: int
    registered: int
    ids: dict[Kind, int]


def find(db: Database) -> PostgresState | None:
    """Return the description, None in an empty PostgreSQL.

    Raises:
        NewerSchema: a newer program has migrated it.
        DatabaseUnreachable: its user has no schema; tables may exist that cannot be seen.
    """
    migrations.require_known(db)
    ((has_tables, schema),) = db.rows(
        "SELECT to_regclass('sync_state') IS NOT NULL, current_schema()"
    )
    if schema in (None, "pg_catalog"):
        raise DatabaseUnreachable(NO_SCHEMA)
    rows = db.rows(_SELECT) if has_tables else []
    return _parse(rows[0][0]) if rows else None


def _parse(row: dict[str, Any]) -> PostgresState:
    return PostgresState(
        installation=row["installation"],
        epoch=row["epoch"],
        run_id=row.get("run_id", ""),
        version=row["last_version"],
        pruned=row.get("pruned_version", 0),
        registered=row.get("registered_version", 0),
        ids={kind: row[f"last_{kind.noun}"] for kind in Kind},
    )


def check(db: Database, store: Store) -> Meta:
    """Return the description of Redis if Redis belongs to this PostgreSQL, else fence Redis.

    Redis is fenced only if a second look, over a new connection, finds a difference too.

    Raises:
        NotReady: Redis is empty or being restored.
        Fenced: Redis has another installation or history, or PostgreSQL lost data.
    """
    redis, why = _compare(db, store)
    if why:
        with db.another() as other:
            redis, why = _compare(other, store)
    if why:
        meta.write(store, state=State.FENCED)
        meta.publish_status(store, {"fenced": why})
        raise Fenced(why)
    if redis.state == State.FENCED:
        meta.write(store, state=State.READY)
        meta.publish_status(store, {"fenced": None})
    return redis


def _compare(db: Database, store: Store) -> tuple[Meta, str]:
    redis, copy = meta.read(store), find(db)
    if not redis.epoch or redis.state == State.RESTORING:
        raise NotReady("Redis is empty or being restored: there is nothing to sync yet.")
    return redis, difference(redis, copy)


def has_same_history(redis: Meta, copy: PostgresState) -> bool:
    """Return whether both have the same history; one may be ahead of the other.

    A Redis that may lack deletes whose tombstones are gone would bring back what was deleted, so it
    counts as one with another history.
    """
    is_same = (redis.installation, redis.epoch) == (copy.installation, copy.epoch)
    return is_same and redis.synced >= copy.pruned


def difference(redis: Meta, copy: PostgresState | None) -> str:
    """Return why a Redis with data does not belong to this PostgreSQL; empty if it does."""
    if copy is None:
        return BEHIND
    if redis.installation != copy.installation or redis.epoch < copy.epoch:
        return FOREIGN
    if redis.epoch > copy.epoch or redis.synced > copy.version:
        return BEHIND
    if redis.synced < copy.pruned:
        return OLDER
    return SUPERSEDED if is_superseded(redis, copy.run_id) else ""


def is_superseded(redis: Meta, run_id: str) -> bool:
    """Return whether another Redis serves clients; False for a Redis that is not open yet."""
    own = (redis.opened, redis.confirmed, *redis.unconfirmed)
    return bool(redis.opened) and run_id not in ("", *own)


def find_successor(settings: Settings, redis: Meta) -> str:
    """Return run id, installation and epoch of the Redis that replaced this one; empty if none.

    Raises what `ask_once` raises.
    """
    for (row,) in shared_connection.ask_once(settings, _SELECT):
        copy = _parse(row)
        is_other = copy.installation != redis.installation or copy.epoch > redis.epoch
        if is_other or is_superseded(redis, copy.run_id):
            return f"{copy.run_id} {copy.installation} {copy.epoch}"
    return ""


def create(db: Database, installation: str | None = None, epoch: int = 0) -> None:
    """Write the description of an installation, by default of a new one."""
    db.execute(
        "INSERT INTO sync_state (installation, epoch)"
        " VALUES (coalesce(%s::uuid, gen_random_uuid()), %s)",
        (installation, epoch),
    )


def advance(db: Database, version: int, ids: dict[Kind, int]) -> None:
    """Record that every change up to the version is here, and the last ids issued."""
    db.execute(
        "UPDATE sync_state"
        "   SET last_version = greatest(last_version, %s), last_user = greatest(last_user, %s),"
        "       last_group = greatest(last_group, %s), last_task = greatest(last_task, %s)",
        (version, *(ids[kind] for kind in Kind)),
    )


def record_start(db: Database, run_id: str, ids: dict[Kind, int]) -> None:
    """Record the run id of the Redis that serves clients, and the last ids issued."""
    if db.execute("UPDATE sync_state SET run_id = %s WHERE run_id <> %s", (run_id, run_id)):
        advance(db, 0, ids)


def record_registration(db: Database, version: int) -> None:
    """Record that a process was started when Redis had this version."""
    db.execute(
        "UPDATE sync_state SET registered_version = greatest(registered_version, %s)", (version,)
    )


def prune(db: Database, kept_seconds: float) -> None:
    """Remove tombstones older than `kept_seconds`; record the highest version removed."""
    db.execute(_PRUNE, (kept_seconds,))


def begin_epoch(db: Database, above: int, run_id: str) -> int:
    """Commit a new epoch, higher than `above`, for the Redis with this run id; return it."""
    ((epoch,),) = db.rows(
        "UPDATE sync_state SET epoch = greatest(epoch, %s) + 1, run_id = %s RETURNING epoch",
        (above, run_id),
    )
    db.commit()
    return int(epoch)
