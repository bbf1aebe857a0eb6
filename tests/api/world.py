"""The state of the model: users, groups and tasks, who may see what, and effects of changes."""

from collections import Counter
from typing import Any

from tests.api.forms import folded, require

Entity = dict[str, Any]


class World:
    """Users (`group_ids` alone defines membership), groups and tasks by id.

    `revisions` counts effective changes of each entity, `structure` those of users and groups.
    """

    def __init__(self, owner_email: str) -> None:
        self.users: dict[int, Entity] = {}
        self.groups: dict[int, Entity] = {}
        self.tasks: dict[int, Entity] = {}
        self.newest = {"user": 0, "group": 0, "task": 0}
        self.revisions: Counter[tuple[str, int]] = Counter()
        self.structure = 0
        self.born, self.is_stale = 1, False
        self._add_user({"full_name": "System Owner", "email": owner_email, "role": "owner"})

    # who may see which entities

    def administered(self, me: Entity) -> set[int]:
        return {g["id"] for g in self.groups.values() if g["admin_id"] == me["id"]}

    def members(self, group_id: int) -> list[Entity]:
        return [user for user in self.users.values() if group_id in user["group_ids"]]

    def group_tasks(self, group_id: int) -> list[Entity]:
        return [task for task in self.tasks.values() if task["group_id"] == group_id]

    def reachable_users(self, me: Entity) -> list[Entity]:
        mine = self.administered(me)
        return [
            user
            for user in self.users.values()
            if is_owner(me) or user is me or mine & set(user["group_ids"])
        ]

    def visible_tasks(self, me: Entity, **having: int) -> list[Entity]:
        mine = self.administered(me)
        return [
            task
            for task in self.tasks.values()
            if (is_owner(me) or task["user_id"] == me["id"] or task["group_id"] in mine)
            and having.items() <= task.items()
        ]

    def user_in_reach(self, me: Entity, user_id: int) -> Entity:
        user = self.users.get(user_id)
        require(user or not is_owner(me), 404)
        require(any(user is other for other in self.reachable_users(me)), 403)
        return self.users[user_id]

    def user_to_write(self, me: Entity, user_id: int) -> Entity:
        user = self.user_in_reach(me, user_id)
        require(is_owner(me) or user is me or user["role"] == "user", 403)
        return user

    def group_in_reach(self, me: Entity, group_id: int) -> Entity:
        require(group_id in self.groups or not is_owner(me), 404)
        require(is_owner(me) or group_id in me["group_ids"], 403)
        return self.groups[group_id]

    def group_to_manage(self, me: Entity, group_id: int) -> Entity:
        require(is_owner(me) or group_id in self.administered(me), 403)
        return self.group_in_reach(me, group_id)

    def task_in_reach(self, me: Entity, user_id: int, task_id: int) -> Entity:
        is_visible = any(t["id"] == task_id for t in self.visible_tasks(me, user_id=user_id))
        require(is_visible, 404 if is_owner(me) or user_id == me["id"] else 403)
        return self.tasks[task_id]

    def may_assign_to_group(self, me: Entity, user: Entity, group_id: int) -> bool:
        """Return whether `me` may put a task of `user` into this group."""
        mine = me["group_ids"] if user is me else self.administered(me)
        return is_owner(me) or (group_id in mine and group_id in user["group_ids"])

    def check_place(self, me: Entity, user: Entity, group_id: int) -> None:
        require(self.may_assign_to_group(me, user, group_id), 403)
        require(group_id in self.groups, 400)

    # checks

    def check_move(self, me: Entity, task: Entity, new: Entity) -> None:
        after = task | new
        user = self.users.get(after["user_id"])
        if user is not self.users[task["user_id"]]:
            is_admin = task["group_id"] in self.administered(me)
            suits = user and is_admin and self.may_assign_to_group(me, user, after["group_id"])
            require(is_owner(me) or suits, 403)
            require(user, 400)
        if user and after["group_id"] != task["group_id"]:
            self.check_place(me, user, after["group_id"])

    def check_email_is_free(self, email: str, owner: Entity | None) -> None:
        taken = {u["email"].lower() for u in self.users.values() if u is not owner}
        require(email.lower() not in taken, 409)

    def check_group(self, new: Entity, group: Entity | None) -> None:
        if "admin_id" in new and new["admin_id"] != (group or {}).get("admin_id"):
            admin = self.users.get(new["admin_id"])
            require(admin and admin["role"] != "user", 400)
        taken = {folded(g["name"]) for g in self.groups.values() if g is not group}
        require("name" not in new or folded(new["name"]) not in taken, 409)

    # changes

    def _adopt(self, kind: str) -> int:
        assert self.born > self.newest[kind], f"{kind} {self.born} is not above every id before it"
        self.newest[kind] = self.born
        self.structure += kind != "task"
        return self.born

    def _add_user(self, new: Entity) -> Entity:
        defaults = {"role": "user", "group_ids": [], "number": "", "work_times": {}}
        user = {"id": self._adopt("user")} | defaults | new
        user.pop("password", None)
        self.users[user["id"]] = user
        return shown(user)

    def _add_group(self, new: Entity) -> Entity:
        group = {"id": self._adopt("group")} | new
        self.groups[group["id"]] = group
        self._join_admin(group)
        return shown(group)

    def _add_task(self, user_id: int, new: Entity) -> Entity:
        defaults = {"status": False, "priority": 2, "deadline": None, "information": ""}
        task = {"id": self._adopt("task"), "user_id": user_id} | defaults | new
        self.tasks[task["id"]] = task
        return shown(task)

    def _change(self, kind: str, entity: Entity, changes: Entity) -> None:
        effective = {name: value for name, value in changes.items() if entity.get(name) != value}
        if effective:
            entity.update(effective)
            self.revisions[kind, entity["id"]] += 1
            self.structure += kind != "task"
        entity.pop("password", None)

    def _set_groups(self, user: Entity, groups: set[int]) -> None:
        left = set(user["group_ids"]) - groups
        for task in [t for t in self.tasks.values() if t["user_id"] == user["id"]]:
            if task["group_id"] in left and groups:
                self._change("task", task, {"group_id": min(groups)})
            elif task["group_id"] in left:
                del self.tasks[task["id"]]
        self._change("user", user, {"group_ids": sorted(groups)})

    def _join_admin(self, group: Entity) -> None:
        admin = self.users[group["admin_id"]]
        self._set_groups(admin, {*admin["group_ids"], group["id"]})

    def _delete_tasks(self, **having: int) -> int:
        doomed = [i for i, task in self.tasks.items() if having.items() <= task.items()]
        for task_id in doomed:
            del self.tasks[task_id]
        return len(doomed)


def is_owner(user: Entity) -> bool:
    return bool(user["role"] == "owner")


def shown(entity: Entity) -> Entity:
    """Return a copy that later changes do not affect."""
    return dict(entity)
