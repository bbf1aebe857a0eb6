"""Kill processes and cut networks while clients write, then compare what clients and stores have.

`python -m tests.faults.chaos MINUTES [SEED]` runs for MINUTES and prints the figures.
"""

from __future__ import annotations

import random
import secrets
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from taskapi.store import scripts
from tests.api.factories import ok
from tests.api.follower import Follower
from tests.faults.checks import faults
from tests.faults.clients import Client
from tests.faults.ledger import KINDS, Entity, Key, Ledger, Verdict, judge
from tests.faults.pgbouncer import PgBouncer
from tests.faults.proxy import Loss, Proxy
from tests.faults.site import Service, Site, running
from tests.faults.takeovers import Takeovers

CLIENTS = 6
FEWEST = 3
"""Faults that a short run causes on a busy machine too."""
PAUSE_SECONDS = 0.1, 0.8
"""Pause between two faults, and duration of a cut or slow network."""
SLOW_SECONDS = 0.05
FOLLOW_SECONDS = 0.2
COMMIT, ACKNOWLEDGE = scripts.COMMIT.encode(), scripts.ACKNOWLEDGE.encode()
Do = Callable[[], object]


@dataclass
class Figures:
    """What a run did, and what was wrong at its end."""

    seed: int
    seconds: float
    requests: int
    longest_seconds: float
    ledger: Ledger
    caused: Counter[str]
    verdict: Verdict
    wrong: list[str]
    faults: list[str]

    @property
    def complaints(self) -> list[str]:
        return [*self.verdict.all, *self.wrong, *self.faults]

    def __str__(self) -> str:
        caused = "".join(f"  {what}: {times}\n" for what, times in sorted(self.caused.items()))
        return (
            f"seed {self.seed}, {self.seconds:.0f} s, {CLIENTS} clients, {self.requests} requests, "
            f"the longest {self.longest_seconds:.1f} s\n"
            f"{self.ledger.acknowledged} writes acknowledged, "
            f"{self.ledger.unanswered} without an answer\n"
            f"{self.caused.total()} faults:\n{caused}"
            f"lost {len(self.verdict.lost)}, resurrected {len(self.verdict.resurrected)}, "
            f"duplicated {len(self.verdict.duplicated)}, half done {len(self.verdict.torn)}, "
            f"wrong answers {len(self.wrong)}, differences between the stores {len(self.faults)}\n"
        )


class Chaos:
    """Causes one fault at a time, and repairs it."""

    def __init__(self, site: Site, service: Service, takeovers: Takeovers) -> None:
        self._site, self._service, self._random = site, service, takeovers.choices
        self.caused: Counter[str] = Counter()
        redis, postgres = site.to_valkey, site.to_postgres
        self._faults: dict[str, Do] = {
            "web worker killed": service.kill_web_worker,
            "gunicorn killed": service.kill_gunicorn,
            "sync worker killed": service.kill_sync_worker,
            "Valkey killed": self._and_then(
                lambda: site.valkey.kill(), lambda: site.valkey.start()
            ),
            "PostgreSQL killed": self._and_then(site.postgres.kill, site.postgres.start),
            "network to Redis cut": self._and_then(redis.cut, redis.mend),
            "network to PostgreSQL cut": self._and_then(postgres.cut, postgres.mend),
            "network to Redis slow": self._and_then(lambda: _slow(redis), redis.mend),
            "network to PostgreSQL slow": self._and_then(lambda: _slow(postgres), postgres.mend),
            "reply to a commit lost": lambda: redis.lose(COMMIT, Loss.REPLY),
            "commit lost": lambda: redis.lose(COMMIT, Loss.REQUEST),
            "commit without a reply": lambda: redis.lose(COMMIT, Loss.SILENCE, times=2),
            "acknowledgement lost": lambda: redis.lose(ACKNOWLEDGE, Loss.REPLY, times=2),
            "reply to COMMIT lost": lambda: postgres.lose(b"COMMIT\0", Loss.REPLY),
            "restore forced": lambda: self._force("restore"),
            "sync forced": lambda: self._force("force"),
            "backup forced": lambda: self._force("backup"),
        } | takeovers.faults

    def add_pgbouncer(self, folder: Path, stack: ExitStack) -> None:
        """Connect the service through PgBouncer, and add faults that kill and freeze PgBouncer."""
        bouncer = PgBouncer(folder / "pgbouncer", self._site.postgres)
        process = stack.enter_context(bouncer.running())
        self._site.to_postgres.redirect(bouncer.port)
        self._site.to_postgres.cut()
        self._site.to_postgres.mend()

        def kill() -> None:
            nonlocal process
            process.kill()
            process.wait()
            self._pause()
            process = stack.enter_context(bouncer.running())

        def freeze() -> None:
            process.send_signal(signal.SIGSTOP)
            self._pause()
            process.send_signal(signal.SIGCONT)

        self._faults |= {"PgBouncer killed": kill, "PgBouncer frozen": freeze}

    def run(self, seconds: float) -> None:
        """Cause faults for `seconds`, at least FEWEST, each kind equally often."""
        deadline = time.monotonic() + seconds
        order: list[str] = []
        while time.monotonic() < deadline or self.caused.total() < FEWEST:
            if not order:
                order = self._random.sample(sorted(self._faults), len(self._faults))
            what = order.pop()
            self._faults[what]()
            self.caused[what] += 1
            self._pause()
            self._service.start()

    def _and_then(self, harm: Do, mend: Do) -> Do:
        def do() -> None:
            harm()
            self._pause()
            mend()

        return do

    def _pause(self) -> None:
        time.sleep(self._random.uniform(*PAUSE_SECONDS))

    def _force(self, action: str) -> None:
        """Request an action as the owner, while clients write and other faults happen."""
        path = f"/admin/sync?action={action}"
        threading.Thread(target=_try, args=(self._service, path), daemon=True).start()


