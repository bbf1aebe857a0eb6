"""Clients that write, read their writes, and record every acknowledgement."""

from __future__ import annotations

import random
import threading
import time
from http.client import HTTPException
from itertools import count
from typing import Any

from tests.client import Answer, Api
from tests.faults.ledger import MARK, Entity, Key, Ledger

PASSWORD = "client-canary-5530"
MOST_TASKS = 40
HUNG_SECONDS = 4.0
"""Twice the time within which a request is answered or refused: the machine is shared."""


class Client:
    """A client with its own user and group; no other client writes to the entities it creates."""

    def __init__(self, api: Api, number: int, choices: random.Random) -> None:
        self.ledger = Ledger()
        self.wrong: list[str] = []
        self.longest_seconds = 0.0
        self.turn = threading.Lock()
        """Held during an operation."""
        self.requests = 0
        self._api, self._number, self._random = api, number, choices
        self._serial = count()
        self._tasks: dict[int, Entity] = {}
        self._by: Any = "owner"
        self._stop = threading.Event()
        home = self._create("group", "/groups", self._group())
        me = self._create("user", "/users", self._user())
        assert home
        assert me
        self._home, self._me = home["id"], me["id"]
        self._by = (self._me, PASSWORD)
        self._is_me_open = False

    def run(self, stop: threading.Event) -> None:
        """Send requests until `stop` is set."""
        self._stop = stop
        acts = [self._add, self._change, self._read, self._delete, self._change_many]
        acts += [self._change_me, self._come_and_go_group, self._come_and_go_user]
        while not stop.is_set():
            (act,) = self._random.choices(acts, [40, 20, 15, 10, 5, 5, 4, 1])
            with self.turn:
                act()

    # operations

    def _add(self) -> None:
        if task := self._create("task", f"/users/{self._me}/tasks", self._task(self._home)):
            self._tasks[task["id"]] = task
        if len(self._tasks) > MOST_TASKS:
            self._delete()

    def _change(self) -> None:
        if self._tasks:
            task = self._any_task()
            fields = {"title": self._mark(), "priority": self._random.randint(1, 3)}
            if answer := self._send("PUT", _path(task), fields):
                self._keep([answer.data["task"]])
            else:
                self._open([task["id"]], fields)

    def _change_many(self) -> None:
        chosen = self._random.sample(sorted(self._tasks), min(5, len(self._tasks)))
        fields = {"title": self._mark(), "deadline": "2030-01-01"}
        if not chosen:
            return
        if answer := self._send("POST", "/tasks/batch", {"task_ids": chosen, "updates": fields}):
            self._keep(answer.data["updated_tasks"])
        else:
            self._open(chosen, fields)

    def _read(self) -> None:
        """Check that an acknowledged task is there, during any fault."""
        if self._tasks:
            task = self._any_task()
            answer = self._send("GET", _path(task))
            if answer and answer.data != task:
                self.wrong.append(f"read {answer.data}, not {task}")

    def _delete(self) -> None:
        if self._tasks:
            _, task = self._tasks.popitem()
            self._remove(_path(task), [("task", task["id"])])

    def _change_me(self) -> None:
        if not self._is_me_open:
            fields = {"email": self._mail()}
            if answer := self._send("PUT", f"/users/{self._me}", fields):
                self.ledger.updated("user", [answer.data["user"]])
            else:
                self.ledger.open_change([("user", self._me)], fields)
                self._is_me_open = True

    def _come_and_go_group(self) -> None:
        if group := self._create("group", "/groups", self._group()):
            self._fill_and_delete("group", group["id"], self._me, group["id"])

    def _come_and_go_user(self) -> None:
        if user := self._create("user", "/users", self._user()):
            self._fill_and_delete("user", user["id"], user["id"], self._home)

    def _fill_and_delete(self, kind: str, owner_id: int, user_id: int, group_id: int) -> None:
        """Delete a user or a group together with its tasks."""
        keys = [(kind, owner_id)]
        for _ in range(self._random.randint(0, 4)):
            if task := self._create("task", f"/users/{user_id}/tasks", self._task(group_id)):
                keys.append(("task", task["id"]))
        self._remove(f"/{kind}s/{owner_id}", keys)

    # requests

    def _create(self, kind: str, path: str, body: Entity) -> Entity | None:
        """Create an entity; send every other request again, with the same Idempotency-Key."""
        key, times = self._random.choice([("", 1), (body[MARK[kind]], 3)])
        for _ in range(times):
            if answer := self._send("POST", path, body, key):
                made: Entity = answer.data[kind]
                self.ledger.created(kind, made)
                return made
        self.ledger.open_create(kind, body[MARK[kind]])
        return None

    def _remove(self, path: str, keys: list[Key]) -> None:
        if self._send("DELETE", path):
            self.ledger.deleted(keys)
        else:
            self.ledger.open_change(keys, None)

    def _keep(self, tasks: list[Entity]) -> None:
        self._tasks |= {task["id"]: task for task in tasks}
        self.ledger.updated("task", tasks)

    def _open(self, task_ids: list[int], fields: Entity) -> None:
        for task_id in task_ids:
            del self._tasks[task_id]
        self.ledger.open_change([("task", task_id) for task_id in task_ids], fields)

    def _send(
        self, method: str, path: str, body: Entity | None = None, key: str = ""
    ) -> Answer | None:
        """Return the answer, or None if the outcome is unknown."""
        self.requests += 1
        began = time.monotonic()
        more: dict[str, Any] = {} if body is None else {"json": body}
        more |= {"headers": {"Idempotency-Key": key}} if key else {}
        try:
            answer = self._api(method, path, by=self._by, **more)
        except (OSError, HTTPException):
            answer = None
        self._note(time.monotonic() - began, f"{method} {path}")
        if answer and answer.status < 300:
            return answer
        if answer and not _is_for_later(answer):
            self.wrong.append(f"{method} {path} {body} -> {answer.status} {answer.body!r}")
        self._stop.wait(self._random.uniform(0.01, 0.1))  # as a polite client does
        return None

    def _note(self, seconds: float, request: str) -> None:
        self.longest_seconds = max(self.longest_seconds, seconds)
        if seconds > HUNG_SECONDS:
            self.wrong.append(f"{request} took {seconds:.1f} s")

    # values

    def _mark(self) -> str:
        return f"{self._number}-{next(self._serial)}"

    def _mail(self) -> str:
        return f"client{self._mark()}@example.com"

    def _any_task(self) -> Entity:
        return self._random.choice([*self._tasks.values()])

    def _task(self, group_id: int) -> Entity:
        return {"title": "new", "group_id": group_id, "information": self._mark()}

    def _group(self) -> Entity:
        return {"name": self._mark(), "admin_id": 1}

    def _user(self) -> Entity:
        return {
            "full_name": "A client",
            "role": "owner",
            "email": self._mail(),
            "number": self._mark(),
            "password": PASSWORD,
        }


def _is_for_later(answer: Answer) -> bool:
    is_running = answer.status == 409 and answer.error == "in_progress"
    return is_running or answer.status == 503


def _path(task: Entity) -> str:
    return f"/users/{task['user_id']}/tasks/{task['id']}"
