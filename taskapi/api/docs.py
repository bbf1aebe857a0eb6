"""The documentation: an index, the OpenAPI document, and Swagger UI; no credentials needed."""

import base64
import hashlib
import re
from typing import Final

from flask import Blueprint, Response, current_app
from flask.globals import app_ctx
from flask.typing import ResponseReturnValue
from flask_swagger_ui import get_swaggerui_blueprint

from schemas.admin import Document, Index
from taskapi.api import openapi, responses
from taskapi.api.contract import public, returns

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
    return responses.success({"service": "taskapi", **places})


@bp.get("/openapi.json")
@public
@returns(Document, bare=True)
def describe() -> Response:
    """Show the OpenAPI document of the service."""
    return responses.bare(openapi.document(app_ctx.app))


def with_policy(answer: ResponseReturnValue) -> Response:
    """Return a page or an asset of Swagger UI; a page gets a Content-Security-Policy."""
    response = current_app.make_response(answer)
    if response.mimetype == "text/html":
        scripts = re.findall(r"<script>(.*?)</script>", response.get_data(as_text=True), re.DOTALL)
        hashes = "".join(map(_csp_source, scripts))
        response.headers["Content-Security-Policy"] = POLICY.format(hashes=hashes)
    return response


def _csp_source(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f" 'sha256-{digest}'"
