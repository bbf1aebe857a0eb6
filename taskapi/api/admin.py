"""The owner's view of the two stores, and the ways to bring them together."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from flask import Blueprint, Response, g

from schemas.admin import SYNC
from schemas.fields import NOTHING
from taskapi import policy
from taskapi.api.requests import query
from taskapi.api.responses import answer, note
from taskapi.api.services import services
from taskapi.config import Settings
from taskapi.policy import Action
from taskapi.store.connection import Store
from taskapi.sync import backup, passes, restore, status

bp = Blueprint("admin", __name__)
ACTIONS: Final[dict[tuple[str, str], Callable[[Settings, Store], dict[str, Any]]]] = {
    ("force", "false"): passes.force,
    ("force", "true"): partial(passes.force, reseed=True),
    ("restore", "false"): restore.force,
    ("backup", "false"): backup.force,
}
"""What `action` and `reseed` ask for."""
AUDITED: Final = {"force": "admin.sync", "restore": "admin.restore", "backup": "admin.backup"}


@bp.post("/admin/sync")
def sync() -> Response:
    """Sync now, restore Redis from PostgreSQL, or write a backup file."""
    policy.require(Action.ADMINISTER, g.caller)
    asked = query(SYNC)
    note(audit=AUDITED[asked["action"]], reseed=asked["reseed"])
    ours = services()
    act = ACTIONS[asked["action"], asked["reseed"]]
    return answer({"action": asked["action"], **act(ours.settings, ours.store)})


@bp.get("/admin/status")
def show_status() -> Response:
    """Show how both stores and the sync are."""
    policy.require(Action.ADMINISTER, g.caller)
    query(NOTHING)
    ours = services()
    return answer(status.status(ours.settings, ours.store))


@bp.get("/admin/stats")
def show_stats() -> Response:
    """Show what each store holds."""
    policy.require(Action.ADMINISTER, g.caller)
    query(NOTHING)
    ours = services()
    return answer(status.stats(ours.settings, ours.store))
