"""Statistics about tasks, from counters and set sizes; their cost does not grow with the tasks."""

from collections import Counter
from itertools import chain
from typing import Any, Final

from taskapi.errors import Damaged
from taskapi.store.codec import BUCKET, bucket
from taskapi.store.connection import Command
from taskapi.store.numbers import is_number, number
from taskapi.store.session import Session

LIGHT_MOST: Final = 5000
"""Users in statistics that do not count as heavy: about 15 ms."""


def of_group(session: Session, group_id: int) -> dict[str, Any]:
    """Return the totals of a group, and the number of tasks by member."""
    keys = session.keys
    *sizes, users, counts = session.read(
        *_sizes(keys.group_tasks(group_id)),
        ("ZCARD", keys.members(group_id)),
        ("HGETALL", keys.group_counts(group_id)),
    )
    named = _by_full_name(session, _counter(session, counts))
    return {"users_count": users, **_totals(*sizes), "user_task_counts": named}


def of_everything(session: Session) -> dict[str, Any]:
    """Return the totals of all tasks, by user and by group, and the number of users."""
    keys = session.keys
    *sizes, users, counts, names, groups = session.read(
        *_sizes(keys.tasks),
        ("ZCARD", keys.users),
        ("HGETALL", keys.counts),
        ("HGETALL", keys.full_names),
        ("ZRANGE", keys.groups, 0, -1),
    )
    known = dict(zip(names[::2], names[1::2], strict=True))
    group_ids = [int(i) for i in groups if is_number(i)]
    totals = session.read(*(("ZCARD", keys.group_tasks(i)) for i in group_ids))
    return {
        **_totals(*sizes),
        "user_task_counts": _labelled(_counter(session, counts), known),
        "group_task_counts": _by_group(group_ids, totals),
        "total_users": users,
    }


def of_groups(session: Session, group_ids: list[int]) -> dict[str, Any]:
    """Return the totals of some groups' tasks together, by user and by group."""
    keys, by_user = session.keys, Counter[bytes]()
    replies = session.read(
        *chain.from_iterable(_sizes(keys.group_tasks(i)) for i in group_ids),
        *(("HGETALL", keys.group_counts(i)) for i in group_ids),
    )
    ends = 2 * len(group_ids)
    totals, done = replies[:ends:2], replies[1:ends:2]
    for counts in replies[ends:]:
        by_user.update(_counter(session, counts))
    return {
        **_totals(sum(totals), sum(done)),
        "user_task_counts": _by_full_name(session, by_user),
        "group_task_counts": _by_group(group_ids, totals),
        "administered_groups": group_ids,
    }


def of_user(session: Session, user_id: int) -> dict[str, Any]:
    """Return the totals of a user's tasks, and their number by priority."""
    key = session.keys.user_tasks(user_id)
    p1, p2, p3, p1_done, p2_done, p3_done = session.read(
        *(_section(key, bucket(done, rank)) for done in (False, True) for rank in (1, 2, 3))
    )
    done = p1_done + p2_done + p3_done
    return {
        "user_id": user_id,
        **_totals(p1 + p2 + p3 + done, done),
        "priority_counts": {"1": p1 + p1_done, "2": p2 + p2_done, "3": p3 + p3_done},
    }


def _sizes(key: str) -> tuple[Command, Command]:
    first_done = bucket(True, 1) * BUCKET
    return ("ZCARD", key), ("ZCOUNT", key, first_done, "+inf")


def _section(key: str, section: int) -> Command:
    return ("ZCOUNT", key, section * BUCKET, f"({(section + 1) * BUCKET}")


def _totals(total: int, done: int) -> dict[str, Any]:
    return {
        "total_tasks": total,
        "completed_tasks": done,
        "pending_tasks": total - done,
        "completion_rate": round(100 * done / total, 2) if total else 0.0,
    }


def _counter(session: Session, reply: list[bytes]) -> Counter[bytes]:
    if len(reply) > 2 * LIGHT_MOST:
        session.heavy.step()
    pairs = [*zip(reply[::2], reply[1::2], strict=True)]
    counts = {
        user_id: number(count, "a counter of tasks is not a number") for user_id, count in pairs
    }
    return Counter({user_id: count for user_id, count in counts.items() if count})


def _by_full_name(session: Session, counts: Counter[bytes]) -> dict[str, int]:
    if not counts:
        return {}
    (names,) = session.read(("HMGET", session.keys.full_names, *counts))
    return _labelled(counts, dict(zip(counts, names, strict=True)))


def _labelled(counts: Counter[bytes], names: dict[bytes, bytes]) -> dict[str, int]:
    """Return the counts by name, in order of id; a name that several users have gets their id.

    Users without a stored name are left out.
    """
    ids = sorted((i for i in counts if is_number(i) and names.get(i)), key=int)
    shared = Counter(names[user_id] for user_id in ids)
    try:
        return {_label(names[i].decode(), i, shared[names[i]] > 1): counts[i] for i in ids}
    except UnicodeDecodeError as error:
        raise Damaged("the index full_names has a name that cannot be read") from error


def _label(name: str, user_id: bytes, is_shared: bool) -> str:
    return f"{name} (#{user_id.decode()})" if is_shared else name


def _by_group(group_ids: list[int], sizes: list[int]) -> dict[str, int]:
    return {str(i): size for i, size in zip(group_ids, sizes, strict=True) if size}
