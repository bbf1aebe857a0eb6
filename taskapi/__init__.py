"""taskapi: task management for teams, served from Redis, with a durable copy in PostgreSQL."""

from typing import TYPE_CHECKING

from taskapi.config import Settings

if TYPE_CHECKING:
    from flask import Flask


def create_app(settings: Settings) -> "Flask":
    """Return the WSGI application. Each thread connects to Redis on its first request."""
    from taskapi.api.application import TaskApi  # not at the top: the worker does not load Flask

    return TaskApi(settings)
