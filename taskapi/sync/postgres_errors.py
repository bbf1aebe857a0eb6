"""PostgreSQL's errors, translated into sentences that say what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg2
from psycopg2 import errors as refusals

from taskapi.errors import DatabaseUnreachable

AWAY: Final = "PostgreSQL does not answer: check that it runs and that DATABASE_URL is right."
LOCKED: Final = "Another session holds a lock in PostgreSQL: try again when it has ended."
REFUSES: Final = "PostgreSQL refuses to write at this moment: see its log."
FULL: Final = "PostgreSQL has no free connection: end other clients, or raise max_connections."
_CAUSES: Final = {
    "25006": "PostgreSQL permits no writes ({}): set default_transaction_read_only to off, or use "
    "the primary server.",
    "42501": "The role in DATABASE_URL lacks a privilege ({}): GRANT it.",
    "53100": "The disk of PostgreSQL is full ({}): free some space.",
    "53300": FULL,
    "57014": "PostgreSQL ended a statement that took too long ({}): see its locks and its load.",
}
"""SQLSTATE -> what is wrong, with PostgreSQL's own words, and what to do."""
_FULL_TEXTS: Final = ("too many c", "connection slots are reserved", "no more connections allowed")
"""Parts of messages for refused connections, for which libpq has no SQLSTATE."""


class TableLocked(DatabaseUnreachable):
    """Another session holds a lock for longer than this one may wait."""


class TookTooLong(DatabaseUnreachable):
    """PostgreSQL ended a statement: it waited for a lock, or there was too much to do."""


class Silent(DatabaseUnreachable):
    """PostgreSQL did not answer in time, or was not asked: its state is not known."""


class RowsRefused(DatabaseUnreachable):
    """PostgreSQL works, but refuses a row.

    Attributes:
        sqlstate: PostgreSQL's code; empty if the client refused the row.
    """

    def __init__(self, sqlstate: str, reason: str) -> None:
        super().__init__(f"PostgreSQL refuses a change: {reason}.")
        self.sqlstate, self.reason = sqlstate, reason


@contextmanager
def translated() -> Iterator[None]:
    """Translate errors of the driver that the block raises.

    Raises:
        RowsRefused: for values and references that PostgreSQL refuses.
        TookTooLong, TableLocked: for a statement that took too long.
        DatabaseUnreachable: for every other error.
    """
    try:
        yield
    except refusals.LockNotAvailable as error:
        raise TableLocked(LOCKED) from error
    except (psycopg2.DataError, psycopg2.IntegrityError, refusals.RaiseException) as error:
        reason = error.diag.message_primary or str(error)
        raise RowsRefused(error.pgcode or "", reason) from error
    except refusals.QueryCanceled as error:
        raise TookTooLong(_sentence(error)) from error
    except psycopg2.Error as error:
        raise DatabaseUnreachable(_sentence(error)) from error


def _sentence(error: psycopg2.Error) -> str:
    if error.pgcode in _CAUSES:
        return _CAUSES[error.pgcode].format(error.diag.message_primary)
    if any(text in str(error) for text in _FULL_TEXTS):
        return FULL
    has_no_answer = isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError)
    return AWAY if has_no_answer and not error.pgcode else REFUSES


def public_reason(error: Exception) -> str | None:
    """Return what PostgreSQL lacks, in words that `/health` may show to everyone, or None.

    The reason for which a row is refused may contain data.
    """
    is_public = isinstance(error, DatabaseUnreachable) and not isinstance(error, RowsRefused)
    return str(error) if is_public else None
