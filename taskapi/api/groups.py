"""Groups, their members and their numbers."""

from flask import Blueprint, Response, g

from schemas.fields import NOTHING, PAGED
from schemas.groups import ADD_MEMBER, CREATE_GROUP, EDIT_GROUP
from taskapi import policy
from taskapi.api.requests import body, query
from taskapi.api.responses import answer, answer_page, answer_written, note, tagged
from taskapi.errors import Invalid
from taskapi.policy import Action
from taskapi.store import groups, memberships, queries, statistics
from taskapi.store.codec import Entity, fragment, outlines, version
from taskapi.store.keys import Kind

bp = Blueprint("groups", __name__)


@bp.get("/groups")
def index() -> Response:
    """List all groups, or those that the caller administers or belongs to."""
    policy.require(Action.LIST_GROUPS, g.caller)
    asked = query(PAGED)
    known = None if g.caller.is_owner else g.caller.group_ids.union(g.caller.administers)
    scope = queries.groups(g.session.keys, known)
    page = queries.page(g.session, scope, asked["after"], asked["limit"])
    return answer_page("groups", page, asked)


@bp.post("/groups")
def create() -> Response:
    """Create a group."""
    policy.require(Action.CREATE_GROUP, g.caller)
    fields = body(CREATE_GROUP)
    group = groups.create(g.session, **fields)
    return answer_written("Group created.", "group", group.json, 201, f"/groups/{group.id}")


@bp.get("/groups/<id:group_id>")
def show(group_id: int) -> Response:
    """Show a group with its admin and its sizes."""
    group = policy.group(Action.SEE_GROUP, g.caller, g.found[Kind.GROUP])
    query(NOTHING)
    admin, users_count, tasks_count = groups.details(g.session, group)
    shown = {name: admin[name] for name in ("id", "full_name", "email")}
    data = {**group, "admin": shown, "users_count": users_count, "tasks_count": tasks_count}
    return tagged(answer(data), version(g.json[Kind.GROUP]))  # counts change without it: no 304


@bp.route("/groups/<id:group_id>", methods=["PUT", "PATCH"])
def edit(group_id: int) -> Response:
    """Change a group's name or admin."""
    group = policy.group(Action.EDIT_GROUP, g.caller, g.found[Kind.GROUP])
    changes = body(EDIT_GROUP)
    written = groups.update(g.session, group, changes)
    json = written.json if written else g.json[Kind.GROUP]
    return answer_written("Group updated.", "group", json)


@bp.delete("/groups/<id:group_id>")
def delete(group_id: int) -> Response:
    """Delete a group with its tasks and memberships."""
    group = policy.group(Action.EDIT_GROUP, g.caller, g.found[Kind.GROUP])
    query(NOTHING)
    deleted = groups.delete(g.session, group)
    return answer(
        {
            "message": "Group deleted.",
            "group": fragment(g.json[Kind.GROUP]),
            "affected_users": deleted.users,
            "deleted_tasks": deleted.tasks,
        }
    )


@bp.get("/groups/<id:group_id>/users")
def members(group_id: int) -> Response:
    """List a group's members; those with a user's rights see an outline of each."""
    policy.group(Action.SEE_GROUP, g.caller, g.found[Kind.GROUP])
    asked = query(PAGED)
    scope = queries.members(g.session.keys, group_id)
    page = queries.page(g.session, scope, asked["after"], asked["limit"])
    if policy.has_user_rights_only(g.caller, group_id):
        page = page._replace(json=outlines(page.json))
    return answer_page("users", page, asked, group_id=group_id)


@bp.post("/groups/<id:group_id>/users")
def add_member(group_id: int) -> Response:
    """Make a user a member of a group."""
    policy.group(Action.CHANGE_MEMBERS, g.caller, g.found[Kind.GROUP])
    user_id = body(ADD_MEMBER)["user_id"]
    note(user=user_id)
    memberships.add(g.session, group_id, _recruit(user_id))
    return answer({"message": "User added.", "group_id": group_id, "user_id": user_id})


@bp.delete("/groups/<id:group_id>/users/<id:user_id>")
def remove_member(group_id: int, user_id: int) -> Response:
    """End a membership; the user's tasks in the group move on, or go."""
    policy.group(Action.CHANGE_MEMBERS, g.caller, g.found[Kind.GROUP])
    user = policy.require_manageable_member(g.caller, g.found[Kind.USER])
    query(NOTHING)
    moved = memberships.remove(g.session, group_id, user)
    return answer(
        {
            "message": "User removed.",
            "group_id": group_id,
            "user_id": user_id,
            "affected_tasks": moved.affected_tasks,
            "moved_to": moved.moved_to,
        }
    )


@bp.get("/groups/<id:group_id>/tasks")
def tasks(group_id: int) -> Response:
    """List a group's tasks, as far as the caller sees them."""
    policy.group(Action.SEE_GROUP, g.caller, g.found[Kind.GROUP])
    asked = query(PAGED)
    scope = queries.tasks(g.session.keys, policy.reach(g.caller), group_id=group_id)
    page = queries.page(g.session, scope, asked["after"], asked["limit"])
    return answer_page("tasks", page, asked, group_id=group_id)


@bp.get("/groups/<id:group_id>/stats")
def stats(group_id: int) -> Response:
    """Show how a group's tasks stand."""
    group = policy.group(Action.SEE_GROUP, g.caller, g.found[Kind.GROUP])
    query(NOTHING)
    named = {"id": group_id, "name": group["name"]}
    return answer({"group": named, **statistics.of_group(g.session, group_id)})


def _recruit(user_id: int) -> Entity:
    """Return the user whom the body names, if the caller may have them."""
    (user,) = g.session.find(Kind.USER, user_id)
    if user is None and g.caller.is_owner:
        raise Invalid(f"There is no user {user_id}: name one that exists.", code="unknown_user")
    return policy.require_manageable_member(g.caller, user)