def _try(service: Service, path: str) -> None:
    with suppress(OSError, HTTPException):
        service.api("POST", path, by="owner")


def _slow(proxy: Proxy) -> None:
    proxy.delay_seconds = SLOW_SECONDS


def run(folder: Path, seconds: float, seed: int, *, with_pgbouncer: bool = False) -> Figures:
    """Run clients and faults for `seconds`; then compare the stores with acknowledged writes."""
    choices = random.Random(seed)
    with running(folder, SYNC_INTERVAL="1s") as (site, service), ExitStack() as stack:
        clients = [Client(service.api, n, random.Random(f"{seed}-{n}")) for n in range(CLIENTS)]
        takeovers = Takeovers(site, service, clients, choices)
        chaos, stop = Chaos(site, service, takeovers), threading.Event()
        if with_pgbouncer:
            chaos.add_pgbouncer(folder, stack)
        begin = time.monotonic()
        follower = Follower(service.api)
        with ThreadPoolExecutor(CLIENTS + 1) as pool:
            working = [pool.submit(client.run, stop) for client in clients]
            working.append(pool.submit(_follow, follower, stop))
            try:
                chaos.run(seconds)
            finally:
                stop.set()
            for each in working:
                each.result()  # raise what a client raised: a client that ended writes nothing more
        spent = time.monotonic() - begin
        _settle(site, service)
        ledger = _merged([client.ledger for client in clients])
        wrong = [line for client in clients for line in client.wrong]
        requests = sum(client.requests for client in clients)
        final = _everything(service)
        verdict = judge(ledger, final)
        try:
            service.until(lambda: _has_all(follower, final))
        except AssertionError:
            wrong.append("the follower of changes has other tasks")
        differences = faults(site.installation)
    wrong += service.surprises()
    longest = max(client.longest_seconds for client in clients)
    return Figures(
        seed, spent, requests, longest, ledger, chaos.caused, verdict, wrong, differences
    )


def _follow(follower: Follower, stop: threading.Event) -> None:
    """Copy all changes of tasks, during any fault."""
    while not stop.wait(FOLLOW_SECONDS):
        with suppress(OSError, HTTPException):
            follower.read(1000)


def _has_all(follower: Follower, final: dict[Key, Entity]) -> bool:
    copied = {("task", task_id): task for task_id, task in follower.catch_up().items()}
    return copied == {key: task for key, task in final.items() if key[0] == "task"}


def _settle(site: Site, service: Service) -> None:
    """Repair everything and wait until passes have copied all changes."""
    for proxy in (site.to_valkey, site.to_postgres):
        proxy.mend()
    service.until(service.is_healthy)
    service.until(lambda: service.api("POST", "/admin/sync", by="owner").status == 200)
    service.until(lambda: _is_clean(service))


def _is_clean(service: Service) -> bool:
    status = ok(service.api("GET", "/admin/status", by="owner"))
    return not status["pending_changes"]


def _everything(service: Service) -> dict[Key, Entity]:
    """Return all entities but the System Owner, which no client creates."""
    lists = zip(KINDS, ("/users", "/groups", "/tasks/filter"), strict=True)
    return {
        (kind, entity["id"]): entity
        for kind, path in lists
        for entity in ok(service.api("GET", path, by="owner"))[f"{kind}s"]
        if (kind, entity["id"]) != ("user", 1)
    }


def _merged(ledgers: list[Ledger]) -> Ledger:
    whole = Ledger()
    for ledger in ledgers:
        both = whole.known.keys() & ledger.known.keys()
        whole.duplicated += [f"{key} was given out twice" for key in both] + ledger.duplicated
        whole.known |= ledger.known
        whole.opened |= ledger.opened
        whole.unanswered_creates |= ledger.unanswered_creates
        whole.acknowledged += ledger.acknowledged
        whole.unanswered += ledger.unanswered
    return whole


def main(minutes: str, seed: str = "") -> None:
    with tempfile.TemporaryDirectory() as folder:
        chosen = int(seed or secrets.randbelow(10**6))
        figures = run(Path(folder), float(minutes) * 60, chosen, with_pgbouncer=True)
    sys.stdout.write(str(figures))
    sys.exit("\n".join(figures.complaints) or None)


if __name__ == "__main__":
    main(*sys.argv[1:])
