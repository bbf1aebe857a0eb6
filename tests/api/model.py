"""A plain-Python model of the whole service, written from the contract alone: the oracle.

`Model.answer` predicts the status and the data of each request - timestamps, versions and messages
aside - and changes its own users, groups and tasks accordingly. One method per endpoint: it checks
in the contract's order, raises `Refused`, and changes nothing before all checks are done.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any
from unittest.mock import ANY

from tests.api.forms import STATUSES, Refused, folded, read_body, read_query, require
from tests.api.world import Entity, World, is_owner, shown

Data = dict[str, Any]
Query = Mapping[str, str]

SELF_WRITES = {"full_name", "number", "work_times", "email", "password"}
ADMIN_WRITES = {"full_name", "number", "work_times"}
SHOWN_TO_A_FELLOW_MEMBER = ("id", "full_name", "role", "email")


class Model(World):
    """The service, as its contract describes it."""

    def answer(
        self,
        endpoint: str,
        caller: int | None,
        *args: Any,
        born: int | None = None,
        stale: bool = False,
    ) -> tuple[int, Data | None]:
        """Return status and data.

        `born` is the id of the entity that the service created. With `stale`, the request has an
        `If-Match` with another version than the current one.
        """
        self.born, self.is_stale = born or 0, stale
        if caller not in self.users:
            return 401, None
        try:
            data = getattr(self, endpoint)(self.users[caller], *args)
        except Refused as refused:
            return refused.status, None
        return (201 if endpoint.startswith("create_") else 200), data

    # users

    def list_users(self, me: Entity, query: Query) -> Data:
        require(me["role"] != "user", 403)
        return page("users", self.reachable_users(me), read_query(query))

    def search_users(self, me: Entity, query: Query) -> Data:
        require(me["role"] != "user", 403)
        given = read_query(query, "q")
        results = [
            user
            for user in self.reachable_users(me)
            if matches(given["q"], user["full_name"], user["email"], user["number"])
        ]
        return page("results", results, given, query=given["q"])

    def create_user(self, me: Entity, body: Any) -> Data:
        require(me["role"] != "user", 403)
        new = read_body("user", body, "full_name", "email", "password")
        groups = set(new.get("group_ids", []))
        if not is_owner(me):
            require(new.get("role", "user") == "user", 403)
            require(groups and groups <= self.administered(me), 403)
        require(groups <= self.groups.keys(), 400)
        self.check_email_is_free(new["email"], None)
        return {"user": self._add_user(new)}

    def read_user(self, me: Entity, user_id: int) -> Data:
        return shown(self.user_in_reach(me, user_id))

    def update_user(self, me: Entity, user_id: int, body: Any) -> Data:
        user = self.user_to_write(me, user_id)
        new = read_body("user", body)
        writable = SELF_WRITES if user is me else ADMIN_WRITES
        changed = {name: value for name, value in new.items() if user.get(name) != value}
        require(is_owner(me) or changed.keys() <= writable, 403)
        groups = set(new.get("group_ids", user["group_ids"]))
        require(groups <= self.groups.keys(), 400)
        role = new.get("role", user["role"])
        require(user_id != 1 or role == "owner", 409)
        require(role != "user" or not self.administered(user), 409)
        require(self.administered(user) <= groups, 409)
        self.check_email_is_free(new.get("email", ""), user)
        require(not self.is_stale, 412)
        self._set_groups(user, groups)
        self._change("user", user, {k: v for k, v in new.items() if k != "group_ids"})
        return {"user": shown(user)}

    def delete_user(self, me: Entity, user_id: int) -> Data:
        require(is_owner(me), 403)
        user = self.user_in_reach(me, user_id)
        require(user_id != 1, 409)
        require(not self.is_stale, 412)
        orphans = sorted(self.administered(user))
        for group_id in orphans:
            self._change("group", self.groups[group_id], {"admin_id": 1})
            self._set_groups(self.users[1], {*self.users[1]["group_ids"], group_id})
        deleted = self._delete_tasks(user_id=user_id)
        del self.users[user_id]
        return {
            "user": shown(user),
            "deleted_tasks": deleted,
            "reassigned_groups": orphans,
        }

    def read_week(self, me: Entity, user_id: int) -> Data:
        user = self.user_in_reach(me, user_id)
        return {"user_id": user_id, "work_times": user["work_times"]}

    def update_week(self, me: Entity, user_id: int, body: Any) -> Data:
        user = self.user_to_write(me, user_id)
        self._change("user", user, read_body("week", body, "work_times"))
        return {"user_id": user_id, "work_times": user["work_times"]}

    # groups

    def list_groups(self, me: Entity, query: Query) -> Data:
        groups = self.groups.values()
        mine = [g for g in groups if is_owner(me) or g["id"] in me["group_ids"]]
        return page("groups", mine, read_query(query))

    def create_group(self, me: Entity, body: Any) -> Data:
        require(is_owner(me), 403)
        new = read_body("group", body, "name", "admin_id")
        self.check_group(new, None)
        return {"group": self._add_group(new)}

    def read_group(self, me: Entity, group_id: int) -> Data:
        group = self.group_in_reach(me, group_id)
        admin = self.users[group["admin_id"]]
        return shown(group) | {
            "admin": {name: admin[name] for name in ("id", "full_name", "email")},
            "users_count": len(self.members(group_id)),
            "tasks_count": len(self.group_tasks(group_id)),
        }

    def update_group(self, me: Entity, group_id: int, body: Any) -> Data:
        require(is_owner(me), 403)
        group = self.group_in_reach(me, group_id)
        new = read_body("group", body)
        self.check_group(new, group)
        require(not self.is_stale, 412)
        self._change("group", group, new)
        self._join_admin(group)
        return {"group": shown(group)}

    def delete_group(self, me: Entity, group_id: int) -> Data:
        require(is_owner(me), 403)
        group = self.group_in_reach(me, group_id)
        require(not self.is_stale, 412)
        members = self.members(group_id)
        deleted = self._delete_tasks(group_id=group_id)
        for user in members:
            self._set_groups(user, set(user["group_ids"]) - {group_id})
        del self.groups[group_id]
        return {
            "group": shown(group),
            "affected_users": len(members),
            "deleted_tasks": deleted,
        }

    def list_members(self, me: Entity, group_id: int, query: Query) -> Data:
        self.group_in_reach(me, group_id)
        members = self.members(group_id)
        if not is_owner(me) and group_id not in self.administered(me):
            members = [{k: user[k] for k in SHOWN_TO_A_FELLOW_MEMBER} for user in members]
        return page("users", members, read_query(query), group_id=group_id)

    def add_member(self, me: Entity, group_id: int, body: Any) -> Data:
        self.group_to_manage(me, group_id)
        user_id = read_body("member", body, "user_id")["user_id"]
        user = self.users.get(user_id)
        require(is_owner(me) or (user and user["role"] == "user"), 403)
        require(user, 400)
        groups = set(self.users[user_id]["group_ids"])
        require(group_id not in groups, 409)
        self._set_groups(self.users[user_id], groups | {group_id})
        return {"group_id": group_id, "user_id": user_id}

    def remove_member(self, me: Entity, group_id: int, user_id: int) -> Data:
        group = self.group_to_manage(me, group_id)
        user = self.users.get(user_id)
        require(is_owner(me) or (user and user["role"] == "user"), 403)
        require(user and group_id in user["group_ids"], 404)
        require(group["admin_id"] != user_id, 409)
        rest = set(self.users[user_id]["group_ids"]) - {group_id}
        affected = sum(t["user_id"] == user_id for t in self.group_tasks(group_id))
        self._set_groups(self.users[user_id], rest)
        return {
            "group_id": group_id,
            "user_id": user_id,
            "affected_tasks": affected,
            "moved_to": min(rest, default=None) if affected else ANY,
        }

    def list_group_tasks(self, me: Entity, group_id: int, query: Query) -> Data:
        self.group_in_reach(me, group_id)
        tasks = self.visible_tasks(me, group_id=group_id)
        return page("tasks", tasks, read_query(query), group_id=group_id)

    def read_group_stats(self, me: Entity, group_id: int) -> Data:
        group = self.group_in_reach(me, group_id)
        tasks = self.group_tasks(group_id)
        return completion(tasks) | {
            "group": {"id": group_id, "name": group["name"]},
            "users_count": len(self.members(group_id)),
            "user_task_counts": self.named_counts(tasks),
        }

    # tasks

    def list_user_tasks(self, me: Entity, user_id: int, query: Query) -> Data:
        self.user_in_reach(me, user_id)
        given = read_query(query, "status", "priority")
        tasks = selected(self.visible_tasks(me, user_id=user_id), given)
        return page("tasks", tasks, given, user_id=user_id)

    def create_task(self, me: Entity, user_id: int, body: Any) -> Data:
        user = self.user_in_reach(me, user_id)
        new = read_body("task", body, "title", "group_id")
        require(new.pop("user_id", user_id) == user_id, 400)
        self.check_place(me, user, new["group_id"])
        return {"task": self._add_task(user_id, new)}

    def read_task(self, me: Entity, user_id: int, task_id: int) -> Data:
        return shown(self.task_in_reach(me, user_id, task_id))

    def update_task(self, me: Entity, user_id: int, task_id: int, body: Any) -> Data:
        task = self.task_in_reach(me, user_id, task_id)
        new = read_body("task", body)
        self.check_move(me, task, new)
        require(not self.is_stale, 412)
        self._change("task", task, new)
        return {"task": shown(task)}

    def finish_task(self, me: Entity, user_id: int, task_id: int) -> Data:
        return self.update_task(me, user_id, task_id, {"status": True})

    def delete_task(self, me: Entity, user_id: int, task_id: int) -> Data:
        self.task_in_reach(me, user_id, task_id)
        return {"task": shown(self.tasks.pop(task_id))}

    def search_tasks(self, me: Entity, query: Query) -> Data:
        require(me["role"] != "user", 403)
        given = read_query(query, "q")
        results = [
            {"user_id": task["user_id"], "task": task}
            for task in self.visible_tasks(me)
            if matches(given["q"], task["title"], task["information"])
        ]
        return page("results", results, given, query=given["q"])

    def filter_tasks(self, me: Entity, query: Query) -> Data:
        names = ("status", "priority", "group_id", "user_id")
        given = read_query(query, *names)
        ids = {name: int(given[name]) for name in ("group_id", "user_id") if name in given}
        if not is_owner(me):
            reachable = {user["id"] for user in self.reachable_users(me)}
            require(ids.get("user_id", me["id"]) in reachable, 403)
            require("group_id" not in ids or ids["group_id"] in me["group_ids"], 403)
        tasks = selected(self.visible_tasks(me, **ids), given)
        return page("tasks", tasks, given, filters={name: given.get(name, "") for name in names})

    def read_stats(self, me: Entity) -> Data:
        if me["role"] == "user":
            mine = self.visible_tasks(me)
            priorities = Counter(str(task["priority"]) for task in mine)
            by_priority = {priority: priorities[priority] for priority in "123"}
            return completion(mine) | {"user_id": me["id"], "priority_counts": by_priority}
        if is_owner(me):
            tasks = list(self.tasks.values())
            more: Data = {"total_users": len(self.users)}
        else:
            groups = self.administered(me)
            tasks = [task for task in self.tasks.values() if task["group_id"] in groups]
            more = {"administered_groups": sorted(groups)}
        by_group = Counter(str(task["group_id"]) for task in tasks)
        counts = {"user_task_counts": self.named_counts(tasks), "group_task_counts": dict(by_group)}
        return completion(tasks) | counts | more

    def change_tasks(self, me: Entity, body: Any) -> Data:
        given = read_body("batch", body, "task_ids")
        action = given.get("action", "update")
        require(action != "update" or "updates" in given, 400)
        updates = read_body("task", given.get("updates", {}))
        new = updates if action == "update" else {"status": True}
        require(not is_owner(me) or new.get("group_id", 1) in {1, *self.groups}, 400)
        require(not is_owner(me) or new.get("user_id", 1) in self.users, 400)
        ids = sorted(set(given["task_ids"]))
        done = [task_id for task_id in ids if self.permits(me, task_id, new)]
        failed = [i for i in ids if i not in done]
        for task_id in done:
            self._change("task", self.tasks[task_id], {} if action == "delete" else new)
        changed = [shown(self.tasks[i]) for i in done if action != "delete"]
        deleted = done if action == "delete" else []
        for task_id in deleted:
            del self.tasks[task_id]
        return {
            "action": action,
            "total_requested": len(ids),
            "updated_count": len(changed),
            "updated_tasks": changed,
            "deleted_count": len(deleted),
            "deleted_ids": deleted,
        } | (
            {"errors": [Sentence(i) for i in failed], "error_count": len(failed)} if failed else {}
        )

    def permits(self, me: Entity, task_id: int, new: Entity) -> bool:
        task = self.tasks.get(task_id)
        try:
            require(task in self.visible_tasks(me), 403)
            self.check_move(me, self.tasks[task_id], new)
        except Refused:
            return False
        return True

    def named_counts(self, tasks: Iterable[Entity]) -> dict[str, int]:
        counts = Counter(task["user_id"] for task in tasks)
        names = {user_id: self.users[user_id]["full_name"] for user_id in counts}
        bearers = Counter(names.values())
        return {
            name if bearers[name] == 1 else f"{name} (#{user_id})": counts[user_id]
            for user_id, name in names.items()
        }


class Sentence:
    """Equal to every sentence that names this id."""

    def __init__(self, named_id: int) -> None:
        self.named_id = named_id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and str(self.named_id) in other

    def __repr__(self) -> str:
        return f"<a sentence about {self.named_id}>"


def matches(query: str, *texts: str) -> bool:
    return any(folded(query) in folded(text) for text in texts)


def selected(tasks: Iterable[Entity], given: Query) -> list[Entity]:
    """Return the tasks with the status and priority of the query."""
    status, priority = STATUSES[given.get("status", "")], given.get("priority")
    return [
        task
        for task in tasks
        if task["status"] in status and priority in (None, str(task["priority"]))
    ]


def completion(tasks: list[Entity]) -> Data:
    done = sum(task["status"] for task in tasks)
    return {
        "total_tasks": len(tasks),
        "completed_tasks": done,
        "pending_tasks": len(tasks) - done,
        "completion_rate": round(100 * done / len(tasks), 2) if tasks else 0.0,
    }


def page(name: str, items: Iterable[Entity], given: Query, **more: Any) -> Data:
    """Return the requested page of a list, in order of id."""
    limit, after = int(given.get("limit", 10**9)), int(given.get("after", 0))
    rest = sorted((item for item in items if item_id(item) > after), key=item_id)
    part = [shown(item) for item in rest[:limit]]
    data = {name: part, "count": len(part)} | more
    if {"limit", "after"} & given.keys():
        data["next_after"] = item_id(part[-1]) if len(rest) > limit else None
    return data


def item_id(item: Entity) -> int:
    """Return the id of an item; the id of a search result is that of its task."""
    return int(item["task"]["id"] if "task" in item else item["id"])
