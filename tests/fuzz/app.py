"""The service with cheap password hashes: at full cost, hashes took half of a run's time."""

from app import app
from taskapi.store import passwords
from tests.support import CHEAP_METHOD

__all__ = ["app"]

passwords.METHOD = CHEAP_METHOD
