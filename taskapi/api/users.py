"""Users and their working hours."""

from typing import Any

import orjson
from flask import Blueprint, Response, g

from schemas import users as schema
from schemas.fields import EXPORTED
from taskapi import policy
from taskapi.api import lists, responses
from taskapi.api.contract import allowed, audited, refuses, returns, takes
from taskapi.policy import Action
from taskapi.store import queries, search, users
from taskapi.store.codec import version
from taskapi.store.passwords import hash_password
from taskapi.store.queries import Scope
from taskapi.store.session import StoredEntity

bp = Blueprint("users", __name__)


@bp.get("/users")
@allowed(Action.LIST_USERS)
@takes(EXPORTED)
@returns(schema.UserPage)
def index(query: dict[str, Any]) -> Response:
    """List all users, or the members of a group admin's groups."""
    source = lists.Entities(g.session, _visible_users(), query["after"])
    return lists.answer("users", source, query)


@bp.post("/users")
@allowed(Action.CREATE_USER)
@takes(schema.CREATE_USER)
@returns(schema.UserChanged, status=201, etag=True)
@refuses("unknown_group", "email_taken")
@audited("user.create")
def create(body: dict[str, Any]) -> Response:
    """Create a user."""
    policy.require_new_user(g.caller, body["role"], body["group_ids"])
    user = users.create(g.session, body, hash_password(body.pop("password")))
    return responses.changed("User created.", "user", user.json, 201, f"/users/{user.id}")


@bp.get("/users/search")
@allowed(Action.LIST_USERS)
@takes(schema.SEARCH_USERS)
@returns(schema.UsersFound)
def search_users(query: dict[str, Any]) -> Response:
    """Find users by a part of their name, e-mail address or number."""
    matches = search.scan(g.session, _visible_users(), query["q"], query["after"])
    results = search.first(matches, query["limit"])
    return responses.listing("results", *results, query, query=query["q"])


@bp.get("/users/<user:user_id>")
@allowed(Action.SEE_USER)
@returns(schema.User, conditional=True)
def show(user: StoredEntity) -> Response:
    """Show a user."""
    return responses.entity(user)


@bp.route("/users/<user:user_id>", methods=["PUT", "PATCH"])
@allowed(Action.EDIT_USER)
@takes(schema.EDIT_USER)
@returns(schema.UserChanged, etag=True)
@refuses("unknown_group", "email_taken", "system_owner", "administers_groups", "password_needed")
@audited("user.update")
def edit(user: StoredEntity, body: dict[str, Any]) -> Response:
    """Change some fields of a user."""
    password = body.pop("password", None)
    changed = [name for name, value in body.items() if user[name] != value]
    policy.require_fields(g.caller, user, changed if password is None else [*changed, "password"])
    password_hash = None if password is None else hash_password(password)
    json = users.update(g.session, user, body, password_hash)
    return responses.changed("User updated.", "user", json)


@bp.delete("/users/<user:user_id>")
@allowed(Action.DELETE_USER)
@returns(schema.UserDeleted)
@refuses("system_owner")
@audited("user.delete")
def delete(user: StoredEntity) -> Response:
    """Delete a user with all their tasks."""
    deleted = users.delete(g.session, user)
    return responses.success(
        {
            "message": "User deleted.",
            "user": orjson.Fragment(user.json),
            "deleted_tasks": deleted.tasks,
            "reassigned_groups": deleted.reassigned_groups,
        }
    )


@bp.get("/users/<user:user_id>/worktimes")
@allowed(Action.SEE_USER)
@returns(schema.WorkTimesShown, conditional=True)
def show_week(user: StoredEntity) -> Response:
    """Show a user's working hours."""
    data = {"user_id": user["id"], "work_times": user["work_times"]}
    return responses.conditional(responses.success(data), user["version"])


@bp.route("/users/<user:user_id>/worktimes", methods=["PUT", "PATCH"])
@allowed(Action.EDIT_USER)
@takes(schema.REPLACE_WEEK)
@returns(schema.WorkTimesChanged, etag=True)
@audited("user.worktimes")
def replace_week(user: StoredEntity, body: dict[str, Any]) -> Response:
    """Replace a user's whole week."""
    json = users.update(g.session, user, body, None)
    data = {"message": "Work times updated.", "user_id": user["id"], **body}
    return responses.tagged(responses.success(data), version(json))


def _visible_users() -> Scope:
    group_ids = None if g.caller.is_owner else g.caller.administers
    return queries.users(g.session.keys, group_ids=group_ids, user_id=g.caller.id)
