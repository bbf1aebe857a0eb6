"""Answers: the envelope, ETags, pages of lists, and errors as JSON."""

import logging
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

import orjson
from flask import Flask, Response, g, request
from flask.globals import request_ctx
from werkzeug.exceptions import HTTPException

from taskapi import errors
from taskapi.api import audit
from taskapi.api.error_codes import CODES
from taskapi.store.codec import version
from taskapi.store.queries import Page
from taskapi.store.session import StoredEntity

log = logging.getLogger("taskapi")

HTTP_ERRORS: Final = {
    400: ("bad_request", "The request is not usable."),
    404: ("no_such_route", "There is nothing at this address: see the list of endpoints."),
    405: ("method_not_allowed", "This address does not take that method: see Allow."),
    413: ("body_too_large", "The body is too large: send less at once."),
    415: ("not_json", "Send the body as JSON, with Content-Type: application/json."),
    500: ("internal_error", "Internal error: report the request id to the operator."),
}
"""Status -> code and sentence, for errors raised by Flask and werkzeug."""
COMMON_HEADERS: Final = (("X-Content-Type-Options", "nosniff"), ("Cache-Control", "no-store"))
"""Headers of every answer, besides its request id."""
ENCODED_MOST: Final = 250
"""Objects encoded in one call, which keeps all other threads waiting."""
_SUFFIX: Final = re.compile('[-;](?:gzip|br|zstd|deflate)"')
_ROOT: Final = re.compile("(?:/[A-Za-z0-9._~-]+)*")
_GAP: Final = b"\0"
"""A byte that JSON never contains."""


def success(data: dict[str, Any], status: int = 200, location: str | None = None) -> Response:
    """Return data in the envelope."""
    response = bare({"success": True, "data": data}, status)
    if location is not None:
        response.headers["Location"] = root() + location
    return response


def root() -> str:
    """Return the path under which a proxy serves the service, such as `/tasks`; empty for none."""
    found = request.script_root
    return found if _ROOT.fullmatch(found) else ""


def entity(stored: StoredEntity) -> Response:
    """Return the entity with its ETag, or 304 if the client already has this version."""
    body = b'{"success":true,"data":' + stored.json + b"}"
    return conditional(Response(body, content_type="application/json"), stored["version"])


def changed(
    message: str, noun: str, json: bytes, status: int = 200, location: str | None = None
) -> Response:
    """Return an entity that was created or changed, with its new ETag."""
    response = success({"message": message, noun: orjson.Fragment(json)}, status, location)
    return tagged(response, version(json))


def tagged(response: Response, version: str | int) -> Response:
    """Return the response with the version as its ETag."""
    response.headers.add("ETag", f'"{version}"')
    return response


def conditional(response: Response, version: str | int) -> Response:
    """Return the response with its ETag, or 304 if the client already has this version."""
    tagged(response, version)
    given = request_ctx.request.environ.get("HTTP_IF_NONE_MATCH")
    if given is not None:  # If-Match is checked by the session
        environ = {"REQUEST_METHOD": request.method, "HTTP_IF_NONE_MATCH": uncompressed(given)}
        response.make_conditional(environ)
    return response


def uncompressed(etags: str) -> str:
    """Return the ETags of a request as the service sent them, before a proxy compressed an answer.

    Such a proxy makes an ETag weak, which changes nothing here, or adds a suffix, as Apache does.
    """
    return _SUFFIX.sub('"', etags)


def page(name: str, page: Page, paging: Mapping[str, Any], **more: Any) -> Response:
    """Return a list with its count; `paging` has the `limit` and `after` of the request.

    A page also has `next_after` and a Link to the next one.
    """
    is_long = len(page.chunks) > 1
    listed = orjson.Fragment(b"[" + (_GAP if is_long else b"".join(page.chunks)) + b"]")
    data = {**more, name: listed, "count": page.size}
    if paging["limit"] is not None or "after" in request.args:
        data["next_after"] = page.next_after
    response = linked(success(data), page.next_after)
    return _filled(response, page.chunks) if is_long else response


def linked(response: Response, next_after: int | str | None) -> Response:
    """Return the response with a Link to the next page, if there is one."""
    if next_after is not None:
        parameters = urlencode({**request.args.to_dict(), "after": next_after})
        path = root() + request.path.replace("/users/me/", f"/users/{g.caller.id}/")
        response.headers["Link"] = f'<{path}?{parameters}>; rel="next"'
    return response


def listing(
    name: str,
    listed: list[Any],
    count: int,
    next_after: int | None,
    paging: Mapping[str, Any],
    **more: Any,
) -> Response:
    """Return a list of decoded objects, as `page` does."""
    starts = range(0, len(listed), ENCODED_MOST)
    chunks = [orjson.dumps(listed[start : start + ENCODED_MOST])[1:-1] for start in starts]
    return page(name, Page(chunks, count, next_after), paging, **more)


def _filled(response: Response, chunks: list[bytes]) -> Response:
    """Return the response with the chunks of a list in its gap; they are sent one by one."""
    before, after = response.get_data().split(_GAP)
    pieces = [piece for chunk in chunks for piece in (b",", chunk)][1:]
    response.response = [before, *pieces, after]
    response.content_length = sum(map(len, response.response))
    return response


def bare(data: Any, status: int = 200) -> Response:
    """Return data as they are, without the envelope."""
    return Response(orjson.dumps(data), status, content_type="application/json")


def _error(status: int, code: str, message: str, fields: Any = None) -> Response:
    audit.add(code=code)
    data = {"success": False, "error": message, "code": code, "request_id": g.request_id}
    return bare({**data, "fields": fields} if fields else data, status)


def _domain_error(error: errors.TaskApiError) -> Response:
    response = _error(CODES[error.code].status, error.code, str(error), error.fields)
    if isinstance(error, errors.Unauthenticated):
        response.headers["WWW-Authenticate"] = 'Basic realm="taskapi", charset="UTF-8"'
    if isinstance(error, errors.Unavailable | errors.TooManyFailures):
        response.headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, errors.VersionMismatch):
        response.set_etag(error.version)
    return response


def _http_error(error: HTTPException) -> Response:
    status = error.code or 500
    response = _error(status, *HTTP_ERRORS.get(status, HTTP_ERRORS[400]))
    for name, value in error.get_headers():
        if name == "Allow":
            response.headers[name] = value
    return response


def _internal_error(error: Exception) -> Response:
    fields = {"request_id": g.request_id}
    log.error("Error in a request", extra={"fields": fields}, exc_info=error)
    return _error(500, *HTTP_ERRORS[500])


def install(app: Flask) -> None:
    """Register the error handlers of an application."""
    app.register_error_handler(errors.TaskApiError, _domain_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _internal_error)
