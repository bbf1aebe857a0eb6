"""Creating, changing and deleting groups."""

from typing import NamedTuple

from taskapi.errors import Conflict, Damaged, Invalid, Stale
from taskapi.store import codec, deletions, memberships, queries
from taskapi.store.codec import NEW_ID, Entity
from taskapi.store.commit import ABSENT, CLOSING_SECONDS, COUNT_SECONDS, Commit, WrittenEntity
from taskapi.store.indexes import fold
from taskapi.store.keys import Keys, Kind
from taskapi.store.queries import Scope
from taskapi.store.session import Session, StoredEntity


class DeletedGroup(NamedTuple):
    """How many users and tasks a deleted group had."""

    users: int
    tasks: int


def create(session: Session, fields: Entity) -> WrittenEntity:
    """Create a group; its admin becomes a member.

    Raises:
        Invalid: the admin does not exist, or has role user.
        Conflict: the name is taken.
    """
    commit = Commit(session)
    admin = _find_admin(session, fields["admin_id"])
    _take_name(session, commit, fields["name"])
    template = commit.create(Kind.GROUP, fields)
    memberships.appoint(session, commit, admin, [NEW_ID])
    stamp = commit.run()
    return WrittenEntity(int(stamp.id), stamp.fill(template))


def update(session: Session, group: StoredEntity, changes: Entity) -> bytes:
    """Change a group's name or admin; return its JSON, the same if nothing changes.

    Raises as `create` does.
    """
    changes = {name: value for name, value in changes.items() if group[name] != value}
    if not changes:
        session.require_match()
        return group.json
    commit = Commit(session)
    if "admin_id" in changes:
        successor = _find_admin(session, changes["admin_id"])
        memberships.appoint(session, commit, successor, [group["id"]])
        former = session.referred(Kind.USER, group["admin_id"])
        memberships.dismiss(session, commit, former, group["id"])
    if "name" in changes and fold(changes["name"]) != fold(group["name"]):
        _take_name(session, commit, changes["name"])
    template = commit.update(Kind.GROUP, group, changes)
    return commit.run().fill(template)


def delete(session: Session, group: Entity) -> DeletedGroup:
    """Delete a group with its tasks and memberships; many of them in batches: see `deletions`.

    Raises:
        Damaged: it may have tasks or members that its indexes do not name.
    """
    keys, group_id, scope = session.keys, group["id"], _tasks(session.keys, group["id"])
    commit = Commit(session)
    members, index = _sets(session, group_id)
    counts = ("ZCARD", index), ("HVALS", keys.group_counts(group_id))
    size, members_count = session.read(("ZCARD", index), ("ZCARD", members))
    is_big = max(size, members_count) > deletions.BATCH
    if is_big:
        session.heavy.step()
    tasks: list[Entity] = []
    with commit.closed(Kind.GROUP, group_id, COUNT_SECONDS if is_big else CLOSING_SECONDS):
        users, _ = queries.all_of(session, queries.members(keys, group_id), ("ZCARD", members))
        _require_member(session, group, users)
        if is_big:
            size = queries.size_of(session, scope, *counts)
        else:
            tasks, _ = queries.all_of(session, scope, *counts)
    if not is_big:
        _delete(session, commit, group, users, tasks)
        return DeletedGroup(len(users), len(tasks))
    deletions.decide(session, commit, Kind.GROUP, group)
    finish_delete(session, group_id)
    return DeletedGroup(len(users), size)


def finish_delete(session: Session, group_id: int) -> None:
    """Finish a delete in batches; raises what `deletions.finish` raises."""
    keys = session.keys

    def delete(session: Session, commit: Commit, group: Entity) -> bool:
        if _remove_members(session, group):
            return False
        users = queries.entities(session, queries.members(keys, group_id))
        _require_member(session, group, users)
        _delete(session, commit, group, users, [])
        return True

    deletions.finish(session, Kind.GROUP, group_id, _tasks(keys, group_id), delete)


def _delete(
    session: Session, commit: Commit, group: Entity, users: list[Entity], tasks: list[Entity]
) -> None:
    """Delete a group that has these members and tasks and no others."""
    group_id = group["id"]
    members, index = _sets(session, group_id)
    commit.guard_size(members, len(users))
    commit.guard_size(index, len(tasks))
    for task in tasks:
        commit.delete(Kind.TASK, task)
    for user in users:
        remaining = [i for i in user["group_ids"] if i != group_id]
        commit.update(Kind.USER, user, {"group_ids": remaining})
    admin = session.referred(Kind.USER, group["admin_id"])
    memberships.dismiss(session, commit, admin, group_id)
    commit.delete(Kind.GROUP, group)
    commit.add("HDEL", session.keys.deleting, deletions.mark(Kind.GROUP, group_id))
    commit.run(frees_memory=True)


def _remove_members(session: Session, group: Entity) -> bool:
    """Remove some members of a group that has no tasks left, if one commit cannot remove all.

    Returns:
        Whether there were too many.
    """
    group_id = group["id"]
    page = queries.page(session, queries.members(session.keys, group_id), limit=deletions.BATCH + 1)
    if page.next_after is None:
        return False
    commit = deletions.begin_batch(session, Kind.GROUP, group_id)
    for user in page.entities(Kind.USER):
        if user["id"] != group["admin_id"]:
            remaining = [i for i in user["group_ids"] if i != group_id]
            commit.update(Kind.USER, user, {"group_ids": remaining})
    commit.run(frees_memory=True)
    return True


def _tasks(keys: Keys, group_id: int) -> Scope:
    return queries.tasks(keys, queries.EVERYTHING, group_id=group_id)


def _require_member(session: Session, group: Entity, users: list[Entity]) -> None:
    """Raise Damaged if the admin is not among the members, Stale if the group has changed."""
    if any(user["id"] == group["admin_id"] for user in users):
        return
    if session.find(Kind.GROUP, group["id"]) == [group]:
        raise Damaged(f"the index of the members of group {group['id']} lacks its admin")
    raise Stale


def details(session: Session, group: Entity) -> tuple[Entity, int, int]:
    """Return a group's admin, and its numbers of members and tasks."""
    keys = session.keys
    admin, users, tasks = session.read(
        ("HGET", keys.entity(Kind.USER, group["admin_id"]), "json"),
        *(("ZCARD", key) for key in _sets(session, group["id"])),
    )
    if admin is None:
        raise Stale
    return codec.decode(Kind.USER, admin), users, tasks


def _sets(session: Session, group_id: int) -> tuple[str, str]:
    return session.keys.members(group_id), session.keys.group_tasks(group_id)


def _find_admin(session: Session, user_id: int) -> Entity:
    (user,) = session.find(Kind.USER, user_id)
    if user is None:
        raise Invalid(
            f"There is no user {user_id}: in admin_id, name one that exists.", code="unknown_user"
        )
    if user["role"] == "user":
        raise Invalid(
            f"User {user_id} has role user: a group's admin is a group_admin or an owner.",
            code="not_an_admin",
        )
    return user


def _take_name(session: Session, commit: Commit, name: str) -> None:
    key, field = session.keys.names, fold(name)
    (holder,) = session.read(("HGET", key, field))
    if holder is not None:
        raise Conflict(f"The group name {name!r} is taken: use another.", code="name_taken")
    commit.guard(key, field, ABSENT)
