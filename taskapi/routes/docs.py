"""What this service offers, for programs; none of it needs credentials."""

import orjson
from flask import Blueprint, Response
from flask.globals import app_ctx

from taskapi import openapi
from taskapi.http import answer
from taskapi.inputs import query

bp = Blueprint("docs", __name__)


@bp.get("/")
def index() -> Response:
    """Show where to go from here."""
    query()
    places = {"documentation": "/docs", "openapi": "/openapi.json", "health": "/health"}
    return answer({"service": "taskapi", **places})


@bp.get("/openapi.json")
def describe() -> Response:
    """Show the OpenAPI document of the service."""
    query()
    return Response(orjson.dumps(openapi.document(app_ctx.app)), content_type="application/json")
