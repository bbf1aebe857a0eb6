"""Many tasks at once: those that the caller may create or change, in one commit."""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import orjson

from schemas.batches import CREATE
from taskapi import policy
from taskapi.callers import Caller
from taskapi.errors import Conflict, Forbidden, Invalid
from taskapi.policy import Action
from taskapi.store import tasks as store
from taskapi.store.codec import Entity
from taskapi.store.keys import Kind
from taskapi.store.session import Session, StoredEntity

LIGHT_MOST: Final = 250
"""Tasks in a batch that does not count as heavy: about 10 ms."""
Pair = tuple[StoredEntity, Entity]


class Outcome(NamedTuple):
    """What a batch did: the `data` of its answer, and the ids of the tasks that it changed."""

    data: dict[str, Any]
    ids: list[int]


def run(session: Session, caller: Caller, body: dict[str, Any]) -> Outcome:
    """Run a validated batch.

    Raises:
        Invalid: an owner's update names a group or a user that does not exist, or the tasks are too
            long for one commit.
        Conflict: the batch is atomic, and a part of it is refused.
        Crowded: the process works on too many heavy requests.
    """
    if len(body.get("tasks") or body["task_ids"]) > LIGHT_MOST:
        session.heavy.step()
    return (
        _create(session, caller, body)
        if body["action"] == CREATE
        else _change(session, caller, body)
    )


def _change(session: Session, caller: Caller, body: dict[str, Any]) -> Outcome:
    ids = sorted(set(body["task_ids"]))
    changes = {"status": True} if body["action"] == "mark_done" else body.get("updates", {})
    permitted, errors = _permitted(session, caller, ids)
    updated: list[bytes] = []
    deleted: list[int] = []
    if body["action"] == "delete":
        _refuse_if_atomic(body, errors)
        changed = deleted = [task["id"] for task in permitted]
        if permitted:
            store.delete(session, permitted)
    else:
        pairs, refused = _permitted_pairs(session, caller, permitted, changes)
        errors |= refused
        _refuse_if_atomic(body, errors)
        updated = store.update(session, pairs, changes)
        changed = [task["id"] for task, _ in pairs]
    data: dict[str, Any] = {
        "message": f"Batch {body['action']}: {len(changed)} of {len(ids)} done.",
        "action": body["action"],
        "total_requested": len(ids),
        "updated_count": len(updated),
        "updated_tasks": [orjson.Fragment(json) for json in updated],
        "deleted_count": len(deleted),
        "deleted_ids": deleted,
    }
    return Outcome(data | _listed(errors), changed)


def _create(session: Session, caller: Caller, body: dict[str, Any]) -> Outcome:
    items = [{"user_id": caller.id, **fields} for fields in body["tasks"]]
    users = _by_id(session, Kind.USER, (item["user_id"] for item in items))
    groups = _by_id(session, Kind.GROUP, (item["group_id"] for item in items))
    errors, wanted = {}, []
    for number, item in enumerate(items, 1):
        user = users.get(item["user_id"])
        problem = _problem(caller, user, item, is_group=item["group_id"] in groups)
        if problem or user is None:
            errors[number] = f"Item {number}: {problem}"
        else:
            wanted.append((user, item))
    _refuse_if_atomic(body, errors)
    created = store.create_many(session, wanted) if wanted else []
    rest = iter(created)
    data = {
        "message": f"Batch create: {len(created)} of {len(items)} done.",
        "action": CREATE,
        "total_requested": len(items),
        "created_count": len(created),
        "created_ids": [None if i in errors else next(rest) for i in range(1, len(items) + 1)],
    }
    return Outcome(data | _listed(errors), created)


def _problem(
    caller: Caller, user: StoredEntity | None, item: Entity, *, is_group: bool
) -> str | None:
    """Return why the caller may not create a task; only an owner learns what does not exist."""
    if user is None and caller.is_owner:
        return f"There is no user {item['user_id']}: name one who exists."
    try:
        policy.authorise(Action.ADD_TASK, caller, user)
    except Forbidden:
        return "You may not create a task of this user."
    if user and not policy.may_assign_to_group(caller, user, item["group_id"]):
        return "You may not put a task of this user into that group."
    return None if is_group else f"There is no group {item['group_id']}: name one that exists."


def _refuse_if_atomic(body: dict[str, Any], errors: dict[int, str]) -> None:
    """Raise Conflict if the batch is atomic and has errors."""
    if body["atomic"] and errors:
        problem = "Nothing was changed, because a part of the batch is refused: see `fields`."
        fields = {"errors": [errors[number] for number in sorted(errors)]}
        raise Conflict(problem, code="batch_refused", fields=fields)


def _listed(errors: dict[int, str]) -> dict[str, Any]:
    """Return the errors as the answer has them."""
    if not errors:
        return {}
    return {"errors": [errors[i] for i in sorted(errors)], "error_count": len(errors)}


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


def _permitted_pairs(
    session: Session, caller: Caller, tasks: list[StoredEntity], changes: Entity
) -> tuple[list[Pair], dict[int, str]]:
    """Return the permitted pairs of a task and its next user, and errors for the other tasks.

    The user is {} if neither group nor user change.
    """
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
        after: Entity = task | changes
        user: Entity = users.get(after["user_id"]) or {}
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


def _users_after(
    session: Session, tasks: list[StoredEntity], changes: Entity
) -> dict[int, StoredEntity]:
    """Return the users of the tasks after the change, if it changes the group or the user."""
    if changes.keys().isdisjoint(("group_id", "user_id")):
        return {}
    ids = (task["user_id"] for task in tasks)
    return _by_id(session, Kind.USER, [changes["user_id"]] if "user_id" in changes else ids)


def _by_id(session: Session, kind: Kind, ids: Iterable[int]) -> dict[int, StoredEntity]:
    """Return the entities with these ids, by id; ids of none are left out."""
    return {each["id"]: each for each in session.find(kind, *sorted(set(ids))) if each}
