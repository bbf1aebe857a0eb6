"""The one endpoint without credentials."""

from flask import Blueprint, Response, jsonify

from taskapi.api.requests import query
from taskapi.api.services import services
from taskapi.sync import status

bp = Blueprint("health", __name__)


@bp.get("/health")
def show() -> Response:
    """Tell whether requests are served, for anybody; bare, without the envelope."""
    query()
    ours = services()
    found = status.health(ours.settings, ours.store)
    response = jsonify(found)
    response.status_code = 503 if found["status"] == "unhealthy" else 200
    return response
