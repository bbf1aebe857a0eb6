"""Copying changes from Redis to PostgreSQL, with refused changes put into quarantine."""

import logging
import time
from collections.abc import Iterator
from typing import Final

from taskapi.errors import NewEpoch
from taskapi.store import changes, meta, quarantine
from taskapi.store.changes import CHUNK
from taskapi.store.chunks import Chunk, Mark
from taskapi.store.connection import Store
from taskapi.store.keys import Kind
from taskapi.store.meta import Meta
from taskapi.store.prefetch import prefetch
from taskapi.store.quarantine import Refusal
from taskapi.sync import rows, state
from taskapi.sync.postgres import Database
from taskapi.sync.postgres_errors import RowsRefused
from taskapi.sync.rows import Lines

log = logging.getLogger("taskapi")

PROGRESS_SECONDS: Final = 5.0
"""How often a long pass logs its progress."""
TRIES: Final = 3
"""How many times a pass copies everything before it quarantines rows that break a constraint."""
VIOLATIONS_MOST: Final = 1000
"""The maximum number of rows quarantined in one try."""
EXTRA_CHANGES: Final = 100_000
"""A pass ends after twice the number of changes at its start, plus this number."""
NEWER: Final = "PostgreSQL has a newer version of it, or has it as deleted"
INCONSISTENT: Final = "there is neither an entity nor a tombstone for this change"

_VIOLATIONS: Final = f"""
SELECT '23503', 'tasks_user', 't', id, version, 'u', user_id
  FROM tasks AS child WHERE NOT EXISTS (SELECT FROM users WHERE id = child.user_id)
UNION ALL
SELECT '23503', 'tasks_group', 't', id, version, 'g', group_id
  FROM tasks AS child WHERE NOT EXISTS (SELECT FROM groups WHERE id = child.group_id)
UNION ALL
SELECT '23503', 'groups_admin', 'g', id, version, 'u', admin_id
  FROM groups AS child WHERE NOT EXISTS (SELECT FROM users WHERE id = child.admin_id)
UNION ALL
SELECT '23503', 'memberships_group', 'u', user_id, users.version, 'g', group_id
  FROM memberships AS child JOIN users ON users.id = user_id
 WHERE NOT EXISTS (SELECT FROM groups WHERE id = child.group_id)
UNION ALL
SELECT '23505', 'users_email', 'u', one.id, one.version, 'u', two.id
  FROM users AS one JOIN users AS two USING (email_key) WHERE one.id <> two.id
UNION ALL
SELECT '23505', 'groups_name', 'g', one.id, one.version, 'g', two.id
  FROM groups AS one JOIN groups AS two USING (name_key) WHERE one.id <> two.id
 LIMIT {VIOLATIONS_MOST}
"""


class Progress:
    """What a pass has copied so far, by table.

    Attributes:
        last: every change up to this version was read; empty if none was. A complete pass with
            changes ends with a newly issued version, higher than any that PostgreSQL had.
        is_complete: everything that was marked at the beginning was read.
    """

    def __init__(self) -> None:
        self.written = {kind.plural: 0 for kind in Kind}
        self.deleted = dict(self.written)
        self.last, self.is_complete = "", True
        self._logged = time.monotonic()

    def add(self, copied: rows.Copied) -> None:
        """Count rows, and log the sums every PROGRESS_SECONDS."""
        for table in self.written:
            self.written[table] += copied.written[table]
            self.deleted[table] += copied.deleted[table]
        if time.monotonic() > self._logged + PROGRESS_SECONDS:
            self._logged = time.monotonic()
            log.info("Sync in progress written=%s deleted=%s", self.written, self.deleted)


def push(db: Database, store: Store, redis: Meta) -> Progress:
    """Copy all changes, commit, and only then remove their marks; the caller holds the lock.

    Raises:
        NewEpoch: Redis was restored or started meanwhile; its check needs the lock of this pass.
    """
    progress = copy_all(db, store, redis.opened)
    changes.acknowledge(store, redis, progress.last or str(redis.synced))
    return progress


def copy_all(db: Database, store: Store, run_id: str = "") -> Progress:
    """Copy all changes and commit; their marks stay.

    Changes that PostgreSQL refuses go into quarantine; the others are copied.

    Args:
        run_id: the expected run id of Redis: raise NewEpoch if it changes. Empty for any.
    """
    quarantine.review(store)
    progress = Progress()
    if changes.size(store):
        version = changes.issue_version(store)
        progress = _copy_until_valid(db, store, run_id)
        if progress.is_complete:
            progress.last = str(max(version, int(progress.last or 0)))
    if progress.last:
        state.advance(db, int(progress.last), meta.read(store).ids)
    db.commit()
    return progress


