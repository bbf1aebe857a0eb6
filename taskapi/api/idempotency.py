"""`Idempotency-Key`: a POST that is sent again gets the first answer, and nothing happens twice.

The answer is stored by the commit that makes the change: there is no moment in which one of them is
stored without the other. Source: the IETF draft "The Idempotency-Key HTTP Header Field".
"""

import hashlib
import re
from collections.abc import Callable
from typing import Final

import orjson
from flask import Request, Response, current_app
from flask.typing import ResponseReturnValue

from taskapi.api import audit
from taskapi.errors import Conflict, Damaged, Invalid, TaskApiError
from taskapi.store import scripts
from taskapi.store.deferral import KEPT_SECONDS, Deferral
from taskapi.store.recent_tasks import RecentTasks
from taskapi.store.session import Session

HEADER: Final = "HTTP_IDEMPOTENCY_KEY"
_KEY: Final = re.compile(r"[!-~]{1,255}")


def is_asked(request: Request) -> bool:
    """Return whether the answer of this request has to be stored."""
    return request.method == "POST" and HEADER in request.environ


def answer(
    session: Session, caller_id: int, request: Request, view: Callable[[], ResponseReturnValue]
) -> Response:
    """Return the stored answer, or that of the view, stored with its commit.

    Raises:
        Invalid: the key is not usable.
        Conflict: it was used for another body.
        Damaged: the stored answer cannot be read.
        What the view and its commit raise; then nothing is stored.
    """
    phrase = request.environ[HEADER]
    if not _KEY.fullmatch(phrase):
        problem = "Must have 1 to 255 visible ASCII characters."
        fields = {"Idempotency-Key": [problem]}
        raise Invalid(f"Idempotency-Key: {problem}", code="validation_failed", fields=fields)
    target = f"{request.path}?{request.query_string.decode('latin-1')}"
    key = session.keys.answer(caller_id, _digest(f"{target} {phrase}".encode()))
    body = _digest(_without_password(request.get_data()))
    if stored := _read(session, key):
        return _replay(stored, phrase, body)
    session.deferral, session.recent_tasks = Deferral(phrase), RecentTasks()
    try:
        response = current_app.make_response(view())
    except TaskApiError:
        if stored := _read(session, key):  # the first request has ended meanwhile
            return _replay(stored, phrase, body)
        raise
    return _stored(session, key, body, response) or _replay(_read(session, key), phrase, body)


def _read(session: Session, key: str) -> bytes | None:
    stored: bytes | None
    (stored,) = session.connection.execute(("GET", key))
    return stored


def _without_password(body: bytes) -> bytes:
    """Return a body without its password: what is stored must not help to guess it."""
    try:
        fields = orjson.loads(body)
    except ValueError:
        return body  # it will be refused
    if isinstance(fields, dict):
        fields.pop("password", None)
    return orjson.dumps(fields)


def _stored(session: Session, key: str, body: str, response: Response) -> Response | None:
    """Send the commit and the answer; return the answer with what Redis gave to the commit.

    None if there was no commit, and another request has stored its answer meanwhile.
    """
    deferral = session.deferral
    assert deferral is not None
    text = response.get_data(as_text=True)
    headers = [[name, value] for name, value in response.headers if name != "Content-Length"]
    answer = [deferral.salt, body, response.status_code, headers, text]
    shown = deferral.hidden(orjson.dumps(answer).decode())
    if not deferral.has_commit:
        words = ("SET", shown, "EX", KEPT_SECONDS, "NX")
        (done,) = session.connection.execute(("EVALSHA", scripts.WHEN_FULL, 1, key, *words))
        return response if done else None
    stamp = deferral.send(key, shown)
    filled = [(name, deferral.fill(value, stamp)) for name, value in response.headers]
    response.set_data(deferral.fill(text, stamp))
    for name, value in filled:
        if name != "Content-Length":
            response.headers[name] = value
    return response


def _replay(stored: bytes | None, phrase: str, body: str) -> Response:
    try:
        salt, first_body, status, headers, text = orjson.loads(stored or b"")
        response = Response(Deferral(phrase, salt).shown(text), status)
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
