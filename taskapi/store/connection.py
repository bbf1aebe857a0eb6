"""One thread's connection to Redis."""

import itertools
import secrets
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import redis
from hiredis import pack_command
from redis import exceptions as driver
from redis.backoff import NoBackoff
from redis.retry import Retry

from taskapi.store.heavy import Heavy
from taskapi.store.info import value_of
from taskapi.store.issued import Issued
from taskapi.store.keys import Keys
from taskapi.store.primary import locate
from taskapi.store.recent_tasks import RecentTasks
from taskapi.store.redis_errors import ELSEWHERE, refusal, word_of
from taskapi.store.scripts import CLOSE_FOR_CLIENTS, SOURCES, with_source

Command = tuple[Any, ...]
CONNECT_SECONDS: Final = 0.4
REPLY_SECONDS: Final = 0.9
"""A second attempt waits two thirds of it, so that a request fails within 2 s in an outage."""
SHORT_REPLY_SECONDS: Final = 0.05
"""Timeout of each request's only attempt while Redis is silent, so that threads stay free."""
SILENT_SECONDS: Final = 1.0
"""While Redis is silent, one request in this period waits as long as usual."""
WORKER_REPLY_SECONDS: Final = 30.0
HIDDEN: Final = "hidden"
"""Run id of a server that does not tell its own; its starts are not checked."""


class Connection:
    """A connection that only one thread uses, with numbered operations.

    Attributes:
        run_id: names the start of the connected server; empty before the first connection.
        issued: the highest version and ids that this process knows.
        lacks_reply: an attempt to run the last commands got no reply, so they may have been run.
        operation_field: the field of meta that holds this thread's last operation.
    """

    def __init__(self, store: "Store", thread: int, pool: redis.ConnectionPool) -> None:
        self.run_id, self.issued, self.lacks_reply = "", store.issued, False
        self._store, self._generation = store, store.generation
        self._socket: Any = pool.connection_class(**pool.connection_kwargs)
        check = store.primary.check if store.read_only else self._check_server
        self._socket.register_connect_callback(check)
        self._numbers = itertools.count(1)
        self.operation_field = f"op:{store.process}.{thread}"

    def next_number(self) -> int:
        """Return the next operation number."""
        return next(self._numbers)

    def execute(self, *commands: Command, seconds: float | None = None) -> list[Any]:
        """Send commands in one round trip and return their replies.

        After a broken connection, or if the server is not the primary, the commands are sent again
        over a new one. A second run must be harmless: commits have an operation number for that.

        Args:
            seconds: timeout of each reply, if it is longer than usual.

        Raises:
            StoreUnreachable, StoreFull, Damaged, CommandFailed: see `redis_errors`.
        """
        if self._generation != self._store.generation:
            self._generation = self._store.generation
            self.close()
        self.lacks_reply = False
        try:
            replies = self._replies(commands, seconds)
        except driver.RedisError as error:
            raise refusal(error) from error
        for reply in replies:
            if isinstance(reply, driver.RedisError):
                raise refusal(reply) from reply
        return replies

    def _replies(self, commands: Sequence[Command], seconds: float | None) -> list[Any]:
        """Return the replies, after the attempts that each error needs."""
        if self._store.is_silent():
            replies = self._exchange_once(commands)
        else:
            replies = self._exchange_twice(commands, seconds)
        self._store.silent_until = 0.0
        if any(isinstance(reply, driver.NoScriptError) for reply in replies):
            replies = self._retry([*map(with_source, commands)], seconds)
        errors = [reply for reply in replies if isinstance(reply, driver.RedisError)]
        if any(word_of(error) in ELSEWHERE for error in errors):
            self._store.reconnect()
            self.close()
            replies = self._retry([*map(with_source, commands)], seconds)
        return replies

    def _exchange_once(self, commands: Sequence[Command]) -> list[Any]:
        """Send the commands to a silent server, with a short timeout."""
        usual, self._socket.socket_timeout = self._socket.socket_timeout, SHORT_REPLY_SECONDS
        try:
            return self._exchange(commands, SHORT_REPLY_SECONDS)
        finally:
            self._socket.socket_timeout = usual
            self.close()  # a connection keeps the timeout that it began with

    def _exchange_twice(self, commands: Sequence[Command], seconds: float | None) -> list[Any]:
        try:
            return self._exchange(commands, seconds)
        except (driver.AuthenticationError, driver.BusyLoadingError):
            raise
        except (driver.ConnectionError, driver.TimeoutError):
            return self._retry(commands, seconds or self._store.retry_seconds)

    def is_usable(self) -> bool:
        """Return False if the server has closed the connection, as it does when it is restarted."""
        with suppress(driver.RedisError):
            return not self._socket.can_read()
        return False

    def close(self) -> None:
        """Close the connection; the next command opens it again."""
        self._socket.disconnect()

    def _retry(self, commands: Sequence[Command], seconds: float | None) -> list[Any]:
        try:
            return self._exchange(commands, seconds)
        except driver.TimeoutError:
            self._store.silent_until = time.monotonic() + SILENT_SECONDS
            raise

    def _exchange(self, commands: Sequence[Command], seconds: float | None) -> list[Any]:
        if not self._socket.is_connected:  # an attempt that cannot connect sends nothing
            self._store.primary.connect(self._socket)
        options = {} if seconds is None else {"timeout": seconds}
        try:
            self._socket.send_packed_command([b"".join(map(pack_command, commands))])
            return [self._reply(**options) for _ in commands]
        except (driver.ConnectionError, driver.TimeoutError):
            self.lacks_reply = True
            raise

    def _reply(self, **options: float) -> Any:
        """Return the next reply; an error that Redis answers is returned, not raised."""
        try:
            return self._socket.read_response(**options)
        except driver.ResponseError as error:
            return error

    def _check_server(self, connection: Any) -> None:
        """Close the store for clients if it was opened for another start of the server."""
        info = self._store.primary.check(connection)
        try:
            self.run_id = value_of(info, "run_id") or HIDDEN
            self._generation = self._store.meet(self.run_id)
            meta = self._store.keys.meta
            opened = self._call("HGET", meta, "opened")
            if opened is not None and opened != self.run_id.encode():
                self._call("EVAL", SOURCES[CLOSE_FOR_CLIENTS], 1, meta, self.run_id, 0)
        except driver.RedisError:
            connection.disconnect()
            raise

    def _call(self, *command: Any) -> Any:
        """Send one command and return its reply; raises the driver's error if Redis answers one."""
        self._socket.send_command(*command)
        return self._socket.read_response()


