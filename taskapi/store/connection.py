"""One thread's connection to Redis, and the translation of the errors that Redis answers."""

import itertools
import secrets
import threading
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import redis
from hiredis import pack_command
from redis import exceptions as driver
from redis.backoff import NoBackoff
from redis.retry import Retry

from taskapi.errors import Damaged, StoreFull, StoreUnreachable, TaskApiError
from taskapi.store.keys import Keys
from taskapi.store.scripts import CHECK_SERVER, SET_FIELDS, SOURCES

Command = tuple[Any, ...]
CONNECT_SECONDS: Final = 0.4
REPLY_SECONDS: Final = 0.9
"""There are at most two attempts, so that a request fails within 2 s during an outage."""
WORKER_REPLY_SECONDS: Final = 30.0

REFUSALS: Final[dict[str, tuple[type[TaskApiError], str]]] = {
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
    "WRONGTYPE": (Damaged, "a key has the wrong type"),
}
"""First word of an error that Redis answers -> the domain error."""
SKIPPED_IDS: Final = 10_000
SKIPPED_VERSIONS: Final = 10_000_000
"""How many to skip if Redis may have lost the last ones issued; versions are microseconds."""
FSYNC_MS: Final = 1500
"""Redis with appendfsync everysec writes to the disk within this time."""
UNREACHABLE: Final = "Redis does not answer: try again in a moment."


class ServerRun(NamedTuple):
    """One start of one Redis server.

    Attributes:
        run_id: the server's own id of this start.
        is_safe: the server keeps on disk everything that it acknowledges.
    """

    run_id: str
    is_safe: bool

    def __str__(self) -> str:
        return f"{self.run_id} {'safe' if self.is_safe else 'unsafe'}"


def refusal(error: driver.RedisError) -> Exception:
    """Return the domain error for what Redis answered, or the error itself."""
    word = getattr(error, "status_code", None) or str(error).split(" ", 1)[0]
    if word in REFUSALS:
        kind, sentence = REFUSALS[word]
        return kind(sentence)
    is_outage = isinstance(error, driver.ConnectionError | driver.TimeoutError)
    return StoreUnreachable(UNREACHABLE) if is_outage else error


class Connection:
    """A connection that only one thread uses, with numbered operations.

    Attributes:
        server_run: the start of the connected server; empty before the first connection.
        operation_field: the field of meta that holds this thread's last operation.
    """

    def __init__(
        self, store: "Store", process: str, thread: int, pool: redis.ConnectionPool
    ) -> None:
        self.server_run, self._meta = "", store.keys.meta
        self._socket: Any = pool.connection_class(**pool.connection_kwargs)
        if not store.read_only:
            self._socket.register_connect_callback(self._check_server)
        self._numbers = itertools.count(1)
        self.operation_field = f"op:{process}.{thread}"

    def next_number(self) -> int:
        """Return the next operation number."""
        return next(self._numbers)

    def execute(self, *commands: Command, seconds: float | None = None) -> list[Any]:
        """Send commands in one round trip and return their replies.

        After a broken connection the commands are sent once more, so they must be repeatable:
        reads, and commits, which have an operation number.

        Args:
            seconds: timeout of each reply, if it is longer than usual.

        Raises:
            StoreUnreachable, StoreFull: Redis cannot serve now.
        """
        try:
            replies = self._exchange(commands, seconds)
        except (driver.ConnectionError, driver.TimeoutError) as error:
            if isinstance(error, driver.AuthenticationError | driver.BusyLoadingError):
                raise refusal(error) from error
            replies = self._retry(commands, seconds)
        if any(isinstance(reply, driver.NoScriptError) for reply in replies):
            replies = self._retry([_with_source(command) for command in commands], seconds)
        for reply in replies:
            if isinstance(reply, driver.RedisError):
                raise refusal(reply) from reply
        return replies

    def close(self) -> None:
        """Close the connection; the next command opens it again."""
        self._socket.disconnect()

    def _retry(self, commands: Sequence[Command], seconds: float | None) -> list[Any]:
        try:
            return self._exchange(commands, seconds)
        except driver.RedisError as error:
            raise refusal(error) from error

    def _exchange(self, commands: Sequence[Command], seconds: float | None) -> list[Any]:
        self._socket.send_packed_command([b"".join(map(pack_command, commands))])
        options = {} if seconds is None else {"timeout": seconds}
        return [self._reply(**options) for _ in commands]

    def _reply(self, **options: float) -> Any:
        """Return the next reply; an error that Redis answers is returned, not raised."""
        try:
            return self._socket.read_response(**options)
        except driver.ResponseError as error:
            return error
        except driver.ConnectionError as error:
            self._socket.disconnect()
            raise error

    def _check_server(self, connection: Any) -> None:
        """First of all, skip ids and versions if the server may have lost the last ones."""
        try:
            run = self._ask_server_run()
            self.server_run = str(run)
            safety = "safe" if run.is_safe else "unsafe"
            skips = (SKIPPED_IDS, SKIPPED_VERSIONS)
            check = ("EVAL", SOURCES[CHECK_SERVER], 1, self._meta, run.run_id, safety, *skips)
            if self._call(*check) == b"WAIT":
                self._socket.send_command("WAITAOF", 1, 0, FSYNC_MS)
                self._reply(timeout=2 * FSYNC_MS / 1000)  # an error if there is no append-only file
                self._call("EVAL", SOURCES[SET_FIELDS], 1, self._meta, "run", self.server_run)
        except (driver.ConnectionError, driver.TimeoutError):
            connection.disconnect()
            raise
        except driver.ResponseError as error:
            connection.disconnect()
            raise refusal(error) from error

    def _ask_server_run(self) -> ServerRun:
        info = self._call("INFO", "server", "persistence", "replication").decode()
        self._socket.send_command("CONFIG", "GET", "appendfsync")
        is_always = self._reply() == [b"appendfsync", b"always"]  # an error if CONFIG is forbidden
        return ServerRun(value_of(info, "run_id"), is_always and _is_durable(info))

    def _call(self, *command: Any) -> Any:
        """Send one command and return its reply; raises the driver's error if Redis answers one."""
        self._socket.send_command(*command)
        return self._socket.read_response()


def _is_durable(info: str) -> bool:
    """Return whether the server has all its writes on disk; a former replica may lack the last."""
    return value_of(info, "aof_enabled") == "1" and value_of(info, "second_repl_offset") == "-1"


def value_of(info: str, name: str) -> str:
    """Return a value from the reply to INFO; empty if there is none of that name."""
    return info.partition(f"\n{name}:")[2].partition("\r")[0]


def _with_source(command: Command) -> Command:
    if command[0] != "EVALSHA":
        return command
    return ("EVAL", SOURCES[command[1]], *command[2:])


class Store:
    """An installation's Redis: its keys, and a connection for each thread that uses it.

    A read-only store does not check the server when it connects, so it leaves nothing in Redis. It
    must not write: the server might issue lost ids and versions again.
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
        """The connection of this thread, made on first use."""
        known: Connection | None = getattr(self._local, "connection", None)
        if known is None:
            thread = next(self._threads)
            known = self._local.connection = Connection(self, self._process, thread, self._pool)
        return known
