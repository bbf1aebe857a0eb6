"""What this service offers, for programs and people; none of it needs credentials."""

from functools import lru_cache

import orjson
from flask import Blueprint, Flask, Response, request
from flask.globals import app_ctx
from markupsafe import escape

from schemas.admin import Document, Index
from taskapi.api import openapi, responses
from taskapi.api.contract import public, returns
from taskapi.api.openapi import page as paper
from taskapi.api.services import services

bp = Blueprint("docs", __name__)


@bp.get("/")
@public
@returns(Index)
def index() -> Response:
    """Show where to go from here."""
    places = {"documentation": "/docs", "openapi": "/openapi.json", "health": "/health"}
    return responses.success({"service": "taskapi", **places})


@bp.get("/openapi.json")
@public
@returns(Document, bare=True)
def describe() -> Response:
    """Show the OpenAPI document of the service."""
    return Response(orjson.dumps(openapi.document(app_ctx.app)), content_type="application/json")


@bp.get("/docs")
@public
def page() -> Response:
    """Show the same for people, with commands for the address that was asked."""
    text = _page(app_ctx.app).replace(paper.PLACE, escape(_base()))
    return Response(text, headers={"Content-Security-Policy": paper.POLICY})


@lru_cache(maxsize=1)
def _page(app: Flask) -> str:
    return paper.render(openapi.document(app), paper.PLACE)


def _base() -> str:
    """Return where the caller reaches the service; only a proxy of ours can say that it is TLS."""
    settings, headers = services().settings, request.headers
    is_secure = settings.trusted_proxies > 0 and headers.get("X-Forwarded-Proto") == "https"
    return paper.base_url(headers.get("Host", ""), settings.url, is_secure=is_secure)
