"""Tasks: a user's own, and all that a caller sees of everybody's."""

from typing import Any

from flask import Blueprint, Response, g

from schemas.fields import NOTHING
from schemas.tasks import BATCH, CREATE_TASK, EDIT_TASK, FILTER, SEARCH_TASKS, STATUSES, USER_TASKS
from taskapi import policy
from taskapi.api import batches
from taskapi.api.audit import MOST_IDS
from taskapi.api.requests import body, query
from taskapi.api.responses import (
    answer,
    answer_entity,
    answer_list,
    answer_page,
    answer_written,
    note,
)
from taskapi.api.services import services
from taskapi.errors import Invalid
from taskapi.policy import Action, Caller
from taskapi.store import queries, statistics
from taskapi.store import tasks as store
from taskapi.store.codec import Entity, fragment
from taskapi.store.keys import Kind
from taskapi.sync import search

bp = Blueprint("tasks", __name__)


@bp.get("/users/<id:user_id>/tasks")
def index(user_id: int) -> Response:
    """List a user's tasks, as far as the caller sees them."""
    policy.user(Action.SEE_USER, g.caller, g.found[Kind.USER])
    asked = query(USER_TASKS)
    page = _page(asked, user_id=user_id)
    return answer_page("tasks", page, asked, user_id=user_id)


@bp.post("/users/<id:user_id>/tasks")
def create(user_id: int) -> Response:
    """Create a task of a user."""
    user = policy.user(Action.ADD_TASK, g.caller, g.found[Kind.USER])
    fields = body(CREATE_TASK)
    _require_group_assignment(user, fields["group_id"])
    task = store.create(g.session, user, fields)
    location = f"/users/{user_id}/tasks/{task.id}"
    return answer_written("Task created.", "task", task.json, 201, location)


@bp.get("/users/<id:user_id>/tasks/<id:task_id>")
def show(user_id: int, task_id: int) -> Response:
    """Show a task."""
    policy.task(Action.USE_TASK, g.caller, user_id, g.found[Kind.TASK])
    query(NOTHING)
    return answer_entity(g.json[Kind.TASK])


@bp.route("/users/<id:user_id>/tasks/<id:task_id>", methods=["PUT", "PATCH"])
def edit(user_id: int, task_id: int) -> Response:
    """Change some fields of a task."""
    task = policy.task(Action.USE_TASK, g.caller, user_id, g.found[Kind.TASK])
    changes = body(EDIT_TASK)
    if changes.get("group_id", task["group_id"]) != task["group_id"]:
        _require_group_assignment(g.found[Kind.USER], changes["group_id"])
    (json,) = store.update(g.session, [(task, g.found[Kind.USER])], changes)
    return answer_written("Task updated.", "task", json)


@bp.route("/users/<id:user_id>/tasks/<id:task_id>/done", methods=["PUT", "PATCH"])
def finish(user_id: int, task_id: int) -> Response:
    """Mark a task as done."""
    task = policy.task(Action.USE_TASK, g.caller, user_id, g.found[Kind.TASK])
    query(NOTHING)
    (json,) = store.update(g.session, [(task, g.found[Kind.USER])], {"status": True})
    return answer_written("Task marked as done.", "task", json)


@bp.delete("/users/<id:user_id>/tasks/<id:task_id>")
def delete(user_id: int, task_id: int) -> Response:
    """Delete a task."""
    task = policy.task(Action.USE_TASK, g.caller, user_id, g.found[Kind.TASK])
    query(NOTHING)
    store.delete(g.session, [task])
    return answer({"message": "Task deleted.", "task": fragment(g.json[Kind.TASK])})


@bp.get("/tasks/search")
def search_tasks() -> Response:
    """Find tasks by a part of their title or information."""
    policy.require(Action.SEARCH_TASKS, g.caller)
    asked = query(SEARCH_TASKS)
    index, reach = services().index, policy.reach(g.caller)
    found = search.tasks(g.session, index, reach, asked["q"], asked["after"], asked["limit"])
    return answer_list("results", *found, asked, query=asked["q"])


@bp.get("/tasks/stats")
def stats() -> Response:
    """Show how the tasks that the caller answers for stand."""
    policy.require(Action.LIST_TASKS, g.caller)
    query(NOTHING)
    return answer(_stats(g.caller))


@bp.get("/tasks/filter")
def filter_tasks() -> Response:
    """List the tasks within reach that have a status, a priority, a group, a user."""
    policy.require(Action.LIST_TASKS, g.caller)
    asked = query(FILTER)
    _require_filter(asked)
    page = _page(asked, user_id=asked.get("user_id"), group_id=asked.get("group_id"))
    names = ("status", "priority", "group_id", "user_id")
    shown = {name: str(asked.get(name, "")) for name in names}
    return answer_page("tasks", page, asked, filters=shown)


@bp.post("/tasks/batch")
def batch() -> Response:
    """Change, finish or delete many tasks in one step."""
    policy.require(Action.LIST_TASKS, g.caller)
    order = body(BATCH)
    data, ids = batches.run(g.session, g.caller, order)
    failed = data.get("error_count", 0)
    note(action=order["action"], count=len(ids), failed=failed, tasks=ids[:MOST_IDS])
    return answer(data)


def _page(asked: dict[str, Any], **named: int | None) -> queries.Page:
    """Return the page of tasks that a checked query asks for."""
    priority = int(asked["priority"]) if "priority" in asked else None
    sections = queries.buckets(STATUSES[asked.get("status", "all")], priority)
    reach = policy.reach(g.caller)
    scope = queries.tasks(g.session.keys, reach, sections=sections, **named)
    return queries.page(g.session, scope, asked["after"], asked["limit"])


def _require_group_assignment(user: Entity, group_id: int) -> None:
    policy.require_group_assignment(g.caller, user, group_id)
    if group_id not in user["group_ids"] and g.session.find(Kind.GROUP, group_id) == [None]:
        raise Invalid(f"There is no group {group_id}: name one that exists.", code="unknown_group")


def _require_filter(asked: dict[str, Any]) -> None:
    """Raise Forbidden if the filter names what is outside the caller's reach."""
    if g.caller.is_owner:
        return
    if asked.get("group_id") is not None:
        policy.require_group_filter(g.caller, asked["group_id"])
    if asked.get("user_id") is not None:
        (user,) = g.session.find(Kind.USER, asked["user_id"])
        policy.user(Action.SEE_USER, g.caller, user)


def _stats(caller: Caller) -> dict[str, Any]:
    if caller.is_owner:
        return statistics.of_everything(g.session)
    if caller.role == "group_admin":
        return statistics.of_groups(g.session, sorted(caller.administers))
    return statistics.of_user(g.session, caller.id)
