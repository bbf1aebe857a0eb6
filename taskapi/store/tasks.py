"""Creating, changing and deleting tasks, one or many in one commit."""

from collections.abc import Sequence
from typing import Final

from taskapi.errors import Invalid
from taskapi.store.codec import Entity, template
from taskapi.store.commit import PRESENT, Commit, WrittenEntity
from taskapi.store.keys import Kind
from taskapi.store.session import Session

BYTES_MOST: Final = 4_000_000
"""JSON of the tasks that one commit changes: about 30 ms of Redis' time with 1000 tasks."""


def create(session: Session, user: Entity, fields: Entity) -> WrittenEntity:
    """Create a task of a user; the user must be unchanged and the group must exist."""
    commit = Commit(session)
    commit.guard_unchanged(Kind.USER, user)
    commit.guard_not_closing(user["id"], fields["group_id"])
    _require_group(session, commit, fields["group_id"])
    text = commit.create(Kind.TASK, {**fields, "user_id": user["id"]})
    stamp = commit.run()
    task = WrittenEntity(int(stamp.id), stamp.fill(text))
    session.recent_tasks.add(session.epoch, task.id, task.json)
    return task


def create_many(session: Session, items: Sequence[tuple[Entity, Entity]]) -> list[int]:
    """Create the tasks of (user, fields) pairs in one commit, and return their ids in order.

    Their ids are reserved before it, and remain unused if the commit fails.

    Raises:
        Invalid: the tasks together have more than BYTES_MOST of JSON; no task was created.
    """
    ids = Commit(session).reserve(Kind.TASK, len(items))
    commit, texts = Commit(session), []
    for task_id, (user, fields) in zip(ids, items, strict=True):
        commit.guard_unchanged(Kind.USER, user)
        commit.guard_not_closing(user["id"], fields["group_id"])
        _require_group(session, commit, fields["group_id"])
        fields = {**fields, "user_id": user["id"]}
        texts.append(commit.create(Kind.TASK, fields, task_id))
    _require_short(texts, "tasks")
    commit.run()
    return list(ids)


def update(
    session: Session, pairs: Sequence[tuple[Entity, Entity]], changes: Entity
) -> list[bytes]:
    """Change the tasks of (task, its user) pairs in one commit; return their JSON, in order.

    A task without an effective change keeps its version. If a task moves to another group or user,
    the commit fails if that user has changed since: their membership permits the move.

    Args:
        pairs: each task, and its user after the change.

    Raises:
        Invalid: the tasks together have more than BYTES_MOST of JSON; nothing was written.
    """
    commit = Commit(session)
    texts, is_changed = [], False
    for task, user in pairs:
        effective = {name: value for name, value in changes.items() if task[name] != value}
        commit.guard_not_closing(task["user_id"], task["group_id"])
        if not effective.keys().isdisjoint(("group_id", "user_id")):
            group_id: int = {**task, **effective}["group_id"]
            commit.guard_unchanged(Kind.USER, user)
            commit.guard_not_closing(user["id"], group_id)
            _require_group(session, commit, group_id)
        is_changed = is_changed or bool(effective)
        texts.append(
            commit.update(Kind.TASK, task, effective) if effective else template(Kind.TASK, task)
        )
    if len(texts) > 1:
        _require_short(texts, "task_ids")
    if not is_changed:
        session.require_match()
        return [text.encode() for text in texts]
    stamp = commit.run()
    changed = [stamp.fill(text) for text in texts]
    for (task, _), json in zip(pairs, changed, strict=True):
        session.recent_tasks.add(session.epoch, task["id"], json)
    return changed


def delete(session: Session, tasks: Sequence[Entity]) -> None:
    """Delete tasks in one commit."""
    commit = Commit(session)
    for task in tasks:
        commit.guard_not_closing(task["user_id"], task["group_id"])
        commit.delete(Kind.TASK, task)
    commit.run(frees_memory=True)
    for task in tasks:
        session.recent_tasks.remove(task["id"])


def _require_short(texts: Sequence[str], field: str) -> None:
    size = sum(len(text.encode()) for text in texts)
    if size > BYTES_MOST:
        named = max(1, len(texts) * BYTES_MOST // size)
        text = f"The tasks have {size} bytes of JSON together; the maximum is {BYTES_MOST}:"
        text += f" send about {named} in each batch."
        raise Invalid(text, code="validation_failed", fields={field: [text]})


def _require_group(session: Session, commit: Commit, group_id: int) -> None:
    commit.guard(session.keys.entity(Kind.GROUP, group_id), "version", PRESENT)
