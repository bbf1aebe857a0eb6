"""Lists of tasks: one query language for all of them."""

import datetime
from typing import Any
from zoneinfo import ZoneInfo

from flask import Response, g

from schemas import tasks as schema
from taskapi import policy
from taskapi.api import lists
from taskapi.api.services import services
from taskapi.errors import Invalid
from taskapi.store import queries
from taskapi.store.indexes import fold
from taskapi.store.task_query import Place, Span, TaskQuery, place_of
from taskapi.sync.task_queries import TaskListing


def answer(query: dict[str, Any], **more: Any) -> Response:
    """Return the tasks within the caller's reach that a validated query asks for.

    Lists in ascending order of id, with conditions on status, priority, user and group only, are
    read from Redis alone. All others, and `total`, use PostgreSQL too.

    Args:
        more: what the JSON has besides the list.
    """
    task_query = _task_query(query)
    listing = TaskListing(g.session, services().index, task_query, _place(query))
    if query["total"]:
        more["total"] = listing.total()
    if task_query.needs_postgres:
        return lists.answer("tasks", listing, query, **more)
    filters = {name: query.get(name) for name in ("user_id", "group_id")}
    scope = queries.tasks(g.session.keys, task_query.reach, sections=task_query.buckets, **filters)
    after = listing.after.id if listing.after else 0
    return lists.answer("tasks", lists.Entities(g.session, scope, after), query, **more)


def _task_query(query: dict[str, Any]) -> TaskQuery:
    status, priority = schema.STATUSES[query.get("status", "all")], query.get("priority")
    buckets = queries.buckets(status, int(priority) if priority else None)
    due = Span(query.get("due_after"), query.get("due_before"))
    if "overdue" in query:
        yesterday = (_today(query["timezone"]) - datetime.timedelta(days=1)).isoformat()
        due = due._replace(last=min(due.last or yesterday, yesterday))
        pending = queries.buckets(is_done=False)
        buckets = tuple(bucket for bucket in buckets if bucket in pending)
    return TaskQuery(
        reach=policy.reach(g.caller),
        user_id=query.get("user_id"),
        group_id=query.get("group_id"),
        buckets=buckets,
        text=fold(query.get("q", "")),
        due=due,
        has_deadline=query.get("has_deadline"),
        created=Span(query.get("created_after"), query.get("created_before")),
        updated=Span(query.get("updated_after"), query.get("updated_before")),
        sort=query["sort"].lstrip("-"),
        is_descending=query["sort"].startswith("-"),
    )


def _place(query: dict[str, Any]) -> Place | None:
    """Return the place that `after` names; raises Invalid if it is of another order."""
    after, sort = query["after"], query["sort"]
    if after == "0":
        return None
    place = Place(int(after), int(after)) if sort == "id" else place_of(after, sort)
    if place is None:
        problem = "Must be the next_after of a page with the same sort, or 0."
        text = f"The query is not usable: after: {problem}"
        raise Invalid(text, code="validation_failed", fields={"after": [problem]})
    return place


def _today(zone: ZoneInfo) -> datetime.date:
    return _now().astimezone(zone).date()


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
