"""One thread's connection to Redis, and the one table of what Redis' refusals mean."""

import itertools
import secrets
import threading
from collections.abc import Sequence
from typing import Any, Final

import redis
from redis import exceptions as driver
from redis.backoff import NoBackoff
from redis.retry import Retry

from taskapi.errors import StoreFull, StoreUnreachable
from taskapi.store.keys import Keys
from taskapi.store.scripts import ARRIVE, SOURCES, WRITE

Command = tuple[Any, ...]
CONNECT_SECONDS: Final = 0.4
REPLY_SECONDS: Final = 0.9
"""Two attempts at most, so that an outage answers within 2 s."""
WORKER_REPLY_SECONDS: Final = 30.0

REFUSALS: Final = {
    "OOM": (StoreFull, "Redis has no memory left: free some or raise maxmemory, then try again."),
    "LOADING": (StoreUnreachable, "Redis is loading its data: try again in a moment."),
    "MISCONF": (StoreUnreachable, "Redis cannot write to its disk and refuses changes."),
    "READONLY": (StoreUnreachable, "Redis is a read-only replica and refuses changes."),
    "MASTERDOWN": (StoreUnreachable, "Redis lost its primary and refuses to serve."),
    "CLUSTERDOWN": (StoreUnreachable, "The Redis cluster is down."),
    "TRYAGAIN": (StoreUnreachable, "The Redis cluster is being reorganised: try again."),
    "BUSY": (StoreUnreachable, "Redis is busy with a long script: try again."),
    "NOAUTH": (StoreUnreachable, "Redis refused the service's password."),
    "WRONGPASS": (StoreUnreachable, "Redis refused the service's password."),
    "NOPERM": (StoreUnreachable, "Redis refused the service's rights."),
}
LOST_IDS: Final = 10_000
LOST_VERSIONS: Final = 10_000_000
"""Left out where Redis may have given some out that nobody remembers; versions are microseconds."""
FSYNC_MS: Final = 1500
"""Within which appendfsync everysec writes what it has to the disk."""
UNREACHABLE: Final = "Redis does not answer: try again in a moment."


def refusal(error: driver.RedisError) -> Exception:
    """Return the domain error that stands for what Redis answered, or the error itself."""
    word = getattr(error, "status_code", None) or str(error).split(" ", 1)[0]
    if word in REFUSALS:
        kind, sentence = REFUSALS[word]
        return kind(sentence)
    is_outage = isinstance(error, driver.ConnectionError | driver.TimeoutError)
    return StoreUnreachable(UNREACHABLE) if is_outage else error


