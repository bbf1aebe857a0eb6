"""Domain errors. `api/error_codes.py` has the HTTP status of each code that a client gets."""


class TaskApiError(Exception):
    """An error that a caller can act on.

    Attributes:
        code: stable identifier for scripts.
        fields: what is wrong with each named field, or the errors of a batch.
    """

    code = "error"

    def __init__(
        self, message: str, *, code: str | None = None, fields: dict[str, list[str]] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code or self.code
        self.fields = fields


class Invalid(TaskApiError):
    """The request cannot be used."""

    code = "invalid"


class Unauthenticated(TaskApiError):
    """No valid credentials; one message for every reason, so that callers cannot probe."""

    code = "unauthenticated"

    def __init__(self) -> None:
        super().__init__(
            "No valid credentials: send Basic id:password or email:password, a Bearer token, "
            "or the owner's X-Owner-Password."
        )


class Forbidden(TaskApiError):
    """The caller is not permitted to do this, whether or not the target exists."""

    code = "forbidden"

    def __init__(
        self, message: str = "You are not permitted to do this.", *, code: str | None = None
    ) -> None:
        super().__init__(message, code=code)


class NotFound(TaskApiError):
    """The target does not exist, and the caller may know that."""

    code = "not_found"


class Conflict(TaskApiError):
    """The request would break an invariant, or use a name that is taken."""

    code = "conflict"


class TooOld(TaskApiError):
    """A follower may have tasks that are not there any more."""

    code = "too_old"

    def __init__(self) -> None:
        super().__init__("What you have is too old: forget it, and begin again with since=0.")


class VersionMismatch(TaskApiError):
    """If-Match does not name the current version, `version`."""

    code = "version_mismatch"

    def __init__(self, version: str) -> None:
        super().__init__(f"The target has changed: its version is now {version}, read it again.")
        self.version = version


class TooManyFailures(TaskApiError):
    """Log-ins are blocked after too many failures, for `retry_after` seconds."""

    code = "too_many_failures"

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"Too many failed log-ins: try again in {retry_after} seconds.")
        self.retry_after = retry_after


class Unavailable(TaskApiError):
    """A store cannot serve now; retry after `retry_after` seconds."""

    code = "unavailable"
    retry_after = 1


class Unusable(TaskApiError):
    """A store that would lose or change data, so the service and the worker do not start."""

    code = "unusable"


class OutcomeUnknown(Unavailable):
    """Redis gave no reply to a change, which may have been made."""

    code = "outcome_unknown"

    def __init__(self) -> None:
        super().__init__(
            "Redis did not answer. The change may have been made: check before you send it again."
        )


class NotReady(Unavailable):
    """The store is empty, being restored or fenced."""

    code = "not_ready"
    retry_after = 5


class Crowded(Unavailable):
    """The process works on too many requests that take long."""

    code = "busy"

    def __init__(self) -> None:
        super().__init__("Too many long requests at once: try again.")


class StoreUnreachable(Unavailable):
    """Redis does not answer, or answers that it cannot serve."""

    code = "redis_unreachable"


class WrongServer(StoreUnreachable):
    """REDIS_URL is the address of a server that does not have the data."""


class WritesRefused(StoreUnreachable):
    """Redis serves reads only."""


class CommandFailed(Unavailable):
    """Redis answered with an unknown error; the log has its text."""


class StoreFull(Unavailable):
    """Redis has no memory for writes."""

    code = "redis_full"
    retry_after = 30


class Damaged(Unavailable):
    """Data in Redis cannot be read, or contradicts itself."""

    code = "damaged"
    retry_after = 30

    def __init__(self, what: str) -> None:
        super().__init__(f"Redis is damaged: {what}. Run python -m taskapi check.")


class DatabaseUnreachable(Unavailable):
    """PostgreSQL does not answer."""

    code = "postgres_unreachable"
    retry_after = 5


class AlreadyRunning(Conflict):
    """Another pass, restore, backup or action of the owner is running."""

    code = "already_running"


class Stale(Exception):
    """Data that a commit depends on has changed since it was read: read and decide again."""


class NewEpoch(Stale):
    """The store was restored or restarted since this began, so it cannot go on."""


class Unchecked(Stale):
    """Redis was started or set back, and is not checked for lost changes yet."""
