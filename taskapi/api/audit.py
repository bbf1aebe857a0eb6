"""What the log says of a change, or of a refusal: which action, on what."""

from collections.abc import Mapping
from typing import Any, Final

READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
REFUSALS: Final = frozenset({401, 403, 409, 412, 429})
METHODS: Final = READS | {"POST", "PUT", "PATCH", "DELETE"}
MOST_IDS: Final = 50
"""How many ids of a batch a line names."""
ACTIONS: Final = {
    "users.create": "user.create",
    "users.edit": "user.update",
    "users.replace_week": "user.worktimes",
    "users.delete": "user.delete",
    "groups.create": "group.create",
    "groups.edit": "group.update",
    "groups.delete": "group.delete",
    "groups.add_member": "member.add",
    "groups.remove_member": "member.remove",
    "tasks.create": "task.create",
    "tasks.edit": "task.update",
    "tasks.finish": "task.done",
    "tasks.delete": "task.delete",
    "tasks.batch": "tasks.batch",
    "admin.sync": "admin.sync",
}
"""The views that change something."""


def trail(
    method: str, endpoint: str | None, ids: Mapping[str, int], status: int, location: str | None
) -> dict[str, Any]:
    """Return the fields of a change or a refusal: its action and the ids; none for other requests.

    `ids` are those of the path; `location` is where a thing that was created is.
    """
    if method in READS and status not in REFUSALS:
        return {}
    action = "read" if method in READS else ACTIONS.get(endpoint or "", "unknown")
    named = {word.removesuffix("_id"): value for word, value in ids.items()}
    if status == 201 and location:
        named[action.partition(".")[0]] = int(location.rpartition("/")[2])
    return {"audit": action, **named}
