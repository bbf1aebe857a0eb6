"""What PostgreSQL knows of the installation, and whether Redis is the one that belongs to it."""

from dataclasses import dataclass
from typing import Final

from taskapi.errors import Conflict, NotReady
from taskapi.store import meta
from taskapi.store.connection import Store
from taskapi.store.keys import Kind
from taskapi.store.meta import Meta, State
from taskapi.sync import migrations
from taskapi.sync.postgres import Database

_COLUMNS: Final = "installation::text, epoch, last_version, last_user, last_group, last_task"


FOREIGN: Final = (
    "Redis and PostgreSQL hold different histories, so changes are refused. Check which stores are "
    "configured; action=restore makes Redis what PostgreSQL has."
)
BEHIND: Final = (
    "PostgreSQL has lost what it had of Redis, so changes are refused. Check which stores are "
    "configured; action=force&reseed=true writes all of Redis into PostgreSQL, action=restore "
    "makes Redis what PostgreSQL has."
)


class Fenced(Conflict):
    """Redis and PostgreSQL are not of one history; nobody writes until the owner has decided."""

    code = "fenced"


@dataclass(frozen=True, slots=True)
class PostgresState:
    """PostgreSQL's description of what it holds.

    Attributes:
        epoch: how often Redis was filled from here; 0 before the first time.
        version: up to which version everything is here.
        ids: the last ids that Redis is known to have given out.
    """

    installation: str
    epoch: int
    version: int
    ids: dict[Kind, int]


def find(db: Database) -> PostgresState | None:
    """Return the description, None in an empty PostgreSQL; raises NewerSchema."""
    migrations.require_known(db)
    (has_tables,) = db.rows("SELECT to_regclass('sync_state') IS NOT NULL")[0]
    found = db.rows(f"SELECT {_COLUMNS} FROM sync_state") if has_tables else []
    for installation, epoch, version, *ids in found:
        return PostgresState(installation, epoch, version, dict(zip(Kind, ids, strict=True)))
    return None


def check(db: Database, store: Store) -> Meta:
    """Return Redis' description, after making sure that it belongs to this PostgreSQL.

    Raises:
        NotReady: Redis is empty or being restored.
        Fenced: it belongs to another installation or another time, or PostgreSQL lost something.
    """
    redis, copy = meta.read(store), find(db)
    if not redis.epoch or redis.state == State.RESTORING:
        raise NotReady("Redis is empty or being restored: there is nothing to sync yet.")
    if why := difference(redis, copy):
        meta.write(store, state=State.FENCED)
        meta.publish_status(store, {"fenced": why})
        raise Fenced(why)
    if redis.state == State.FENCED:
        meta.write(store, state=State.READY)
        meta.publish_status(store, {"fenced": None})
    return redis


def is_of(redis: Meta, copy: PostgresState) -> bool:
    """Whether the two are of one history, wherever in it each of them is."""
    return (redis.installation, redis.epoch) == (copy.installation, copy.epoch)


def difference(redis: Meta, copy: PostgresState | None) -> str:
    """Return why a Redis with data does not belong to this PostgreSQL, empty if it does."""
    if copy is None:
        return BEHIND
    if redis.installation != copy.installation or redis.epoch < copy.epoch:
        return FOREIGN
    return BEHIND if redis.epoch > copy.epoch or redis.synced > copy.version else ""


def create(db: Database, installation: str | None = None, epoch: int = 0) -> None:
    """Write the description of an installation, by default a new one."""
    db.execute(
        "INSERT INTO sync_state (installation, epoch)"
        " VALUES (coalesce(%s::uuid, gen_random_uuid()), %s)",
        (installation, epoch),
    )


def advance(db: Database, version: int, ids: dict[Kind, int]) -> None:
    """Note up to where everything is here, and which ids have been given out."""
    db.execute(
        "UPDATE sync_state"
        "   SET last_version = greatest(last_version, %s), last_user = greatest(last_user, %s),"
        "       last_group = greatest(last_group, %s), last_task = greatest(last_task, %s)",
        (version, *(ids[kind] for kind in Kind)),
    )


def begin_epoch(db: Database, above: int) -> int:
    """Begin another epoch, above this one too, for good; return its number."""
    ((epoch,),) = db.rows(
        "UPDATE sync_state SET epoch = greatest(epoch, %s) + 1 RETURNING epoch", (above,)
    )
    db.commit()
    return int(epoch)
