"""PostgreSQL's errors, translated into sentences that say what to do."""

import re
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
    "42501": "The role in DATABASE_URL lacks a privilege ({}): GRANT it. A new installation needs "
    "CREATE ON SCHEMA public.",
    "53100": "The disk of PostgreSQL is full ({}): free some space.",
    "53300": FULL,
    "57014": "PostgreSQL ended a statement that took too long ({}): see its locks and its load.",
}
"""SQLSTATE -> what is wrong, with PostgreSQL's own words, and what to do."""
_NOT_LET_IN: Final = {
    "certificate": "The TLS certificate is not accepted ({}): see sslmode and sslrootcert.",
    "could not translate host name": "The host in DATABASE_URL is not known: set another name.",
    "password authentication failed": "PostgreSQL refuses the user or the password ({}): set those "
    "of the role in DATABASE_URL.",
    "no password supplied": "PostgreSQL asks for a password ({}): set it in DATABASE_URL.",
    "pg_hba.conf": "PostgreSQL does not let this machine in ({}): add it to pg_hba.conf.",
    "permission denied for database": "The role may not connect ({}): GRANT CONNECT.",
    "does not exist": "DATABASE_URL names what does not exist ({}): create it, or change the name.",
    "is not permitted to log in": "The role may not log in ({}): ALTER ROLE … LOGIN.",
    "read-only": "No server in DATABASE_URL takes writes ({}): name the primary server.",
    "SSL": "PostgreSQL and DATABASE_URL do not agree on TLS ({}): see sslmode.",
    "query parameter": "DATABASE_URL has an option that does not exist ({}): leave it out.",
    'value: "': "DATABASE_URL has an option that is not usable ({}): change it.",
}
"""Part of a message at the connect, which has no SQLSTATE -> what is wrong, and what to do."""
_HOSTS: Final = re.compile(r'.*(?:FATAL|failed): +|host "[^"]*",? *| (?:for|name) "[^"]*"')
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
    for text, sentence in _NOT_LET_IN.items():
        if not error.pgcode and text in str(error):
            return sentence.format(_own_words(str(error)))
    has_no_answer = isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError)
    return AWAY if has_no_answer and not error.pgcode else REFUSES


def _own_words(message: str) -> str:
    """Return the last line of PostgreSQL's message, without host names."""
    return _HOSTS.sub("", message.strip().splitlines()[-1]).strip()


def public_reason(error: Exception) -> str | None:
    """Return what PostgreSQL lacks, in words that `/health` may show to everyone, or None.

    The reason for which a row is refused may contain data.
    """
    is_public = isinstance(error, DatabaseUnreachable) and not isinstance(error, RowsRefused)
    return str(error) if is_public else None
