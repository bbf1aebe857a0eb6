"""Groups and their members."""

from typing import Final

from schemas.fields import (
    Answer,
    Body,
    Object,
    Page,
    StrictInteger,
    Text,
    answer_field,
    counts_by_name,
    objects,
)
from schemas.tasks import Totals
from schemas.times import Timestamp
from schemas.users import User, UserOutline


class Group(Body):
    """A group of users."""

    READ_ONLY = Body.READ_ONLY | {"admin", "users_count", "tasks_count"}

    id = StrictInteger(dump_only=True, metadata={"example": 1})
    name = Text(
        1, 100, required=True, metadata={"example": "Engineering", "change": "Engineering Team"}
    )
    admin_id = StrictInteger(required=True, metadata={"example": 2})
    created_at = Timestamp()
    updated_at = Timestamp()
    version = StrictInteger(dump_only=True, metadata={"example": 7})


class NewMember(Body):
    """A user who joins a group."""

    user_id = StrictInteger(required=True, metadata={"example": 3})


class GroupAdmin(Answer):
    id = StrictInteger(metadata={"example": 2})
    full_name = answer_field("Alice Admin")
    email = answer_field("alice@company.com")


class GroupDetails(Group):
    admin = Object(GroupAdmin, dump_only=True)
    users_count = answer_field(3, dump_only=True)
    tasks_count = answer_field(12, dump_only=True)


class GroupPage(Page):
    groups = objects(Group)


class GroupChanged(Answer):
    message = answer_field("Group updated.")
    group = Object(Group)


class GroupDeleted(Answer):
    message = answer_field("Group deleted.")
    group = Object(Group)
    affected_users = answer_field(3)
    deleted_tasks = answer_field(12)


class MemberPage(Page):
    group_id = StrictInteger(metadata={"example": 1})
    users = objects(User, UserOutline)


class MemberAdded(Answer):
    message = answer_field("User added.")
    group_id = StrictInteger(metadata={"example": 1})
    user_id = StrictInteger(metadata={"example": 3})


class MemberRemoved(MemberAdded):
    message = answer_field("User removed.")
    affected_tasks = answer_field(2)
    moved_to = StrictInteger(allow_none=True, metadata={"example": None})


class GroupName(Answer):
    id = StrictInteger(metadata={"example": 1})
    name = answer_field("Engineering")


class GroupStats(Totals):
    group = Object(GroupName)
    users_count = answer_field(3)
    user_task_counts = counts_by_name({"Alice Admin": 4, "Charlie Developer": 8})


CREATE_GROUP: Final = Group()
EDIT_GROUP: Final = Group(partial=True)
ADD_MEMBER: Final = NewMember()
