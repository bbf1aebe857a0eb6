"""Users and their working hours."""

from flask import Blueprint, Response, g

from schemas.fields import NOTHING, PAGED
from schemas.users import CREATE_USER, EDIT_USER, REPLACE_WEEK, SEARCH_USERS
from taskapi import policy
from taskapi.api.requests import body, query
from taskapi.api.responses import (
    answer,
    answer_entity,
    answer_list,
    answer_page,
    answer_part,
    answer_written,
    tagged,
)
from taskapi.passwords import hash_password
from taskapi.policy import Action
from taskapi.store import queries, search, users
from taskapi.store.codec import Entity, fragment, template, version
from taskapi.store.keys import Kind
from taskapi.store.queries import Scope

bp = Blueprint("users", __name__)


@bp.get("/users")
def index() -> Response:
    """List all users, or a group admin's own."""
    policy.require(Action.LIST_USERS, g.caller)
    asked = query(PAGED)
    page = queries.page(g.session, _visible_users(), asked["after"], asked["limit"])
    return answer_page("users", page, asked)


@bp.post("/users")
def create() -> Response:
    """Create a user."""
    policy.require(Action.CREATE_USER, g.caller)
    fields = body(CREATE_USER)
    policy.require_new_user(g.caller, fields["role"], fields["group_ids"])
    user = users.create(g.session, fields, hash_password(fields.pop("password")))
    return answer_written("User created.", "user", user.json, 201, f"/users/{user.id}")


@bp.get("/users/search")
def search_users() -> Response:
    """Find users by a part of their name, e-mail or number."""
    policy.require(Action.LIST_USERS, g.caller)
    asked = query(SEARCH_USERS)
    matches = search.scan(g.session, _visible_users(), asked["q"], asked["after"])
    found = search.first(matches, asked["limit"])
    return answer_list("results", *found, asked, query=asked["q"])


@bp.get("/users/<id:user_id>")
def show(user_id: int) -> Response:
    """Show a user."""
    policy.user(Action.SEE_USER, g.caller, g.found[Kind.USER])
    query(NOTHING)
    return answer_entity(g.json[Kind.USER])


@bp.route("/users/<id:user_id>", methods=["PUT", "PATCH"])
def edit(user_id: int) -> Response:
    """Change some fields of a user."""
    user = policy.user(Action.EDIT_USER, g.caller, g.found[Kind.USER])
    changes = body(EDIT_USER)
    return answer_written("User updated.", "user", _edit(user, changes))


@bp.delete("/users/<id:user_id>")
def delete(user_id: int) -> Response:
    """Delete a user with all their tasks."""
    user = policy.user(Action.DELETE_USER, g.caller, g.found[Kind.USER])
    query(NOTHING)
    deleted = users.delete(g.session, user)
    return answer(
        {
            "message": "User deleted.",
            "user": fragment(g.json[Kind.USER]),
            "deleted_tasks": deleted.tasks,
            "reassigned_groups": deleted.reassigned_groups,
        }
    )


@bp.get("/users/<id:user_id>/worktimes")
def show_week(user_id: int) -> Response:
    """Show a user's working hours."""
    user = policy.user(Action.SEE_USER, g.caller, g.found[Kind.USER])
    query(NOTHING)
    data = {"user_id": user_id, "work_times": user["work_times"]}
    return answer_part(data, of=g.json[Kind.USER])


@bp.route("/users/<id:user_id>/worktimes", methods=["PUT", "PATCH"])
def replace_week(user_id: int) -> Response:
    """Replace a user's whole week."""
    user = policy.user(Action.EDIT_USER, g.caller, g.found[Kind.USER])
    changes = body(REPLACE_WEEK)
    written = users.update(g.session, user, changes, None)
    data = {"message": "Work times updated.", "user_id": user_id, **changes}
    return tagged(answer(data), version(written.json if written else g.json[Kind.USER]))


def _visible_users() -> Scope:
    group_ids = None if g.caller.is_owner else g.caller.administers
    return queries.users(g.session.keys, group_ids=group_ids, user_id=g.caller.id)


def _edit(user: Entity, changes: Entity) -> bytes:
    """Change a user as far as the caller may, and return their JSON."""
    password = changes.pop("password", None)
    changed = [name for name, value in changes.items() if user[name] != value]
    policy.require_fields(g.caller, user, changed if password is None else [*changed, "password"])
    secret = None if password is None else hash_password(password)
    written = users.update(g.session, user, changes, secret)
    return written.json if written else template(Kind.USER, user).encode()
