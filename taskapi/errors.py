"""What can go wrong, in the domain's words. `http.py` alone knows which status each one is."""


class TaskApiError(Exception):
    """A refusal that a caller can act on.

    Attributes:
        code: stable identifier for scripts.
        fields: what is wrong with each named field, for validation errors only.
    """

    code = "error"

    def __init__(
        self, message: str, *, code: str | None = None, fields: dict[str, list[str]] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code or self.code
        self.fields = fields


class Invalid(TaskApiError):
    """What was sent cannot be used."""

    code = "invalid"


class Unauthenticated(TaskApiError):
    """Nobody we know sent this; one message for every reason, so nothing can be probed."""

    code = "unauthenticated"

    def __init__(self) -> None:
        super().__init__(
            "No valid credentials: send Basic id:password or email:password, "
            "or the owner's X-Owner-Password."
        )


class Forbidden(TaskApiError):
    """The caller may not do this, or the thing may not even exist."""

    code = "forbidden"

    def __init__(self, message: str = "You are not permitted to do this.") -> None:
        super().__init__(message)


class NotFound(TaskApiError):
    """The caller may look, and it is not there."""

    code = "not_found"


class Conflict(TaskApiError):
    """It would break an invariant, or take a name that is taken."""

    code = "conflict"


class VersionMismatch(TaskApiError):
    """The caller wanted to change another version than the present one, which is `version`."""

    code = "version_mismatch"

    def __init__(self, version: str) -> None:
        super().__init__(f"It has changed since: its version is {version}, read it again.")
        self.version = version


class TooManyFailures(TaskApiError):
    """Log-ins are held up after too many failures, for `retry_after` seconds."""

    code = "too_many_failures"

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"Too many failed log-ins: try again in {retry_after} seconds.")
        self.retry_after = retry_after


class Unavailable(TaskApiError):
    """A store cannot serve now; the same request will work after `retry_after` seconds."""

    code = "unavailable"
    retry_after = 1


class NotReady(Unavailable):
    """The store is empty, being restored or fenced."""

    code = "not_ready"
    retry_after = 5


class StoreUnreachable(Unavailable):
    """Redis does not answer."""

    code = "redis_unreachable"


class StoreFull(Unavailable):
    """Redis has no memory left for writes."""

    code = "redis_full"
    retry_after = 30


class DatabaseUnreachable(Unavailable):
    """PostgreSQL does not answer."""

    code = "postgres_unreachable"
    retry_after = 5


class AlreadyRunning(Conflict):
    """Another process holds the sync lock."""

    code = "already_running"


class Stale(Exception):
    """What a commit was decided from has changed: read again and decide again."""


class NewEpoch(Stale):
    """The store was restored since this request began to read."""
