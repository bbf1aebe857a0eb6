"""Measure how long a client waits for a small answer while others send long requests.

All requests have the owner header: a log-in with Basic would take long from time to time.
"""

import statistics
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from http.client import HTTPConnection
from threading import Barrier, Event
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import orjson

from bench import seed
from bench.progress import say
from bench.sites import OWNER, Site, Stage
from bench.sizes import Sizes
from bench.table import Row

GROUPS: Final = 4
HEADERS: Final = {"X-Owner-Password": OWNER[1]}
CONNECTIONS: Final = 8
"""Connections of the bystander. The kernel gives each of them to one of the web processes."""
PAUSE_SECONDS: Final = 0.02
"""Between two requests of a connection: the bystander asks every 2.5 ms."""
WORST_MS: Final = 100
AT_ONCE_MOST: Final = 8
QUIET_SECONDS: Final = 3
REST_SECONDS: Final = 0.5
"""Between two rounds of a load."""


class Request(NamedTuple):
    """A request of the owner."""

    method: str
    path: str
    body: bytes = b""


class Load(NamedTuple):
    """Requests that are sent at once, for each round."""

    name: str
    rounds: Sequence[Sequence[Request]]


def bystander(stage: Stage, sizes: Sizes) -> Iterator[Row]:
    """Measure small requests while other clients send one load after the other."""
    many = stage.site(2 * sizes.middle, "many", users=GROUPS * seed.MEMBERS)
    with ProcessPoolExecutor(AT_ONCE_MOST) as clients:
        list(clients.map(abs, range(AT_ONCE_MOST)))  # fork before there are threads
        for site, loads in ((many, _loads()), (stage.site(sizes.middle), _other_loads())):
            with stage.serve(site) as url:
                yield _row("no load", *_beside(clients, url, site, None))
                for load in loads:
                    say(f"a bystander of {load.name}")
                    yield _row(load.name, *_beside(clients, url, site, load))


def _loads() -> Iterator[Load]:
    yield _batches("1000 tasks", ["a", "b", "c"], 8)
    yield Load("a forced sync", [[Request("POST", "/admin/sync?action=force")]])
    whole = Request("GET", "/tasks/filter")
    yield Load("a whole list of tasks", [[whole]] * 3)
    yield Load("4 whole lists of tasks at once", [[whole] * 4] * 3)
    yield Load("all tasks as CSV", [[Request("GET", "/tasks/filter?format=csv")]] * 3)
    yield Load("a backup", [[Request("POST", "/admin/sync?action=backup")]])
    for size, text in (("4 MB", "x" * 3_500), ("20 MB", "é" * 10_000)):
        texts = [f"{number}{text[1:]}" for number in range(6)]
        yield _batches(size, texts[:3], 1)
        yield _batches(size, texts[3:], 8)
    deletes = [[Request("DELETE", f"/groups/{group}")] for group in range(2, GROUPS + 1)]
    yield Load("a group deleted with its tasks", deletes)


def _other_loads() -> Iterator[Load]:
    yield Load("4 whole lists of users at once", [[Request("GET", "/users")] * 4] * 3)
    yield Load("8 statistics of everything at once", [[Request("GET", "/tasks/stats")] * 8] * 3)


def _batches(size: str, texts: Sequence[str], at_once: int) -> Load:
    """Return batches that write a text to different tasks, a new text in each round."""
    ids = [[*range(1000 * number + 1, 1000 * number + 1001)] for number in range(at_once)]
    rounds = [
        [
            Request("POST", "/tasks/batch", orjson.dumps({"task_ids": each, "updates": updates}))
            for each in ids
        ]
        for updates in ({"information": text} for text in texts)
    ]
    name = f"a batch of {size}" if at_once == 1 else f"{at_once} batches of {size} at once"
    return Load(name, rounds)


def _beside(
    clients: Executor, url: str, site: Site, load: Load | None
) -> tuple[list[float], Counter[int]]:
    """Return the bystander's times in milliseconds, and the statuses that the load got."""
    stop, statuses = Event(), Counter[int]()
    path = f"/users/{site.population.reader}"
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        is_ready = Barrier(CONNECTIONS + 1)
        watches = [pool.submit(_watch, url, path, is_ready, stop) for _ in range(CONNECTIONS)]
        is_ready.wait()
        time.sleep(REST_SECONDS if load else QUIET_SECONDS)
        for requests in load.rounds if load else ():
            statuses.update(clients.map(_send, [url] * len(requests), requests))
            time.sleep(REST_SECONDS)
        stop.set()
    return [1000 * seconds for watch in watches for seconds in watch.result()], statuses


def _watch(url: str, path: str, is_ready: Barrier, stop: Event) -> list[float]:
    connection, times = HTTPConnection(urlsplit(url).netloc, timeout=60), []

    def ask() -> float:
        begin = time.perf_counter()
        connection.request("GET", path, headers=HEADERS)
        connection.getresponse().read()
        return time.perf_counter() - begin

    ask()
    is_ready.wait()
    while not stop.wait(PAUSE_SECONDS):
        times.append(ask())
    connection.close()
    return times


def _send(url: str, request: Request) -> int:
    connection = HTTPConnection(urlsplit(url).netloc, timeout=600)
    headers = HEADERS | {"Content-Type": "application/json"}
    connection.request(request.method, request.path, request.body, headers)
    response = connection.getresponse()
    while response.read(1 << 20):
        pass
    connection.close()
    return response.status


def _row(name: str, times: list[float], statuses: Counter[int]) -> Row:
    got = ", ".join(f"{count} got {status}" for status, count in sorted(statuses.items()))
    worst, ordered = max(times), sorted(times)
    row = Row(
        f"small requests during {name}{f': {got}' if got else ''}",
        worst,
        "ms at worst",
        statistics.median(ordered),
        ordered[int(len(ordered) * 0.99)],
    )
    return row.with_target(f"<= {WORST_MS} ms", worst <= WORST_MS)
