"""What the tests of tokens share: an installation, a user, and a clock."""

from __future__ import annotations

import time
from typing import Any

import pytest

from taskapi import create_app
from taskapi.api.lookups import LookupCache
from taskapi.api.token_login import TokenLogin
from tests.api.factories import new_group, new_user
from tests.client import Api, in_process
from tests.conftest import Install
from tests.support import OWNER_PASSWORD, Installation

WRONG = "tk_{}_" + "0" * 64


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.seconds = time.time()

    def __call__(self) -> float:
        return self.seconds

    def day(self) -> str:
        return time.strftime("%Y-%m-%d", time.gmtime(self.seconds))


@pytest.fixture(scope="module")
def installation(install: Install) -> Installation:
    return install(TRUSTED_PROXIES="1")


@pytest.fixture(scope="module")
def api(installation: Installation) -> Api:
    return installation.client()


@pytest.fixture
def user(api: Api) -> Any:
    return new_user(api, new_group(api)["id"])


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def clocked(installation: Installation, clock: Clock) -> Api:
    """A client of another process, in which tokens are compared with the test's clock."""
    app = create_app(installation.settings)
    app.authenticator.token_login = TokenLogin(LookupCache(), clock)
    return Api(in_process(app), OWNER_PASSWORD)
