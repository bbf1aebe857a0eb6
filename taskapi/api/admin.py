"""The owner's view of both stores, and the actions that synchronise them."""

from collections.abc import Callable
from functools import partial
from threading import BoundedSemaphore
from typing import Any, Final

from flask import Blueprint, Response
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from schemas import admin as schema
from taskapi.api import audit, metrics, responses
from taskapi.api.contract import allowed, audited, refuses, returns, takes
from taskapi.api.services import services
from taskapi.config import Settings
from taskapi.errors import AlreadyRunning
from taskapi.policy import Action
from taskapi.store.connection import Store
from taskapi.sync import backup, restore, status, sync_pass

bp = Blueprint("admin", __name__)
ACTIONS: Final[dict[tuple[str, str], Callable[[Settings, Store], dict[str, Any]]]] = {
    ("force", "false"): sync_pass.force,
    ("force", "true"): partial(sync_pass.force, reseed=True),
    ("restore", "false"): restore.force,
    ("backup", "false"): backup.force,
}
"""(`action`, `reseed`) -> the function that does it."""
AT_ONCE: Final = 2
"""The maximum number of actions at once in a process: the other threads serve other requests."""
AUDIT_NAMES: Final = {"force": "admin.sync", "restore": "admin.restore", "backup": "admin.backup"}
_turns = BoundedSemaphore(AT_ONCE)


@bp.post("/admin/sync")
@allowed(Action.ADMINISTER)
@takes(schema.SYNC)
@returns(schema.Synced)
@refuses(
    *("already_running", "fenced", "not_empty", "nothing_to_restore"),
    *("postgres_unreachable", "unavailable"),
)
@audited("admin.sync")
def sync(query: dict[str, Any]) -> Response:
    """Sync now, restore Redis from PostgreSQL, or write a backup file."""
    action, reseed = query["action"], query["reseed"]
    audit.add(audit=AUDIT_NAMES[action], reseed=reseed)
    if not _turns.acquire(blocking=False):
        raise AlreadyRunning("Other actions are running: try again when they are done.")
    try:
        services().store.heavy.enter()
        data = ACTIONS[action, reseed](services().settings, services().store)
    finally:
        _turns.release()
    return responses.success({"action": action, **data})


@bp.get("/admin/status")
@allowed(Action.ADMINISTER)
@returns(schema.Status)
def show_status() -> Response:
    """Show the state of both stores and of the sync."""
    shared = services()
    return responses.success(status.status(shared.settings, shared.store, shared.postgres))


@bp.get("/admin/stats")
@allowed(Action.ADMINISTER)
@returns(schema.Stats)
def show_stats() -> Response:
    """Count what each store holds."""
    shared = services()
    return responses.success(status.stats(shared.settings, shared.store, shared.postgres))


@bp.get("/metrics")
@allowed(Action.ADMINISTER)
@returns(media_type="text/plain")
def show_metrics() -> Response:
    """Show metrics of the service and its stores in the text format of Prometheus."""
    return Response(metrics.text(services()), content_type=CONTENT_TYPE_PLAIN_0_0_4)
