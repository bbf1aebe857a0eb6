"""Measure a crowd: thousands of users, each with a connection and an address of their own."""

import asyncio
import random
import time
from collections.abc import Iterator
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from bench import cpu, seed
from bench.progress import say
from bench.sites import Stage
from bench.sizes import Sizes
from bench.table import Row
from bench.wrk import basic

PERIOD_SECONDS: Final = 10
"""How often each user calls."""
MEASURED_SECONDS: Final = 20
HOUR_SECONDS: Final = 3600
PATHS: Final = ("/users/{0}", "/users/{0}/tasks?limit=50", "/tasks/stats", "/tasks/filter?limit=50")
"""What a user asks for, each as often as the others."""
AT_ONCE: Final = 20
"""First log-ins that are sent at the same time."""
P99_MS: Final = 50
READY_SECONDS: Final = 1.5
MEMORY_MIB: Final = 60


class Call(NamedTuple):
    """The status of an answer, and the seconds it took."""

    status: int
    seconds: float


def crowd(stage: Stage, sizes: Sizes) -> Iterator[Row]:
    """Measure the first log-ins of all users, then their calls, before and after a restart."""
    site, users = stage.site(sizes.middle), range(2, 2 + sizes.crowd)
    others = cpu.web_processes()
    with stage.serve(site, TRUSTED_PROXIES="1") as url:
        say(f"first log-ins of {len(users)} users")
        began, used = time.perf_counter(), cpu.seconds()
        tries = asyncio.run(_first_log_ins(url, users))
        seconds = time.perf_counter() - began
        used = 1000 * (cpu.seconds() - used) / len(users)
        title = f"first log-ins of {len(users)} users, {AT_ONCE} at once, {tries} requests"
        yield Row(f"{title}, {used:.1f} ms CPU each", len(users) / seconds, "log-ins/s")
        yield _measure(url, users, "", MEASURED_SECONDS)
        yield _memory(cpu.web_processes() - others, "after its first log-ins")
    began = time.perf_counter()
    with stage.serve(site, TRUSTED_PROXIES="1") as url:
        seconds = time.perf_counter() - began
        row = Row("start of the web processes", 1000 * seconds, "ms")
        yield row.with_target(f"<= {READY_SECONDS} s", seconds <= READY_SECONDS)
        yield _measure(url, users, ", after a restart", MEASURED_SECONDS)
        yield _memory(cpu.web_processes() - others, "after a restart")


def hour(stage: Stage, sizes: Sizes) -> Iterator[Row]:
    """Let the users of a crowd call for an hour, and measure the memory of the web processes."""
    site, users = stage.site(sizes.middle), range(2, 2 + sizes.crowd)
    others = cpu.web_processes()
    with stage.serve(site, TRUSTED_PROXIES="1") as url:
        asyncio.run(_first_log_ins(url, users))
        yield _memory(cpu.web_processes() - others, "after its first log-ins")
        yield _measure(url, users, ", for an hour", HOUR_SECONDS)
        yield _memory(cpu.web_processes() - others, "after an hour")


def _memory(process_ids: set[int], when: str) -> Row:
    memory = cpu.largest(process_ids) / 2**20
    row = Row(f"memory of the largest web process of this crowd, {when}", memory, "MiB")
    return row.with_target(f"<= {MEMORY_MIB} MiB", memory <= MEMORY_MIB)


def _measure(url: str, users: range, when: str, measured_seconds: int) -> Row:
    say(f"a crowd of {len(users)} users{when}")
    calls = asyncio.run(_calls(url, users, measured_seconds))
    times = sorted(1000 * call.seconds for call in calls)
    p50, p99 = times[len(times) // 2], times[len(times) * 99 // 100]
    refused = sum(call.status != 200 for call in calls)
    row = Row(
        f"{len(users)} users, each once in {PERIOD_SECONDS} s{when}, {refused} refused",
        len(calls) / measured_seconds,
        "requests/s",
        p50,
        p99,
    )
    return row.with_target(f"p99 {P99_MS} ms, 0 refused", p99 <= P99_MS and not refused)


async def _calls(url: str, users: range, measured_seconds: int) -> list[Call]:
    """Let each user call once in a period, at times of their own."""
    calls: list[Call] = []
    end = time.monotonic() + measured_seconds

    async def call_often(user_id: int) -> None:
        await asyncio.sleep(random.uniform(0, PERIOD_SECONDS))
        while time.monotonic() < end:
            calls.append(await _call(url, random.choice(PATHS), user_id))
            await asyncio.sleep(PERIOD_SECONDS)

    await asyncio.gather(*map(call_often, users))
    return calls


async def _first_log_ins(url: str, users: range) -> int:
    """Let each user log in; those who are refused try again. Return the number of requests."""
    places, tries = asyncio.Semaphore(AT_ONCE), 0

    async def log_in(user_id: int) -> None:
        nonlocal tries
        async with places:
            while True:
                tries += 1
                if (await _call(url, PATHS[0], user_id)).status == 200:
                    return
                await asyncio.sleep(0.1)

    await asyncio.gather(*map(log_in, users))
    return tries


async def _call(url: str, path: str, user_id: int) -> Call:
    """Send one request of a user over a connection of its own, as curl does."""
    address = urlsplit(url)
    lines = (
        f"GET {path.format(user_id)} HTTP/1.1",
        f"Host: {address.netloc}",
        f"Authorization: {basic(user_id, seed.PASSWORD)}",
        f"X-Forwarded-For: 10.0.{user_id // 250}.{user_id % 250 + 1}",
        "Connection: close",
    )
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write("\r\n".join([*lines, "", ""]).encode())
    answer = await reader.read()
    writer.close()
    return Call(int(answer.split(b" ", 2)[1]), time.perf_counter() - began)
