"""Many tasks at once: which of them the caller may change, then one commit for those."""

from typing import Any

from taskapi import policy
from taskapi.errors import Invalid
from taskapi.policy import Caller
from taskapi.store import tasks as store
from taskapi.store.codec import Entity, fragment
from taskapi.store.keys import Kind
from taskapi.store.session import Session

Pair = tuple[Entity, Entity]


def run(
    session: Session, caller: Caller, order: dict[str, Any]
) -> tuple[dict[str, Any], list[int]]:
    """Carry out a checked batch for the caller; return the answer's data and the tasks' ids.

    Raises:
        Invalid: an owner moves tasks into a group that does not exist.
    """
    ids = sorted(set(order["task_ids"]))
    changes = {"status": True} if order["action"] == "mark_done" else order.get("updates", {})
    permitted, errors = _permitted(session, caller, ids)
    updated: list[bytes] = []
    deleted: list[int] = []
    if order["action"] == "delete":
        changed = deleted = [task["id"] for task in permitted]
        if permitted:
            store.delete(session, permitted)
    else:
        pairs, refused = _movable(session, caller, permitted, changes.get("group_id"))
        errors |= refused
        updated = store.update(session, pairs, changes)
        changed = [task["id"] for task, _ in pairs]
    data = {
        "message": f"Batch {order['action']}: {len(updated) + len(deleted)} of {len(ids)} done.",
        "action": order["action"],
        "total_requested": len(ids),
        "updated_count": len(updated),
        "updated_tasks": [fragment(json) for json in updated],
        "deleted_count": len(deleted),
        "deleted_ids": deleted,
        **_told(errors),
    }
    return data, changed


def _permitted(
    session: Session, caller: Caller, ids: list[int]
) -> tuple[list[Entity], dict[int, str]]:
    """Return the tasks that the caller may use, and what to say of the others."""
    tasks, errors = [], {}
    for task_id, task in zip(ids, session.find(Kind.TASK, *ids), strict=True):
        if task is not None and policy.is_visible(caller, task):
            tasks.append(task)
        elif caller.is_owner:
            errors[task_id] = f"Task {task_id} does not exist."
        else:
            errors[task_id] = f"Task {task_id} is not within your reach."
    return tasks, errors


def _movable(
    session: Session, caller: Caller, tasks: list[Entity], group_id: int | None
) -> tuple[list[Pair], dict[int, str]]:
    """Return (task, its user) pairs that the caller may put into the group, and the others."""
    holders = _holders(session, tasks if group_id is not None else [])
    if group_id is not None and caller.is_owner and session.find(Kind.GROUP, group_id) == [None]:
        raise Invalid(f"There is no group {group_id}: name one that exists.", code="unknown_group")
    pairs, errors = [], {}
    for task in tasks:
        holder = holders.get(task["user_id"], {})
        is_moved = group_id not in (None, task["group_id"])
        if is_moved and not (holder and policy.may_assign_to_group(caller, holder, group_id or 0)):
            errors[task["id"]] = f"Task {task['id']} may not be moved into group {group_id}."
        else:
            pairs.append((task, holder))
    return pairs, errors


def _holders(session: Session, tasks: list[Entity]) -> dict[int, Entity]:
    ids = sorted({task["user_id"] for task in tasks})
    return {user["id"]: user for user in session.find(Kind.USER, *ids) if user}


def _told(errors: dict[int, str]) -> dict[str, Any]:
    if not errors:
        return {}
    return {"errors": [errors[i] for i in sorted(errors)], "error_count": len(errors)}
