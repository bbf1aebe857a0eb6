"""`Idempotency-Key`: a POST that is sent again gets the first answer, and nothing happens twice.

The answer is stored by the commit that makes the change: there is no moment in which one of them is
stored without the other. Source: the IETF draft "The Idempotency-Key HTTP Header Field".
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import orjson
from flask import Request, Response, current_app
from flask.typing import ResponseReturnValue

from taskapi.api import audit
from taskapi.api.services import services
from taskapi.errors import Conflict, Damaged, Invalid, StoreFull, Unavailable
from taskapi.store import scripts
from taskapi.store.deferral import KEPT_SECONDS, Deferral
from taskapi.store.recent_tasks import RecentTasks
from taskapi.store.session import Session

HEADER: Final = "HTTP_IDEMPOTENCY_KEY"
RUNNING_SECONDS: Final = 10
ACTION_SECONDS: Final = 300
"""If its process dies, others with the key of a request, or of an action, are refused so long."""
NOT_USABLE: Final = "Redis is not ready: wait, or send the request without Idempotency-Key."
_KEY: Final = re.compile(r"[!-~]{1,255}")


def has_key(request: Request) -> bool:
    """Return whether the answer of this request has to be stored."""
    return request.method == "POST" and HEADER in request.environ


def answer(
    session: Session, caller_id: int, request: Request, view: Callable[[], ResponseReturnValue]
) -> Response:
    """Return the stored answer; if there is none, run the view and store its answer.

    Raises:
        Invalid: the key is not usable.
        Conflict: it was used for another body, or its first request is still running.
        Damaged: the stored answer cannot be read.
        What the view and its commit raise. Then no answer is stored; but after OutcomeUnknown, the
            change and the answer may both be.
    """
    given = request.environ[HEADER]
    if not _KEY.fullmatch(given):
        problem = "Must have 1 to 255 visible ASCII characters."
        fields = {"Idempotency-Key": [problem]}
        raise Invalid(f"Idempotency-Key: {problem}", code="validation_failed", fields=fields)
    target = f"{request.path}?{request.query_string.decode('latin-1')}"
    key = session.keys.answer(caller_id, _digest(f"{target} {given}".encode()))
    phrase = f"{given} {services().settings.owner_password}"
    body = _digest(_without_password(request.get_data()))
    deferral = Deferral(phrase)
    seconds = ACTION_SECONDS if request.blueprint == "admin" else RUNNING_SECONDS
    if stored := _reserve_key(session, key, deferral, seconds):
        return _replay(stored, phrase, body)
    with _releasing_on_error(session, key, deferral):
        session.deferral, session.recent_tasks = deferral, RecentTasks()
        response = current_app.make_response(view())
        return _store(session, key, deferral, body, response)


def _reserve_key(session: Session, key: str, deferral: Deferral, seconds: int) -> bytes | None:
    """Reserve the key for this request; if another one has used it, return what is stored."""
    words = ("SET", deferral.running, "EX", seconds, "NX", "GET")
    stored: bytes | None
    (stored,) = session.connection.execute(("EVALSHA", scripts.EVEN_WHEN_FULL, 1, key, *words))
    is_second_attempt = stored == deferral.running.encode()  # the first one got no reply
    return None if is_second_attempt else stored


@contextmanager
def _releasing_on_error(session: Session, key: str, deferral: Deferral) -> Iterator[None]:
    """Let others with this key run at once, if this request fails and stores no answer."""
    try:
        yield
    except Exception:
        with suppress(Unavailable):
            _release(session, key, deferral)
        raise


def _release(session: Session, key: str, deferral: Deferral) -> None:
    words = (deferral.running, "UNLINK")
    call = ("EVALSHA", scripts.IF_ABSENT_OR_EQUAL_WHEN_FULL, 1, key, *words)
    session.connection.execute(call)


def _without_password(body: bytes) -> bytes:
    """Return a body without its password: what is stored must not help to guess it."""
    try:
        fields = orjson.loads(body)
        if isinstance(fields, dict):
            fields.pop("password", None)
        return orjson.dumps(fields)
    except (ValueError, TypeError):  # orjson.dumps takes fewer levels
        return body  # it will be refused


def _store(
    session: Session, key: str, deferral: Deferral, body: str, response: Response
) -> Response:
    """Send the commit and the answer; return it with the ids, version and time from Redis."""
    text = response.get_data(as_text=True)
    headers = [[name, value] for name, value in response.headers if name != "Content-Length"]
    answer = [deferral.salt, body, response.status_code, headers, text]
    shown = deferral.masked(orjson.dumps(answer).decode())
    if not deferral.has_commit:
        words = (deferral.running, "SET", shown, "EX", KEPT_SECONDS)
        try:
            session.connection.execute(("EVALSHA", scripts.IF_ABSENT_OR_EQUAL, 1, key, *words))
        except StoreFull:  # a request that has changed nothing can be done again
            _release(session, key, deferral)
        return response
    stamp = deferral.send(key, shown)
    filled = [(name, deferral.fill(value, stamp)) for name, value in response.headers]
    response.set_data(deferral.fill(text, stamp))
    for name, value in filled:
        if name != "Content-Length":
            response.headers[name] = value
    return response


def _replay(stored: bytes, phrase: str, body: str) -> Response:
    if stored.startswith(b"running "):
        text = "The first request with this Idempotency-Key is still running: try again."
        raise Conflict(text, code="in_progress")
    try:
        salt, first_body, status, headers, text = orjson.loads(stored)
        response = Response(Deferral(phrase, salt).unmasked(text), status)
        response.headers.update(dict(headers))
    except (ValueError, TypeError, AttributeError) as error:
        raise Damaged("a stored answer cannot be read") from error
    if first_body != body:
        text = "This Idempotency-Key was used with another body: use a new one."
        raise Conflict(text, code="idempotency_key_reused")
    response.headers["Idempotent-Replayed"] = "true"
    audit.add(replayed="true")
    return response


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
