"""The documentation: an index, the OpenAPI document, and Swagger UI; no credentials needed."""

import base64
import hashlib
import re
from typing import Final

from flask import Blueprint, Response, current_app, request
from flask.globals import app_ctx
from flask.typing import ResponseReturnValue
from flask_swagger_ui import get_swaggerui_blueprint

from schemas.admin import Document, Index
from taskapi.api import openapi, responses
from taskapi.api.contract import public, returns
from taskapi.api.services import services

bp = Blueprint("docs", __name__)
ui = get_swaggerui_blueprint(
    "/docs",
    "/openapi.json",
    config={
        "app_name": "taskapi",
        "layout": "BaseLayout",  # without the bar that loads other documents
        "oauth2RedirectUrl": "",  # the default is made from the Host header
        "deepLinking": True,
        "persistAuthorization": False,
    },
)
"""Swagger UI with all its assets, under /docs."""
POLICY: Final = (
    "default-src 'none'; script-src 'self'{hashes}; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Swagger UI sets inline styles; its inline script is allowed by its hash."""


@bp.get("/")
@public
@returns(Index)
def index() -> Response:
    """Show the addresses of the documentation."""
    places = {"documentation": "/docs", "openapi": "/openapi.json", "health": "/health"}
    addresses = {name: responses.root() + path for name, path in places.items()}
    return responses.success({"service": "taskapi", **addresses})


@bp.get("/openapi.json")
@public
@returns(Document, bare=True)
def describe() -> Response:
    """Show the OpenAPI document of the service."""
    settings, root = services().settings, responses.root()
    host = request.host_url.rstrip("/") if settings.trusted_proxies else ""
    servers = [{"url": host + root or "/"}]
    return responses.bare({**openapi.document(app_ctx.app), "servers": servers})


def with_policy(answer: ResponseReturnValue) -> Response:
    """Return a page or an asset of Swagger UI.

    A page gets a Content-Security-Policy, and the path prefix of a proxy before its links.
    """
    response = current_app.make_response(answer)
    if response.mimetype == "text/html":
        page = re.sub(
            '"(/docs/|/openapi.json")', rf'"{responses.root()}\1', response.get_data(True)
        )
        response.set_data(page)
        scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
        hashes = "".join(map(_csp_source, scripts))
        response.headers["Content-Security-Policy"] = POLICY.format(hashes=hashes)
    return response


def _csp_source(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f" 'sha256-{digest}'"
