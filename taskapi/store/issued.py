"""The highest version and ids that a process knows: counters never go below them."""

import threading
from collections.abc import Mapping

from taskapi.store.keys import Kind


class Issued:
    """The highest version and ids that this process knows, for all its threads."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self.version, self.ids = 0, dict.fromkeys(Kind, 0)

    def note(self, version: int, ids: Mapping[Kind, int]) -> None:
        """Raise the version and ids to at least these."""
        with self._turn:
            self.version = max(self.version, version)
            for kind, last in ids.items():
                self.ids[kind] = max(self.ids[kind], last)
