"""Creates users, groups and tasks for tests, and checks the form of every error answer."""

from __future__ import annotations

from itertools import count
from typing import Any

from tests.client import Answer, Api, Caller

PASSWORD = "plain-canary-4410"
_fresh = count(1)

User = dict[str, Any]


def new_user(api: Api, *group_ids: int, by: Caller = "owner", **fields: Any) -> User:
    """Create a user in these groups, with the password PASSWORD unless `fields` has one."""
    number = next(_fresh)
    person = {
        "full_name": f"Person {number}",
        "email": f"person{number}@example.com",
        "password": PASSWORD,
        "group_ids": list(group_ids),
    }
    user: User = made(api("POST", "/users", by=by, json=person | fields))["user"]
    return user


def new_admin(api: Api, **fields: Any) -> User:
    return new_user(api, role="group_admin", **fields)


def new_group(api: Api, admin_id: int = 1, name: str = "") -> dict[str, Any]:
    body = {"name": name or f"Group {next(_fresh)}", "admin_id": admin_id}
    group: dict[str, Any] = made(api("POST", "/groups", by="owner", json=body))["group"]
    return group


def new_task(api: Api, user_id: int, group_id: int, by: Caller = "owner", **fields: Any) -> Any:
    body = {"title": f"Task {next(_fresh)}", "group_id": group_id} | fields
    return made(api("POST", f"/users/{user_id}/tasks", by=by, json=body))["task"]


def new_token(api: Api, user: User, by: Caller = "owner", **fields: Any) -> tuple[Any, str]:
    """Create a token of a user; return it with its secret."""
    body = {"name": f"Token {next(_fresh)}"} | fields
    data = made(api("POST", f"/users/{user['id']}/tokens", by=by, json=body))
    return data["token"], data["secret"]


class Team:
    """A group admin of one of two groups, and a user who is in both."""

    def __init__(self, api: Api) -> None:
        self.head = new_admin(api)
        self.group = new_group(api, self.head["id"])["id"]
        self.other = new_group(api)["id"]
        self.user = new_user(api, self.group, self.other)


def login(user: User) -> tuple[int, str]:
    """Return this user's credentials, for `by`."""
    return user["id"], PASSWORD


def path_of(task: dict[str, Any]) -> str:
    return f"/users/{task['user_id']}/tasks/{task['id']}"


def made(answer: Answer) -> Any:
    assert answer.status == 201, answer.body
    return answer.data


def ok(answer: Answer) -> Any:
    """Return the `data` of a 200."""
    assert answer.status == 200, answer.body
    assert answer.json == {"success": True, "data": answer.data}
    return answer.data


def refused(answer: Answer, status: int) -> Any:
    """Check the status and the envelope of an error; return its JSON."""
    assert answer.status == status, answer.body
    envelope = answer.json
    assert set(envelope) - {"fields"} == {"success", "error", "code", "request_id"}
    assert envelope["success"] is False
    assert " " in envelope["error"].strip()
    assert envelope["code"] == envelope["code"].lower().replace(" ", "_") != ""
    assert envelope["request_id"] == answer.headers["X-Request-ID"]
    return envelope


def everything(api: Api) -> list[Any]:
    """Return everything that clients can see, to compare before and after."""
    paths = ("/users", "/groups", "/tasks/filter")
    return [ok(api("GET", path, by="owner")) for path in paths]
