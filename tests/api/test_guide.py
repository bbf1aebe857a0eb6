"""Run every curl command of the guide, unchanged and in its order.

`guide_curls.sh` holds the commands as the guide prints them; only `localhost:7890` is replaced
by the address of the test's server.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.api import codes
from tests.api.factories import new_group, new_task, new_user, ok
from tests.client import Api
from tests.conftest import Install
from tests.support import ROOT, eventually

COMMANDS = (ROOT / "tests/api/guide_curls.sh").read_text().strip().split("\n\n")
PLACEHOLDERS = ("USER_ID", "{id}")  # no ids: unknown routes
CREATES = ("-X POST", "/users", "/groups", "/tasks")
ADMINISTRATION = {"action", "message", "duration_seconds"}
KEYS = {
    "/health": {"status", "timestamp"},
    "/users/search": {"query", "results", "count"},
    "/users/3/worktimes": {"user_id", "work_times"},
    "/groups/1/users": {"group_id"},
    "/groups/1/tasks": {"group_id", "tasks", "count"},
    "/groups/1/stats": {
        *("group", "users_count", "total_tasks", "completed_tasks", "pending_tasks"),
        *("completion_rate", "user_task_counts"),
    },
    "/tasks/search": {"query", "results", "count"},
    "/tasks/stats": {
        *("total_tasks", "completed_tasks", "pending_tasks", "completion_rate"),
        *("user_task_counts", "group_task_counts", "total_users"),
    },
    "/tasks/batch": {"action", "total_requested", "updated_count", "updated_tasks"},
    "/tasks/filter": {"tasks", "count", "filters"},
    "/admin/sync": ADMINISTRATION,
    "/admin/status": {
        *("running", "interval", "last_sync", "time_since_last_sync", "healthy", "dirty_types"),
        *("pending_changes", "redis_status", "postgres_status"),
    },
    "/admin/stats": {"postgresql", "redis", "sync"},
}


class Curl:
    """Runs commands in bash; .curlrc makes curl print the headers, and the status at the end.

    `passwords` maps the guide's passwords to others; `printed` is all output of curl.
    """

    def __init__(self, api: Api, home: Path, passwords: Mapping[str, str] | None = None) -> None:
        self.address = api.url.removeprefix("http://")
        self.home = home
        self.passwords = passwords or {}
        self.printed: list[str] = []
        options = 'silent\nshow-error\ninclude\nwrite-out = "\\n%{http_code}"\n'
        (home / ".curlrc").write_text(options)

    def __call__(self, command: str) -> tuple[int, Any]:
        """Return the status and the JSON of the answer to the command."""
        line = self.put_in(command.replace("localhost:7890", self.address))
        env = {"CURL_HOME": str(self.home), "PATH": "/usr/bin:/bin:/usr/local/bin"}
        done = subprocess.run(["bash", "-c", line], env=env, capture_output=True, check=True)
        self.printed.append(done.stdout.decode())
        body, status = self.printed[-1].rpartition("\r\n\r\n")[2].rsplit("\n", 1)
        codes.note(int(status), body.encode())
        return int(status), json.loads(body)

    def put_in(self, text: str) -> str:
        """Return the text with the guide's passwords replaced."""
        for guides, other in self.passwords.items():
            text = text.replace(guides, other)
        return text


@contextmanager
def running(install: Install, home: Path, **env: str) -> Iterator[tuple[Api, Curl]]:
    """Run both processes of the service, as the guide does, on an empty installation."""
    installation = install(OWNER_PASSWORD="admin1234", OWNER_EMAIL="admin@gmail.com", **env)
    with installation.serve(workers=1) as api, installation.worker():
        eventually(lambda: ok(api("GET", "/admin/status", by="owner"))["last_sync"])
        yield api, Curl(api, home)


def test_the_file_has_all_commands_of_the_guide() -> None:
    assert len(COMMANDS) == 54
    assert all(command.startswith("curl ") for command in COMMANDS)


