"""The application: every blueprint, behind authentication, run again when it came too late."""

import random
import time
from typing import Final

from flask import Flask, Response
from flask.globals import request_ctx
from flask.typing import ResponseReturnValue
from werkzeug.middleware.proxy_fix import ProxyFix

from taskapi import logs
from taskapi.api import (
    admin,
    authentication,
    docs,
    groups,
    health,
    responses,
    services,
    tasks,
    users,
)
from taskapi.api.cors import Cors
from taskapi.config import Settings
from taskapi.errors import NewEpoch, Stale, Unavailable
from taskapi.store.connection import Store

PATIENCE_SECONDS: Final = 2.0
PAUSES_SECONDS: Final = (0.001, 0.05)
PUBLIC: Final = (health.bp.name, docs.bp.name)
"""Blueprints that need no credentials."""


class TaskApi(Flask):
    """Flask that authenticates before each view, and runs a request again that came too late."""

    def __init__(self, settings: Settings) -> None:
        super().__init__("taskapi", static_folder=None)
        logs.configure(settings.log_format)
        self.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
        responses.install(self)
        store = Store(settings.redis_url, settings.key_prefix)
        self.authenticator = authentication.Authenticator(settings, store)
        services.install(self, settings, store)
        for routes in (health, users, groups, tasks, admin):
            self.register_blueprint(routes.bp)
        if settings.has_docs:
            self.register_blueprint(docs.bp)
        if settings.trusted_proxies:
            hops = ProxyFix(self.wsgi_app, x_for=settings.trusted_proxies, x_proto=0)
            self.wsgi_app = hops  # type: ignore[method-assign]
        if settings.cors_origins:
            self.wsgi_app = Cors(self.wsgi_app, settings.cors_origins)  # type: ignore[method-assign]

    def full_dispatch_request(self) -> Response:
        """Answer this request as Flask does, without the hooks and signals that nobody uses."""
        responses.begin()
        try:
            answer = self.dispatch_request()
        except Exception as error:  # what responses.py has no answer for becomes a 500 there
            answer = self.handle_user_exception(error)
        return responses.finish(self.make_response(answer))

    def dispatch_request(self) -> ResponseReturnValue:
        """Run the view of this request for its caller.

        What a view read may have changed before it writes: then nothing was written, and the
        request runs again from its credentials on, after a random pause, until patience is over.
        """
        request = request_ctx.request
        if request.routing_exception is not None or request.method == "OPTIONS":
            return super().dispatch_request()
        if request.blueprint in PUBLIC:
            return super().dispatch_request()
        deadline, pause = time.monotonic() + PATIENCE_SECONDS, PAUSES_SECONDS[0]
        has_new_epoch = False
        while time.monotonic() < deadline:
            try:
                authentication.authenticate(self.authenticator, request)
                return super().dispatch_request()
            except Stale as error:
                if isinstance(error, NewEpoch) and has_new_epoch:
                    break
                has_new_epoch = has_new_epoch or isinstance(error, NewEpoch)
                time.sleep(random.uniform(0, pause))
                pause = min(2 * pause, PAUSES_SECONDS[1])
        raise Unavailable("Too many changes of the same things at once: try again.", code="busy")
