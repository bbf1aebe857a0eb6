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
        Invalid: an owner names a group or a user that does not exist, or the tasks are too long for
            one commit.
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
        pairs, refused = _movable(session, caller, permitted, changes)
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
    session: Session, caller: Caller, tasks: list[StoredEntity], changes: Entity
) -> tuple[list[Pair], dict[int, str]]:
    """Return the pairs of a task and its user after the change, and errors for forbidden ones."""
    group_id, user_id = changes.get("group_id"), changes.get("user_id")
    users = _users_after(session, tasks, changes)
    if caller.is_owner:
        if group_id is not None and session.find(Kind.GROUP, group_id) == [None]:
            raise Invalid(
                f"There is no group {group_id}: name one that exists.", code="unknown_group"
            )
        if user_id is not None and user_id not in users:
            raise Invalid(f"There is no user {user_id}: name one who exists.", code="unknown_user")
    pairs, errors = [], {}
    for task in tasks:
        after = task | changes
        user = users.get(after["user_id"], {})
        is_moved = after["group_id"] != task["group_id"]
        is_given = after["user_id"] != task["user_id"]
        if is_given and not (user and policy.may_hand_over(caller, task, user, after["group_id"])):
            errors[task["id"]] = f"Task {task['id']} may not be given to user {user_id}."
        elif is_moved and not (
            user and policy.may_assign_to_group(caller, user, after["group_id"])
        ):
            errors[task["id"]] = f"Task {task['id']} may not be moved into group {group_id}."
        else:
            pairs.append((task, user))
    return pairs, errors


def _users_after(session: Session, tasks: list[StoredEntity], changes: Entity) -> dict[int, Entity]:
    """Return the users of the tasks after the change, if it changes the group or the user."""
    if changes.keys().isdisjoint(("group_id", "user_id")):
        return {}
    ids = {changes["user_id"]} if "user_id" in changes else {task["user_id"] for task in tasks}
    return {user["id"]: user for user in session.find(Kind.USER, *sorted(ids)) if user}
