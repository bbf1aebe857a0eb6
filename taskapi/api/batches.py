"""Many tasks at once: those that the caller may change are changed in one commit."""

from typing import Any, Final

import orjson

from taskapi import policy
from taskapi.callers import Caller
from taskapi.errors import Invalid
from taskapi.store import tasks as store
from taskapi.store.codec import Entity
from taskapi.store.keys import Kind
from taskapi.store.session import Session, StoredEntity

LIGHT_MOST: Final = 250
"""Tasks in a batch that does not count as heavy: about 10 ms."""
Pair = tuple[StoredEntity, Entity]


def run(session: Session, caller: Caller, body: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
    """Run a validated batch; return the answer's data and the ids of the tasks that changed.

    Raises:
        Invalid: an owner moves tasks into a group that does not exist, or the tasks are too long
            for one commit.
        Crowded: the process works on too many heavy requests.
    """
    ids = sorted(set(body["task_ids"]))
    if len(ids) > LIGHT_MOST:
        session.heavy.step()
    changes = {"status": True} if body["action"] == "mark_done" else body.get("updates", {})
    permitted, errors = _permitted(session, caller, ids)
    updated: list[bytes] = []
    deleted: list[int] = []
    if body["action"] == "delete":
        changed = deleted = [task["id"] for task in permitted]
        if permitted:
            store.delete(session, permitted)
    else:
        pairs, refused = _movable(session, caller, permitted, changes.get("group_id"))
        errors |= refused
        updated = store.update(session, pairs, changes)
        changed = [task["id"] for task, _ in pairs]
    data: dict[str, Any] = {
        "message": f"Batch {body['action']}: {len(updated) + len(deleted)} of {len(ids)} done.",
        "action": body["action"],
        "total_requested": len(ids),
        "updated_count": len(updated),
        "updated_tasks": [orjson.Fragment(json) for json in updated],
        "deleted_count": len(deleted),
        "deleted_ids": deleted,
    }
    if errors:
        data |= {"errors": [errors[i] for i in sorted(errors)], "error_count": len(errors)}
    return data, changed


def _permitted(
    session: Session, caller: Caller, ids: list[int]
) -> tuple[list[StoredEntity], dict[int, str]]:
    """Return the tasks that the caller may use, and an error for each of the others."""
    tasks: list[StoredEntity] = []
    errors = {}
    for task_id, task in zip(ids, session.find(Kind.TASK, *ids), strict=True):
        if task is not None and policy.is_visible(caller, task):
            tasks.append(task)
        elif caller.is_owner:
            errors[task_id] = f"Task {task_id} does not exist."
        else:
            errors[task_id] = f"You may not change task {task_id}."
    return tasks, errors


def _movable(
    session: Session, caller: Caller, tasks: list[StoredEntity], group_id: int | None
) -> tuple[list[Pair], dict[int, str]]:
    """Return the (task, its user) pairs that may be changed, and errors for forbidden moves."""
    users = _task_users(session, tasks if group_id is not None else [])
    if group_id is not None and caller.is_owner and session.find(Kind.GROUP, group_id) == [None]:
        raise Invalid(f"There is no group {group_id}: name one that exists.", code="unknown_group")
    pairs, errors = [], {}
    for task in tasks:
        user = users.get(task["user_id"], {})
        is_moved = group_id not in (None, task["group_id"])
        if is_moved and not (user and policy.may_assign_to_group(caller, user, group_id or 0)):
            errors[task["id"]] = f"Task {task['id']} may not be moved into group {group_id}."
        else:
            pairs.append((task, user))
    return pairs, errors


def _task_users(session: Session, tasks: list[StoredEntity]) -> dict[int, Entity]:
    ids = sorted({task["user_id"] for task in tasks})
    return {user["id"]: user for user in session.find(Kind.USER, *ids) if user}
