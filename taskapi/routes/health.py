"""The one endpoint without credentials."""

from flask import Blueprint, Response, jsonify

from taskapi import auth, http
from taskapi.sync import status

bp = Blueprint("health", __name__)


@bp.get("/health")
def show() -> Response:
    """Tell whether requests are served, for anybody; bare, without the envelope."""
    http.query()
    shared = auth.service()
    found = status.health(shared.settings, shared.store)
    response = jsonify(found)
    response.status_code = 503 if found["status"] == "unhealthy" else 200
    return response
