"""Whether the Redis server keeps what it acknowledges."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from taskapi.errors import StoreFull, Unavailable, Unusable, WritesRefused
from taskapi.store import scripts
from taskapi.store.connection import Store
from taskapi.store.info import value_of

OLDEST: Final = (7, 0)
"""The oldest version of Redis that works. Valkey says with which version it is compatible."""
WRITE_NOTHING: Final = ("EVALSHA", scripts.WRITE_NOTHING, 0)
"""A command that fails with WritesRefused or StoreFull if the server refuses changes."""

_EVICTING: Final = (
    "Redis drops data when its memory is full (maxmemory-policy {}), which loses acknowledged "
    "changes: set maxmemory-policy noeviction."
)
_NO_FILE: Final = (
    "Redis writes no append-only file: a restart loses the changes that PostgreSQL does not have. "
    "Set appendonly yes and appendfsync always."
)
_LATE_FILE: Final = (
    "Redis writes its append-only file late (appendfsync {}): a crash may lose the last seconds of "
    "acknowledged changes. Set appendfsync always."
)


@dataclass(frozen=True, slots=True)
class RedisServer:
    """Facts about the server.

    Attributes:
        name: name and version, such as Valkey 9.1.2.
        version: the version of Redis, or of the Redis that Valkey is compatible with.
        clock_seconds: the server's time.
        limit_bytes: maxmemory, or the memory of the machine.
        policy: maxmemory-policy; empty if unknown.
        appendfsync: the setting; empty without an append-only file, `unknown` if hidden.
    """

    name: str
    version: tuple[int, ...]
    clock_seconds: float
    used_bytes: int
    limit_bytes: int
    policy: str
    appendfsync: str

    @property
    def loss_seconds(self) -> float | None:
        """After a crash, changes older than this are in the append-only file.

        0 if Redis waits for its disk before it answers, 2 if it writes every second. None if there
        is no file, or if the time is not known.
        """
        return {"always": 0.0, "everysec": 2.0}.get(self.appendfsync)

    @property
    def is_noeviction(self) -> bool:
        """Whether the policy is noeviction; True also if a provider hides the policy."""
        return self.policy in ("", "noeviction")


def require_usable(store: Store) -> None:
    """Raise Unusable if the server is too old, or drops data when its memory is full."""
    facts = look(store)
    if facts.version < OLDEST:
        raise Unusable(f"{facts.name} is too old: use Redis 7.0 or newer, or Valkey.")
    if not facts.is_noeviction:
        raise Unusable(_EVICTING.format(facts.policy))


def refusal(store: Store) -> str:
    """Return why the server refuses changes at this moment, empty if it takes them."""
    try:
        store.connection.execute(WRITE_NOTHING)
    except (WritesRefused, StoreFull) as error:
        return str(error)
    return ""


def is_replica(store: Store) -> bool:
    """Return whether the server follows another one."""
    (info,) = store.connection.execute(("INFO", "replication"))
    return value_of(info.decode(), "role") == "slave"


def warnings(facts: RedisServer) -> list[str]:
    """Return sentences about what the server may lose with its settings."""
    sentences = []
    if not facts.is_noeviction:
        sentences.append(_EVICTING.format(facts.policy))
    if not facts.appendfsync:
        sentences.append(_NO_FILE)
    elif facts.appendfsync != "always":
        sentences.append(_LATE_FILE.format(facts.appendfsync))
    return sentences


def look(store: Store) -> RedisServer:
    """Return the facts about the server; raises Unavailable when it is unreachable."""
    reply, (seconds, _) = store.connection.execute(("INFO",), ("TIME",))
    info = reply.decode()
    redis, valkey = value_of(info, "redis_version"), value_of(info, "valkey_version")
    limits = (int(value_of(info, name) or 0) for name in ("maxmemory", "total_system_memory"))
    return RedisServer(
        name=f"Valkey {valkey}" if valkey else f"Redis {redis}",
        version=tuple(int(part) for part in redis.split(".") if part.isdecimal()),
        clock_seconds=int(seconds),
        used_bytes=int(value_of(info, "used_memory") or 0),
        limit_bytes=next(filter(None, limits), 0),
        policy=value_of(info, "maxmemory_policy"),
        appendfsync=_appendfsync(store) if value_of(info, "aof_enabled") == "1" else "",
    )


def _appendfsync(store: Store) -> str:
    """Return the setting, or `unknown` if a provider does not show it."""
    with suppress(Unavailable):
        ((_, setting),) = store.connection.execute(("CONFIG", "GET", "appendfsync"))
        return str(setting.decode())
    return "unknown"
