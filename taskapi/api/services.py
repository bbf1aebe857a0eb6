"""The objects that all views of an application share: the settings and both stores."""

from dataclasses import dataclass

from flask import Flask, current_app

from taskapi.config import Settings
from taskapi.store.connection import Store
from taskapi.sync.search import Index
from taskapi.sync.shared_connection import SharedConnection
from taskapi.sync.start_check import StartWatch


@dataclass(frozen=True, slots=True)
class Services:
    """The settings, Redis, PostgreSQL, its search index, and the watch over starts of Redis."""

    settings: Settings
    store: Store
    postgres: SharedConnection
    index: Index
    watch: StartWatch


def install(app: Flask, settings: Settings, store: Store) -> None:
    """Create the shared objects of an application."""
    postgres = SharedConnection(settings)
    watch = StartWatch(settings, store)
    app.extensions["taskapi"] = Services(settings, store, postgres, Index(postgres), watch)


def services() -> Services:
    """Return the shared objects of this request's application."""
    shared: Services = current_app.extensions["taskapi"]
    return shared
