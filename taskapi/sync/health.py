"""Whether requests are served and changes are copied, in one word, for monitors."""

import time
from typing import Any, Final

from taskapi.config import Settings
from taskapi.errors import Damaged, StoreFull, Unavailable, WritesRefused
from taskapi.store import meta, server
from taskapi.store.connection import Store
from taskapi.store.meta import State
from taskapi.sync import status
from taskapi.sync.postgres_errors import AWAY
from taskapi.sync.shared_connection import SharedConnection

_PROBLEMS: Final = ("problem", "postgres_problem")
"""What the worker publishes about PostgreSQL if it cannot fill Redis."""
HEALTH_SECONDS: Final = 0.1
"""How long `/health` waits for PostgreSQL if no worker publishes its state."""


def health(settings: Settings, store: Store, postgres: SharedConnection) -> dict[str, Any]:
    """Return `status` (healthy, degraded or unhealthy), `timestamp` and, if any, `issues`.

    One round trip to Redis. PostgreSQL is asked in the background, and only if no worker publishes
    its state.
    """
    refusals = []
    try:
        try:
            state, published, now, refused = meta.read_status(store, server.WRITE_NOTHING)
        except (WritesRefused, StoreFull) as error:
            refusals = [str(error)]
            state, published, now, refused = meta.read_status(store)
    except Damaged as error:
        return _damaged(store, error)
    except Unavailable as error:
        return _health("unhealthy", [str(error)])
    if state in ("", State.RESTORING, State.CHECKING):
        problems = [published[name] for name in _PROBLEMS if published.get(name)]
        return _health("unhealthy", [status.STATES[state], *problems[:1]])
    issues = refusals + _issues(postgres, state, published, now)
    issues += status.problems(settings, published, now, refused)
    return _health("degraded" if issues else "healthy", issues)


def _damaged(store: Store, error: Damaged) -> dict[str, Any]:
    """Return the health of a damaged Redis: unhealthy if its description cannot be read."""
    try:
        meta.read(store)
    except Unavailable:
        return _health("unhealthy", [str(error)])
    return _health("degraded", [str(error)])


def _issues(
    postgres: SharedConnection, state: str, published: dict[str, str], now: float
) -> list[str]:
    issues = [status.STATES[state]] if state in status.STATES else []
    if not status.is_running(published, now):
        problem = postgres.problem(HEALTH_SECONDS)
    elif published.get("postgres") == "connected":
        problem = ""
    else:
        problem = published.get("postgres_problem", AWAY)
    if problem:
        issues.append(f"{problem} Changes wait in Redis.")
    elif "problem" in published:
        issues.append(f"The last sync failed. {published['problem']} Changes wait in Redis.")
    if "damage" in published:
        issues.append(published["damage"])
    return issues


def _health(word: str, issues: list[str]) -> dict[str, Any]:
    answer: dict[str, Any] = {"status": word, "timestamp": status.timestamp(time.time())}
    return answer | ({"issues": issues} if issues else {})
