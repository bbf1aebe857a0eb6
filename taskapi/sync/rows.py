"""Entities as rows: how a chunk is written to PostgreSQL, and how everything is read back."""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import orjson

from taskapi.store.changes import Chunk, Mark
from taskapi.store.codec import FIELDS, Entity
from taskapi.store.indexes import fold
from taskapi.store.keys import Kind
from taskapi.sync.postgres import Database, RowsRefused

_STAGES: Final = """
CREATE TEMP TABLE new_users  (LIKE users)  ON COMMIT DROP;
CREATE TEMP TABLE new_groups (LIKE groups) ON COMMIT DROP;
CREATE TEMP TABLE new_tasks  (LIKE tasks)  ON COMMIT DROP;
CREATE TEMP TABLE new_memberships (LIKE memberships) ON COMMIT DROP;
CREATE TEMP TABLE new_tombstones  (LIKE tombstones)  ON COMMIT DROP;
"""
_UPSERT: Final = """
INSERT INTO {table} AS old ({columns})
SELECT {columns}
  FROM new_{table} AS new
 WHERE NOT EXISTS (SELECT FROM tombstones WHERE kind = '{kind}' AND id = new.id)
    ON CONFLICT (id) DO UPDATE
   SET ({columns}) = ROW({excluded})
 WHERE excluded.version > old.version
"""
_REFUSED: Final = """
SELECT '{kind}', new.id, new.version
  FROM new_{table} AS new
  LEFT JOIN {table} AS old USING (id)
 WHERE old.version IS DISTINCT FROM new.version
"""
_MEMBERSHIPS: Final = """
DELETE FROM memberships AS old
 USING new_users AS new JOIN users USING (id, version)
 WHERE old.user_id = new.id
   AND NOT EXISTS (SELECT FROM new_memberships AS kept
                    WHERE kept.user_id = old.user_id AND kept.group_id = old.group_id);
INSERT INTO memberships
SELECT m.*
  FROM new_memberships AS m JOIN new_users AS new ON new.id = m.user_id
  JOIN users USING (id, version)
    ON CONFLICT DO NOTHING;
"""
_TOMBSTONES: Final = """
INSERT INTO tombstones AS old
SELECT * FROM new_tombstones
    ON CONFLICT (kind, id) DO UPDATE SET version = excluded.version
 WHERE excluded.version > old.version;
DELETE FROM memberships USING new_tombstones AS gone WHERE kind = 'u' AND user_id = gone.id;
"""
_DELETE: Final = """
DELETE FROM {table} AS old
 USING new_tombstones AS gone
 WHERE gone.kind = '{kind}' AND gone.id = old.id AND gone.version > old.version
"""

_TIME: Final = """to_char({0} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')"""
_STAMPS: Final = f"{_TIME.format('created_at')}, {_TIME.format('updated_at')}, version"
_SELECT: Final = {
    Kind.USER: f"""
        SELECT id, full_name, role,
               ARRAY(SELECT group_id FROM memberships WHERE user_id = users.id ORDER BY 1),
               email, number, work_times, {_STAMPS}, password_hash,
               ARRAY(SELECT id FROM groups WHERE admin_id = users.id ORDER BY 1)
          FROM users WHERE version > {{above}}""",
    Kind.GROUP: f"""
        SELECT id, name, admin_id, {_STAMPS}
          FROM groups WHERE version > {{above}}""",
    Kind.TASK: f"""
        SELECT id, title, status, priority, to_char(deadline, 'YYYY-MM-DD'), information,
               user_id, group_id, {_STAMPS}
          FROM tasks WHERE version > {{above}}""",
}
_NULL: Final = r"\N"
_NAMES: Final = {**FIELDS, Kind.USER: (*FIELDS[Kind.USER], "secret", "administers")}


Lines = list[tuple[str, str, bytes]]


class Written(NamedTuple):
    """What became of a chunk: rows by table, and what PostgreSQL deleted or has newer."""

    written: dict[str, int]
    deleted: dict[str, int]
    refused: list[Mark]


def prepare(db: Database) -> None:
    """Make what `write` needs for the rest of this transaction."""
    db.execute(_STAGES)


def write(db: Database, chunk: Chunk, staged: Lines | None = None) -> Written:
    """Bring a chunk into the tables, where it is newer than what they have.

    Args:
        staged: its `lines`, where they are known already.

    Raises:
        RowsRefused: something of it is not what the tables can hold.
    """
    done = Written({}, {}, [])
    staged = staged or lines(chunk)
    for table, columns, data in staged:
        db.copy(table, columns, data)
    for kind, entities in _parts(chunk):
        plan = _FOR[kind]
        done.written[plan.table] = db.execute(plan.upsert) if entities else 0
        if done.written[plan.table] < len(entities):
            done.refused.extend(Mark(*row) for row in db.rows(plan.refused))
    if chunk.users:
        db.execute(_MEMBERSHIPS)
    if chunk.deleted:
        db.execute(_TOMBSTONES)
    for plan in _FOR.values():
        done.deleted[plan.table] = db.execute(plan.delete) if chunk.deleted else 0
    if staged:
        db.execute(f"TRUNCATE {', '.join(table for table, *_ in staged)}")
    return done


