"""What each endpoint takes, answers and refuses: one literal table beside the endpoints' names."""

from dataclasses import dataclass
from typing import Final

from marshmallow import Schema

from schemas.admin import SYNC
from schemas.fields import NOTHING, PAGED
from schemas.fields import Body as Strict
from schemas.groups import ADD_MEMBER, CREATE_GROUP, EDIT_GROUP
from schemas.tasks import BATCH, CREATE_TASK, EDIT_TASK, FILTER, SEARCH_TASKS, USER_TASKS
from schemas.users import CREATE_USER, EDIT_USER, REPLACE_WEEK, SEARCH_USERS

BODIES: Final[dict[str, Strict]] = {
    "NewUser": CREATE_USER,
    "UserChanges": EDIT_USER,
    "Week": REPLACE_WEEK,
    "NewGroup": CREATE_GROUP,
    "GroupChanges": EDIT_GROUP,
    "NewMember": ADD_MEMBER,
    "NewTask": CREATE_TASK,
    "TaskChanges": EDIT_TASK,
    "Batch": BATCH,
}
TAGS: Final = {
    "users": "People and their working hours.",
    "groups": "Groups, their members and their numbers.",
    "tasks": "A user's tasks, and all that a caller sees of everybody's.",
    "admin": "Both stores and the sync; for owners.",
    "health": "Whether requests are served.",
    "docs": "What this service offers.",
}

OWNERS: Final = "Owners."
EVERYBODY: Final = "Everybody with credentials."
ADMINS: Final = "Owners: all. Group admins: themselves and the members of their groups."
SELF: Final = "Owners; group admins for members of their groups; users for themselves."
INSIDE: Final = "Owners; group admins for their groups; users for the groups they belong to."
TASK: Final = "Owners; group admins for tasks in their groups; users for their own tasks."
MEMBERS: Final = "Owners; group admins for their groups, and for users with role user only."
PUBLIC: Final = "Anybody, without credentials."
WITHOUT_REFUSAL: Final = (EVERYBODY, PUBLIC)


@dataclass(frozen=True)
class Operation:
    """What an endpoint has beside its path and its method.

    Attributes:
        who: who may.
        data: the component under `data`; of a bare answer, the whole of it.
        body: the component of the request's body.
        query: what its query string may say.
        codes: the errors of its own, beside those that its form implies.
        status: of a success.
    """

    who: str
    data: str
    body: str | None = None
    query: Schema = NOTHING
    codes: tuple[str, ...] = ()
    status: int = 200


OPERATIONS: Final = {
    "users.index": Operation(ADMINS, "UserPage", query=PAGED),
    "users.create": Operation(
        "Owners: any user. Group admins: role user, in groups of theirs.",
        "UserChanged",
        body="NewUser",
        codes=("unknown_group", "email_taken"),
        status=201,
    ),
    "users.search_users": Operation(ADMINS, "UsersFound", query=SEARCH_USERS),
    "users.show": Operation(SELF, "User"),
    "users.edit": Operation(
        "Owners: every field. Users, on themselves: full_name, number, work_times, email, "
        "password. Group admins, on members with role user: full_name, number, work_times.",
        "UserChanged",
        body="UserChanges",
        codes=("unknown_group", "email_taken", "system_owner", "administers_groups"),
    ),
    "users.delete": Operation(OWNERS, "UserDeleted", codes=("system_owner",)),
    "users.show_week": Operation(SELF, "WorkTimes"),
    "users.replace_week": Operation(
        "Owners; group admins for members with role user of their groups; users for themselves.",
        "WorkTimesChanged",
        body="Week",
    ),
    "groups.index": Operation(EVERYBODY, "GroupPage", query=PAGED),
    "groups.create": Operation(
        OWNERS,
        "GroupChanged",
        body="NewGroup",
        codes=("unknown_user", "not_an_admin", "name_taken"),
        status=201,
    ),
    "groups.show": Operation(INSIDE, "GroupDetails"),
    "groups.edit": Operation(
        OWNERS,
        "GroupChanged",
        body="GroupChanges",
        codes=("unknown_user", "not_an_admin", "name_taken"),
    ),
    "groups.delete": Operation(OWNERS, "GroupDeleted"),
    "groups.members": Operation(
        f"{INSIDE} Those with a user's rights see an outline of each.", "MemberPage", query=PAGED
    ),
    "groups.add_member": Operation(
        MEMBERS,
        "MemberAdded",
        body="NewMember",
        codes=("unknown_user", "already_member"),
    ),
    "groups.remove_member": Operation(MEMBERS, "MemberRemoved", codes=("administers_groups",)),
    "groups.tasks": Operation(
        f"{INSIDE} Users see their own tasks only.", "GroupTaskPage", query=PAGED
    ),
    "groups.stats": Operation(INSIDE, "GroupStats"),
    "tasks.index": Operation(SELF, "UserTaskPage", query=USER_TASKS),
    "tasks.create": Operation(
        f"{SELF} The group is one that the user belongs to, except for owners.",
        "TaskChanged",
        body="NewTask",
        codes=("unknown_group",),
        status=201,
    ),
    "tasks.show": Operation(TASK, "Task"),
    "tasks.edit": Operation(TASK, "TaskChanged", body="TaskChanges", codes=("unknown_group",)),
    "tasks.finish": Operation(TASK, "TaskChanged"),
    "tasks.delete": Operation(TASK, "TaskChanged"),
    "tasks.search_tasks": Operation(
        "Owners: all tasks. Group admins: tasks in their groups and their own.",
        "TasksFound",
        query=SEARCH_TASKS,
    ),
    "tasks.stats": Operation(EVERYBODY, "TaskStats"),
    "tasks.filter_tasks": Operation(
        "Owners: all tasks. Group admins: tasks in their groups and their own. Users: their own.",
        "FilteredTaskPage",
        query=FILTER,
    ),
    "tasks.batch": Operation(EVERYBODY, "BatchDone", body="Batch", codes=("unknown_group",)),
    "admin.sync": Operation(
        OWNERS,
        "Synced",
        query=SYNC,
        codes=(
            *("already_running", "fenced", "not_empty", "nothing_to_restore"),
            *("postgres_unreachable", "unavailable"),
        ),
    ),
    "admin.show_status": Operation(OWNERS, "Status"),
    "admin.show_stats": Operation(OWNERS, "Stats"),
    "health.show": Operation(PUBLIC, "Health"),
    "docs.describe": Operation(PUBLIC, "OpenAPI"),
    "docs.index": Operation(PUBLIC, "Index"),
    "docs.page": Operation(PUBLIC, "Page"),
}
"""By endpoint, as Flask names it: `<blueprint>.<view>`."""

CONDITIONAL: Final = {"User", "WorkTimes", "Task"}
"""Answers that depend on one version, which is their ETag: If-None-Match is understood."""
TAGGED: Final = CONDITIONAL | {
    *("GroupDetails", "UserChanged", "WorkTimesChanged", "GroupChanged", "TaskChanged"),
}
"""Answers whose ETag is what If-Match takes, but for those to a delete."""
BARE: Final = {"Health", "OpenAPI", "Page"}
"""Answers without the envelope."""
