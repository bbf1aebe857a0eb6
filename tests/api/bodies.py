"""Hypothesis strategies for requests: mostly valid, sometimes with one mistake."""

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

Strategy = st.SearchStrategy[Any]

MISSING = object()
TEXTS = [
    "Ann Lee",
    "ann lee",
    " 50%_ ",
    "Stra\u00dfe",
    "STRASSE",
    "E\u0301va",
    "\u00e9va",
    "a\\b'c",
]
GROUP_NAMES = ["Alpha", "ALPHA ", "Stra\u00dfe", "STRASSE", "E\u0301", "\u00e9", "json"]
EMAILS = [f"{name}@example.com" for name in ("ann", "ANN", "x", " X ", "y.z", "Y.z", "w", "v")]
NUMBERS = ["", "+1 234", "50%", "ann"]
PASSWORDS = ["pass:word", " spaced out "]
WEEKS: list[Any] = [{}, {"Monday": 8}, {"Monday": 8.0, "Sunday": 0}, {"Friday": 7.25, "Sunday": 24}]
QUESTIONS = ["a", "SS", "\u00c9V", "%", "_", "\\", "@EXAMPLE", "to", " "]
DEADLINES = [None, "2025-10-15", "2028-02-29"]
STAMPS = [("id", 99), ("version", 1), ("created_at", "never"), ("updated_at", None)]


@dataclass(frozen=True)
class Ref:
    """The n-th user, group or task that exists; the last few n are ids that do not exist.

    The kind "own" is the caller's own tasks.
    """

    kind: str
    n: int


@dataclass(frozen=True)
class Caller:
    """The n-th possible caller: the first few are the owner, the last ones are not users."""

    n: int
    by_email: bool = False


def refs(kind: str) -> Strategy:
    return st.builds(Ref, st.just(kind), st.integers(0, 40))


def pick(*values: Any) -> Strategy:
    return st.sampled_from(values)


def spoil(body: dict[str, Any], spot: tuple[str, Any] | None) -> dict[str, Any]:
    if spot is None:
        return body
    name, value = spot
    rest = {key: old for key, old in body.items() if key != name}
    return rest if value is MISSING else rest | {name: value}


def spoilable(
    required: dict[str, Strategy], optional: dict[str, Strategy], *spots: Any
) -> Strategy:
    """Bodies; one in eight has a wrong, strange or missing value in one place."""
    missing = [(name, MISSING) for name in required]
    choices = [*missing, *spots, ("colour", "red")]
    body = st.fixed_dictionaries(required, optional=optional)
    return st.builds(spoil, body, st.sampled_from([None] * (7 * len(choices)) + choices))


CALLERS = st.builds(Caller, st.integers(0, 40), st.booleans())
USER = {"full_name": pick(*TEXTS), "email": pick(*EMAILS), "password": pick(*PASSWORDS)}
USER_MORE = {
    "role": pick("user", "user", "group_admin", "owner"),
    "group_ids": st.lists(refs("group"), max_size=3),
    "number": pick(*NUMBERS),
    "work_times": pick(*WEEKS),
}
BAD_WEEKS = [("work_times", bad) for bad in ({"Funday": 1}, {"Monday": 25}, {"Monday": True}, [])]
BAD_USERS = [
    *STAMPS,
    *BAD_WEEKS,
    *[("full_name", bad) for bad in ("", " ", "x" * 201, 7, None)],
    *[("email", bad) for bad in ("x", "\u212a@example.com", None)],
    *[("password", bad) for bad in ("12345", "x" * 129, 123456)],
    *[("role", bad) for bad in ("boss", "Owner", None)],
    *[("group_ids", bad) for bad in (["1"], [True], "1", None)],
]
NEW_USERS = spoilable(USER, USER_MORE, *BAD_USERS)
USER_CHANGES = spoilable(
    {}, {k: v for k, v in (USER | USER_MORE).items() if k != "password"}, *BAD_USERS
)
NEW_WEEKS = spoilable({"work_times": pick(*WEEKS)}, {}, ("user_id", 99), *BAD_WEEKS)

