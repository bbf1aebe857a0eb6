"""taskapi: task management for teams, served from Redis, with a durable copy in PostgreSQL."""

from typing import TYPE_CHECKING

from taskapi.config import Settings

if TYPE_CHECKING:
    from flask import Flask


def create_app(settings: Settings) -> "Flask":
    """Return the WSGI application. It connects to Redis on the first request of each thread."""
    from taskapi.api.application import TaskApi  # not above: the worker runs without Flask

    return TaskApi(settings)
