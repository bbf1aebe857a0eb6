"""Which sites' scripts browsers let in: headers around every answer, where CORS_ORIGINS asks."""

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_ANSWERS: Final = [
    ("Access-Control-Expose-Headers", "ETag, Link, Location, Retry-After, X-Request-ID")
]
_PREFLIGHTS: Final = [
    ("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE"),
    (
        "Access-Control-Allow-Headers",
        "Authorization, Content-Type, If-Match, If-None-Match, X-Request-ID, X-Owner-Password",
    ),
    ("Access-Control-Max-Age", "600"),
]


class Cors:
    """A WSGI application that scripts of `origins` may use, and those of no other site."""

    def __init__(self, app: "WSGIApplication", origins: Collection[str]) -> None:
        self._app, self._origins = app, origins

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        added = [("Vary", "Origin"), *self._allowed(environ)]

        def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            return start_response(status, headers + added, *error)

        return self._app(environ, start)

    def _allowed(self, environ: "WSGIEnvironment") -> list[tuple[str, str]]:
        if (origin := environ.get("HTTP_ORIGIN", "")) not in self._origins:
            return []
        is_preflight = environ["REQUEST_METHOD"] == "OPTIONS"
        return [
            ("Access-Control-Allow-Origin", origin),
            *(_PREFLIGHTS if is_preflight else _ANSWERS),
        ]
