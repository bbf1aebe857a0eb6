"""The guard of loops that must not end."""

import logging
from collections.abc import Callable

from taskapi.errors import Stale, TaskApiError

log = logging.getLogger("taskapi")


class StepGuard:
    """Runs the steps of a loop that must go on after any error; one for each loop."""

    def __init__(self, loop: str) -> None:
        """Make the guard of a loop; `loop` names it in the log."""
        self._loop, self._reported = loop, ""

    def run(self, step: Callable[[], None]) -> None:
        """Run a step.

        An unexpected error is logged with its traceback; if the next step fails in the same way,
        that is not logged again.
        """
        try:
            step()
        except (TaskApiError, Stale):
            pass  # a store is unreachable or has changed: the next step tries again
        except Exception as error:  # if the loop ended, the process would run on without it
            if repr(error) != self._reported:
                log.error("Error in %s, trying again: %s", self._loop, error, exc_info=error)
            self._reported = repr(error)
            return
        self._reported = ""
