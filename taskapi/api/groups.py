"""Groups, their members and their statistics."""

from typing import Any

import orjson
from flask import Blueprint, Response, g

from schemas import groups as schema
from schemas.fields import EXPORTED, PAGED
from schemas.tasks import GROUP_TASKS, GroupTaskPage
from taskapi import policy
from taskapi.api import audit, lists, responses, task_lists
from taskapi.api.contract import allowed, audited, refuses, returns, takes
from taskapi.errors import Invalid
from taskapi.policy import Action
from taskapi.store import groups, memberships, queries, statistics
from taskapi.store.codec import Entity
from taskapi.store.keys import Kind
from taskapi.store.session import StoredEntity

bp = Blueprint("groups", __name__)


@bp.get("/groups")
@allowed(Action.LIST_GROUPS)
@takes(PAGED)
@returns(schema.GroupPage)
def index(query: dict[str, Any]) -> Response:
    """List all groups, or those that the caller administers or belongs to."""
    visible_ids = None if g.caller.is_owner else g.caller.group_ids.union(g.caller.administers)
    scope = queries.groups(g.session.keys, visible_ids)
    page = queries.page(g.session, scope, query["after"], query["limit"])
    return responses.page("groups", page, query)


@bp.post("/groups")
@allowed(Action.CREATE_GROUP)
@takes(schema.CREATE_GROUP)
@returns(schema.GroupChanged, status=201, etag=True)
@refuses("unknown_user", "not_an_admin", "name_taken")
@audited("group.create")
def create(body: dict[str, Any]) -> Response:
    """Create a group."""
    group = groups.create(g.session, body)
    return responses.changed("Group created.", "group", group.json, 201, f"/groups/{group.id}")


@bp.get("/groups/<id:group_id>")
@allowed(Action.SEE_GROUP)
@returns(schema.GroupDetails, etag=True)
def show(group: StoredEntity) -> Response:
    """Show a group with its admin and its sizes."""
    admin, users_count, tasks_count = groups.details(g.session, group)
    shown = {name: admin[name] for name in ("id", "full_name", "email")}
    data = {**group, "admin": shown, "users_count": users_count, "tasks_count": tasks_count}
    # Never 304: the counts change without the group's version.
    return responses.tagged(responses.success(data), group["version"])


@bp.route("/groups/<id:group_id>", methods=["PUT", "PATCH"])
@allowed(Action.EDIT_GROUP)
@takes(schema.EDIT_GROUP)
@returns(schema.GroupChanged, etag=True)
@refuses("unknown_user", "not_an_admin", "name_taken")
@audited("group.update")
def edit(group: StoredEntity, body: dict[str, Any]) -> Response:
    """Change a group's name or admin."""
    json = groups.update(g.session, group, body)
    return responses.changed("Group updated.", "group", json)


@bp.delete("/groups/<id:group_id>")
@allowed(Action.EDIT_GROUP)
@returns(schema.GroupDeleted)
@audited("group.delete")
def delete(group: StoredEntity) -> Response:
    """Delete a group with its tasks and memberships."""
    deleted = groups.delete(g.session, group)
    return responses.success(
        {
            "message": "Group deleted.",
            "group": orjson.Fragment(group.json),
            "affected_users": deleted.users,
            "deleted_tasks": deleted.tasks,
        }
    )


@bp.get("/groups/<id:group_id>/users")
@allowed(Action.SEE_GROUP, "Only owners and the group's admin see all fields of a member.")
@takes(EXPORTED)
@returns(schema.MemberPage)
def members(group: StoredEntity, query: dict[str, Any]) -> Response:
    """List a group's members."""
    scope = queries.members(g.session.keys, group["id"])
    are_outlines = policy.sees_outlines_only(g.caller, group["id"])
    source = lists.Entities(g.session, scope, query["after"])
    return lists.answer("users", source, query, are_outlines=are_outlines, group_id=group["id"])


@bp.post("/groups/<id:group_id>/users")
@allowed(Action.CHANGE_MEMBERS)
@takes(schema.ADD_MEMBER)
@returns(schema.MemberAdded)
@refuses("unknown_user", "already_member")
@audited("member.add")
def add_member(group: StoredEntity, body: dict[str, Any]) -> Response:
    """Make a user a member of a group."""
    audit.add(user=body["user_id"])
    memberships.add(g.session, group["id"], _manageable_user(body["user_id"]))
    return responses.success({"message": "User added.", "group_id": group["id"], **body})


@bp.delete("/groups/<id:group_id>/users/<user:user_id>")
@allowed(Action.CHANGE_MEMBERS)
@returns(schema.MemberRemoved)
@refuses("administers_groups")
@audited("member.remove")
def remove_member(group: StoredEntity, user: StoredEntity | None) -> Response:
    """Remove a member; their tasks in the group move to another group or are deleted."""
    member = policy.require_manageable_member(g.caller, user)
    relocation = memberships.remove(g.session, group["id"], member)
    return responses.success(
        {
            "message": "User removed.",
            "group_id": group["id"],
            "user_id": member["id"],
            "affected_tasks": relocation.affected_tasks,
            "moved_to": relocation.moved_to,
        }
    )


@bp.get("/groups/<id:group_id>/tasks")
@allowed(Action.SEE_GROUP, "Users see their own tasks only.")
@takes(GROUP_TASKS)
@returns(GroupTaskPage)
def tasks(group: StoredEntity, query: dict[str, Any]) -> Response:
    """List the tasks of a group that the caller may see."""
    return task_lists.answer({**query, "group_id": group["id"]}, group_id=group["id"])


@bp.get("/groups/<id:group_id>/stats")
@allowed(Action.SEE_GROUP)
@returns(schema.GroupStats)
def stats(group: StoredEntity) -> Response:
    """Count a group's tasks."""
    outline = {"id": group["id"], "name": group["name"]}
    return responses.success({"group": outline, **statistics.of_group(g.session, group["id"])})


def _manageable_user(user_id: int) -> Entity:
    """Return the user in the body, if the caller may add them."""
    (user,) = g.session.find(Kind.USER, user_id)
    if user is None and g.caller.is_owner:
        raise Invalid(f"There is no user {user_id}: name one that exists.", code="unknown_user")
    return policy.require_manageable_member(g.caller, user)
