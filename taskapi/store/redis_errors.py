"""Translation of errors of Redis into domain errors."""

import logging
from typing import Final

from redis import exceptions as driver

from taskapi.errors import (
    CommandFailed,
    Damaged,
    StoreFull,
    StoreUnreachable,
    TaskApiError,
    WritesRefused,
    WrongServer,
)

log = logging.getLogger("taskapi")

_OF_CLUSTER: Final = (
    "Another node of the Redis cluster has the data: REDIS_URL must begin with redis+cluster://."
)
REFUSALS: Final[dict[str, tuple[type[TaskApiError], str]]] = {
    "OOM": (StoreFull, "Redis has no memory left: free some or raise maxmemory, then try again."),
    "LOADING": (StoreUnreachable, "Redis is loading its data: try again in a moment."),
    "MISCONF": (WritesRefused, "Redis cannot write to its disk and refuses changes."),
    "READONLY": (WritesRefused, "Redis is a read-only replica and refuses changes."),
    "NOREPLICAS": (WritesRefused, "Redis has too few replicas and refuses changes."),
    "MOVED": (WrongServer, _OF_CLUSTER),
    "MASTERDOWN": (StoreUnreachable, "Redis lost its primary and refuses to serve."),
    "CLUSTERDOWN": (StoreUnreachable, "The Redis cluster is down."),
    "TRYAGAIN": (StoreUnreachable, "The Redis cluster is being reorganised: try again."),
    "BUSY": (StoreUnreachable, "Redis is busy with a long script: try again."),
    "NOAUTH": (StoreUnreachable, "Redis refused the service's password."),
    "WRONGPASS": (StoreUnreachable, "Redis refused the service's password."),
    "NOPERM": (StoreUnreachable, "The Redis user of the service lacks a permission."),
    "WRONGTYPE": (Damaged, "a key has the wrong type"),
}
"""First word of an error that Redis answers -> the domain error."""
ELSEWHERE: Final = {"READONLY", "NOREPLICAS", "MASTERDOWN", "MOVED"}
"""Errors that may mean that the primary is another server now."""
_NUMBER_ERRORS: Final = (
    "is not an integer",
    "is not a valid float",
    "attempt to ",
    "number expected",
)
"""Parts of error messages of commands and of Lua about a value that is no number."""
_NO_NUMBER: Final = (Damaged, "a value that must be a number is not one")
WORDINGS: Final[dict[str, tuple[type[TaskApiError], str]]] = {
    **dict.fromkeys(_NUMBER_ERRORS, _NO_NUMBER),
    "unknown command": (StoreUnreachable, "Redis lacks a command that the service needs."),
}
"""Part of the message of any other error -> the domain error."""
_TLS: Final = "SSL:"
"""A part of the message of an error of TLS."""
BAD_TLS: Final = (
    "The TLS connection to Redis fails: see the certificate of the server and ssl_ca_certs in "
    "REDIS_URL."
)
UNREACHABLE: Final = "Redis does not answer: try again in a moment."
UNKNOWN: Final = "Redis could not run a command of the service: the log of the service says why."


def refusal(error: driver.RedisError) -> TaskApiError:
    """Return the domain error for what Redis answered; the text of Redis goes to the log only."""
    if word_of(error) in REFUSALS:
        kind, sentence = REFUSALS[word_of(error)]
        return kind(sentence)
    if isinstance(error, driver.ConnectionError | driver.TimeoutError):
        return StoreUnreachable(BAD_TLS if _TLS in str(error) else UNREACHABLE)
    for words, (kind, sentence) in WORDINGS.items():
        if words in str(error):
            return kind(sentence)
    log.error("Redis answered with an unknown error: %s", error)
    return CommandFailed(UNKNOWN)


def word_of(error: driver.RedisError) -> str:
    """Return the first word of an error that Redis answers."""
    return getattr(error, "status_code", None) or str(error).split(" ", 1)[0]