class Store:
    """An installation's Redis: its keys, and a connection for each thread that uses it.

    A read-only store cannot commit, and does not check the server when it connects.

    Attributes:
        process: a random name of this process.
        issued: the highest version and ids that this process knows.
        heavy: the heavy requests of this process.
        primary: finds the server to connect to.
        recent_tasks: the tasks that this process changed last.
        generation: grows when all connections have to be opened again.
        silent_until: monotonic time until which Redis counts as silent; 0 if it answers.
        run_id: names the start of the server that a thread connected to last.
        retry_seconds: timeout of each reply to a second attempt.
    """

    def __init__(
        self,
        url: str,
        prefix: str,
        reply_seconds: float = REPLY_SECONDS,
        *,
        read_only: bool = False,
    ) -> None:
        self.keys, self.read_only, self.heavy = Keys(prefix), read_only, Heavy()
        self.process, self.issued = secrets.token_hex(6), Issued()
        self.recent_tasks = RecentTasks()
        self.retry_seconds = reply_seconds * 2 / 3
        self.generation, self.run_id, self.silent_until = 0, "", 0.0
        self._threads, self._local = itertools.count(1), threading.local()
        plain_url, self.primary = locate(url, self.keys.meta)
        self._pool = redis.ConnectionPool.from_url(
            plain_url,
            protocol=2,
            driver_info=None,
            retry=Retry(NoBackoff(), 0),
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=reply_seconds,
        )

    def reconnect(self) -> None:
        """Let each thread connect again before its next command: the primary may have moved."""
        self.generation += 1

    def is_silent(self) -> bool:
        """Return whether Redis left an earlier request unanswered, so that this one waits briefly.

        Once in SILENT_SECONDS the result is False, because Redis may just be slow.
        """
        if not self.silent_until:
            return False
        now = time.monotonic()
        if now < self.silent_until:
            return True
        self.silent_until = now + SILENT_SECONDS
        return False

    def meet(self, run_id: str) -> int:
        """Note the server of a new connection, and return the generation of this connection.

        If it is another server, all threads connect again.
        """
        if run_id != self.run_id:
            self.run_id = run_id
            self.reconnect()
        return self.generation

    @property
    def connection(self) -> Connection:
        """The connection of this thread, made on first use."""
        known: Connection | None = getattr(self._local, "connection", None)
        if known is None:
            thread = next(self._threads)
            known = self._local.connection = Connection(self, thread, self._pool)
        return known
