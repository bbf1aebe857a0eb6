"""Creating, changing and deleting users."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from taskapi.errors import Conflict, Invalid
from taskapi.store import deletions, memberships, queries
from taskapi.store.codec import NEW_ID, Entity
from taskapi.store.commit import ABSENT, COUNT_SECONDS, PRESENT, Commit, WrittenEntity
from taskapi.store.indexes import fold
from taskapi.store.keys import Keys, Kind
from taskapi.store.queries import Scope
from taskapi.store.session import Session, StoredEntity

SYSTEM_OWNER: Final = 1


class DeletedUser(NamedTuple):
    """How many tasks were deleted with a user, and which groups the System Owner got."""

    tasks: int
    reassigned_groups: list[int]


def create(session: Session, fields: Entity, password_hash: str) -> WrittenEntity:
    """Create a user.

    Raises:
        Invalid: a group does not exist.
        Conflict: the e-mail address is taken.
    """
    commit = Commit(session)
    _require_groups(session, commit, fields["group_ids"])
    _take_email(session, commit, fields["email"])
    template = commit.create(Kind.USER, fields)
    commit.add("SET", session.keys.password_hash(NEW_ID), password_hash)
    stamp = commit.run()
    return WrittenEntity(int(stamp.id), stamp.fill(template))


def update(
    session: Session, user: StoredEntity, changes: Entity, password_hash: str | None
) -> bytes:
    """Change a user's fields and password hash; return their JSON, the same if nothing changes.

    Raises:
        Invalid: a group does not exist.
        Conflict: the e-mail address is taken, or a group would lose its admin.
    """
    changes = {name: value for name, value in changes.items() if user[name] != value}
    if not changes and password_hash is None:
        session.require_match()
        return user.json
    commit = Commit(session)
    if "group_ids" in changes:
        _require_groups(session, commit, set(changes["group_ids"]) - set(user["group_ids"]))
    _require_keeps_groups(user, changes)
    if "email" in changes and fold(changes["email"]) != fold(user["email"]):
        _take_email(session, commit, changes["email"])
    if "group_ids" in changes:
        left = set(user["group_ids"]) - set(changes["group_ids"])
        with commit.closed(Kind.USER, user["id"]):
            memberships.relocate(session, commit, user, sorted(left), changes["group_ids"])
    commit.guard(session.keys.entity(Kind.USER, user["id"]), *memberships.administers_field(user))
    template = commit.update(Kind.USER, user, changes)
    if password_hash is not None:
        commit.add("SET", session.keys.password_hash(user["id"]), password_hash)
    return commit.run().fill(template)


def replace_hash(session: Session, user: Entity, password_hash: str) -> None:
    """Store another hash of a user's password: the version grows, `updated_at` stays."""
    commit = Commit(session)
    commit.update(Kind.USER, user, {}, updated_at=user["updated_at"])
    commit.add("SET", session.keys.password_hash(user["id"]), password_hash)
    commit.run()


def delete(session: Session, user: Entity) -> DeletedUser:
    """Delete a user with all their tasks; the System Owner becomes admin of their groups.

    Many tasks are deleted in batches: see `deletions`.

    Raises:
        Conflict: it is the System Owner.
    """
    if user["id"] == SYSTEM_OWNER:
        raise Conflict("The System Owner cannot be deleted.", code="system_owner")
    keys, user_id, scope = session.keys, user["id"], _tasks(session.keys, user["id"])
    commit = Commit(session)
    key, counter = keys.user_tasks(user_id), ("HGET", keys.counts, user_id)
    (size,) = session.read(("ZCARD", key))
    if size > deletions.BATCH:
        session.heavy.step()
        with commit.closed(Kind.USER, user_id, COUNT_SECONDS):
            size = queries.size_of(session, scope, ("ZCARD", key), counter)
        deletions.decide(session, commit, Kind.USER, user)
        finish_delete(session, user_id)
        return DeletedUser(size, memberships.administered(user))
    with commit.closed(Kind.USER, user_id):
        tasks, _ = queries.all_of(session, scope, ("ZCARD", key), counter)
    _delete(session, commit, user, tasks)
    return DeletedUser(len(tasks), memberships.administered(user))


def finish_delete(session: Session, user_id: int) -> None:
    """Finish a delete in batches; raises what `deletions.finish` raises."""
    deletions.finish(session, Kind.USER, user_id, _tasks(session.keys, user_id), _delete)


def _delete(session: Session, commit: Commit, user: Entity, tasks: Sequence[Entity] = ()) -> bool:
    """Delete a user who has these tasks and no others; return True."""
    keys = session.keys
    commit.guard_size(keys.user_tasks(user["id"]), len(tasks))
    for task in tasks:
        commit.delete(Kind.TASK, task)
    _reassign_groups(session, commit, memberships.administered(user))
    commit.guard(keys.entity(Kind.USER, user["id"]), *memberships.administers_field(user))
    commit.delete(Kind.USER, user)
    commit.add("HDEL", keys.deleting, deletions.mark(Kind.USER, user["id"]))
    commit.run(frees_memory=True)
    return True


def _tasks(keys: Keys, user_id: int) -> Scope:
    return queries.tasks(keys, queries.EVERYTHING, user_id=user_id)


def _reassign_groups(session: Session, commit: Commit, group_ids: list[int]) -> None:
    if not group_ids:
        return
    owner = session.referred(Kind.USER, SYSTEM_OWNER)
    for group in session.find(Kind.GROUP, *group_ids):
        if group:
            commit.update(Kind.GROUP, group, {"admin_id": SYSTEM_OWNER})
    memberships.appoint(session, commit, owner, list(group_ids))


def _require_groups(session: Session, commit: Commit, group_ids: Any) -> None:
    wanted = sorted(group_ids)
    groups = session.find(Kind.GROUP, *wanted)
    missing = [i for i, group in zip(wanted, groups, strict=True) if group is None]
    if missing:
        named = ", ".join(map(str, missing))
        raise Invalid(
            f"There is no group {named}: in group_ids, name groups that exist.",
            code="unknown_group",
        )
    for group_id in wanted:
        commit.guard(session.keys.entity(Kind.GROUP, group_id), "version", PRESENT)


def _take_email(session: Session, commit: Commit, email: str) -> None:
    key, field = session.keys.emails, fold(email)
    (holder,) = session.read(("HGET", key, field))
    if holder is not None:
        raise Conflict(f"The e-mail address {email} is taken: use another.", code="email_taken")
    commit.guard(key, field, ABSENT)


def _require_keeps_groups(user: Entity, changes: Entity) -> None:
    role = changes.get("role", user["role"])
    if user["id"] == SYSTEM_OWNER and role != "owner":
        raise Conflict("The System Owner keeps the role owner.", code="system_owner")
    if role == "user":
        memberships.require_not_administering(user, set(memberships.administered(user)))
    if "group_ids" in changes:
        left = set(user["group_ids"]) - set(changes["group_ids"])
        memberships.require_not_administering(user, left)
