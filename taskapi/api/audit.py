"""The log line of each request: caller, path, status, and the change or the refusal."""

import re
from typing import Any, Final

from flask import Flask, Request, Response, current_app
from flask.ctx import _AppCtxGlobals
from flask.globals import app_ctx

from taskapi import logs
from taskapi.api.contract import CONTRACTS, SAFE_METHODS
from taskapi.api.requests import ME

METHODS: Final = SAFE_METHODS | {"POST", "PUT", "PATCH", "DELETE"}
REFUSALS: Final = frozenset({401, 403, 409, 412, 429})
"""Statuses of refusals; the log line of a refused read also has its audit name and ids."""
CORRELATION: Final = {
    "traceparent": "HTTP_TRACEPARENT",
    "correlation_id": "HTTP_X_CORRELATION_ID",
}
"""Name in the log -> header in a WSGI environment."""
_PLAIN: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
IDS_MOST: Final = 50
"""The maximum number of task ids in the log line of a batch."""


def add(**fields: Any) -> None:
    """Add fields to the log line of this request."""
    app_ctx.g.log_fields |= fields


def log_request(g: _AppCtxGlobals, request: Request, response: Response, seconds: float) -> None:
    """Write the request's line; mask unknown methods and path segments: they may be a password."""
    method, path, status = request.method, request.path, response.status_code
    fields = {"request_id": g.request_id, "caller": g.caller.id if g.caller else None}
    if g.token:
        fields["by_token"] = g.token["id"]
    fields |= _correlation(request)
    if request.url_rule is None:
        method = method if method in METHODS else "*"
        path = current_app.extensions["unknown_words"].sub("*", path)
    if method not in SAFE_METHODS or status >= 400:
        fields |= _action(request, response) | g.log_fields
    if g.caller is None and status in REFUSALS:
        fields |= {"account": g.account, "address": request.remote_addr}
    logs.request(method, path, status, seconds, fields)


def _correlation(request: Request) -> dict[str, str]:
    """Return what identifies this request in the logs of other services."""
    sent = {name: request.environ.get(variable, "") for name, variable in CORRELATION.items()}
    return {name: value for name, value in sent.items() if _PLAIN.fullmatch(value)}


def _action(request: Request, response: Response) -> dict[str, Any]:
    """Return the audit name and the ids of a change or a refusal."""
    is_read = request.method in SAFE_METHODS
    if is_read and response.status_code not in REFUSALS:
        return {}
    view = current_app.view_functions.get(request.endpoint or "")
    contract = CONTRACTS.get(view) if view else None
    name = "read" if is_read else contract.audit if contract else "unknown"
    me = app_ctx.g.caller.id if app_ctx.g.caller else "me"
    ids = {
        word.removesuffix("_id"): me if id_ == ME else id_
        for word, id_ in (request.view_args or {}).items()
    }
    if response.status_code == 201:
        ids[name.partition(".")[0]] = int(response.headers["Location"].rpartition("/")[2])
    return {"audit": name, **ids}


def install(app: Flask) -> None:
    """Store a pattern for what `log_request` masks in unknown paths.

    It matches all segments but words of routes and numbers of at most five digits.
    """
    words = {word for rule in app.url_map.iter_rules() for word in rule.rule.split("/")}
    known = "|".join(re.escape(word) for word in sorted(words) if word and "<" not in word)
    pattern = re.compile(rf"(?<=/)(?!(?:{known}|[0-9]{{1,5}})(?:/|\Z))[^/]+")
    app.extensions["unknown_words"] = pattern
