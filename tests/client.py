"""A client of the service, in process or over HTTP; it can also send malformed requests."""

from __future__ import annotations

import contextlib
import http.client
import json
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from flask import Flask
from werkzeug.test import create_environ, run_wsgi_app

from tests.api import codes

Caller = str | tuple[object, str] | None
Headers = Mapping[str, str] | Iterable[tuple[str, str]]


@dataclass(frozen=True)
class Answer:
    """An answer of the service; names in `headers` are case-insensitive."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @cached_property
    def json(self) -> Any:
        is_json = self.headers.get_content_type() == "application/json"
        return json.loads(self.body) if is_json and self.body else None

    @property
    def data(self) -> Any:
        return self.json["data"]

    @property
    def error(self) -> str:
        return str(self.json["code"])


Send = Callable[[str, str, list[tuple[str, str]], Any], Answer]


class Api:
    """Sends requests with the credentials `by`.

    `by` is None (no credentials), "owner" (the header), a token, or a pair (id or e-mail, password)
    for Basic. `data` is the raw body: bytes, or an iterable of bytes to send in chunks (HTTP only).
    """

    def __init__(self, send: Send, owner_password: str, url: str = "", log: Path | None = None):
        self._send, self._owner_password, self.url, self._log = send, owner_password, url, log

    def __call__(
        self,
        method: str,
        path: str,
        *,
        by: Caller = None,
        json: Any = ...,
        data: Any = None,
        headers: Headers | None = None,
    ) -> Answer:
        given = list(headers.items() if isinstance(headers, Mapping) else headers or [])
        if by == "owner":
            given.append(("X-Owner-Password", self._owner_password))
        elif by:
            given.append(("Authorization", f"Bearer {by}" if isinstance(by, str) else basic(*by)))
        if json is not ...:
            data = _dumps(json)
            given.append(("Content-Type", "application/json"))
        answer = self._send(method, path, given, data)
        codes.note(answer.status, answer.body)
        return answer

    def log(self) -> str:
        """Return what the service has written to standard output so far."""
        return self._log.read_text() if self._log else ""


def basic(user: object, password: str) -> str:
    """Return the Authorization header for these credentials."""
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


def _dumps(value: Any) -> bytes:
    return json.dumps(value).encode()


def over_http(address: str, source: str = "") -> Send:
    """Send each request to `host:port` on its own connection, from the address `source`."""

    def send(method: str, path: str, headers: list[tuple[str, str]], data: Any) -> Answer:
        connection = http.client.HTTPConnection(address, timeout=40, source_address=(source, 0))
        with contextlib.closing(connection):
            connection.connect()
            connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in _framed(headers, method, data):
                connection.putheader(name, value)
            # A server may refuse a body before it has read all of it; its answer still arrives.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.endheaders(data, encode_chunked=not isinstance(data, bytes))
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())

    return send


def _framed(headers: list[tuple[str, str]], method: str, data: Any) -> Iterable[tuple[str, str]]:
    names = {name.lower() for name, _ in headers}
    if names & {"content-length", "transfer-encoding"}:
        return headers
    if data is None:
        return headers if method in ("GET", "HEAD") else [*headers, ("Content-Length", "0")]
    if isinstance(data, bytes):
        return [*headers, ("Content-Length", str(len(data)))]
    return [*headers, ("Transfer-Encoding", "chunked")]


def in_process(app: Flask) -> Send:
    """Pass each request directly to the WSGI application."""

    def send(method: str, path: str, headers: list[tuple[str, str]], data: Any) -> Answer:
        target, _, query = path.partition("?")
        environ = create_environ(method=method, headers=headers, data=data)
        environ["PATH_INFO"] = unquote_to_bytes(target).decode("latin-1")
        environ["QUERY_STRING"] = query
        environ["REQUEST_URI"] = environ["RAW_URI"] = path
        environ["REMOTE_ADDR"] = "127.0.0.1"
        body, status, answered = run_wsgi_app(app.wsgi_app, environ, buffered=True)
        message = http.client.HTTPMessage()
        for name, value in answered.items():
            message[name] = value
        return Answer(int(status.split()[0]), message, b"".join(body))

    return send