def lines(chunk: Chunk) -> Lines:
    """Return what `write` copies of a chunk: table, columns, and rows in COPY's text format.

    Raises:
        RowsRefused: something of it cannot be written as a row.
    """
    plans = [(_FOR[kind], entities) for kind, entities in _parts(chunk)]
    gone = (f"{mark.kind}\t{mark.id}\t{mark.version}\n" for mark in chunk.deleted)
    try:
        pairs = (f"{u['id']}\t{group}\n" for u in chunk.users for group in u["group_ids"])
        found = [(f"new_{p.table}", p.columns, "".join(map(p.line, part))) for p, part in plans]
        found.append(("new_memberships", "user_id, group_id", "".join(pairs)))
        found.append(("new_tombstones", "kind, id, version", "".join(gone)))
        return [(table, columns, text.encode()) for table, columns, text in found if text]
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        raise RowsRefused("", f"it cannot be written as a row ({error!r})") from error


def read(db: Database, kind: Kind, above: int = -1) -> Iterator[Entity]:
    """Yield the entities of a kind above a version; users with `secret` and `administers`.

    They come by id; tasks by user, because those of one user are loaded with fewer commands.
    """
    names, order = _NAMES[kind], "user_id, id" if kind is Kind.TASK else "id"
    for row in db.stream(f"{_SELECT[kind].format(above=above)} ORDER BY {order}"):
        yield dict(zip(names, row, strict=True))


def read_through(db: Database) -> None:
    """Make sure that PostgreSQL can give out everything that `read` yields."""
    for select in _SELECT.values():
        db.rows(f"SELECT count(each::text) FROM ({select.format(above=-1)}) AS each")


def tombstones(db: Database, above: int) -> list[Mark]:
    """Return what was deleted above a version."""
    found = db.rows("SELECT kind::text, id, version FROM tombstones WHERE version > %s", (above,))
    return [Mark(*row) for row in found]


def clear(db: Database) -> None:
    """Remove everything, which is done when the transaction is."""
    db.execute("TRUNCATE sync_state, users, groups, memberships, tasks, tombstones")


def count(db: Database) -> dict[Kind, int]:
    """Return how many entities of each kind there are."""
    (found,) = db.rows(
        "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM groups),"
        "       (SELECT count(*) FROM tasks)"
    )
    return dict(zip(Kind, found, strict=True))


def _parts(chunk: Chunk) -> tuple[tuple[Kind, list[Entity]], ...]:
    return (Kind.USER, chunk.users), (Kind.GROUP, chunk.groups), (Kind.TASK, chunk.tasks)


def _user(user: Entity) -> str:
    times = orjson.dumps(user["work_times"]).decode()
    name, email, number = user["full_name"], user["email"], user["number"]
    texts = (name, email, number, times, user["secret"], fold(email))
    return f"{user['id']}\t{user['role']}{_stamps(user)}{_texts(*texts)}"


def _group(group: Entity) -> str:
    name = group["name"]
    return f"{group['id']}\t{group['admin_id']}{_stamps(group)}{_texts(name, fold(name))}"


def _task(task: Entity) -> str:
    title, information = task["title"], task["information"]
    folded = fold(f"{title}\n{information}")
    return (
        f"{task['id']}\t{task['status']}\t{task['priority']}\t{task['deadline'] or _NULL}"
        f"\t{task['user_id']}\t{task['group_id']}{_stamps(task)}"
        f"{_texts(title, information, folded)}"
    )


def _stamps(entity: Entity) -> str:
    return f"\t{entity['created_at']}\t{entity['updated_at']}\t{entity['version']}"


def _texts(*values: str) -> str:
    """Return the last fields of a line as COPY reads them; NUL, which no text has, parts them."""
    text = "\0".join(("", *values)).replace("\\", "\\\\").replace("\t", "\\t")
    return text.replace("\n", "\\n").replace("\r", "\\r").replace("\0", "\t") + "\n"


class _Plan:
    """What writing one kind takes: its columns in the order of a line, texts last."""

    def __init__(self, kind: Kind, columns: str, line: Callable[[Entity], str]) -> None:
        self.table, self.columns, self.line = f"{kind.noun}s", columns, line
        excluded = ", ".join(f"excluded.{column}" for column in columns.split(", "))
        names = {"table": self.table, "kind": kind.value, "columns": columns, "excluded": excluded}
        self.upsert, self.refused = _UPSERT.format(**names), _REFUSED.format(**names)
        self.delete = _DELETE.format(**names)


_FOR: Final = {
    Kind.USER: _Plan(
        Kind.USER,
        "id, role, created_at, updated_at, version,"
        " full_name, email, number, work_times, password_hash, email_key",
        _user,
    ),
    Kind.GROUP: _Plan(
        Kind.GROUP, "id, admin_id, created_at, updated_at, version, name, name_key", _group
    ),
    Kind.TASK: _Plan(
        Kind.TASK,
        "id, status, priority, deadline, user_id, group_id, created_at, updated_at, version,"
        " title, information, folded",
        _task,
    ),
}
