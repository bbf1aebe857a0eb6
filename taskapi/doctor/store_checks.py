"""Checks of both stores: version, persistence, clock, schema, and that they belong together."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from taskapi.config import Settings
from taskapi.doctor.finding import Clock, Finding, finding
from taskapi.errors import (
    Damaged,
    DatabaseUnreachable,
    StoreUnreachable,
    TaskApiError,
    Unavailable,
    WrongServer,
)
from taskapi.store import changes, meta, server
from taskapi.store.connection import Store
from taskapi.store.meta import Meta, State
from taskapi.sync import migrations, state, status
from taskapi.sync import server as postgres_server
from taskapi.sync.migrations import NewerSchema
from taskapi.sync.postgres import Database
from taskapi.sync.server import PostgresServer
from taskapi.sync.state import PostgresState

OLDEST_POSTGRES: Final = (15, 0)
CLOCK_SECONDS: Final = 5.0
"""How far a store's clock may be from the clock of this machine."""
MEMORY_WARN, MEMORY_FAIL = 0.8, 0.95
"""The fractions of its memory limit at which Redis gets a warning and a failure."""


def examine(settings: Settings, clock: Clock) -> Iterator[Finding]:
    """Yield a finding for each check; a store that does not answer gets only one."""
    store = Store(settings.redis_url, settings.key_prefix, read_only=True)
    try:
        yield from _redis(settings, store, clock)
    except Unavailable as error:
        yield _unreachable("redis", "REDIS_URL", settings.redis_url, error)
    try:
        with Database(settings) as db:
            db.freeze()
            yield from _postgres(settings, db, clock)
            with suppress(StoreUnreachable, Damaged, NewerSchema):
                yield _histories(meta.read(store), state.find(db))
    except DatabaseUnreachable as error:
        yield _unreachable("postgresql", "DATABASE_URL", settings.database_url, error)


def _redis(settings: Settings, store: Store, clock: Clock) -> Iterator[Finding]:
    facts = server.look(store)
    is_old = facts.version < server.OLDEST
    yield finding(
        "redis",
        f"{facts.name} at {_masked(settings.redis_url)}",
        fail="use Redis 7.0 or newer, or Valkey" if is_old else "",
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
        fail="" if facts.is_noeviction else "set maxmemory-policy noeviction",
    )
    yield _memory(facts)
    yield _clock("redis clock", facts.clock_seconds, clock)
    yield from _data(settings, store)


def _data(settings: Settings, store: Store) -> Iterator[Finding]:
    damaged = finding("redis data", "damaged", fail="python -m taskapi check says what to do")
    try:
        _, published, now, refused = meta.read_status(store)
    except Damaged:
        yield damaged
        return
    yield _worker(published, now)
    if "beat" in published:
        yield _last_sync(is_late=status.is_late(settings, published, now))
    is_damaged = changes.find_damage(store) is not None
    yield damaged if is_damaged else finding("redis data", "indexes and counters agree")
    yield finding(
        "quarantine",
        f"{refused} change(s) that PostgreSQL lacks" if refused else "empty",
        warn="see quarantined in /admin/status" if refused else "",
    )


def _last_sync(*, is_late: bool) -> Finding:
    detail = "too long ago, or at an unknown time" if is_late else "in time"
    return finding("last sync", detail, fail="see the log of sync_worker.py" if is_late else "")


def _memory(facts: server.RedisServer) -> Finding:
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
    detail = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this machine"
    return finding(
        name,
        detail if is_off else "agrees with this machine",
        fail="let NTP set both clocks" if is_off else "",
    )


def _worker(status_fields: dict[str, str], now: float) -> Finding:
    remedy = "start sync_worker.py, and see its log"
    if "beat" not in status_fields:
        return finding("sync worker", "no worker has run yet", warn=remedy)
    if not status.is_running(status_fields, now):
        ago = now - float(status_fields["beat"])
        words = (
            f"for {status.duration(ago)}" if ago > 0 else "since the clock of Redis was set back"
        )
        return finding("sync worker", f"no heartbeat {words}", fail=remedy)
    has_postgres = status_fields.get("postgres") == "connected"
    detail = "running" if has_postgres else "running, but PostgreSQL does not answer it"
    remedy = "" if has_postgres else "check the DATABASE_URL of the worker"
    return finding("sync worker", detail, fail=remedy)


def _postgres(settings: Settings, db: Database, clock: Clock) -> Iterator[Finding]:
    facts = postgres_server.look(db)
    is_old = facts.version < OLDEST_POSTGRES
    yield finding(
        "postgresql",
        f"PostgreSQL {'.'.join(map(str, facts.version))} at {_masked(settings.database_url)}",
        fail="use PostgreSQL 15 or newer" if is_old else "",
    )
    yield _clock("postgresql clock", facts.clock_seconds, clock)
    yield finding("encoding", facts.encoding, fail=facts.wrong_encoding.partition(": ")[2])
    yield _schema(db, facts)
    yield finding(
        "pg_trgm",
        "installed" if facts.has_trigrams else "not installed: searches go without an index",
        warn="" if facts.has_trigrams else "install PostgreSQL's contrib, then start web or sync",
    )


def _schema(db: Database, facts: PostgresServer) -> Finding:
    remedy = "start web or sync, which migrate it"
    if facts.is_read_only:
        return finding("schema", "PostgreSQL permits no writes", fail="use the primary server")
    if foreign := migrations.foreign_tables(db):
        detail = f"{', '.join(foreign)} belong to another program"
        return finding("schema", detail, fail="use a database of its own")
    if missing := migrations.missing_tables(db):
        if not facts.may_create:
            may_not = "the role may not create tables"
            return finding("schema", may_not, fail="GRANT CREATE ON SCHEMA public TO the role")
        fail = remedy if len(missing) < len(migrations.TABLES) else ""
        return finding("schema", f"without {', '.join(missing)}", fail=fail, warn=remedy)
    number = migrations.applied(db)
    newer = "a newer program migrated it: upgrade this program"
    return finding(
        "schema",
        f"{number} of {migrations.NEWEST}",
        fail=newer if number > migrations.NEWEST else "",
        warn=remedy if number < migrations.NEWEST else "",
    )


def _histories(redis: Meta, copy: PostgresState | None) -> Finding:
    """Check that both stores belong to one installation and one history."""
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


def _unreachable(name: str, variable: str, url: str, error: TaskApiError) -> Finding:
    """Return the finding for a store that does not answer, with the driver's own reason."""
    origin = error if isinstance(error, WrongServer) else error.__cause__ or error
    reason = next(iter(str(origin).splitlines()), "").rstrip(".")
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    passwords = [parts.password or "", *query.get("password", [])]
    passwords += query.get("sentinel_password", [])
    for password in (*passwords, *map(unquote, passwords)):
        reason = reason.replace(password, "***") if password else reason
    remedy = f"check that it runs and that {variable}, or the settings in its place, are right"
    return finding(name, f"{_masked(url)} cannot be used: {reason}", fail=remedy)


def _masked(url: str) -> str:
    """Return a URL without user, password and options."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
