"""The owner's view of the two stores, and the ways to bring them together."""

from collections.abc import Callable
from typing import Any, Final

from flask import Blueprint, Response, g

from schemas.common import NOTHING
from schemas.queries import SYNC
from taskapi import auth, policy
from taskapi.config import Settings
from taskapi.http import answer, query
from taskapi.policy import Action
from taskapi.store.link import Store
from taskapi.sync import backup, passes, restore, status

bp = Blueprint("admin", __name__)
ACTIONS: Final[dict[str, Callable[[Settings, Store], dict[str, Any]]]] = {
    "force": passes.force,
    "restore": restore.force,
    "backup": backup.force,
}


@bp.post("/admin/sync")
def sync() -> Response:
    """Sync now, restore Redis from PostgreSQL, or write a backup file."""
    policy.require(Action.ADMINISTER, g.caller)
    action = query(SYNC)["action"]
    shared = auth.service()
    return answer({"action": action, **ACTIONS[action](shared.settings, shared.store)})


@bp.get("/admin/status")
def show_status() -> Response:
    """Show how both stores and the sync are."""
    policy.require(Action.ADMINISTER, g.caller)
    query(NOTHING)
    shared = auth.service()
    return answer(status.status(shared.settings, shared.store))


@bp.get("/admin/stats")
def show_stats() -> Response:
    """Show what each store holds."""
    policy.require(Action.ADMINISTER, g.caller)
    query(NOTHING)
    shared = auth.service()
    return answer(status.stats(shared.settings, shared.store))
