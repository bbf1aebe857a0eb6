"""Sends the same requests to the service and to the model, and compares the answers."""

from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from tests.api.bodies import Caller, Ref
from tests.api.drift import check_stores
from tests.api.model import Model
from tests.support import OWNER_EMAIL, OWNER_PASSWORD, Answer, Installation

ENDPOINTS = {
    "list_users": "GET /users",
    "search_users": "GET /users/search",
    "create_user": "POST /users",
    "read_user": "GET /users/{}",
    "update_user": "PUT /users/{}",
    "delete_user": "DELETE /users/{}",
    "read_week": "GET /users/{}/worktimes",
    "update_week": "PUT /users/{}/worktimes",
    "list_groups": "GET /groups",
    "create_group": "POST /groups",
    "read_group": "GET /groups/{}",
    "update_group": "PUT /groups/{}",
    "delete_group": "DELETE /groups/{}",
    "list_members": "GET /groups/{}/users",
    "add_member": "POST /groups/{}/users",
    "remove_member": "DELETE /groups/{}/users/{}",
    "list_group_tasks": "GET /groups/{}/tasks",
    "read_group_stats": "GET /groups/{}/stats",
    "list_user_tasks": "GET /users/{}/tasks",
    "create_task": "POST /users/{}/tasks",
    "read_task": "GET /users/{}/tasks/{}",
    "update_task": "PUT /users/{}/tasks/{}",
    "finish_task": "PUT /users/{}/tasks/{}/done",
    "delete_task": "DELETE /users/{}/tasks/{}",
    "search_tasks": "GET /tasks/search",
    "filter_tasks": "GET /tasks/filter",
    "read_stats": "GET /tasks/stats",
    "change_tasks": "POST /tasks/batch",
}
OWNER = Caller(0)
FIRST_BY_BASIC, NOBODY, IMPOSTOR = 10, 39, 40
FIRST_GONE, NEVER_THERE = 37, 10**9
CAST = {"ann": "group_admin", "bob": "group_admin", "cid": "user", "dee": "user"}
WRONG_PASSWORD = "not the password"
STAMPS = ("created_at", "updated_at", "version")


