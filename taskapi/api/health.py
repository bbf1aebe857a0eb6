"""Whether the service is healthy, for monitors."""

from flask import Blueprint, Response, jsonify

from schemas.admin import Health
from taskapi.api.contract import public, returns
from taskapi.api.services import services
from taskapi.sync import health

bp = Blueprint("health", __name__)


@bp.get("/health")
@public
@returns(Health, or_status=503, bare=True)
def show() -> Response:
    """Show whether requests are served."""
    shared = services()
    data = health.health(shared.settings, shared.store, shared.postgres)
    response = jsonify(data)
    response.status_code = 503 if data["status"] == "unhealthy" else 200
    return response
