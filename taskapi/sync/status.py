"""How the stores and the sync are: for the owner in full, for anybody in one word."""

import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from taskapi.config import Settings
from taskapi.errors import DatabaseUnreachable, Unavailable
from taskapi.store import changes, meta, quarantine, server
from taskapi.store.connection import Store
from taskapi.store.keys import Kind
from taskapi.store.meta import State
from taskapi.sync import rows
from taskapi.sync.postgres import Database

BEAT_SECONDS: Final = 5.0
"""How often the worker says that it lives and whether PostgreSQL answers."""
FRESH_SECONDS: Final = 3 * BEAT_SECONDS
MOST_SHOWN: Final = 100
"""Of what is in quarantine."""

_STATES: Final = {
    "": "The store is empty: it will be restored.",
    State.RESTORING: "The store is being restored.",
    State.FENCED: "The stores hold different histories: changes are refused until the owner has "
    "decided; /admin/status says what to do.",
}
_REDIS: Final = "Redis does not answer."
_POSTGRES: Final = "PostgreSQL does not answer: changes wait in Redis."
_LATE: Final = "The last sync is too long ago: changes wait in Redis."


def health(settings: Settings, store: Store) -> dict[str, Any]:
    """Return `status` (healthy, degraded or unhealthy), `timestamp` and maybe `issues`.

    One round trip to Redis; PostgreSQL is asked only where no worker tells how it is.
    """
    try:
        state, words = meta.read_status(store)
    except Unavailable:
        return _health("unhealthy", [_REDIS])
    if state not in (State.READY, State.FENCED):
        return _health("unhealthy", [_STATES[state]])
    issues = _issues(settings, state, words)
    return _health("degraded" if issues else "healthy", issues)


def status(settings: Settings, store: Store) -> dict[str, Any]:
    """Return what the owner's status page shows; None for what cannot be known now."""
    has_postgres = _count_rows(settings) is not None
    found: dict[str, Any] = {
        "running": None,
        "interval": duration(settings.sync_interval_seconds),
        "last_sync": None,
        "time_since_last_sync": None,
        "healthy": False,
        "dirty_types": None,
        "pending_changes": None,
        "redis_status": "error",
        "postgres_status": "connected" if has_postgres else "error",
        "dirty_counts": None,
        "oldest_unsynced_seconds": None,
        "quarantined": None,
        "quarantined_count": None,
        "restore_progress": None,
        "last_error": None,
        "consecutive_failures": None,
        "last_duration_seconds": None,
        "warnings": [],
    }
    try:
        return found | _of_redis(settings, store, has_postgres)
    except Unavailable:
        return found


def _of_redis(settings: Settings, store: Store, has_postgres: bool) -> dict[str, Any]:
    state, words = meta.read_status(store)
    dirty, oldest, refused = changes.count(store), changes.oldest(store), quarantine.read(store)
    found: dict[str, Any] = {}
    if "last_sync" in words:
        last = float(words["last_sync"])
        found["last_sync"] = _timestamp(last)
        found["time_since_last_sync"] = duration(time.time() - last)
    return found | {
        "running": _is_running(words),
        "healthy": has_postgres and state == State.READY and not _is_late(settings, words),
        "dirty_types": [kind.plural for kind in Kind if dirty[kind]],
        "pending_changes": any(dirty.values()),
        "redis_status": "connected",
        "dirty_counts": {kind.plural: dirty[kind] for kind in Kind},
        "oldest_unsynced_seconds": round(max(0.0, time.time() - oldest), 1) if oldest else 0.0,
        "quarantined": refused[:MOST_SHOWN],
        "quarantined_count": len(refused),
        "restore_progress": words.get("restored"),
        "last_error": words.get("last_error"),
        "consecutive_failures": int(words.get("failures", 0)),
        "last_duration_seconds": float(words["last_duration"])
        if "last_duration" in words
        else None,
        "warnings": _warnings(store, state, words),
    }


def _warnings(store: Store, state: str, words: dict[str, str]) -> list[str]:
    """Return sentences on what needs the owner's attention."""
    found = server.warnings(store)
    if state in _STATES:
        found.insert(0, words.get("fenced", _STATES[state]))
    return found


def stats(settings: Settings, store: Store) -> dict[str, Any]:
    """Return what each store holds; None for the numbers of one that is away."""
    shown = status(settings, store)
    try:
        redis = meta.sizes(store)
    except Unavailable:
        redis = None
    return {
        "postgresql": _by_table(_count_rows(settings)),
        "redis": _by_table(redis),
        "sync": {name: shown[name] for name in ("running", "healthy", "pending_changes")},
    }


def duration(seconds: float) -> str:
    """Return whole seconds in Go's notation: 5m30s, 1h0m0s, 0s."""
    minutes, rest = divmod(int(max(0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{hours}h{text}" if hours else text


def beat(settings: Settings, store: Store) -> None:
    """Leave word that the worker lives, and whether PostgreSQL answers."""
    word = "connected" if _is_reachable(settings) else "error"
    meta.publish_status(store, {"beat": time.time(), "postgres": word})


def _issues(settings: Settings, state: str, words: dict[str, str]) -> list[str]:
    issues = [_STATES[state]] if state in _STATES else []
    if not _has_postgres(settings, words):
        issues.append(_POSTGRES)
    if _is_late(settings, words):
        issues.append(_LATE)
    return issues


def _has_postgres(settings: Settings, words: dict[str, str]) -> bool:
    if _is_running(words):
        return words.get("postgres") == "connected"
    return _was_reachable(settings, int(time.time() / BEAT_SECONDS))


@lru_cache(maxsize=1)
def _was_reachable(settings: Settings, beat: int) -> bool:
    """Look once a beat, however many ask."""
    del beat
    return _is_reachable(settings)


def _is_reachable(settings: Settings) -> bool:
    try:
        with Database(settings) as db:
            db.execute("SELECT 1")
    except DatabaseUnreachable:
        return False
    return True


def _is_running(words: dict[str, str]) -> bool:
    return time.time() - float(words.get("beat", 0)) < FRESH_SECONDS


def _is_late(settings: Settings, words: dict[str, str]) -> bool:
    """Whether the last good pass, or the filling of Redis before the first, is too long ago."""
    since = max(float(words.get("last_sync", 0)), float(words.get("since", 0)))
    return time.time() - since > 2 * settings.sync_interval_seconds


def _count_rows(settings: Settings) -> dict[Kind, int] | None:
    try:
        with Database(settings) as db:
            return rows.count(db)
    except DatabaseUnreachable:
        return None


def _by_table(counts: dict[Kind, int] | None) -> dict[str, int | None]:
    return {kind.plural: counts[kind] if counts else None for kind in Kind}


def _health(word: str, issues: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"status": word, "timestamp": _timestamp(time.time())}
    return found | ({"issues": issues} if issues else {})


def _timestamp(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
