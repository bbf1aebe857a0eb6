"""Bodies about groups and their members."""

from typing import Final

from schemas.common import Strict, Text, Whole


class Group(Strict):
    READ_ONLY = Strict.READ_ONLY | {"admin", "users_count", "tasks_count"}

    name = Text(1, 100, required=True)
    admin_id = Whole(required=True)


class Member(Strict):
    user_id = Whole(required=True)


CREATE_GROUP: Final = Group()
EDIT_GROUP: Final = Group(partial=True)
ADD_MEMBER: Final = Member()
