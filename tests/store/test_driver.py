"""redis-py has the methods that `store/connection.py` uses."""

from __future__ import annotations

import inspect

import pytest
import redis
from redis.connection import AbstractConnection

from devserver.servers import Valkey
from taskapi.errors import CommandFailed
from taskapi.store.connection import Store


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("send_packed_command", ["command"]),
        ("send_command", ["args"]),
        ("read_response", ["timeout"]),
        ("register_connect_callback", ["callback"]),
        ("disconnect", []),
    ],
)
def test_a_connection_has_the_methods_that_are_used(method: str, parameters: list[str]) -> None:
    signature = inspect.signature(getattr(AbstractConnection, method))
    assert set(parameters) <= set(signature.parameters)


def test_a_pool_makes_connections_from_its_class_and_its_arguments(valkey: Valkey) -> None:
    pool = redis.ConnectionPool.from_url(valkey.url)
    connection = pool.connection_class(**pool.connection_kwargs)
    connection.send_command("PING")
    assert connection.read_response() == b"PONG"
    connection.disconnect()


def test_replies_of_one_round_trip_come_in_order_and_errors_are_raised(valkey: Valkey) -> None:
    connection = Store(valkey.url, "driver").connection
    assert connection.execute(("ECHO", "a"), ("ECHO", b"\0\xff"), ("ECHO", 3)) == [
        *(b"a", b"\0\xff", b"3")
    ]
    with pytest.raises(CommandFailed):
        connection.execute(("GET",))
    assert connection.execute(("ECHO", "still usable")) == [b"still usable"]
    connection.close()
