"""Members and admins of groups, and what changes for their tasks."""

from collections.abc import Iterable
from typing import NamedTuple

import orjson

from taskapi.errors import Conflict, NotFound
from taskapi.store import codec, queries
from taskapi.store.codec import NEW_ID, Entity
from taskapi.store.commit import ABSENT, PRESENT, Commit, equals
from taskapi.store.keys import Keys, Kind
from taskapi.store.session import Guard, Session


class Relocation(NamedTuple):
    """How many tasks a user had in the groups that they left, and the group that has them now.

    `moved_to` is None if no group remained: then the tasks were deleted.
    """

    affected_tasks: int
    moved_to: int | None


def add(session: Session, group_id: int, user: Entity) -> None:
    """Make a user a member; raises Conflict if they are one already."""
    if group_id in user["group_ids"]:
        raise Conflict(
            f"User {user['id']} is already a member of group {group_id}.", code="already_member"
        )
    commit = Commit(session)
    commit.guard(session.keys.entity(Kind.GROUP, group_id), "version", PRESENT)
    commit.update(Kind.USER, user, {"group_ids": sorted([*user["group_ids"], group_id])})
    commit.run()


def remove(session: Session, group_id: int, user: Entity) -> Relocation:
    """Remove a member; their tasks move to their remaining group with the lowest id.

    Raises:
        NotFound: the user is not a member.
        Conflict: the user administers the group.
    """
    if group_id not in user["group_ids"]:
        raise NotFound(f"User {user['id']} is not a member of group {group_id}.")
    require_not_administering(user, {group_id})
    remaining = [i for i in user["group_ids"] if i != group_id]
    commit = Commit(session)
    with commit.closed(Kind.USER, user["id"]):
        relocation = relocate(session, commit, user, [group_id], remaining)
    commit.guard(session.keys.entity(Kind.USER, user["id"]), *administers_field(user))
    commit.update(Kind.USER, user, {"group_ids": remaining})
    commit.run()
    return relocation


def require_not_administering(user: Entity, left: set[int]) -> None:
    """Raise Conflict, naming the groups, if the user administers one of these."""
    held = sorted(left.intersection(administered(user)))
    if held:
        named = ", ".join(map(str, held))
        raise Conflict(
            f"User {user['id']} administers group {named}: give it another admin first.",
            code="administers_groups",
        )


def relocate(
    session: Session, commit: Commit, user: Entity, left: list[int], remaining: list[int]
) -> Relocation:
    """Move a user's tasks in `left` to the lowest remaining group; without one, delete them."""
    keys, user_id = session.keys, user["id"]
    target = min(remaining, default=None)
    affected = 0
    for group_id in left:
        counts = keys.group_counts(group_id)
        scope = queries.tasks(keys, queries.EVERYTHING, user_id=user_id, group_id=group_id)
        tasks, (count,) = queries.all_of(session, scope, ("HGET", counts, user_id))
        commit.guard(counts, str(user_id), ABSENT if count is None else equals(count.decode()))
        for task in tasks:
            affected += 1
            if target is None:
                commit.delete(Kind.TASK, task)
            else:
                commit.update(Kind.TASK, task, {"group_id": target})
    return Relocation(affected, target)


def administered(user: Entity) -> list[int]:
    """Return the ids of the groups that the user administers, ascending."""
    group_ids: list[int] = user.get("administers", [])
    return group_ids


def appoint(session: Session, commit: Commit, user: Entity, group_ids: list[int | str]) -> None:
    """Make a user admin and member of groups; NEW_ID stands for the group being created."""
    known = _ordered([*user["group_ids"], *group_ids])
    if known == user["group_ids"]:
        commit.guard_unchanged(Kind.USER, user)
    else:
        commit.update(Kind.USER, user, {"group_ids": known})
    _set_administered(session.keys, commit, user, [*administered(user), *group_ids])


def dismiss(session: Session, commit: Commit, user: Entity, group_id: int) -> None:
    """Remove a user as admin of a group; they stay a member."""
    remaining = [i for i in administered(user) if i != group_id]
    _set_administered(session.keys, commit, user, remaining)


def rights(keys: Keys, user: Entity) -> list[Guard]:
    """Return guards that fail when the rights of a user have changed."""
    key = keys.entity(Kind.USER, user["id"])
    return [(key, "version", equals(user["version"])), (key, *administers_field(user))]


def _set_administered(
    keys: Keys, commit: Commit, user: Entity, group_ids: list[int] | list[int | str]
) -> None:
    key = keys.entity(Kind.USER, user["id"])
    commit.guard(key, *administers_field(user))
    if group_ids:
        listed = orjson.dumps(_ordered(group_ids)).decode()
        commit.add("HSET", key, "administers", codec.with_placeholders(listed))
    else:
        commit.add("HDEL", key, "administers")


def _ordered(group_ids: Iterable[int | str]) -> list[int | str]:
    """Return the ids ascending, without repetition; NEW_ID is higher than all others."""
    return sorted({*group_ids}, key=lambda group_id: (group_id == NEW_ID, group_id))


def administers_field(user: Entity) -> tuple[str, str]:
    """Return the field of a user's hash with the administered groups, and its condition."""
    group_ids = user.get("administers")
    return (
        "administers",
        ABSENT if group_ids is None else equals(orjson.dumps(group_ids).decode()),
    )