def _copy_until_valid(db: Database, store: Store, run_id: str) -> Progress:
    """Copy all changes, again from the start while PostgreSQL refuses some of them.

    To isolate a refused row, the next try copies row by row. A constraint can be broken because the
    pass read only one of two changes that belong together: the next try reads both. After TRIES,
    the rows that break a constraint are quarantined.
    """
    is_by_row, tries = False, 0
    while True:
        db.execute("SAVEPOINT pass")
        try:
            progress = copy_changes(db, store, run_id, is_by_row=is_by_row)
            tries += 1
            if check_constraints(db, store, is_last_try=tries >= TRIES):
                return progress
        except RowsRefused:
            if is_by_row:
                raise
            is_by_row = True
        db.execute("ROLLBACK TO pass; RELEASE pass")


def copy_changes(
    db: Database, store: Store, run_id: str = "", *, is_by_row: bool = False
) -> Progress:
    """Copy the marked changes, up to a bound: a pass must end even while new changes arrive."""
    progress, marked = Progress(), changes.size(store)
    rows.prepare(db)
    for number, (chunk, lines) in enumerate(_read(store, is_by_row), 1):
        for copied in _copy_rows(db, store, chunk) if is_by_row else [rows.copy(db, chunk, lines)]:
            _quarantine(store, [Refusal(mark, "", NEWER) for mark in copied.refused])
            progress.add(copied)
        _quarantine(store, [Refusal(mark, "", INCONSISTENT) for mark in chunk.inconsistent])
        _quarantine(store, [Refusal(mark, "", reason) for mark, reason, _ in chunk.damaged])
        if chunk.last:
            progress.last = str(int(float(chunk.last)))  # a damaged mark may have a fraction
        if run_id and store.run_id != run_id:
            raise NewEpoch
        if number * CHUNK > 2 * marked + EXTRA_CHANGES:
            progress.is_complete = False
            break
    return progress


def _read(store: Store, is_by_row: bool) -> Iterator[tuple[Chunk, Lines | None]]:
    """Yield chunks with their COPY lines; the next one is made while the caller uses this one."""
    chunks = changes.changed(store)
    return prefetch((chunk, None if is_by_row else rows.lines(chunk)) for chunk in chunks)


def _copy_rows(db: Database, store: Store, chunk: Chunk) -> Iterator[rows.Copied]:
    """Copy a chunk as a whole, or else row by row with the refused rows in quarantine."""
    try:
        with db.savepoint():
            copied = rows.copy(db, chunk)
        yield copied
    except RowsRefused:
        for row in chunk.rows():
            try:
                with db.savepoint():
                    copied = rows.copy(db, row)
                yield copied
            except RowsRefused as error:
                (mark,) = row.marks
                _quarantine(store, [Refusal(mark, error.sqlstate, error.reason)])


def check_constraints(db: Database, store: Store, *, is_last_try: bool) -> bool:
    """Return whether all constraints hold; on the last try, quarantine the rows that break them."""
    try:
        with db.savepoint():
            db.execute("SET CONSTRAINTS ALL IMMEDIATE")
        return True
    except RowsRefused as error:
        if is_last_try:
            violations = find_violations(db, store)
            if not violations:
                raise
            _quarantine(store, violations)
        log.info("Sync copies everything again: %s", error.reason)
    return False


def find_violations(db: Database, store: Store) -> list[Refusal]:
    """Return, for each broken constraint, the change of its row.

    If that row has no change outside quarantine, return the change of the row that it refers to or
    duplicates.
    """
    violations: dict[str, Refusal] = {}
    known = quarantine.marks(store)
    for sqlstate, constraint, *row in db.rows(_VIOLATIONS):
        child, parent = Mark(*row[:3]), Mark(row[3], row[4], 0)
        reason = f"it breaks the constraint {constraint}"
        marked = (mark for mark in changes.marked(store, child, parent) if mark not in known)
        violations |= {str(mark): Refusal(mark, sqlstate, reason) for mark in [*marked][:1]}
    return list(violations.values())


def _quarantine(store: Store, refusals: list[Refusal]) -> None:
    for mark, sqlstate, reason in refusals:
        log.error("Sync quarantine %s sqlstate=%s %s", mark, sqlstate or "-", reason)
    quarantine.add(store, refusals)
