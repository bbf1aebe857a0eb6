"""HTTP's side: the envelope, errors as answers, request ids, paging."""

import logging
import re
import secrets
import time
from typing import Any, Final
from urllib.parse import urlencode

import orjson
from flask import Flask, Request, Response, g, request
from flask.globals import app_ctx, request_ctx
from werkzeug.exceptions import HTTPException

from taskapi import errors, logs
from taskapi.api import audit
from taskapi.api.requests import EntityId, UnsupportedBody
from taskapi.store.codec import fragment, version
from taskapi.store.queries import Page

SANE_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
UNKNOWN_WORD: Final = re.compile(
    "(?<=/)(?!(?:users|groups|tasks|admin|health|search|filter|stats|batch|worktimes|done|sync|status"
    r"|docs|openapi\.json|[0-9]{1,5})(?:/|\Z))[^/]+"
)
"""In a path that is not ours; it may be a password, which has 6 characters or more."""
log = logging.getLogger("taskapi")

STATUS: Final = {
    errors.Invalid: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.VersionMismatch: 412,
    errors.TooManyFailures: 429,
    errors.Unavailable: 503,
}
HTTP_ERRORS: Final = {
    400: ("bad_request", "The request is not usable."),
    404: ("no_such_route", "There is nothing at this address: see the list of endpoints."),
    405: ("method_not_allowed", "This address does not take that method: see Allow."),
    413: ("body_too_large", "The body is too large: send less at once."),
    415: ("not_json", "Send the body as JSON, with Content-Type: application/json."),
    500: ("internal_error", "Internal error: tell us the request id."),
}
COMMON_HEADERS: Final = (("X-Content-Type-Options", "nosniff"), ("Cache-Control", "no-store"))
"""What every answer has, beside its request id."""


def answer(data: dict[str, Any], status: int = 200, location: str | None = None) -> Response:
    """Return a success in the envelope."""
    response = _json({"success": True, "data": data}, status)
    if location is not None:
        response.headers["Location"] = location
    return response


def answer_entity(json: bytes) -> Response:
    """Return an entity's finished JSON under its ETag, or 304 to whom has that version."""
    body = b'{"success":true,"data":' + json + b"}"
    return _unless_known(Response(body, content_type="application/json"), version(json))


def answer_part(data: dict[str, Any], of: bytes) -> Response:
    """Return what depends on one entity only, under that entity's ETag, or 304."""
    return _unless_known(answer(data), version(of))


def answer_written(
    message: str, noun: str, json: bytes, status: int = 200, location: str | None = None
) -> Response:
    """Return what became of an entity that was created or changed, with its new ETag."""
    response = answer({"message": message, noun: fragment(json)}, status, location)
    return tagged(response, version(json))


def tagged(response: Response, version: str) -> Response:
    """Return the answer with the ETag that If-Match takes."""
    response.headers.add("ETag", f'"{version}"')
    return response


def _unless_known(response: Response, version: str) -> Response:
    tagged(response, version)
    environ = request_ctx.request.environ
    if "HTTP_IF_NONE_MATCH" in environ:  # what If-Match wants is the session's to see
        response.make_conditional({k: v for k, v in environ.items() if k != "HTTP_IF_MATCH"})
    return response


def answer_page(name: str, page: Page, asked: dict[str, Any], **extra: Any) -> Response:
    """Return a part of a list; where a part was asked for, with the way to the next one."""
    listed = fragment(b"[" + page.json + b"]")
    return answer_list(name, listed, page.size, page.next_after, asked, **extra)


def answer_list(
    name: str,
    listed: Any,
    size: int,
    next_after: int | None,
    asked: dict[str, Any],
    **extra: Any,
) -> Response:
    """Return entries as a list, counted; `asked` is the query that asked for them."""
    data = {**extra, name: listed, "count": size}
    if asked["limit"] is not None or asked["after"]:
        data["next_after"] = next_after
    response = answer(data)
    if next_after is not None:
        query = urlencode({**request.args.to_dict(), "after": next_after})
        response.headers["Connection"] = f'<{request.path}?{query}>; rel="next"'
    return response


def _json(data: dict[str, Any], status: int) -> Response:
    return Response(orjson.dumps(data), status, content_type="application/json")


def note(**fields: Any) -> None:
    """Have the log line of this request say these things too."""
    app_ctx.g.noted |= fields


def _error(status: int, code: str, message: str, fields: Any = None) -> Response:
    note(code=code)
    data = refusal(code, message, g.request_id)
    return _json({**data, "fields": fields} if fields else data, status)


def refusal(code: str, message: str, request_id: str) -> dict[str, Any]:
    """Return the body of an error answer."""
    return {"success": False, "error": message, "code": code, "request_id": request_id}


def _domain_error(error: errors.TaskApiError) -> Response:
    status = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    response = _error(status, error.code, str(error), error.fields)
    if isinstance(error, errors.Unauthenticated):
        response.headers["WWW-Authenticate"] = 'Basic realm="taskapi"'
    if isinstance(error, errors.Unavailable | errors.TooManyFailures):
        response.headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, errors.VersionMismatch):
        response.set_etag(error.version)
    return response


def _http_error(error: HTTPException) -> Response:
    status = error.code or 500
    if status < 400 and isinstance(error.response, Response):
        return error.response
    code, message = HTTP_ERRORS.get(status, HTTP_ERRORS[400])
    response = _error(status, code, message)
    for name, value in error.get_headers():
        if name == "Allow":
            response.headers[name] = value
    return response


def _crash(error: Exception) -> Response:
    fields = {"request_id": g.request_id}
    log.error("Error in a request", extra={"fields": fields}, exc_info=error)
    return _error(500, *HTTP_ERRORS[500])


def begin() -> None:
    """Give the request its id and its caller, who is nobody yet."""
    here = app_ctx.g
    given = request_ctx.request.environ.get("HTTP_X_REQUEST_ID", "")
    here.request_id = given if SANE_ID.fullmatch(given) else secrets.token_hex(8)
    here.begin = time.perf_counter()
    here.caller = here.account = None
    here.noted = {}


def finish(response: Response) -> Response:
    """Give the answer the headers that all have, and the request its line in the log."""
    here, asked, headers = app_ctx.g, request_ctx.request, response.headers
    headers.add("X-Request-ID", here.request_id)
    for name, value in COMMON_HEADERS:
        headers.add(name, value)
    _log(here, asked, response)
    return response


def _log(here: Any, asked: Request, response: Response) -> None:
    """Write the request's line; what a path or method that we do not have says is left out."""
    method, path, status = asked.method, asked.path, response.status_code
    fields = {"request_id": here.request_id, "caller": here.caller.id if here.caller else None}
    if asked.url_rule is None:
        method = method if method in audit.METHODS else "*"
        path = UNKNOWN_WORD.sub("*", path)
    if method not in audit.READS or status >= 400:
        ids, location = asked.view_args or {}, response.headers.get("Location")
        fields |= audit.trail(method, asked.endpoint, ids, status, location) | here.noted
    if here.caller is None and status in audit.REFUSALS:
        fields |= {"account": here.account, "address": asked.remote_addr}
    logs.request(method, path, status, time.perf_counter() - here.begin, fields)


def install(app: Flask) -> None:
    """Give an application its ids in paths and its error answers."""
    app.url_map.converters["id"] = EntityId
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    app.register_error_handler(errors.TaskApiError, _domain_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(UnsupportedBody, lambda _: _error(415, *HTTP_ERRORS[415]))
    app.register_error_handler(Exception, _crash)
