"""A client that keeps a copy of all tasks by following their changes."""

from __future__ import annotations

from typing import Any

from tests.api.factories import ok
from tests.client import Api


class Follower:
    """Has a copy of all tasks, by id."""

    def __init__(self, api: Api) -> None:
        self._api, self.since, self.restarts = api, "0", 0
        self.tasks: dict[int, Any] = {}

    def read(self, limit: int) -> bool:
        """Read one page, unless the service cannot answer now; return whether there is more."""
        path = f"/tasks/changes?since={self.since}&limit={limit}"
        answer = self._api("GET", path, by="owner")
        if answer.status == 410:
            assert answer.error == "too_old"
            assert self.since != "0"
            self.tasks, self.since, self.restarts = {}, "0", self.restarts + 1
            return True
        if answer.status == 503:
            return False
        page = ok(answer)
        versions = [self._apply(change) for change in page["changes"]]
        assert versions == sorted(versions)
        self.since = str(page["next_since"])
        return bool(page["has_more"])

    def _apply(self, change: dict[str, Any]) -> int:
        if "task" in change:
            self.tasks[change["task"]["id"]] = change["task"]
            return int(change["task"]["version"])
        self.tasks.pop(change["deleted"]["id"], None)
        return int(change["deleted"]["version"])

    def catch_up(self, limit: int = 1000) -> dict[int, Any]:
        """Read everything, and return the copy."""
        while self.read(limit):
            pass
        return self.tasks
