"""Both stores: reachable, recent, safe, in time, and of one installation."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from taskapi.config import Settings
from taskapi.doctor.finding import Clock, Finding, finding
from taskapi.errors import DatabaseUnreachable, StoreUnreachable, TaskApiError, Unavailable
from taskapi.store import meta, server
from taskapi.store.connection import Store
from taskapi.store.meta import Meta, State
from taskapi.sync import server as postgres_server
from taskapi.sync import state, status
from taskapi.sync.postgres import Database
from taskapi.sync.state import PostgresState

OLDEST_REDIS: Final = (7, 2)
OLDEST_POSTGRES: Final = (15, 0)
CLOCK_SECONDS: Final = 5.0
"""How far a store's clock may be from ours."""
MEMORY_WARN, MEMORY_FAIL = 0.8, 0.95
"""Which part of its memory Redis may use."""


def examine(settings: Settings, clock: Clock) -> Iterator[Finding]:
    """Yield what is found of each thing; where a store is away, no more of that one."""
    store = Store(settings.redis_url, settings.key_prefix, read_only=True)
    try:
        yield from _redis(settings, store, clock)
    except Unavailable as error:
        yield _away("redis", "REDIS_URL", settings.redis_url, error)
    try:
        with Database(settings) as db:
            db.freeze()
            yield from _postgres(settings, db, clock)
            with suppress(StoreUnreachable):
                yield _histories(meta.read(store), state.find(db))
    except DatabaseUnreachable as error:
        yield _away("postgresql", "DATABASE_URL", settings.database_url, error)


def _redis(settings: Settings, store: Store, clock: Clock) -> Iterator[Finding]:
    facts = server.look(store)
    is_old = facts.version < OLDEST_REDIS
    yield finding(
        "redis",
        f"{facts.name} at {_masked(settings.redis_url)}",
        fail="use Redis 7.2 or newer, or Valkey" if is_old else "",
    )
    always = "set appendonly yes and appendfsync always"
    yield finding(
        "redis persistence",
        f"appendonly yes, appendfsync {facts.appendfsync}"
        if facts.appendfsync
        else "appendonly no",
        fail="" if facts.appendfsync else always,
        warn="" if facts.appendfsync == "always" else always,
    )
    yield finding(
        "redis eviction",
        f"maxmemory-policy {facts.policy or 'unknown'}",
        fail="" if facts.is_keeping else "set maxmemory-policy noeviction",
    )
    yield _memory(facts)
    yield _clock("redis clock", facts.clock_seconds, clock)
    yield _worker(meta.read_status(store)[1], clock)


def _memory(facts: server.Facts) -> Finding:
    part = facts.used_bytes / facts.limit_bytes if facts.limit_bytes else 0.0
    remedy = "raise maxmemory, or give Redis more memory"
    return finding(
        "redis memory",
        f"{facts.used_bytes >> 20} of {facts.limit_bytes >> 20} MiB used",
        fail=remedy if part >= MEMORY_FAIL else "",
        warn=remedy if part >= MEMORY_WARN else "",
    )


def _clock(name: str, seconds: float, clock: Clock) -> Finding:
    ahead = seconds - clock()
    is_off = abs(ahead) > CLOCK_SECONDS
    detail = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} ours"
    return finding(
        name,
        detail if is_off else "agrees with ours",
        fail="let NTP set both clocks" if is_off else "",
    )


def _worker(words: dict[str, str], clock: Clock) -> Finding:
    remedy = "start sync_worker.py, and see its log"
    if "beat" not in words:
        return finding("sync worker", "none has worked here yet", warn=remedy)
    ago = clock() - float(words["beat"])
    if ago > status.FRESH_SECONDS:
        return finding("sync worker", f"no sign of life for {status.duration(ago)}", fail=remedy)
    has_postgres = words.get("postgres") == "connected"
    detail = "alive" if has_postgres else "alive, but PostgreSQL does not answer it"
    return finding("sync worker", detail, fail="" if has_postgres else "check DATABASE_URL there")


def _postgres(settings: Settings, db: Database, clock: Clock) -> Iterator[Finding]:
    facts = postgres_server.look(db)
    is_old = facts.version < OLDEST_POSTGRES
    yield finding(
        "postgresql",
        f"PostgreSQL {'.'.join(map(str, facts.version))} at {_masked(settings.database_url)}",
        fail="use PostgreSQL 15 or newer" if is_old else "",
    )
    yield _clock("postgresql clock", facts.clock_seconds, clock)
    remedy = "start web or sync, which create what is missing"
    yield finding(
        "schema",
        f"without {', '.join(facts.missing)}" if facts.missing else "all tables are there",
        fail=remedy if facts.missing and facts.tables else "",
        warn=remedy if facts.missing else "",
    )
    yield finding(
        "pg_trgm",
        "installed" if facts.has_trigrams else "not installed: searches go without an index",
        warn="" if facts.has_trigrams else "install PostgreSQL's contrib, then start web or sync",
    )


def _histories(redis: Meta, copy: PostgresState | None) -> Finding:
    """Whether the two stores are of one installation, at one time of it."""
    name, remedy = "installation", "start web or sync, which fill it"
    if not redis.epoch and copy is None:
        return finding(name, "both stores are empty", warn=remedy)
    if not redis.epoch or redis.state == State.RESTORING:
        return finding(name, "Redis is empty or being restored from PostgreSQL", warn=remedy)
    if why := state.difference(redis, copy):
        detail, _, remedy = why.partition(". ")
        return finding(name, detail, fail=remedy)
    if redis.state == State.FENCED:
        return finding(name, "changes are refused until the next sync", warn="start sync_worker.py")
    return finding(name, f"{redis.installation}, epoch {redis.epoch}, in both stores")


def _away(name: str, variable: str, url: str, error: TaskApiError) -> Finding:
    """A store that does not answer, with the driver's reason, which says more than ours."""
    reason = next(iter(str(error.__cause__ or error).splitlines()), "").rstrip(".")
    parts = urlsplit(url)
    passwords = [parts.password or "", *parse_qs(parts.query).get("password", [])]
    for password in (*passwords, *map(unquote, passwords)):
        reason = reason.replace(password, "***") if password else reason
    remedy = f"check that it runs and that {variable}, or what it is made of, is right"
    return finding(name, f"{_masked(url)} cannot be used: {reason}", fail=remedy)


def _masked(url: str) -> str:
    """Return only where a URL leads, without user, password and options."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
