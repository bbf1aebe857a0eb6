"""The objects that all views of an application share: the settings and both stores."""

from dataclasses import dataclass

from flask import Flask, current_app

from taskapi.config import Settings
from taskapi.store.connection import Store
from taskapi.sync.search import Index


@dataclass(frozen=True, slots=True)
class Services:
    """The settings, Redis, and PostgreSQL as a search index."""

    settings: Settings
    store: Store
    index: Index


def install(app: Flask, settings: Settings, store: Store) -> None:
    """Create the shared objects of an application."""
    app.extensions["taskapi"] = Services(settings, store, Index(settings))


def services() -> Services:
    """Return the shared objects of this request's application."""
    shared: Services = current_app.extensions["taskapi"]
    return shared