GROUP = {"name": pick(*GROUP_NAMES), "admin_id": refs("user")}
BAD_GROUPS = [
    *STAMPS,
    *[("name", bad) for bad in ("", " ", "x" * 101, 7, None)],
    *[("admin_id", bad) for bad in ("1", True, None, 1.5)],
    ("users_count", 7),
]
NEW_GROUPS = spoilable(GROUP, {}, *BAD_GROUPS)
GROUP_CHANGES = spoilable({}, GROUP, *BAD_GROUPS)
NEW_MEMBERS = spoilable({"user_id": refs("user")}, {}, ("user_id", "1"), ("user_id", None))

TASK = {"title": pick(*TEXTS), "group_id": refs("group")}
TASK_MORE = {
    "status": st.booleans(),
    "priority": pick(1, 2, 3),
    "deadline": pick(*DEADLINES),
    "information": pick("", *TEXTS),
}
BAD_TASKS = [
    *STAMPS,
    ("user_id", 99),
    *[("title", bad) for bad in ("", "x" * 201, None)],
    *[("status", bad) for bad in (1, "true", None)],
    *[("priority", bad) for bad in (0, 4, "1", True, 2.5)],
    *[("deadline", bad) for bad in ("2025-02-29", "tomorrow", 20250101)],
    *[("information", bad) for bad in ("x" * 10_001, None)],
    *[("group_id", bad) for bad in ("1", True, None)],
]
NEW_TASKS = spoilable(TASK, TASK_MORE, *BAD_TASKS)
OWN_OR_ANY = st.one_of(refs("own"), refs("task"))
SUITABLE_OR_ANY = st.one_of(st.none(), st.none(), st.none(), refs("user"))
"""None stands for the user of the task, or a member of the group, that the request names."""
TASK_CHANGES = spoilable({}, TASK | TASK_MORE | {"user_id": refs("user")}, *BAD_TASKS)
BATCHES = spoilable(
    {
        "task_ids": st.lists(refs("task"), min_size=1, max_size=6),
        "updates": TASK_CHANGES.filter(bool),
    },
    {"action": pick("update", "update", "mark_done", "delete")},
    *[("task_ids", bad) for bad in ([], ["1"], [True], None)],
    *[("action", bad) for bad in ("destroy", None)],
    ("updates", []),
)

BAD_PAGING = [("limit", bad) for bad in ("0", "1001", "x")] + [("after", "-1")]
FILTERS = {"status": pick("completed", "pending", "all"), "priority": pick("1", "2", "3")}
BAD_FILTERS = [("status", "done"), ("priority", "4")]


def pages(kind: str, needed: Any = None, more: Any = None, *spots: Any) -> Strategy:
    """Queries with paging, and these parameters."""
    paging = {"limit": pick("1", "2", "3", "1000"), "after": st.one_of(pick(0), refs(kind))}
    return spoilable(needed or {}, paging | (more or {}), *BAD_PAGING, *spots)


USER_SEARCHES, TASK_SEARCHES = (pages(kind, {"q": pick(*QUESTIONS)}) for kind in ("user", "task"))
TASK_FILTERS = pages(
    "task",
    {},
    FILTERS | {"group_id": refs("group"), "user_id": refs("user")},
    *BAD_FILTERS,
    ("group_id", "x"),
)
SAFE_METHODS = st.one_of(
    st.tuples(pick("read_user", "read_week"), refs("user")),
    st.tuples(pick("read_group", "read_group_stats"), refs("group")),
    st.tuples(st.just("read_task"), SUITABLE_OR_ANY, OWN_OR_ANY),
    st.tuples(st.just("read_stats")),
)
LISTS = st.one_of(
    st.tuples(st.just("list_users"), pages("user")),
    st.tuples(st.just("list_groups"), pages("group")),
    st.tuples(st.just("list_members"), refs("group"), pages("user")),
    st.tuples(st.just("list_group_tasks"), refs("group"), pages("task")),
    st.tuples(st.just("list_user_tasks"), refs("user"), pages("task", {}, FILTERS, *BAD_FILTERS)),
)
SEARCHES = st.one_of(
    st.tuples(st.just("search_users"), USER_SEARCHES),
    st.tuples(st.just("search_tasks"), TASK_SEARCHES),
    st.tuples(st.just("filter_tasks"), TASK_FILTERS),
)
