"""The Flask application: authentication before views, and retries after a lost race."""

import random
import re
import time
from collections.abc import Iterable
from functools import partial
from typing import Any, Final

from flask import Flask, Request, Response
from flask.ctx import _AppCtxGlobals
from flask.globals import app_ctx, request_ctx
from flask.typing import ResponseReturnValue
from flask_cors import CORS
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.routing import MapAdapter
from werkzeug.wsgi import ClosingIterator

from taskapi import logs
from taskapi.api import (
    admin,
    audit,
    authentication,
    docs,
    groups,
    health,
    idempotency,
    metrics,
    responses,
    services,
    tasks,
    tokens,
    users,
)
from taskapi.api.contract import CONTRACTS, View, call, require_access
from taskapi.api.requests import EntityId, UserId
from taskapi.config import Settings
from taskapi.errors import NewEpoch, NotReady, Stale, TaskApiError, Unavailable, Unchecked
from taskapi.store.connection import Store

RETRY_SECONDS: Final = 2.0
CHECK_SECONDS: Final = 1.5
"""How long a request is retried while a started Redis is checked; with the last try, below 2 s."""
PAUSES_SECONDS: Final = (0.001, 0.05)
"""The first and the longest pause between two tries."""
BUSY: Final = "Other requests kept changing the same data: try again."
UNCHECKED: Final = "Redis was started, and is being checked before it serves requests: try again."
CORS_REQUEST_HEADERS: Final = (
    *("Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match"),
    *("X-Request-ID", "X-Owner-Password"),
)
CORS_RESPONSE_HEADERS: Final = (
    *("ETag", "Idempotent-Replayed", "Link", "Location", "Retry-After", "X-Request-ID"),
)
REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


