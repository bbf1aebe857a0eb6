"""Tasks: a user's own, and all that a caller may see."""

from typing import Any

import orjson
from flask import Blueprint, Response, g

from schemas import batches as batch_schema
from schemas import tasks as schema
from taskapi import policy
from taskapi.api import audit, batches, responses, task_lists
from taskapi.api.contract import allowed, audited, cached_lookup, refuses, returns, takes
from taskapi.api.services import services
from taskapi.errors import Forbidden, Invalid
from taskapi.policy import Action
from taskapi.store import statistics
from taskapi.store import tasks as store
from taskapi.store.keys import Kind
from taskapi.store.session import StoredEntity
from taskapi.sync import following, search

bp = Blueprint("tasks", __name__)


@bp.get("/users/<user:user_id>/tasks")
@allowed(Action.SEE_USER)
@takes(schema.USER_TASKS)
@returns(schema.UserTaskPage)
def index(user: StoredEntity, query: dict[str, Any]) -> Response:
    """List the tasks of a user that the caller may see."""
    return task_lists.answer({**query, "user_id": user["id"]}, user_id=user["id"])


@bp.post("/users/<user:user_id>/tasks")
@allowed(Action.ADD_TASK)
@takes(schema.CREATE_TASK)
@returns(schema.TaskChanged, status=201, etag=True)
@refuses("unknown_group")
@audited("task.create")
@cached_lookup
def create(user: StoredEntity, body: dict[str, Any]) -> Response:
    """Create a task of a user."""
    if body.get("user_id", user["id"]) != user["id"]:
        problem = f"Must be the user in the path: {user['id']}."
        raise Invalid(problem, code="validation_failed", fields={"user_id": [problem]})
    _require_group_assignment(user, body["group_id"])
    task = store.create(g.session, user, body)
    location = f"/users/{user['id']}/tasks/{task.id}"
    return responses.changed("Task created.", "task", task.json, 201, location)


@bp.get("/users/<user:user_id>/tasks/<id:task_id>")
@allowed(Action.USE_TASK)
@returns(schema.Task, conditional=True)
def show(task: StoredEntity) -> Response:
    """Show a task."""
    return responses.entity(task)


@bp.route("/users/<user:user_id>/tasks/<id:task_id>", methods=["PUT", "PATCH"])
@allowed(Action.USE_TASK)
@takes(schema.EDIT_TASK)
@returns(schema.TaskChanged, etag=True)
@refuses("unknown_group", "unknown_user")
@audited("task.update")
@cached_lookup
def edit(user: StoredEntity, task: StoredEntity, body: dict[str, Any]) -> Response:
    """Change some fields of a task; another `user_id` hands it over to that user."""
    group_id = body.get("group_id", task["group_id"])
    if body.get("user_id", task["user_id"]) != task["user_id"]:
        user = _require_assignee(task, body["user_id"], group_id)
    if group_id != task["group_id"]:
        _require_group_assignment(user, group_id)
    (json,) = store.update(g.session, [(task, user)], body)
    return responses.changed("Task updated.", "task", json)


@bp.route("/users/<user:user_id>/tasks/<id:task_id>/done", methods=["PUT", "PATCH"])
@allowed(Action.USE_TASK)
@returns(schema.TaskChanged, etag=True)
@audited("task.done")
@cached_lookup
def finish(user: StoredEntity, task: StoredEntity) -> Response:
    """Mark a task as done."""
    (json,) = store.update(g.session, [(task, user)], {"status": True})
    return responses.changed("Task marked as done.", "task", json)


@bp.delete("/users/<user:user_id>/tasks/<id:task_id>")
@allowed(Action.USE_TASK)
@returns(schema.TaskChanged)
@audited("task.delete")
@cached_lookup
def delete(task: StoredEntity) -> Response:
    """Delete a task."""
    store.delete(g.session, [task])
    return responses.success({"message": "Task deleted.", "task": orjson.Fragment(task.json)})


