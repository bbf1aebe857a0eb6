"""Who may do what: one literal table of relations, and the few functions that read it.

A relation of the caller to the target of an action:

OWNER        has role owner; may do everything that keeps the invariants
GROUP_ADMIN  has role group_admin
ANYONE       has valid credentials
SELF         is the user, or the task's user
ADMIN        administers the group, the task's group, or a group of the user
SUPERVISOR   is ADMIN of a user whose role is user
MEMBER       belongs to the group
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from schemas.users import EDIT_USER
from taskapi.callers import Caller, require_fields_without_password
from taskapi.errors import Forbidden, NotFound
from taskapi.store.codec import Entity
from taskapi.store.keys import Kind
from taskapi.store.queries import Reach

Relation = Enum("Relation", "OWNER GROUP_ADMIN ANYONE SELF ADMIN SUPERVISOR MEMBER")
OWNER, GROUP_ADMIN, ANYONE, SELF, ADMIN, SUPERVISOR, MEMBER = Relation


@dataclass(frozen=True, eq=False)  # an Enum would merge two actions with equal rules
class Rule:
    """Who may do one action.

    Attributes:
        target: the kind of entity that the action is about; None if it is about none.
        permitted: a caller with one of these relations to the target may do it.
        sentence: `permitted` in words, for the OpenAPI document.
        needs_password: it is not permitted with a token.
    """

    target: Kind | None
    permitted: set[Relation]
    sentence: str
    needs_password: bool = False


OWNERS: Final = "Owners."
EVERYONE: Final = "Everyone with credentials."


class Action(Enum):
    """All actions of callers, each with its rule."""

    LIST_USERS = Rule(
        None,
        {OWNER, GROUP_ADMIN},
        "Owners: all users. Group admins: themselves and the members of their groups.",
    )
    CREATE_USER = Rule(
        None,
        {OWNER, GROUP_ADMIN},
        "Owners: any user. Group admins: users with role user, in their groups. Not with a token.",
        needs_password=True,
    )
    SEE_USER = Rule(
        Kind.USER,
        {OWNER, SELF, ADMIN},
        "Owners; group admins for members of their groups; users for themselves.",
    )
    EDIT_USER = Rule(
        Kind.USER,
        {OWNER, SELF, SUPERVISOR},
        "Owners: every field. Users, on themselves: full_name, number, work_times, email, "
        "password. Group admins, on members with role user: full_name, number, work_times. "
        "Nobody changes password, email or role with a token.",
    )
    DELETE_USER = Rule(Kind.USER, {OWNER}, OWNERS)
    MANAGE_TOKENS = Rule(
        Kind.USER,
        {OWNER, SELF},
        "Owners; users for themselves. Not with a token.",
        needs_password=True,
    )
    LIST_GROUPS = Rule(None, {ANYONE}, EVERYONE)
    CREATE_GROUP = Rule(None, {OWNER}, OWNERS)
    SEE_GROUP = Rule(
        Kind.GROUP,
        {OWNER, ADMIN, MEMBER},
        "Owners; group admins for their groups; users for the groups they belong to.",
    )
    EDIT_GROUP = Rule(Kind.GROUP, {OWNER}, OWNERS)
    CHANGE_MEMBERS = Rule(
        Kind.GROUP,
        {OWNER, ADMIN},
        "Owners; group admins for their groups and users with role user.",
    )
    LIST_TASKS = Rule(None, {ANYONE}, EVERYONE)
    ADD_TASK = Rule(
        Kind.USER,
        {OWNER, SELF, ADMIN},
        "Owners; group admins for members of their groups; users for themselves. Except for "
        "owners, the user must belong to the group.",
    )
    USE_TASK = Rule(
        Kind.TASK,
        {OWNER, SELF, ADMIN},
        "Owners; group admins for tasks in their groups; users for their own tasks.",
    )
    SEARCH_TASKS = Rule(
        None,
        {OWNER, GROUP_ADMIN},
        "Owners: all tasks. Group admins: tasks in their groups and their own.",
    )
    ADMINISTER = Rule(None, {OWNER}, OWNERS)


EDITABLE_FIELDS: Final = {
    OWNER: {*EDIT_USER.load_fields},
    SELF: {"full_name", "number", "work_times", "email", "password"},
    SUPERVISOR: {"full_name", "number", "work_times"},
}
"""Relation to a user -> the fields that it permits to change.

