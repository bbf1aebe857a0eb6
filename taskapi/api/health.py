"""Whether the service is healthy, for monitors."""

from typing import Any

from flask import Blueprint, Response

from schemas import admin as schema
from taskapi.api import responses
from taskapi.api.contract import public, returns, takes
from taskapi.api.services import services
from taskapi.sync import health

bp = Blueprint("health", __name__)


@bp.get("/health")
@public
@takes(schema.HEALTH)
@returns(schema.Health, or_status=503, bare=True)
def show(query: dict[str, Any]) -> Response:
    """Show whether requests are served."""
    shared = services()
    data = health.health(shared.settings, shared.store, shared.postgres)
    accepted = {"healthy"} if query["strict"] else {"healthy", "degraded"}
    return responses.bare(data, 200 if data["status"] in accepted else 503)


@bp.get("/health/live")
@public
@returns(schema.Alive, bare=True)
def live() -> Response:
    """Show that the process answers, whatever the stores do."""
    return responses.bare({"status": "alive"})