def test_every_command_works_where_what_it_names_exists(install: Install, tmp_path: Path) -> None:
    with running(install, tmp_path) as (api, curl):
        follow(api, curl)


def follow(api: Api, curl: Curl) -> None:
    """Create the entities that the commands name, then run all commands; deletes come last."""
    prepare(api, curl)
    deletes = [command for command in COMMANDS if "DELETE" in command]
    for command in [*(c for c in COMMANDS if c not in deletes), *reversed(deletes)]:
        if '"email": "alice@company.com"' in command:
            retire_alice(api)
        status, answer = curl(command)
        assert status == expected(command), (command, answer)
        if status < 400:
            check_shape(command, answer)


def prepare(api: Api, curl: Curl) -> None:
    """Create users 1 to 5, Alice's groups 1 and 2, and tasks 1 to 3."""
    alice, others = curl.put_in("alice123"), curl.put_in("mypassword")
    new_user(api, email="alice@company.com", password=alice, role="group_admin")
    for name in ("Platform", "Backend"):
        new_group(api, admin_id=2, name=name)
    for _ in range(3):
        new_user(api, 2, password=others)
    for _ in range(3):
        new_task(api, 3, 2)
    email, _, password = curl.put_in("user@email.com:password").partition(":")
    owner = {"email": email, "password": password}
    ok(api("PUT", "/users/1", by="owner", json=owner))


def retire_alice(api: Api) -> None:
    """Change Alice's e-mail address, because the guide creates another Alice with this address."""
    ok(api("PUT", "/users/2", by="owner", json={"email": "alice.first@company.com"}))


def expected(command: str) -> int:
    if any(word in command for word in PLACEHOLDERS):
        return 404
    creates = "-X POST" in command and path_of(command) in ("/users", "/groups", "/users/3/tasks")
    return 201 if creates else 200


def path_of(command: str) -> str:
    return command.split("localhost:7890")[1].split("?")[0].strip('"')


def check_shape(command: str, answer: Any) -> None:
    """Check that the answer has the guide's envelope and keys."""
    path = path_of(command)
    data = answer if path == "/health" else answer["data"]
    assert path == "/health" or answer == {"success": True, "data": data}
    assert KEYS.get(path, set()) <= set(data), command
    if path.startswith("/admin") and "action=" not in command:
        assert data.get("postgres_status", "connected") == "connected"


EMPTY = [200, 200, 404, 401, 401, 401]  # Quick Start, Authentication
EMPTY += [
    200,
    400,
    401,
    401,
    404,
    200,
    401,
    401,
]  # users: no group 1, user 3 or user 5
EMPTY += [200, 400, *[404] * 8]  # groups: no user 2 to administer one
EMPTY += [*[401] * 5, 429, 200, 200, 200, 200]  # tasks: user 3's eleventh failed log-in is held up
EMPTY += [*[200] * 15, 404, 404, 200, 200, 200]  # administration


def test_on_an_empty_installation_each_command_names_what_is_missing(
    install: Install, tmp_path: Path
) -> None:
    with running(install, tmp_path) as (_, curl):
        answers = [curl(command) for command in COMMANDS]
    assert [status for status, _ in answers] == EMPTY
    for status, answer in answers:
        assert status == 200 or (answer["success"] is False and " " in answer["error"])


@pytest.mark.parametrize("path", ["/users", "/groups"])
def test_the_order_for_an_empty_installation_works(install: Install, path: str) -> None:
    """A group with admin_id 1, its admin, PUT of the group, then users and tasks."""
    api = install().client()
    group = new_group(api, admin_id=1, name="Engineering")
    alice = new_user(api, group["id"], role="group_admin")
    ok(api("PUT", f"/groups/{group['id']}", by="owner", json={"admin_id": alice["id"]}))
    user = new_user(api, group["id"])
    new_task(api, user["id"], group["id"])
    assert ok(api("GET", path, by="owner"))["count"] == {"/users": 3, "/groups": 1}[path]
