"""Who may do what: one literal table of relations, and the few functions that walk it.

The words of the table say how a caller stands to what an action is about:

OWNER        has role owner: may do everything that keeps the invariants
GROUP_ADMIN  has role group_admin, whatever the action is about
ANYONE       has valid credentials
SELF         is the user, or the task's user
ADMIN        administers the group, the task's group, or a group of the user
SUPERVISOR   is ADMIN of a user whose role is user
MEMBER       belongs to the group
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from taskapi.errors import Forbidden, NotFound
from taskapi.store.codec import Entity
from taskapi.store.queries import Reach


class Relation(Enum):
    """How a caller stands to something; see the module's vocabulary."""

    OWNER = auto()
    GROUP_ADMIN = auto()
    ANYONE = auto()
    SELF = auto()
    ADMIN = auto()
    SUPERVISOR = auto()
    MEMBER = auto()


class Action(Enum):
    """Everything that a caller can ask for."""

    LIST_USERS = auto()
    CREATE_USER = auto()
    SEE_USER = auto()
    EDIT_USER = auto()
    DELETE_USER = auto()
    LIST_GROUPS = auto()
    CREATE_GROUP = auto()
    SEE_GROUP = auto()
    EDIT_GROUP = auto()
    CHANGE_MEMBERS = auto()
    LIST_TASKS = auto()
    ADD_TASK = auto()
    USE_TASK = auto()
    SEARCH_TASKS = auto()
    ADMINISTER = auto()


WHO_MAY: Final = {
    Action.LIST_USERS: {Relation.OWNER, Relation.GROUP_ADMIN},
    Action.CREATE_USER: {Relation.OWNER, Relation.GROUP_ADMIN},
    Action.SEE_USER: {Relation.OWNER, Relation.SELF, Relation.ADMIN},
    Action.EDIT_USER: {Relation.OWNER, Relation.SELF, Relation.SUPERVISOR},
    Action.DELETE_USER: {Relation.OWNER},
    Action.LIST_GROUPS: {Relation.ANYONE},
    Action.CREATE_GROUP: {Relation.OWNER},
    Action.SEE_GROUP: {Relation.OWNER, Relation.ADMIN, Relation.MEMBER},
    Action.EDIT_GROUP: {Relation.OWNER},
    Action.CHANGE_MEMBERS: {Relation.OWNER, Relation.ADMIN},
    Action.LIST_TASKS: {Relation.ANYONE},
    Action.ADD_TASK: {Relation.OWNER, Relation.SELF, Relation.ADMIN},
    Action.USE_TASK: {Relation.OWNER, Relation.SELF, Relation.ADMIN},
    Action.SEARCH_TASKS: {Relation.OWNER, Relation.GROUP_ADMIN},
    Action.ADMINISTER: {Relation.OWNER},
}

MAY_CHANGE: Final = {
    Relation.OWNER: {
        *("full_name", "role", "group_ids", "email", "number", "work_times", "password"),
    },
    Relation.SELF: {"full_name", "number", "work_times", "email", "password"},
    Relation.SUPERVISOR: {"full_name", "number", "work_times"},
}
"""Which fields of a user each relation lets a caller change."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as the store knew them when this request began."""

    id: int
    role: str
    group_ids: frozenset[int]
    administers: tuple[int, ...]

    @property
    def is_owner(self) -> bool:
        return self.role == "owner"


def caller_of(user: Entity) -> Caller:
    """Return the caller that a user is."""
    administers = tuple(user.get("administers", ()))
    return Caller(user["id"], user["role"], frozenset(user["group_ids"]), administers)


def require(action: Action, caller: Caller) -> None:
    """Raise Forbidden unless the caller may do what is about nothing in particular."""
    _require(action, _roles(caller))


def user(action: Action, caller: Caller, target: Entity | None) -> Entity:
    """Return the user if the caller may do this to them.

    Raises:
        Forbidden: not permitted; for all but owners also when there is no such user.
        NotFound: an owner asks for a user who does not exist.
    """
    if target is None:
        raise _absent(caller.is_owner, "user")
    _require(action, relations_to_user(caller, target))
    return target


def group(action: Action, caller: Caller, target: Entity | None) -> Entity:
    """Return the group if the caller may do this to it; raises as `user` does."""
    if target is None:
        raise _absent(caller.is_owner, "group")
    _require(action, _relations_to_group(caller, target["id"]))
    return target