class Connection:
    """A connection that only one thread uses, its operations numbered.

    Attributes:
        server: which start of which server it was last connected to, and whether that is safe:
            keeps on disk what it acknowledged.
    """

    def __init__(
        self, store: "Store", process: str, thread: int, pool: redis.ConnectionPool
    ) -> None:
        self.server, self._meta = "", store.keys.meta
        self._connection: Any = pool.connection_class(**pool.connection_kwargs)
        if not store.read_only:
            self._connection.register_connect_callback(self._arrive)
        self._numbers = itertools.count(1)
        self.operation_field = f"op:{process}.{thread}"

    def next_number(self) -> int:
        """Return a number above all that this connection gave before."""
        return next(self._numbers)

    def execute(self, *commands: Command, seconds: float | None = None) -> list[Any]:
        """Send all commands at once and return their replies.

        A connection that breaks is tried once more, so only commands go in that may run twice:
        reads, and commits, which carry an operation number.

        Args:
            seconds: how long to wait for each reply, where that is more than usual.

        Raises:
            StoreUnreachable, StoreFull: Redis cannot serve now.
        """
        try:
            replies = self._exchange(commands, seconds)
        except (driver.ConnectionError, driver.TimeoutError) as error:
            if isinstance(error, driver.AuthenticationError | driver.BusyLoadingError):
                raise refusal(error) from error
            replies = self._again(commands, seconds)
        if any(isinstance(reply, driver.NoScriptError) for reply in replies):
            replies = self._again([_with_source(command) for command in commands], seconds)
        for reply in replies:
            if isinstance(reply, driver.RedisError):
                raise refusal(reply) from reply
        return replies

    def close(self) -> None:
        """Give the connection back to the system."""
        self._connection.disconnect()

    def _again(self, commands: Sequence[Command], seconds: float | None) -> list[Any]:
        try:
            return self._exchange(commands, seconds)
        except driver.RedisError as error:
            raise refusal(error) from error

    def _exchange(self, commands: Sequence[Command], seconds: float | None) -> list[Any]:
        connection = self._connection
        connection.send_packed_command(connection.pack_commands(commands))
        patience = {} if seconds is None else {"timeout": seconds}
        return [self._reply(patience) for _ in commands]

    def _arrive(self, connection: Any) -> None:
        """Before anything else on a new connection, ids go on above all that may have been lost."""
        try:
            connection.send_command("INFO", "server", "persistence", "replication")
            info = connection.read_response().decode()
            connection.send_command("CONFIG", "GET", "appendfsync")
            policy = self._reply({})  # where CONFIG is forbidden: unsafe
            is_safe = policy == [b"appendfsync", b"always"] and _is_durable(info)
            self.server = f"{value_of(info, 'run_id')} {'safe' if is_safe else 'unsafe'}"
            skipped = (self.server, LOST_IDS, LOST_VERSIONS)
            connection.send_command("EVAL", SOURCES[ARRIVE], 1, self._meta, *skipped)
            if connection.read_response() == b"WAIT":
                connection.send_command("WAITAOF", 1, 0, FSYNC_MS)
                self._reply({"timeout": 2 * FSYNC_MS / 1000})  # without such a file: no matter
                connection.send_command("EVAL", SOURCES[WRITE], 1, self._meta, "run", self.server)
                connection.read_response()
        except (driver.ConnectionError, driver.TimeoutError):
            connection.disconnect()
            raise
        except driver.ResponseError as error:
            connection.disconnect()
            raise refusal(error) from error

    def _reply(self, patience: dict[str, float]) -> Any:
        try:
            return self._connection.read_response(**patience)
        except driver.ResponseError as error:
            return error
        except driver.ConnectionError as error:
            self._connection.disconnect()
            raise error


def _is_durable(info: str) -> bool:
    """Whether all of this server's own past is on its disk; a replica's may lack the last of it."""
    return value_of(info, "aof_enabled") == "1" and value_of(info, "second_repl_offset") == "-1"


def value_of(info: str, name: str) -> str:
    """Return a value of what Redis answers to INFO, empty where it has none of that name."""
    return info.partition(f"\n{name}:")[2].partition("\r")[0]


def _with_source(command: Command) -> Command:
    if command[0] != "EVALSHA":
        return command
    return ("EVAL", SOURCES[command[1]], *command[2:])


class Store:
    """An installation's Redis: its keys, and a connection for each thread that asks.

    An onlooker's links leave nothing behind when they connect. In return it must not write: ids
    and versions that a server lost may be given out again.
    """

    def __init__(
        self,
        url: str,
        prefix: str,
        reply_seconds: float = REPLY_SECONDS,
        *,
        read_only: bool = False,
    ) -> None:
        self.keys, self.read_only = Keys(prefix), read_only
        self._process = secrets.token_hex(6)
        self._threads = itertools.count(1)
        self._local = threading.local()
        self._pool = redis.ConnectionPool.from_url(
            url,
            protocol=2,
            driver_info=None,
            retry=Retry(NoBackoff(), 0),
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=reply_seconds,
        )

    @property
    def connection(self) -> Connection:
        """This thread's own connection, made on first use."""
        found: Connection | None = getattr(self._local, "connection", None)
        if found is None:
            thread = next(self._threads)
            found = self._local.connection = Connection(self, self._process, thread, self._pool)
        return found
