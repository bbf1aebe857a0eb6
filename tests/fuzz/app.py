"""The service with cheap password hashes: at full cost, hashes took half of a run's time."""

from app import app
from taskapi.store import passwords
from tests.support import CHEAP_HASHER

__all__ = ["app"]

passwords.HASHER = CHEAP_HASHER
