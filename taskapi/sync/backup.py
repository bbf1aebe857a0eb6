"""The backup: the state of Redis at one instant, in one file, without PostgreSQL."""

import gzip
import hashlib
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Final

import orjson

from taskapi.config import Settings
from taskapi.errors import Damaged, NotReady, Unavailable
from taskapi.store import changes, meta
from taskapi.store.changes import Pin
from taskapi.store.chunks import Chunk
from taskapi.store.connection import Store
from taskapi.store.keys import Kind
from taskapi.store.meta import Meta
from taskapi.store.prefetch import prefetch

log = logging.getLogger("taskapi")

FORMAT: Final = 2
"""In format 1 the name of a password hash was `secret`."""
LEVEL: Final = 3
"""gzip's level: twice as fast as the default, with files a tenth larger."""


@dataclass(frozen=True)
class BackupReport:
    """What a backup contains, by table, and its file."""

    saved: dict[str, int]
    file: str
    size_bytes: int
    sha256: str


def force(settings: Settings, store: Store) -> dict[str, Any]:
    """Run the owner's action=backup; raises what `write` raises."""
    begin = time.perf_counter()
    report = write(settings, store)
    return {
        "message": f"{report.file} has everything that Redis had.",
        **asdict(report),
        "duration_seconds": round(time.perf_counter() - begin, 3),
    }


def write(settings: Settings, store: Store, *, is_before_restore: bool = False) -> BackupReport:
    """Write one file with the state of Redis at one instant, readable by its owner only.

    The newest files are kept, as many as the settings say. A backup before a restore, when clients
    are blocked, takes over from another backup that is being written; it saves what can be read of
    a damaged Redis, and its last line names under `lacks` what is not in the file.

    Raises:
        Damaged: something cannot be read, or the indexes disagree with the counters.
        AlreadyRunning: another backup is being written.
        NotReady: there is nothing to save, or Redis was restored during the backup.
        Unavailable: Redis is unreachable, or the file cannot be written.
    """
    source = _Source(store, is_complete=not is_before_restore)
    before = source.describe()
    if not before.epoch:
        raise NotReady("Redis is empty: there is nothing to save.")
    pin = Pin(store, takes_over=is_before_restore)
    purpose = "before-restore" if is_before_restore else "backup"
    try:
        return _write(settings, source, pin, before, f"{settings.key_prefix}-{purpose}")
    except OSError as error:
        reason = error.strerror or str(error)
        raise Unavailable(f"BACKUP_DIR cannot take the backup: {reason}.") from error
    finally:
        pin.drop()


class _Source:
    """The entities of a store, and what a backup of it lacks.

    Attributes:
        lacks: what cannot be read, as sentences without repetition.
    """

    def __init__(self, store: Store, *, is_complete: bool) -> None:
        """Read a store; if `is_complete` is set, the first damage raises Damaged."""
        self.store, self.lacks = store, dict[str, None]()
        self._is_complete = is_complete

    def describe(self) -> Meta:
        """Return the store's description, and note its unreadable fields."""
        description = meta.inspect(self.store)
        for field in description.damaged:
            self._note(meta.unreadable(field))
        return description

    def chunks(self) -> Iterator[Chunk]:
        """Yield all entities, and then those that changed meanwhile."""
        walks = [changes.everything(self.store, kind) for kind in Kind]
        for walk in (*walks, changes.changed(self.store, with_quarantine=True)):
            try:
                for chunk in walk:
                    for mark, reason, _ in chunk.damaged:
                        self._note(Damaged(f"{Kind(mark.kind).noun} {mark.id}: {reason}"))
                    yield chunk
            except Damaged as error:
                self._note(error)

    def require_whole(self) -> None:
        """Compare the indexes with the counters."""
        try:
            changes.require_whole(self.store)
        except Damaged as error:
            self._note(error)

    def _note(self, error: Damaged) -> None:
        if self._is_complete:
            raise error
        self.lacks[str(error)] = None


def _write(settings: Settings, source: _Source, pin: Pin, before: Meta, stem: str) -> BackupReport:
    folder = settings.backup_dir
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for stale in folder.glob(f"{stem}-*.partial"):
        stale.unlink()
    name = f"{stem}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{pin.version}.jsonl.gz"
    partial, final = folder / f"{name}.partial", folder / name
    try:
        with open(partial, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as raw:
            saved = _fill(raw, source, pin, before)
            raw.flush()
            os.fsync(raw.fileno())
    except OSError:
        partial.unlink(missing_ok=True)  # it may have filled the disk
        raise
    with partial.open("rb") as written:
        digest = hashlib.file_digest(written, "sha256").hexdigest()
    partial.rename(final)
    _sync_folder(folder)
    _rotate(folder, f"{stem}-*.jsonl.gz", final, settings.backup_keep)
    log.info("Sync backup file=%s saved=%s", name, saved)
    for sentence in source.lacks:
        log.error("Sync backup file=%s lacks something: %s", name, sentence)
    return BackupReport(saved, name, final.stat().st_size, digest)


def _fill(raw: IO[bytes], source: _Source, pin: Pin, before: Meta) -> dict[str, int]:
    """Write a line with the format, the entities, and a last line with counts and a digest."""
    digest = hashlib.sha256()
    sizes: dict[Kind, int] = {}
    with gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=LEVEL) as file:
        first = _line(taskapi_backup=FORMAT, installation=before.installation)
        file.write(first)
        digest.update(first)
        for chunk in prefetch(source.chunks()):
            lines = b"".join(_lines(chunk))
            file.write(lines)
            digest.update(lines)
            pin.renew()
            sizes = chunk.sizes
        source.require_whole()
        after = source.describe()
        if (after.epoch, after.state) != (before.epoch, before.state):
            raise NotReady("Redis was restored while the backup was written: try again.")
        saved = {kind.plural: size for kind, size in sizes.items()}
        ids = {kind.plural: last for kind, last in after.ids.items()}
        end = {"saved": saved, "version": after.version, "epoch": max(after.epoch, 0), "ids": ids}
        lacks = {"lacks": [*source.lacks]} if source.lacks else {}
        file.write(_line(**end, **lacks, sha256=digest.hexdigest()))
    return saved


def _lines(chunk: Chunk) -> Iterator[bytes]:
    for kind, entities in chunk.entities.items():
        noun = kind.noun
        for entity in entities:
            yield _line(**{noun: entity})
    for mark in chunk.deleted:
        yield _line(deleted=mark._asdict())
    for mark, reason, json in chunk.damaged:
        yield _line(damaged={**mark._asdict(), "reason": reason, "json": json})


def _line(**content: object) -> bytes:
    return orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE)


def _rotate(folder: Path, pattern: str, newest: Path, keep: int) -> None:
    """Remove all but the last `keep` files written, also after the clock was set back."""
    others = [path for path in folder.glob(pattern) if path != newest]
    others.sort(key=lambda path: (path.stat().st_mtime, path.name))
    if others and newest.stat().st_mtime <= (last := others[-1].stat().st_mtime):
        os.utime(newest, (last + 1, last + 1))
    for old in [*others, newest][:-keep]:
        old.unlink()


def _sync_folder(folder: Path) -> None:
    """Write the new name to the disk, so that it survives a crash."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
