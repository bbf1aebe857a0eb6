"""Restoring a backup file into two empty stores."""

import gzip
import hashlib
import logging
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import orjson

from taskapi.config import Settings
from taskapi.errors import Conflict, Invalid
from taskapi.store import meta, server
from taskapi.store.changes import CHUNK
from taskapi.store.chunks import Chunk, Mark
from taskapi.store.codec import Entity, complete
from taskapi.store.connection import Store
from taskapi.store.keys import Kind
from taskapi.sync import backup, migrations, restore, row_versions, rows, state, sync_pass
from taskapi.sync.postgres import FORCE_SECONDS, Database

log = logging.getLogger("taskapi")

FORMATS: Final = (1, backup.FORMAT)
_KINDS: Final = {kind.noun: kind for kind in Kind}


def run(settings: Settings, file: Path) -> None:
    """Restore both stores from a backup file.

    The stores become a new installation, so that Redis servers of the old one are refused. Ids that
    may have been issued after the backup are skipped. If the process is killed, PostgreSQL has
    nothing or everything. If it has everything, the next start restores Redis from PostgreSQL.

    Raises:
        Invalid: the file is incomplete or was altered; nothing was written.
        Conflict: the stores are not empty; nothing was written.
        AlreadyRunning: another process holds the lock.
        Unavailable: a store is unreachable.
    """
    end = verify(file)
    store = sync_pass.open_store(settings)
    server.require_usable(store)
    with Database(settings) as db:
        db.lock(FORCE_SECONDS)
        migrations.migrate(db)
        _require_empty(db, store)
        _fill(db, file, end)
    with Database(settings) as db:
        db.lock(FORCE_SECONDS)
        restore.fill(settings, store, can_reopen=False)


def verify(file: Path) -> dict[str, Any]:
    """Return the last line of a backup file, after reading all of it.

    Raises:
        Invalid: the file is incomplete or was altered, or its format is not known.
    """
    digest, last = hashlib.sha256(), b""
    try:
        _require_known(file, next(_read(file), None))
        with gzip.open(file) as lines:
            for line in lines:
                digest.update(last)
                last = line
        end = orjson.loads(last)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise Invalid(f"{file} cannot be read as a backup: {error}.") from error
    if not isinstance(end, dict) or end.get("sha256") != digest.hexdigest():
        raise Invalid(f"{file} is a backup that is incomplete or was altered.")
    return dict(end)


def _require_known(file: Path, first: Any) -> None:
    """Raise Invalid unless the first line of a file names a format that this program reads."""
    given = first.get("taskapi_backup") if isinstance(first, dict) else None
    if given is None:
        raise Invalid(f"{file} is no backup of this service.")
    if given not in FORMATS:
        known = " and ".join(map(str, FORMATS))
        raise Invalid(
            f"{file} has backup format {given}, and this program reads formats {known}: "
            "restore it with the program that wrote it."
        )


def _read(file: Path) -> Iterator[Any]:
    with gzip.open(file) as lines:
        yield from map(orjson.loads, lines)


def _require_empty(db: Database, store: Store) -> None:
    """Raise Conflict unless both stores are empty or a new installation."""
    allowed_sizes = [0, 1], [0], [0]  # a new installation has one user
    for place, sizes in (("PostgreSQL", rows.count(db)), ("Redis", meta.sizes(store))):
        pairs = zip(sizes.values(), allowed_sizes, strict=True)
        if any(size not in allowed for size, allowed in pairs):
            raise Conflict(
                f"{place} is not empty: a backup is restored only into an empty installation.",
                code="not_empty",
            )


def _fill(db: Database, file: Path, end: dict[str, Any]) -> None:
    rows.clear(db)
    rows.prepare(db)
    for chunk in _chunks(file):
        rows.copy(db, chunk)
    db.execute("SET CONSTRAINTS ALL IMMEDIATE")
    copied = {kind.plural: size for kind, size in rows.count(db).items()}
    if copied != end["saved"] and not end.get("lacks"):
        raise Invalid(
            "The backup does not have the entities that its last line counts: nothing was written."
        )
    state.create(db, epoch=end["epoch"])
    state.advance(db, end["version"], {kind: end["ids"][kind.plural] for kind in Kind})
    _advance_to_rows(db)


def _advance_to_rows(db: Database) -> None:
    """Record the last ids and version in use: the file of a damaged Redis may have lower ones."""
    highest = {kind: row_versions.highest(db, kind) for kind in Kind}
    version = max(version for _, version in highest.values())
    state.advance(db, version, {kind: last for kind, (last, _) in highest.items()})


def _entity(kind: Kind, content: dict[str, Any]) -> Entity:
    """Return an entity of any file: in format 1 a password hash is `secret`.

    Users in files from before tokens have none.
    """
    if "secret" in content:
        content["password_hash"] = content.pop("secret")
    if kind is Kind.USER:
        content.setdefault("tokens", [])
    return complete(kind, content)


def _chunks(file: Path) -> Iterator[Chunk]:
    """Yield the entities of a file; two versions of one entity are in different chunks."""
    chunk, seen = Chunk(), set[tuple[str, int]]()
    for line in _read(file):
        ((noun, content), *others) = line.items()
        if others or noun not in {*_KINDS, "deleted"}:
            continue
        kind = content["kind"] if noun == "deleted" else _KINDS[noun]
        if len(seen) == CHUNK or (kind, content["id"]) in seen:
            yield chunk
            chunk, seen = Chunk(), set()
        seen.add((kind, content["id"]))
        if noun == "deleted":
            chunk.deleted.append(Mark(**content))
        else:
            chunk.entities[kind].append(_entity(kind, content))
    yield chunk