@bp.get("/tasks/search")
@allowed(Action.SEARCH_TASKS)
@takes(schema.SEARCH_TASKS)
@returns(schema.TasksFound)
def search_tasks(query: dict[str, Any]) -> Response:
    """Find tasks by a part of their title or information."""
    index, reach = services().index, policy.reach(g.caller)
    matches = search.tasks(g.session, index, reach, query["q"], query["after"], query["limit"])
    return responses.listing("results", *matches, query, query=query["q"])


@bp.get("/tasks/stats")
@allowed(Action.LIST_TASKS)
@returns(schema.OwnerStats, schema.GroupAdminStats, schema.UserStats)
def stats() -> Response:
    """Count all tasks, those of a group admin's groups, or a user's own."""
    if g.caller.is_owner:
        return responses.success(statistics.of_everything(g.session))
    if g.caller.role == "group_admin":
        return responses.success(statistics.of_groups(g.session, sorted(g.caller.administers)))
    return responses.success(statistics.of_user(g.session, g.caller.id))


@bp.get("/tasks/filter")
@allowed(Action.LIST_TASKS, "Each caller gets only tasks that they may see.")
@takes(schema.FILTER)
@returns(schema.FilteredTaskPage)
def filter_tasks(query: dict[str, Any]) -> Response:
    """List tasks that meet all conditions."""
    _require_filter(query)
    names = ("status", "priority", "group_id", "user_id")
    filters = {name: str(query.get(name, "")) for name in names}
    return task_lists.answer(query, filters=filters)


@bp.get("/tasks/changes")
@allowed(Action.ADMINISTER)
@takes(schema.CHANGES_SINCE)
@returns(schema.Changes)
@refuses("too_old", "postgres_unreachable")
def changes(query: dict[str, Any]) -> Response:
    """List the changes of all tasks since a version, for a copy of them."""
    version, _, base = query["since"].partition("-")
    since = following.Since(int(version), int(base or version))
    found = following.changes(g.session, services().index, since, query["limit"])
    return responses.success(
        {
            "changes": [change.shown() for change in found.changes],
            "next_since": found.end.text,
            "has_more": found.has_more,
        }
    )


@bp.post("/tasks/batch")
@allowed(Action.LIST_TASKS, "Tasks that the caller may not change are listed under `errors`.")
@takes(batch_schema.BATCH)
@returns(batch_schema.BatchDone, batch_schema.BatchCreated)
@refuses("unknown_group", "unknown_user", "batch_refused")
@audited("tasks.batch")
def batch(body: dict[str, Any]) -> Response:
    """Create, change, finish or delete many tasks in one step."""
    data, ids = batches.run(g.session, g.caller, body)
    failed = data.get("error_count", 0)
    audit.add(action=body["action"], count=len(ids), failed=failed, tasks=ids[: audit.IDS_MOST])
    return responses.success(data)


def _require_assignee(task: StoredEntity, user_id: int, group_id: int) -> StoredEntity:
    """Return the user who takes a task over; raises Forbidden or Invalid if they may not."""
    user: StoredEntity | None = g.session.find(Kind.USER, user_id)[0]
    if not g.caller.is_owner and not (
        user and policy.may_hand_over(g.caller, task, user, group_id)
    ):
        raise Forbidden("You may not give this task to that user.")
    if user is None:
        raise Invalid(f"There is no user {user_id}: name one who exists.", code="unknown_user")
    audit.add(to_user=user_id)
    return user


def _require_group_assignment(user: StoredEntity, group_id: int) -> None:
    if not policy.may_assign_to_group(g.caller, user, group_id):
        raise Forbidden("You may not put a task of this user into that group.")
    if group_id not in user["group_ids"] and g.session.find(Kind.GROUP, group_id) == [None]:
        raise Invalid(f"There is no group {group_id}: name one that exists.", code="unknown_group")


def _require_filter(query: dict[str, Any]) -> None:
    """Raise Forbidden if the filter names a group or a user outside the caller's reach."""
    if g.caller.is_owner:
        return
    if query.get("group_id") is not None:
        policy.authorise(Action.SEE_GROUP, g.caller, {"id": query["group_id"]})
    if query.get("user_id") is not None:
        (user,) = g.session.find(Kind.USER, query["user_id"])
        policy.authorise(Action.SEE_USER, g.caller, user)
