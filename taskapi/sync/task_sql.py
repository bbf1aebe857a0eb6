"""The SQL of queries of tasks."""

from typing import Any, Final, NamedTuple

from taskapi.store.queries import ALL_BUCKETS
from taskapi.store.task_query import Place, Span, TaskQuery
from taskapi.sync.search import Select, pattern

_UTC: Final = "to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"
_TITLE: Final = (
    "array_to_string((string_to_array(folded, E'\\n'))"
    "[1 : 1 + length(title) - length(replace(title, E'\\n', ''))], E'\\n')"
)
"""The folded title: the first lines of `folded`, as many as the title has."""

GROUPS_MOST: Final = 20
"""With more groups, a page of each would be more to read than the tasks in order."""


class Sort(NamedTuple):
    """What PostgreSQL sorts by: an expression, its text, and the type of its values."""

    expression: str
    text: str
    kind: str


_SORTS: Final = {
    "id": Sort("id", "id", "bigint"),
    "deadline": Sort("deadline", "to_char(deadline, 'YYYY-MM-DD')", "date"),
    "priority": Sort("priority", "priority", "smallint"),
    "created_at": Sort("created_at", _UTC.format("created_at"), "timestamptz"),
    "updated_at": Sort("updated_at", _UTC.format("updated_at"), "timestamptz"),
    "title": Sort(f'{_TITLE} COLLATE "C"', _TITLE, "text"),
}


def select(query: TaskQuery, after: Place | None, size: int) -> Select:
    """Return the SELECT of id and key of the tasks after a place, at most `size`, in order."""
    if _is_read_by_group(query):
        return _select_by_group(query, after, size)
    conditions = _Conditions(query)
    conditions.add_reach()
    page = _page(conditions, after, size)
    return Select(f"SELECT concat_ws(' ', id, key) FROM ({page.text}) AS page", page.values)


def _is_read_by_group(query: TaskQuery) -> bool:
    """Tell whether to read a page of each group, because an index has a group in this order.

    PostgreSQL does not see this: for a small page it reads the tasks of all groups in order.
    """
    is_by_deadline = query.sort == "deadline" and not query.is_descending and not query.text
    has_groups = 0 < len(query.reach.group_ids) <= GROUPS_MOST
    return is_by_deadline and has_groups and not query.reach.is_everything


def _select_by_group(query: TaskQuery, after: Place | None, size: int) -> Select:
    groups, own, led = _group_ids(query), _Conditions(query), _Conditions(query)
    own.add("user_id = %s AND NOT group_id = ANY(%s::bigint[])", query.reach.user_id, groups)
    led.add("group_id = led_id")
    others, page = _page(own, after, size), _page(led, after, size)
    return Select(
        f"SELECT concat_ws(' ', id, key) FROM (({others.text}) UNION ALL "
        f"(SELECT page.* FROM unnest(%s::bigint[]) AS led_id, LATERAL ({page.text}) AS page)) "
        'AS pages ORDER BY key COLLATE "C", id LIMIT %s',
        (*others.values, groups, *page.values, size),
    )


def _page(conditions: "_Conditions", after: Place | None, size: int) -> Select:
    query = conditions.query
    conditions.add_place(after)
    sort, direction = _SORTS[query.sort], "DESC NULLS LAST" if query.is_descending else ""
    return Select(
        f"SELECT id, {sort.text} AS key FROM tasks WHERE {conditions.text} "
        f"ORDER BY {sort.expression} {direction}, id LIMIT %s",
        (*conditions.values, size),
    )


def _group_ids(query: TaskQuery) -> list[int]:
    return sorted(query.reach.group_ids)


def count(query: TaskQuery, excluded: list[int]) -> Select:
    """Return the SELECT of the number of tasks that match, without those with these ids."""
    conditions = _Conditions(query)
    conditions.add_reach()
    conditions.add("NOT id = ANY(%s::bigint[])", f"{{{','.join(map(str, excluded))}}}")
    return Select(f"SELECT count(*) FROM tasks WHERE {conditions.text}", (*conditions.values,))


def place(sort: str, row: str) -> Place:
    """Return the place that a row of `select` names."""
    task_id, _, key = row.partition(" ")
    if sort in ("id", "priority"):
        return Place(int(key), int(task_id))
    return Place(key or None, int(task_id))


class _Conditions:
    """The conditions of a query as SQL; `values` are those of the placeholders in `text`."""

    def __init__(self, query: TaskQuery) -> None:
        self.query = query
        self._parts: list[str] = ["true"]
        self.values: list[Any] = []
        if query.user_id is not None:
            self.add("user_id = %s", query.user_id)
        if query.group_id is not None:
            self.add("group_id = %s", query.group_id)
        self._add_buckets()
        if query.text:
            self.add("folded LIKE %s", pattern(query.text))
        if query.has_deadline is not None:
            self.add("deadline IS NOT NULL" if query.has_deadline else "deadline IS NULL")
        self._add_span("deadline", query.due, "date")
        self._add_span("created_at", query.created, "timestamptz")
        self._add_span("updated_at", query.updated, "timestamptz")

    @property
    def text(self) -> str:
        """All conditions, joined."""
        return " AND ".join(self._parts)

    def add(self, text: str, *values: Any) -> None:
        """Add a condition."""
        self._parts.append(text)
        self.values += values

    def add_place(self, after: Place | None) -> None:
        """Require that a task comes after this place."""
        if after is None:
            return
        sort, is_after = _SORTS[self.query.sort], "<" if self.query.is_descending else ">"
        if self.query.sort == "id":
            self.add(f"id {is_after} %s", after.id)
        elif after.key is None:
            self.add(f"({sort.expression} IS NULL AND id > %s)", after.id)
        else:
            key = f"%s::{sort.kind}"
            equal = f"({sort.expression} = {key} AND id > %s)"
            follows = f"({sort.expression} {is_after} {key} OR {equal}"
            follows += f" OR {sort.expression} IS NULL)" if self.query.sort == "deadline" else ")"
            self.add(follows, after.key, after.key, after.id)

    def add_reach(self) -> None:
        """Require that a task is within the caller's reach."""
        if not (reach := self.query.reach).is_everything:
            groups = _group_ids(self.query)
            self.add("(user_id = %s OR group_id = ANY(%s::bigint[]))", reach.user_id, groups)

    def _add_buckets(self) -> None:
        buckets = self.query.buckets
        if buckets == ALL_BUCKETS:
            return
        are_done = {bucket >= 3 for bucket in buckets}
        if len(are_done) == 1:
            self.add("status" if are_done == {True} else "NOT status")
        self.add("priority = ANY(%s)", sorted({bucket % 3 + 1 for bucket in buckets}))

    def _add_span(self, column: str, span: Span, kind: str) -> None:
        if span.first is not None:
            self.add(f"{column} >= %s::{kind}", span.first)
        if span.last is not None:
            self.add(f"{column} <= %s::{kind}", span.last)