The first relation that the caller has decides.
"""


def authorise(
    action: Action, caller: Caller, target: Entity | None = None, *, user_id: int | None = None
) -> None:
    """Check that the caller may do this to the target.

    Args:
        target: the user, group or task that the action is about; None if it does not exist.
        user_id: the user in the path of a task.

    Raises:
        Forbidden: not permitted, or the target does not exist and NotFound does not apply.
        NotFound: the target does not exist, and the caller is an owner or the path is under the
            caller's own /users/<id>/tasks.
    """
    kind, permitted = action.value.target, action.value.permitted
    is_of_another_user = kind is Kind.TASK and target is not None and target["user_id"] != user_id
    if kind is not None and (target is None or is_of_another_user):
        is_own_task = kind is Kind.TASK and caller.id == user_id
        raise _absent(kind) if caller.is_owner or is_own_task else Forbidden()
    relations = _roles(caller) | (_RELATIONS[kind](caller, target) if kind else set())
    if relations.isdisjoint(permitted):
        raise Forbidden


def is_visible(caller: Caller, task: Entity) -> bool:
    """Return whether the caller may see a task: the rule behind every list and search."""
    relations = _roles(caller) | _relations_to_task(caller, task)
    return bool(relations & Action.USE_TASK.value.permitted)


def require_fields(caller: Caller, target: Entity, changed: Iterable[str]) -> None:
    """Raise Forbidden if `changed` has fields of the target that the caller may not change."""
    changed = set(changed)
    held = _roles(caller) | _relations_to_user(caller, target)
    editable = next(names for relation, names in EDITABLE_FIELDS.items() if relation in held)
    excess = sorted(changed - editable)
    if excess:
        raise Forbidden(f"You may not change {', '.join(excess)} of this user.")
    require_fields_without_password(caller, changed)


def require_new_user(caller: Caller, role: str, group_ids: list[int]) -> None:
    """Raise Forbidden unless the caller may create a user of this role in these groups."""
    if caller.is_owner:
        return
    if role != "user":
        raise Forbidden("A group admin creates users with role user only.")
    if not group_ids or not set(group_ids) <= set(caller.administers):
        raise Forbidden("A group admin creates users in groups of their own: set group_ids.")


def require_manageable_member(caller: Caller, target: Entity | None) -> Entity:
    """Return the user if the caller may add or remove them as a member.

    Raises:
        Forbidden: for a group admin, if the user does not exist or has another role than user.
        NotFound: for an owner, if the user does not exist.
    """
    if caller.is_owner and target is None:
        raise _absent(Kind.USER)
    if target is None or not (caller.is_owner or target["role"] == "user"):
        raise Forbidden("A group admin adds and removes users with role user only.")
    return target


def may_assign_to_group(caller: Caller, task_user: Entity, group_id: int) -> bool:
    """Return whether the caller may put a task of this user into the group."""
    if caller.is_owner:
        return True
    if caller.id == task_user["id"]:
        return group_id in caller.group_ids
    return group_id in caller.administers and group_id in task_user["group_ids"]


def may_hand_over(caller: Caller, task: Entity, user: Entity, group_id: int) -> bool:
    """Return whether the caller may give the task to another user, in this group from then on."""
    runs_it = caller.is_owner or task["group_id"] in caller.administers
    return runs_it and may_assign_to_group(caller, user, group_id)


def reach(caller: Caller) -> Reach:
    """Return which tasks the caller may see."""
    return Reach(caller.is_owner, frozenset(caller.administers), caller.id)


def sees_outlines_only(caller: Caller, group_id: int) -> bool:
    """Return whether the caller sees only the outlines of a group's members."""
    return not caller.is_owner and group_id not in caller.administers


def _roles(caller: Caller) -> set[Relation]:
    held = {ANYONE, OWNER} if caller.is_owner else {ANYONE}
    return held | {GROUP_ADMIN} if caller.role == "group_admin" else held


def _relations_to_user(caller: Caller, user: Entity) -> set[Relation]:
    held = {SELF} if caller.id == user["id"] else set()
    if not set(caller.administers).isdisjoint(user["group_ids"]):
        held |= {ADMIN, SUPERVISOR} if user["role"] == "user" else {ADMIN}
    return held


def _relations_to_group(caller: Caller, group: Entity) -> set[Relation]:
    held = {ADMIN} if group["id"] in caller.administers else set()
    return held | {MEMBER} if group["id"] in caller.group_ids else held


def _relations_to_task(caller: Caller, task: Entity) -> set[Relation]:
    held = {SELF} if caller.id == task["user_id"] else set()
    return held | {ADMIN} if task["group_id"] in caller.administers else held


_RELATIONS: Final[dict[Kind, Callable[[Caller, Any], set[Relation]]]] = {
    Kind.USER: _relations_to_user,
    Kind.GROUP: _relations_to_group,
    Kind.TASK: _relations_to_task,
}


def _absent(kind: Kind) -> NotFound:
    return NotFound(f"There is no such {kind.noun}.")
