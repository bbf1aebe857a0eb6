"""The state of the stores and the sync, for the owner."""

from contextlib import suppress
from datetime import UTC, datetime
from math import ceil
from typing import Any, Final

from schemas.admin import Status
from taskapi.config import Settings
from taskapi.errors import Damaged, DatabaseUnreachable, Unavailable
from taskapi.store import changes, meta, quarantine, server
from taskapi.store.connection import Store
from taskapi.store.keys import Kind
from taskapi.store.meta import State
from taskapi.sync import rows
from taskapi.sync.shared_connection import SharedConnection, ask_once

HEARTBEAT_SECONDS: Final = 5.0
"""How often the worker publishes its heartbeat and whether PostgreSQL answers."""
FRESH_SECONDS: Final = 3 * HEARTBEAT_SECONDS
SHOWN_MOST: Final = 100
"""The maximum number of quarantined changes in the status."""

STATES: Final = {
    "": "The store is empty: it will be restored.",
    State.RESTORING: "The store is being restored.",
    State.CHECKING: "Redis was started: requests wait until it is checked.",
    State.FENCED: "The stores have different histories: changes are refused until the stores "
    "agree again; /admin/status says what to do.",
}

_NO_WORKER: Final = "The sync worker does not run: changes wait in Redis. Start sync_worker.py."
_LATE: Final = "The last sync is too long ago, or its time is unknown: changes wait in Redis."
_REFUSED: Final = (
    "{} change(s) are in quarantine, so PostgreSQL lacks them: see quarantined in /admin/status."
)


def status(settings: Settings, store: Store, postgres: SharedConnection) -> dict[str, Any]:
    """Return the data of /admin/status; None stands for what is not known."""
    postgres_status, problem = postgres.status()
    data: dict[str, Any] = dict.fromkeys(Status().fields) | {
        "interval": duration(settings.sync_interval_seconds),
        "healthy": False,
        "redis_status": "error",
        "postgres_status": postgres_status,
        "warnings": [],
    }
    try:
        data |= _of_redis(settings, store, postgres_status == "connected")
    except Damaged as error:
        data |= {"redis_status": "connected", "warnings": [str(error)]}
    except Unavailable as error:
        data["warnings"] = [str(error)]
    if problem:
        data["warnings"].append(problem)
    return data


def _of_redis(settings: Settings, store: Store, has_postgres: bool) -> dict[str, Any]:
    state, published, now, _ = meta.read_status(store)
    dirty, oldest = changes.count(store), changes.oldest_seconds(store)
    refused = quarantine.read(store)
    last_sync, last_duration = published.get("last_sync"), published.get("last_duration")
    age, facts = _age(now, last_sync), server.look(store)
    refusal, sync_problems = server.refusal(store), problems(settings, published, now, len(refused))
    has_problem = bool(refusal or sync_problems or published.keys() & {"damage", "problem"})
    is_syncing = has_postgres and state == State.READY and not is_late(settings, published, now)
    return {
        "last_sync": timestamp(float(last_sync)) if last_sync else None,
        "time_since_last_sync": None if age is None else duration(age),
        "running": is_running(published, now),
        "healthy": is_syncing and not has_problem,
        "dirty_types": [kind.plural for kind in Kind if dirty[kind]],
        "pending_changes": any(dirty.values()),
        "redis_status": "connected",
        "dirty_counts": {kind.plural: dirty[kind] for kind in Kind},
        "oldest_unsynced_seconds": None if oldest is None else round(oldest, 1),
        "quarantined": refused[:SHOWN_MOST],
        "quarantined_count": len(refused),
        "restore_progress": published.get("restored"),
        "last_error": published.get("last_error"),
        "consecutive_failures": int(float(published.get("failures", 0))),
        "last_duration_seconds": float(last_duration) if last_duration else None,
        "loss_window": _loss_window(
            settings,
            facts,
            published,
            is_syncing and is_running(published, now) and "failures" not in published,
        ),
        "warnings": [
            *filter(None, [refusal]),
            *_warnings(facts, state, published),
            *sync_problems,
        ],
    }


def _loss_window(
    settings: Settings, facts: server.RedisServer, published: dict[str, str], is_syncing: bool
) -> str | None:
    """Return an age: if Redis crashes, no older change is lost; None if unknown.

    Without an append-only file, the age is one interval and two passes, or unknown if passes fail.
    """
    if facts.appendfsync:
        return None if facts.loss_seconds is None else duration(facts.loss_seconds)
    passes = 2 * float(published.get("last_duration", 0))
    return duration(ceil(settings.sync_interval_seconds + passes)) if is_syncing else None


def _warnings(facts: server.RedisServer, state: str, published: dict[str, str]) -> list[str]:
    """Return sentences about what needs the owner's attention."""
    sentences = server.warnings(facts)
    if state in STATES:
        sentences.insert(0, published.get("fenced", STATES[state]))
    if "damage" in published:
        sentences.insert(0, published["damage"])
    if "uncompared" in published:
        sentences.append(published["uncompared"])
    return sentences


def problems(settings: Settings, published: dict[str, str], now: float, refused: int) -> list[str]:
    """Return a sentence for each problem of the sync: a dead worker, a late pass, a quarantine.

    The first passes of a new installation are late after two intervals, with or without a worker.
    """
    has_no_worker = "beat" in published and not is_running(published, now)
    found = [_NO_WORKER] if has_no_worker else []
    found += [_LATE] if is_late(settings, published, now) else []
    return found + ([_REFUSED.format(refused)] if refused else [])


def stats(settings: Settings, store: Store, postgres: SharedConnection) -> dict[str, Any]:
    """Return the number of rows in each store; None for a store that does not answer in time."""
    copied = stored = None
    with suppress(Unavailable):
        copied = rows.count(postgres)
    shown = status(settings, store, postgres)
    with suppress(Unavailable):
        stored = meta.sizes(store)
    return {
        "postgresql": _by_table(copied),
        "redis": _by_table(stored),
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


def publish_heartbeat(settings: Settings, store: Store) -> None:
    """Publish that the worker runs, and whether PostgreSQL takes a new connection and answers."""
    fields: dict[str, object] = {"postgres": "connected", "postgres_problem": None}
    try:
        ask_once(settings, "SELECT 1")
    except DatabaseUnreachable as error:
        fields = {"postgres": "error", "postgres_problem": error}
    meta.publish_status(store, {"beat": meta.now(store), **fields})


def is_running(published: dict[str, str], now: float) -> bool:
    """Return whether a worker has published a heartbeat just now, by the clock of Redis.

    A heartbeat far ahead of that clock is from before the clock was set back.
    """
    return abs(now - float(published.get("beat", 0))) < FRESH_SECONDS


def is_late(settings: Settings, published: dict[str, str], now: float) -> bool:
    """Return whether the last pass and the last restore are too long ago, or at unknown times."""
    ages = (_age(now, published.get(name)) for name in ("last_sync", "since"))
    return min((age for age in ages if age is not None), default=now) > (
        2 * settings.sync_interval_seconds
    )


def _age(now: float, then: str | None) -> float | None:
    """Return the seconds since then; None if the clock of Redis was set back to before then."""
    age = now - float(then) if then else -1.0
    return age if age >= 0 else None


def _by_table(counts: dict[Kind, int] | None) -> dict[str, int | None]:
    return {kind.plural: counts[kind] if counts else None for kind in Kind}


def timestamp(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
