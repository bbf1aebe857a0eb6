"""What the Redis server itself risks: whether it keeps what it acknowledged."""

from contextlib import suppress
from typing import Final

from redis.exceptions import ResponseError

from taskapi.errors import TaskApiError, Unavailable
from taskapi.store.link import Store, value_of

_EVICTING: Final = (
    "Redis drops data when its memory is full (maxmemory-policy {}), which loses acknowledged "
    "changes: set maxmemory-policy noeviction."
)
_NO_FILE: Final = (
    "Redis writes no append-only file: when it ends, what PostgreSQL does not have yet is lost. "
    "Set appendonly yes and appendfsync always."
)
_LATE_FILE: Final = (
    "Redis writes its append-only file late (appendfsync {}): a crash may lose the last seconds of "
    "acknowledged changes. Set appendfsync always."
)


class Evicting(TaskApiError):
    """The server would drop acknowledged changes, so nothing may begin to use it."""

    code = "redis_evicts"


def require_keeping(store: Store) -> None:
    """Raise Evicting where the server may drop data to make room."""
    policy = value_of(_info(store), "maxmemory_policy")
    if policy not in ("", "noeviction"):
        raise Evicting(_EVICTING.format(policy))


def warnings(store: Store) -> list[str]:
    """Return sentences on what may be lost with this server as it is set up."""
    info, found = _info(store), []
    policy = value_of(info, "maxmemory_policy")
    if policy not in ("", "noeviction"):
        found.append(_EVICTING.format(policy))
    if value_of(info, "aof_enabled") != "1":
        found.append(_NO_FILE)
    elif (appendfsync := _appendfsync(store)) != "always":
        found.append(_LATE_FILE.format(appendfsync))
    return found


def _info(store: Store) -> str:
    (info,) = store.link.trip(("INFO", "memory", "persistence"))
    return str(info.decode())


def _appendfsync(store: Store) -> str:
    """Return the setting, or that it is not known, where a provider does not show it."""
    with suppress(ResponseError, Unavailable):
        ((_, setting),) = store.link.trip(("CONFIG", "GET", "appendfsync"))
        return str(setting.decode())
    return "unknown"
