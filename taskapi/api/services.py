"""What the views of one application share: the settings and both stores."""

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
    """Give an application what its views share."""
    app.extensions["taskapi"] = Services(settings, store, Index(settings))


def services() -> Services:
    """Return what the views of this request's application share."""
    shared: Services = current_app.extensions["taskapi"]
    return shared