def task(action: Action, caller: Caller, user_id: int, target: Entity | None) -> Entity:
    """Return the task if it is that user's and the caller may do this to it.

    Raises:
        Forbidden: not permitted; for all but owners also when there is no such task.
        NotFound: owners, and callers under their own id, learn that it is not there.
    """
    if target is None or target["user_id"] != user_id:
        raise _absent(caller.is_owner or caller.id == user_id, "task")
    if not is_visible(caller, target):
        raise Forbidden
    _require(action, relations_to_task(caller, target))
    return target


def is_visible(caller: Caller, target: Entity) -> bool:
    """Whether a task is within the caller's reach: the rule behind each list and search."""
    return bool(relations_to_task(caller, target) & WHO_MAY[Action.USE_TASK])


def require_fields(caller: Caller, target: Entity, changed: Iterable[str]) -> None:
    """Raise Forbidden, naming them, if fields of a user change that this caller may not change."""
    held = relations_to_user(caller, target)
    permitted = next(MAY_CHANGE[relation] for relation in MAY_CHANGE if relation in held)
    excess = sorted(set(changed) - permitted)
    if excess:
        raise Forbidden(f"You may not change {', '.join(excess)} of this user.")


def require_new_user(caller: Caller, role: str, group_ids: list[int]) -> None:
    """Raise Forbidden unless the caller may create a user of this role in these groups."""
    if caller.is_owner:
        return
    if role != "user":
        raise Forbidden("A group admin creates users with role user only.")
    if not group_ids or not set(group_ids) <= set(caller.administers):
        raise Forbidden("A group admin creates users in groups of their own: name some.")


def require_manageable_member(caller: Caller, target: Entity | None) -> Entity:
    """Return the user if the caller may add or remove them; to a group admin only plain ones.

    Raises:
        Forbidden: a group admin names no user with role user, whether or not they exist.
        NotFound: an owner names a user who does not exist.
    """
    if caller.is_owner and target is None:
        raise _absent(True, "user")
    if target is None or not (caller.is_owner or target["role"] == "user"):
        raise Forbidden("A group admin adds and removes users with role user only.")
    return target


def may_assign_to_group(caller: Caller, holder: Entity, group_id: int) -> bool:
    """Whether the caller may put a task of this user into the group, by creating or moving it."""
    if caller.is_owner:
        return True
    if caller.id == holder["id"]:
        return group_id in caller.group_ids
    return group_id in caller.administers and group_id in holder["group_ids"]


def require_group_assignment(caller: Caller, holder: Entity, group_id: int) -> None:
    """Raise Forbidden unless the caller `may_assign_to_group` a task there."""
    if not may_assign_to_group(caller, holder, group_id):
        raise Forbidden("You may not put a task of this user into that group.")


def require_group_filter(caller: Caller, group_id: int) -> None:
    """Raise Forbidden if a filter names a group that the caller does not see."""
    _require(Action.SEE_GROUP, _relations_to_group(caller, group_id))


def reach(caller: Caller) -> Reach:
    """Return which tasks the caller sees."""
    return Reach(caller.is_owner, caller.administers, caller.id)


def has_user_rights_only(caller: Caller, group_id: int) -> bool:
    """Whether the caller sees just the outline of a group's members."""
    return not caller.is_owner and group_id not in caller.administers


def relations_to_user(caller: Caller, target: Entity) -> set[Relation]:
    """Return how the caller stands to a user."""
    held = _roles(caller)
    if caller.id == target["id"]:
        held.add(Relation.SELF)
    if not set(caller.administers).isdisjoint(target["group_ids"]):
        held.add(Relation.ADMIN)
        if target["role"] == "user":
            held.add(Relation.SUPERVISOR)
    return held


def relations_to_task(caller: Caller, target: Entity) -> set[Relation]:
    """Return how the caller stands to a task."""
    held = _roles(caller)
    if caller.id == target["user_id"]:
        held.add(Relation.SELF)
    if target["group_id"] in caller.administers:
        held.add(Relation.ADMIN)
    return held


def _relations_to_group(caller: Caller, group_id: int) -> set[Relation]:
    held = _roles(caller)
    if group_id in caller.administers:
        held.add(Relation.ADMIN)
    if group_id in caller.group_ids:
        held.add(Relation.MEMBER)
    return held


def _roles(caller: Caller) -> set[Relation]:
    held = {Relation.ANYONE}
    if caller.is_owner:
        held.add(Relation.OWNER)
    if caller.role == "group_admin":
        held.add(Relation.GROUP_ADMIN)
    return held


def _require(action: Action, held: set[Relation]) -> None:
    if held.isdisjoint(WHO_MAY[action]):
        raise Forbidden


def _absent(may_know: bool, noun: str) -> Exception:
    return NotFound(f"There is no such {noun}.") if may_know else Forbidden()