class TaskApi(Flask):
    """Authenticates requests unless the view is public, and retries those that lost a race."""

    def __init__(self, settings: Settings) -> None:
        super().__init__("taskapi", static_folder=None)
        logs.configure(settings.log_format)
        self.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
        self.url_map.converters |= {"id": EntityId, "user": UserId}
        self.url_map.strict_slashes = False
        self.url_map.merge_slashes = False
        store = Store(settings.redis_url, settings.key_prefix)
        self.heavy, self.recent_tasks = store.heavy, store.recent_tasks
        self.authenticator = authentication.Authenticator(settings, store)
        services.install(self, settings, store)
        responses.install(self)
        for module in (health, users, tokens, groups, tasks, admin):
            self.register_blueprint(module.bp)
        if settings.has_docs:
            self.register_blueprint(docs.bp)
            self.register_blueprint(docs.ui)
        audit.install(self)
        if settings.cors_origins:
            self._allow_origins(settings.cors_origins)
        if settings.trusted_proxies:
            headers = ("x_for", "x_proto", "x_host", "x_prefix")
            hops = ProxyFix(self.wsgi_app, **dict.fromkeys(headers, settings.trusted_proxies))
            self.wsgi_app = hops  # type: ignore[method-assign]

    def _allow_origins(self, origins: Iterable[str]) -> None:
        """Let scripts of these sites read answers.

        Origins become patterns, because flask-cors ignores the case of plain strings.
        """
        CORS(
            self,
            origins=[re.compile(re.escape(origin) + r"\Z") for origin in origins],
            methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=CORS_REQUEST_HEADERS,
            expose_headers=CORS_RESPONSE_HEADERS,
            max_age=600,
            always_send=False,
        )

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Match paths only: no route depends on the host, and reading it takes longer."""
        if request is None:
            return super().create_url_adapter(None)
        environ = request.environ
        path = environ["PATH_INFO"].encode("latin-1").decode(errors="replace")  # PEP 3333
        script, method = environ.get("SCRIPT_NAME"), request.method
        return self.url_map.bind("", script, path_info=path, default_method=method)

    def full_dispatch_request(self) -> Response:
        """Answer the request as Flask does, without the signals and hooks that nothing uses.

        `g` and the request are looked up once and passed on, because each look-up takes time.
        """
        g, request = app_ctx.g, request_ctx.request
        _begin(g, request)
        try:
            answer = self._answer(g, request)
        except Exception as error:  # an error without its own handler becomes a 500
            answer = self.handle_user_exception(error)
        response = self.make_response(answer)
        if self.after_request_funcs:
            response = self.process_response(response)
        response.headers.add("X-Request-ID", g.request_id)
        for name, value in responses.COMMON_HEADERS:
            response.headers.add(name, value)
        seconds = time.perf_counter() - g.began
        metrics.count_request(request, response.status_code, seconds)
        audit.log_request(g, request, response, seconds)
        return response

    def wsgi_app(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer a request; a heavy one keeps its place until its answer is sent."""
        try:
            answer = super().wsgi_app(environ, start_response)
        except BaseException:
            self.heavy.leave()
            raise
        return ClosingIterator(answer, self.heavy.leave) if self.heavy.is_inside else answer

    def _answer(self, g: _AppCtxGlobals, request: Request) -> ResponseReturnValue:
        """Run the view of this request, after authentication unless the view is public."""
        if request.routing_exception is not None or request.method == "OPTIONS":
            return self.dispatch_request()
        if request.blueprint == docs.ui.name:
            return docs.with_policy(self.dispatch_request())
        view = self.view_functions[request.endpoint or ""]
        if CONTRACTS[view].is_public:
            return call(view, None, {}, {})
        if CONTRACTS[view].can_use_cache and not idempotency.has_key(request):
            answer = self._run_from_cache(g, request, view)
            if answer is not None:
                return answer
        return self._run_for_caller(g, request, view)

    def _run_from_cache(
        self, g: _AppCtxGlobals, request: Request, view: View
    ) -> ResponseReturnValue | None:
        """Run a view on a cached lookup; return None if nothing was committed."""
        task_id = (request.view_args or {}).get("task_id")
        if task_id is not None and task_id not in self.recent_tasks:
            return None  # as `LookupCache.get` would find after more work
        try:
            target = authentication.authenticate(self.authenticator, g, request, from_cache=True)
            answer = call(view, g.caller, *target)
        except Unavailable:
            raise
        except (Stale, TaskApiError, HTTPException) as error:
            if g.caller and task_id is not None and isinstance(error, Stale):
                self.recent_tasks.doubt(task_id)
            return None
        return answer if g.session.has_committed else None

    def _run_for_caller(
        self, g: _AppCtxGlobals, request: Request, view: View
    ) -> ResponseReturnValue:
        """Authenticate the request and run its view.

        If data that the view read changes before its commit, nothing is written. Authentication and
        view then run again after a random pause, for up to RETRY_SECONDS, or until the store has
        been restored twice. They also run again while
        Redis is checked after a start, for up to CHECK_SECONDS.
        """
        begin, pause = time.monotonic(), PAUSES_SECONDS[0]
        new_epochs, is_checking = 0, False
        deadline = begin + RETRY_SECONDS
        while time.monotonic() < deadline and new_epochs < 2:
            try:
                target = authentication.authenticate(self.authenticator, g, request)
                run = partial(call, view, g.caller, *target)
                if idempotency.has_key(request):
                    if "session" not in g:
                        raise NotReady(idempotency.NOT_USABLE)
                    require_access(view, g.caller)
                    return idempotency.answer(g.session, g.caller.id, request, run)
                return run()
            except Unchecked:
                is_checking, deadline = True, begin + CHECK_SECONDS
                services.services().watch.wake()
                self._pause(PAUSES_SECONDS[1])
            except NotReady:
                if not is_checking:
                    raise
                self._pause(PAUSES_SECONDS[1])  # the check puts back what Redis lost
            except Stale as error:
                new_epochs += isinstance(error, NewEpoch)
                self._pause(random.uniform(0, pause))
                pause = min(2 * pause, PAUSES_SECONDS[1])
            finally:
                self.heavy.rest()
        raise NotReady(UNCHECKED) if is_checking else Unavailable(BUSY, code="busy")

    def _pause(self, seconds: float) -> None:
        self.heavy.rest()
        time.sleep(seconds)


def _begin(g: _AppCtxGlobals, request: Request) -> None:
    """Set the request's id and start time; its caller is not known yet."""
    given = request.environ.get("HTTP_X_REQUEST_ID", "")
    g.request_id = given if REQUEST_ID.fullmatch(given) else f"{random.getrandbits(64):016x}"
    g.began = time.perf_counter()
    authentication.forget_caller(g)
