"""Writing what changed into PostgreSQL, around what PostgreSQL does not take."""

import logging
import time
from collections.abc import Iterator
from typing import Final

from taskapi.store import changes, meta, quarantine
from taskapi.store.changes import CHUNK, Chunk, Mark
from taskapi.store.connection import Store
from taskapi.store.keys import Kind
from taskapi.store.meta import Meta
from taskapi.store.prefetch import prefetch
from taskapi.store.quarantine import Refusal
from taskapi.sync import rows, state
from taskapi.sync.postgres import Database, RowsRefused
from taskapi.sync.rows import Lines

log = logging.getLogger("taskapi")

PROGRESS_SECONDS: Final = 5.0
"""How often a long pass says how far it is."""
RUNS: Final = 3
"""How often a pass reads everything again before it blames rows for a broken constraint."""
MOST: Final = 1000
"""Rows blamed at once."""
FOLLOWED: Final = 100_000
"""Changes that a pass follows, beside as many as there were when it began."""
NEWER: Final = "PostgreSQL has a newer version of it, or has it as deleted"
ODD: Final = "there is neither an entity nor a tombstone for this change"

_BROKEN: Final = f"""
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
 LIMIT {MOST}
"""


class Tally:
    """What a pass has done so far.

    Attributes:
        last: the version up to which everything was read, empty before the first change.
    """

    def __init__(self) -> None:
        self.written = {kind.plural: 0 for kind in Kind}
        self.deleted = dict(self.written)
        self.last = ""
        self._said = time.monotonic()

    def add(self, done: rows.Written) -> None:
        """Count what was written, and say so when it has been quiet for long."""
        for table in self.written:
            self.written[table] += done.written[table]
            self.deleted[table] += done.deleted[table]
        if time.monotonic() > self._said + PROGRESS_SECONDS:
            self._said = time.monotonic()
            log.info("Sync at work written=%s deleted=%s", self.written, self.deleted)


def push(db: Database, store: Store, redis: Meta) -> Tally:
    """Write what changed, commit, and only then forget the marks. The lock is the caller's.

    What PostgreSQL refuses goes into quarantine and holds up nothing else.
    """
    quarantine.review(store)
    tally = _write(db, store) if changes.size(store) else Tally()
    if tally.last:
        state.advance(db, int(tally.last), meta.read(store).ids)
    db.commit()
    if tally.last:
        changes.acknowledge(store, redis, tally.last)
    return tally


def _write(db: Database, store: Store) -> Tally:
    """Write everything, again from the beginning as long as something is refused."""
    is_careful, runs = False, 0
    while True:
        db.execute("SAVEPOINT pass")
        try:
            tally = _follow(db, store, is_careful)
        except RowsRefused:
            if is_careful:
                raise
            is_careful = True
        else:
            runs += 1
            if _settle(db, store, runs):
                return tally
        db.execute("ROLLBACK TO pass; RELEASE pass")


def _follow(db: Database, store: Store, is_careful: bool) -> Tally:
    """Write what is marked, up to a bound: what comes faster than it can be written has to wait."""
    tally, marked = Tally(), changes.size(store)
    rows.prepare(db)
    for number, (chunk, lines) in enumerate(_read(store, is_careful), 1):
        for done in _isolating(db, store, chunk) if is_careful else [rows.write(db, chunk, lines)]:
            _refuse(store, [Refusal(mark, "", NEWER) for mark in done.refused])
            tally.add(done)
        _refuse(store, [Refusal(mark, "", ODD) for mark in chunk.odd])
        tally.last = chunk.last or tally.last
        if number * CHUNK > 2 * marked + FOLLOWED:
            break
    return tally


def _read(store: Store, is_careful: bool) -> Iterator[tuple[Chunk, Lines | None]]:
    """Yield the chunks, and their lines where they are written whole, each before it is due."""
    chunks = changes.changed(store)
    return prefetch((chunk, None if is_careful else rows.lines(chunk)) for chunk in chunks)


def _isolating(db: Database, store: Store, chunk: Chunk) -> list[rows.Written]:
    """Write what can be written of a chunk, and put the rest, row by row, into quarantine."""
    try:
        with db.savepoint():
            return [rows.write(db, chunk)]
    except RowsRefused as error:
        marks = chunk.marks
        if len(marks) == 1:
            _refuse(store, [Refusal(marks[0], error.sqlstate, error.reason)])
            return []
        return [done for half in chunk.split() for done in _isolating(db, store, half)]


def _settle(db: Database, store: Store, runs: int) -> bool:
    """Whether all constraints hold.

    If not, something was read between two changes that belong together, and the next run finds it
    whole; what is still broken after `RUNS` goes into quarantine.
    """
    try:
        with db.savepoint():
            db.execute("SET CONSTRAINTS ALL IMMEDIATE")
        return True
    except RowsRefused as error:
        if runs >= RUNS:
            culprits = _culprits(db, store)
            if not culprits:
                raise
            _refuse(store, culprits)
        log.info("Sync reads everything again: %s", error.reason)
    return False


def _culprits(db: Database, store: Store) -> list[Refusal]:
    """Return what breaks a constraint and is in this pass: a child, or the delete of its parent."""
    found: dict[str, Refusal] = {}
    for sqlstate, constraint, *row in db.rows(_BROKEN):
        child, parent = Mark(*row[:3]), Mark(row[3], row[4], 0)
        for mark in changes.marked(store, child, parent)[:1]:
            found[str(mark)] = Refusal(mark, sqlstate, f"it breaks the constraint {constraint}")
    return list(found.values())


def _refuse(store: Store, refusals: list[Refusal]) -> None:
    for mark, sqlstate, reason in refusals:
        log.error("Sync quarantine %s sqlstate=%s %s", mark, sqlstate or "-", reason)
    quarantine.add(store, refusals)
