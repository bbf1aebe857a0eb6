"""What gunicorn answers where no request reaches the application: like the application."""

import secrets
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final

import orjson
from gunicorn import util
from gunicorn.http import errors
from gunicorn.workers.gthread import ThreadWorker

from taskapi import logs
from taskapi.api import responses

SENTENCES: Final[dict[type[Exception], str]] = {
    errors.LimitRequestLine: "The address is too long: shorten it.",
    errors.LimitRequestHeaders: "The headers are too many or too long: send less.",
    errors.UnsupportedTransferCoding: "Send the body with Content-Length, or chunked.",
    Exception: "This is not well-formed HTTP/1.1: send it with a client such as curl.",
}
OURS: Final = (errors.InvalidResponseHeader, errors.InvalidResponseHeaderName)
"""What gunicorn calls malformed, and only the application can have sent."""


class Worker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's thread worker, whose own errors are JSON, with an id that the log has too."""

    def handle_error(self, _: Any, client: Any, addr: Any, exc: Exception) -> None:
        """Answer 400 to what is no HTTP, and 500 where something else went wrong.

        What was sent is quoted neither to the client nor in the log: it may hold a password.
        """
        request_id = secrets.token_hex(8)
        if isinstance(exc, errors.ParseException) and not isinstance(exc, OURS):
            status, (code, _) = 400, responses.HTTP_ERRORS[400]
            sentence = next(SENTENCES[kind] for kind in type(exc).__mro__ if kind in SENTENCES)
        else:
            status, (code, sentence) = 500, responses.HTTP_ERRORS[500]
            fields = {"request_id": request_id}
            responses.log.error(
                "Error outside the application", extra={"fields": fields}, exc_info=exc
            )
        said = {"request_id": request_id, "code": code, "address": addr[0] if addr else None}
        logs.request("*", "*", status, 0.0, said)
        with suppress(OSError):
            util.write_nonblock(client, answer(status, code, sentence, request_id))


def answer(status: int, code: str, sentence: str, request_id: str) -> bytes:
    """Return a whole HTTP answer, after which the connection ends."""
    body = orjson.dumps(
        {"success": False, "error": sentence, "code": code, "request_id": request_id}
    )
    headers = {
        "Connection": "close",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "X-Request-ID": request_id,
        **dict(responses.COMMON_HEADERS),
    }
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
