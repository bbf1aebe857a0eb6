"""Fixtures for tests of what one process remembers while another one changes it."""

from __future__ import annotations

from typing import Any

import pytest

from taskapi import create_app
from taskapi.store.connection import Command, Connection
from tests.client import Api, in_process
from tests.support import OWNER_PASSWORD, Installation

RoundTrips = list[tuple[Command, ...]]


@pytest.fixture
def other(installation: Installation) -> Api:
    """A client of another process."""
    return Api(in_process(create_app(installation.settings)), OWNER_PASSWORD)


@pytest.fixture
def round_trips(monkeypatch: pytest.MonkeyPatch) -> RoundTrips:
    """The commands of each round trip to Redis from now on."""
    sent: RoundTrips = []
    exchange = Connection._exchange

    def recorded(self: Connection, commands: Any, *rest: Any) -> list[Any]:
        sent.append(tuple(commands))
        return exchange(self, commands, *rest)

    monkeypatch.setattr(Connection, "_exchange", recorded)
    return sent
