"""Where the primary is: at the address in REDIS_URL, or where Sentinel or a Redis Cluster says.

Discovery is that of redis-py. A connection asks whenever it is opened.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from redis import exceptions as driver
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.connection import parse_url
from redis.retry import Retry
from redis.sentinel import Sentinel

from taskapi.errors import StoreUnreachable, WrongServer
from taskapi.store.info import value_of

Address = tuple[str, int]
ASK_SECONDS: Final = 0.3
"""How long each node may take to say where the primary is."""
SENTINEL_PORT, CLUSTER_PORT = 26379, 6379
NO_SENTINEL: Final = "No Sentinel knows a primary of the service {}: try again in a moment."
NOT_PRIMARY: Final = "This server is not the primary any more, or not yet."
A_SENTINEL: Final = (
    "REDIS_URL is the address of a Sentinel: set redis+sentinel://HOST:PORT/0?service=NAME."
)
NO_NODE: Final = "No node of the Redis cluster says which one has the data: try again in a moment."


class Primary:
    """The server that takes writes; `find` is called again for each connection.

    Attributes:
        address: the address that was found last; None for the one in the URL.
    """

    def __init__(self, find: Callable[[], Address | None]) -> None:
        self._find = find
        self.address: Address | None = None

    def connect(self, connection: Any) -> None:
        """Open a connection of redis-py; raises StoreUnreachable if nobody knows the primary."""
        self.address = self._find()
        if self.address:
            connection.host, connection.port = self.address
        connection.connect()

    def has_moved(self) -> bool:
        """Return whether the primary has another address than that of the last connection."""
        with suppress(StoreUnreachable):
            return self._find() != self.address
        return False

    def check(self, connection: Any) -> str:
        """Return what the server of a new connection says of itself, its reply to INFO.

        Raises:
            WrongServer: it is a Sentinel, which has no data.
            redis.ConnectionError: it was named as the primary, but is none.
        """
        try:
            connection.send_command("INFO", "server", "replication")
            info = str(connection.read_response().decode())
            if "sentinel" in (value_of(info, "server_mode"), value_of(info, "redis_mode")):
                raise WrongServer(A_SENTINEL)
            if self.address and value_of(info, "role") != "master":
                raise driver.ConnectionError(NOT_PRIMARY)
        except (driver.RedisError, StoreUnreachable):
            connection.disconnect()
            raise
        return info


class BySentinel:
    """Asks Sentinel for the primary of a service."""

    def __init__(self, nodes: list[Address], service: str, options: dict[str, Any]) -> None:
        self._service = service
        self._sentinel = Sentinel(nodes, sentinel_kwargs=options)  # type: ignore[no-untyped-call]

    def find(self) -> Address:
        """Return the primary's address."""
        try:
            found: Address = self._sentinel.discover_master(self._service)  # type: ignore[no-untyped-call]
        except driver.RedisError as error:
            raise StoreUnreachable(NO_SENTINEL.format(self._service)) from error
        return found


class ByCluster:
    """Asks a Redis Cluster for the primary that has a key, and so the whole installation."""

    def __init__(self, nodes: list[Address], key: str, options: dict[str, Any]) -> None:
        self._nodes, self._key, self._options = nodes, key, options
        self._cluster: Any = None

    def find(self) -> Address:
        """Return the primary's address."""
        try:
            if self._cluster:
                self._cluster.nodes_manager.initialize()
            else:
                nodes = [ClusterNode(*node) for node in self._nodes]  # type: ignore[no-untyped-call]
                self._cluster = RedisCluster(
                    startup_nodes=nodes, require_full_coverage=False, **self._options
                )
            node = self._cluster.get_node_from_key(self._key)
        except driver.RedisError as error:
            raise StoreUnreachable(NO_NODE) from error
        if node is None:
            raise StoreUnreachable(NO_NODE)
        return node.host, node.port


def locate(url: str, key: str) -> tuple[str, Primary]:
    """Return a URL that redis-py understands, and what finds the primary that has this key.

    `environment.redis_url` has checked the URL.
    """
    parts = urlsplit(url)
    _, by, tls = f"{parts.scheme}++".split("+")[:3]
    if not by:
        return url, Primary(lambda: None)  # a name that moves is looked up by each connection
    login, at, listed = parts.netloc.rpartition("@")
    nodes = _addresses(listed, SENTINEL_PORT if by == "sentinel" else CLUSTER_PORT)
    query = dict(parse_qsl(parts.query))
    service = query.pop("service", "")
    sentinel_login = {
        name: query.pop(f"sentinel_{name}")
        for name in ("username", "password")
        if f"sentinel_{name}" in query
    }
    scheme, first = "rediss" if tls else "redis", listed.split(",")[0]
    plain = parts._replace(scheme=scheme, netloc=f"{login}{at}{first}", query=urlencode(query))
    options = _options(plain.geturl())
    if by == "cluster":
        return plain.geturl(), Primary(ByCluster(nodes, key, options).find)
    options |= {"username": None, "password": None, **sentinel_login}
    return plain.geturl(), Primary(BySentinel(nodes, service, options).find)


def _addresses(listed: str, port: int) -> list[Address]:
    """Return the addresses in `host:port,host`; `port` is for those without one."""
    nodes = [urlsplit(f"//{each}") for each in listed.split(",")]
    return [(node.hostname or "", node.port or port) for node in nodes]


def _options(url: str) -> dict[str, Any]:
    """Return the options of connections that ask: user, password and TLS as in the URL."""
    options: dict[str, Any] = dict(parse_url(url))  # type: ignore[no-untyped-call]
    has_tls = options.pop("connection_class", None) is not None
    kept = {name: value for name, value in options.items() if name not in ("host", "port", "db")}
    return kept | {
        "ssl": has_tls,
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        "socket_connect_timeout": ASK_SECONDS,
        "socket_timeout": ASK_SECONDS,
    }