class ServiceAndModel:
    """One installation and its model.

    Each example begins with the owner, four users of the same name, two groups and some tasks. The
    entities of the last example are deleted through the API. The four users stay: hashing
    passwords is slow.
    """

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.api = installation.client()
        self.model = Model(OWNER_EMAIL)
        self.passwords = {1: OWNER_PASSWORD}
        self.cast: dict[str, int] = {}
        self.gone: dict[str, list[int]] = {"user": [], "group": [], "task": []}
        self.seen: dict[tuple[str, int], Any] = {}
        self.impostors = 0
        self.has_diverged = False

    # an example

    def begin(self) -> None:
        self._clear()
        self._reset(1, "owner", OWNER_EMAIL, OWNER_PASSWORD)
        self.cast = {
            name: self._reset(self.cast.get(name), role, *_credentials(name))
            for name, role in CAST.items()
        }
        ann, bob, cid, dee = (self.cast[name] for name in CAST)
        groups = [{"name": "Alpha", "admin_id": ann}, {"name": "Beta", "admin_id": bob}]
        alpha, beta = (self.play("create_group", OWNER, g).data["group"]["id"] for g in groups)
        for user, group in [(cid, alpha), (cid, beta), (dee, beta), (ann, beta)]:
            self.play("add_member", OWNER, group, {"user_id": user})
        for user, group in [(ann, alpha), (cid, alpha), (cid, beta), (dee, beta), (ann, beta)]:
            self.play("create_task", OWNER, user, {"title": "To do", "group_id": group})
        self.gone = {"user": [NEVER_THERE], "group": [NEVER_THERE], "task": [NEVER_THERE]}

    def end(self) -> None:
        """Compare everything: the lists, indexes with entities, PostgreSQL with Redis."""
        for endpoint in ("list_users", "list_groups", "filter_tasks"):
            self.play(endpoint, OWNER, {})
        self.installation.sync()
        self.has_diverged = True
        check_stores(self.installation)
        self.has_diverged = False

    def sync(self, action: str) -> None:
        """Run an action of the owner; it changes nothing that clients see."""
        self.has_diverged = True
        answer = self.api("POST", f"/admin/sync?action={action}", by="owner")
        assert answer.status == 200, answer.body
        self.has_diverged = False

    def _clear(self) -> None:
        for group_id in list(self.model.groups):
            self.play("delete_group", OWNER, group_id)
        for name, user_id in list(self.cast.items()):
            user = self.model.users.get(user_id)
            if not user or (user["email"], self.passwords[user_id]) != _credentials(name):
                del self.cast[name]
        for user_id in self.model.users.keys() - {1, *self.cast.values()}:
            self.play("delete_user", OWNER, user_id)

    def _reset(self, user_id: int | None, role: str, email: str, password: str) -> int:
        body = {"full_name": "Cee", "role": role, "number": "", "work_times": {}, "email": email}
        if user_id is None or self.passwords[user_id] != password:
            body["password"] = password
        if user_id is None:
            return int(self.play("create_user", OWNER, body).data["user"]["id"])
        self.play("update_user", OWNER, user_id, body)
        return user_id

    # a request

    def play(self, endpoint: str, by: Caller, *args: Any, match: str | None = None) -> Answer:
        """Send the request to both; a difference raises AssertionError."""
        self.has_diverged = True
        caller, credentials = self._caller(by)
        resolved = [self._resolved(arg, caller) for arg in args]
        resolved = [self._suitable(resolved) if arg is None else arg for arg in resolved]
        before = self._alive()
        answer, stale = self._ask(endpoint, credentials, resolved, match)
        born = _born(answer)
        expected = self.model.answer(endpoint, caller, *resolved, born=born, stale=stale)
        actual = (answer.status, self._bare(answer))
        assert actual == expected, f"{endpoint} {resolved} by {caller}:\n{actual}\nnot\n{expected}"
        self._remember(before, answer, resolved)
        self.has_diverged = False
        return answer

    def _ask(
        self, endpoint: str, credentials: Any, args: list[Any], match: str | None
    ) -> tuple[Answer, bool]:
        method, path = ENDPOINTS[endpoint].split()
        path = path.format(*(arg for arg in args if isinstance(arg, int)))
        more: dict[str, Any] = {}
        if args and isinstance(args[-1], dict) and method == "GET":
            path += "?" + urlencode(args[-1])
        elif args and isinstance(args[-1], dict):
            more["json"] = args[-1]
        headers, stale = self._if_match(path, match)
        if credentials and credentials[1] == WRONG_PASSWORD:
            headers["X-Forwarded-For"] = self._new_address()
        return self.api(method, path, by=credentials, headers=headers, **more), stale

    def _if_match(self, path: str, match: str | None) -> tuple[dict[str, str], bool]:
        """Return the If-Match header, and whether it names another version than the current one."""
        if match is None:
            return {}, False
        target = self.api("GET", path, by="owner")
        present = target.data["version"] if target.status == 200 else 1
        version = present if match == "current" else present + 1
        return {"If-Match": f'"{version}"'}, version != present

    def _new_address(self) -> str:
        self.impostors += 1
        return f"10.1.{self.impostors // 250}.{self.impostors % 250}"

    def _caller(self, by: Caller) -> tuple[int | None, Any]:
        """Return the caller's id for the model and the credentials for the service."""
        users = self._in_order("user")
        user_id = users[by.n % len(users)] if by.n >= FIRST_BY_BASIC else 1
        email = self.model.users[user_id]["email"]
        if by.n == NOBODY:
            return None, None
        if by.n == IMPOSTOR:
            return None, (user_id, WRONG_PASSWORD)
        if by.n < FIRST_BY_BASIC:
            return 1, "owner"
        return user_id, (email.swapcase() if by.by_email else user_id, self.passwords[user_id])

    def _resolved(self, value: Any, caller: int | None) -> Any:
        """Return the value with ids in the place of its references."""
        match value:
            case Caller():
                return caller or 1
            case Ref(kind="own"):
                own = [i for i, t in self.model.tasks.items() if t["user_id"] == caller]
                return own[value.n % len(own)] if own else NEVER_THERE
            case Ref():
                alive = self._in_order(value.kind)
                ids = self.gone[value.kind] if value.n >= FIRST_GONE or not alive else alive
                return ids[value.n % len(ids)]
            case dict():
                return {name: self._resolved(item, caller) for name, item in value.items()}
            case list():
                return [self._resolved(item, caller) for item in value]
        return value

    def _suitable(self, args: list[Any]) -> int:
        """Return the id of the user of the task, or a member of the group, that `args` names."""
        first, second, *_ = args
        holder = self.model.tasks.get(second, {"user_id": 1})["user_id"]
        return holder if first is None else max([u["id"] for u in self.model.members(first)] or [1])

    def _alive(self) -> dict[str, set[int]]:
        model = self.model
        return {"user": {*model.users}, "group": {*model.groups}, "task": {*model.tasks}}

    def _in_order(self, kind: str) -> list[int]:
        """Return existing ids, the four users first, in the same order in every example."""
        cast = {1: 0} | {user_id: n for n, user_id in enumerate(self.cast.values(), start=1)}
        places = cast if kind == "user" else {}
        return sorted(self._alive()[kind], key=lambda i: (places.get(i, len(cast)), i))

    def _remember(self, before: dict[str, set[int]], answer: Answer, args: list[Any]) -> None:
        for kind, ids in self._alive().items():
            self.gone[kind] += sorted(before[kind] - ids)
        if answer.status in (200, 201) and args and isinstance(args[-1], dict):
            user = answer.data.get("user")
            if user and "password" in args[-1]:
                self.passwords[user["id"]] = args[-1]["password"]

    # an answer

    def _bare(self, answer: Answer) -> Any:
        """Check message, timestamps and versions; return the answer's data without them."""
        if answer.status not in (200, 201):
            assert answer.json["success"] is False
            assert answer.json["error"]
            assert answer.json["code"]
            assert answer.json["request_id"] == answer.headers["X-Request-ID"]
            return None
        assert answer.json["success"] is True
        assert ("Location" in answer.headers) == (answer.status == 201)
        assert answer.data.get("message", "done")
        return self._without_stamps({k: v for k, v in answer.data.items() if k != "message"})

    def _without_stamps(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._without_stamps(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "version" in value:
            self._check_stamps(value)
        return {k: self._without_stamps(v) for k, v in value.items() if k not in STAMPS}

    def _check_stamps(self, entity: dict[str, Any]) -> None:
        """Check that a change increases the version, and that nothing else changes it.

        A user's or group's version may also change with any change of the other users and groups.
        """
        kind = "task" if "title" in entity else "group" if "admin_id" in entity else "user"
        key = (kind, entity["id"])
        changes = self.model.revisions[key]
        world = changes if kind == "task" else self.model.structure
        created, updated = (datetime.fromisoformat(entity[name]) for name in STAMPS[:2])
        assert created <= updated
        if key in self.seen:
            old_changes, old_world, old = self.seen[key]
            assert entity["created_at"] == old["created_at"]
            assert updated >= datetime.fromisoformat(old["updated_at"])
            assert entity["version"] > old["version"] or changes == old_changes, "kept its version"
            if world == old_world:
                assert {k: entity[k] for k in STAMPS} == {k: old[k] for k in STAMPS}
        self.seen[key] = (changes, world, entity)


def _born(answer: Answer) -> int | None:
    """Return the id of the created entity."""
    if answer.status != 201:
        return None
    (entity,) = (value for value in answer.data.values() if isinstance(value, dict))
    return int(entity["id"])


def _credentials(name: str) -> tuple[str, str]:
    return f"{name}@example.com", f"{name}'s password"
