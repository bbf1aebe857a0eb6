"""The log: one line for each event, which no client can forge, with every change and refusal."""

from __future__ import annotations

import io
import json
import sys
from typing import Any

import orjson
import pytest

from taskapi import logs
from taskapi.api.audit import IDS_MOST
from taskapi.api.contract import CONTRACTS, public
from tests.api.factories import PASSWORD, login, new_admin, new_group, new_task, new_user, ok
from tests.client import Answer, Api
from tests.conftest import Install
from tests.support import Installation

COMMON = {"time", "level", "event", "method", "path", "status", "duration_ms", "request_id"}
NASTY = [chr(code) for code in (*range(32), *range(0x7F, 0xA0), 0x2028, 0x2029, 0xD800, 0xDFFF)]


class LoggedClient:
    """A client that also returns the fields of its log lines, without those that all lines have."""

    def __init__(self, api: Api, capsys: pytest.CaptureFixture[str]) -> None:
        self.api, self._capsys = api, capsys
        self._lines: list[dict[str, Any]] = []
        capsys.readouterr()

    def extra_fields(self, answer: Answer) -> dict[str, Any]:
        self._lines += map(json.loads, self._capsys.readouterr().out.splitlines())
        wanted = answer.headers["X-Request-ID"]
        (fields,) = (
            line for line in self._lines if line.get("request_id") == wanted and "status" in line
        )
        assert fields["status"] == answer.status
        assert set(fields) >= COMMON
        return {name: value for name, value in fields.items() if name not in COMMON}


@pytest.fixture
def logged(install: Install, capsys: pytest.CaptureFixture[str]) -> LoggedClient:
    return LoggedClient(install(LOG_FORMAT="json").client(), capsys)


def test_the_line_of_a_change_has_caller_action_and_ids(logged: LoggedClient) -> None:
    api = logged.api
    team = {"user": 2, "group": 1}
    person = {"full_name": "A", "email": "a@b.co", "password": PASSWORD}
    week = {"work_times": {"Monday": 8}}
    done = {"task_ids": [1, 9], "action": "mark_done"}
    batch = {"action": "mark_done", "count": 1, "failed": 1, "tasks": [1]}
    task, tasks, ids = "/users/2/tasks/1", "/users/2/tasks", {"user": 2, "task": 1}
    sync, no_reseed = "/admin/sync?action=", {"reseed": "false"}
    story: list[tuple[str, str, Any, str, dict[str, Any]]] = [
        ("POST", "/users", person, "user.create", {"user": 2}),
        ("PUT", "/users/2", {"number": "1"}, "user.update", {"user": 2}),
        ("PUT", "/users/2/worktimes", week, "user.worktimes", {"user": 2}),
        ("POST", "/groups", {"name": "G", "admin_id": 1}, "group.create", {"group": 1}),
        ("PATCH", "/groups/1", {"name": "H"}, "group.update", {"group": 1}),
        ("POST", "/groups/1/users", {"user_id": 2}, "member.add", team),
        ("POST", tasks, {"title": "T", "group_id": 1}, "task.create", ids),
        ("PUT", task, {"title": "U"}, "task.update", ids),
        ("PUT", f"{task}/done", ..., "task.done", ids),
        ("POST", "/tasks/batch", done, "tasks.batch", batch),
        ("DELETE", task, ..., "task.delete", ids),
        ("DELETE", "/groups/1/users/2", ..., "member.remove", team),
        ("DELETE", "/groups/1", ..., "group.delete", {"group": 1}),
        ("DELETE", "/users/2", ..., "user.delete", {"user": 2}),
        ("POST", f"{sync}force", ..., "admin.sync", no_reseed),
        ("POST", f"{sync}backup", ..., "admin.backup", no_reseed),
        ("POST", f"{sync}restore", ..., "admin.restore", no_reseed),
    ]
    for method, path, body, action, what in story:
        answer = api(method, path, by="owner", json=body)
        assert answer.status in (200, 201), answer.body
        assert logged.extra_fields(answer) == {"caller": 1, "audit": action} | what
    answer = api("GET", "/users", by="owner")
    assert logged.extra_fields(answer) == {"caller": 1}


def test_each_view_that_changes_something_has_an_action(installation: Installation) -> None:
    app = installation._app
    for rule in app.url_map.iter_rules():
        changes = (rule.methods or set()) - {"GET", "HEAD", "OPTIONS"}
        contract = CONTRACTS.get(app.view_functions[rule.endpoint])
        is_audited = contract is not None and contract.audit != "read"
        assert is_audited == bool(changes), rule.endpoint
        path = "/".join("7" if "<" in word else word for word in rule.rule.split("/"))
        assert app.extensions["unknown_words"].sub("*", path) == path


def test_the_line_of_a_refusal_has_caller_and_action(logged: LoggedClient) -> None:
    api, path, by = logged.api, "/users/2", (2, "wrong-one")
    user = new_user(api)
    person = {"full_name": "A", "email": user["email"], "password": PASSWORD}
    stale = {"If-Match": '"9999"'}
    nobody = {"caller": None, "account": "unknown", "address": "127.0.0.1"}
    account, owner = nobody | {"account": 2}, {"caller": 1, "audit": "user.update", "user": 2}
    look = {"audit": "read", "user": 2, "code": "unauthenticated"}
    change, lost = {"audit": "user.update", "user": 2}, {"caller": None, "code": "no_such_route"}
    story: list[tuple[Answer, dict[str, Any]]] = [
        (api("GET", path), nobody | look | {"account": None}),
        (api("GET", path, by=by), account | look),
        (api("GET", path, by=(77, "wrong-one")), nobody | look),
        (api("GET", path, by=("x@y.z", "wrong-one")), nobody | look),
        (
            api("DELETE", path, headers={"X-Owner-Password": "wrong-one"}),
            nobody | look | {"audit": "user.delete", "account": "owner header"},
        ),
        (
            api("GET", "/users/1", by=login(user)),
            {"caller": 2, "audit": "read", "user": 1, "code": "forbidden"},
        ),
        (
            api("POST", "/users", by="owner", json=person),
            {"caller": 1, "audit": "user.create", "code": "email_taken"},
        ),
        (
            api("PUT", path, by="owner", json={"number": "2"}, headers=stale),
            owner | {"code": "version_mismatch"},
        ),
        (
            api("PUT", path, by="owner", json={"number": 2}),
            owner | {"code": "validation_failed"},
        ),
        (api("POST", "/nowhere", by="owner"), lost | {"audit": "unknown"}),
        (api("GET", "/nowhere"), lost),
    ]
    held_up = [api("PUT", path, by=by) for _ in range(11)][-1]
    story.append((held_up, account | change | {"code": "too_many_failures"}))
    statuses = [401] * 5 + [403, 409, 412, 400, 404, 404, 429]
    assert [answer.status for answer, _ in story] == statuses
    for answer, expected in story:
        assert logged.extra_fields(answer) == expected


def test_a_batch_names_its_first_tasks_and_their_number(logged: LoggedClient) -> None:
    api = logged.api
    admin = new_admin(api)
    group = new_group(api, admin["id"])
    ids = [new_task(api, admin["id"], group["id"])["id"] for _ in range(IDS_MOST + 1)]
    answer = api(
        "POST", "/tasks/batch", by=login(admin), json={"task_ids": ids, "action": "delete"}
    )
    ok(answer)
    line = logged.extra_fields(answer)
    assert (line["count"], line["tasks"]) == (IDS_MOST + 1, ids[:IDS_MOST])


@pytest.mark.parametrize("character", NASTY)
@pytest.mark.parametrize("style", logs.STYLES)
def test_no_character_ends_a_line(style: str, character: str) -> None:
    value = f"a{character}2026-01-01T00:00:00Z Info forged"
    line = logs.STYLES[style]("Info", value, {"path": value, "trace": value})
    assert line.splitlines() == [line]
    assert line.isprintable()
    assert "forged" in line.encode().decode()
    if style == "json":
        assert set(orjson.loads(line)) == {"time", "level", "event", "path", "trace"}


def test_a_value_cannot_pass_for_another_field() -> None:
    line = logs.as_text("Info", "GET /", {"address": "192.0.2.1 caller=1", "caller": None})
    assert line.endswith(" Info GET / address='192.0.2.1 caller=1' caller=-")


@pytest.mark.parametrize("style", logs.STYLES)
def test_long_values_are_cut(style: str) -> None:
    line = logs.STYLES[style]("Info", "e" * 9999, {"path": "p" * 9999})
    assert line.count("e") < logs.LONGEST["event"] + 9
    assert line.count("p") < logs.LONGEST_VALUE + 9


@pytest.mark.parametrize("style", logs.STYLES)
def test_what_a_client_makes_up_is_one_line(install: Install, style: str) -> None:
    with install(TRUSTED_PROXIES="1", LOG_FORMAT=style).serve(workers=1) as api:
        for text in (
            "%0AForged",
            "%E2%80%A8Forged",
            "%C2%85Forged",
            "%ED%A0%80Forged",
            "%FFForged",
        ):
            api("GET", f"/nothing{text}", headers={"X-Request-ID": "Forged line"})
            api("FORGED", f"/users/{text}/tasks/7")
        api("GET", "/users", by=("a@b.co\nForged line", "x"))
        hop = {"X-Forwarded-For": "192.0.2.1\x85Forged caller=1"}
        assert api("GET", "/users", by=(1, "wrong-one"), headers=hop).status == 401
    lines = api.log().splitlines()
    assert len([line for line in lines if "request_id" in line and "/health" not in line]) == 12
    for line in lines:
        is_whole = line.startswith("{") if style == "json" else line[10] == "T"
        assert is_whole, line
        assert line.isprintable(), line
        assert "Forged" not in line or "192.0.2.1" in line


@pytest.mark.parametrize("style", logs.STYLES)
def test_grep_finds_the_sync_and_the_errors_with_their_traces(
    install: Install, style: str, capsys: pytest.CaptureFixture[str]
) -> None:
    installation = install(LOG_FORMAT=style)
    api = installation.client()
    installation._app.view_functions["users.index"] = public(lambda: 1 // 0)
    capsys.readouterr()
    answer = api("GET", "/users", by="owner")
    assert answer.status == 500
    installation.sync()
    lines = capsys.readouterr().out.splitlines()
    (error,) = (line for line in lines if "Error" in line)
    assert "Traceback" in error
    assert "ZeroDivisionError" in error
    assert answer.headers["X-Request-ID"] in error
    (done,) = (line for line in lines if "Sync done" in line)
    if style == "json":
        assert json.loads(done)["written"]["users"] == 0
        assert "\n" in json.loads(error)["trace"]


class Disk(io.RawIOBase):
    """Records each write, and has space for `room` bytes."""

    def __init__(self, room: int) -> None:
        self.writes: list[bytes] = []
        self.room = room

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.room -= len(data)
        if self.room < 0:
            raise OSError("No space left on device")
        self.writes.append(bytes(data))
        return len(data)


def test_each_line_is_one_write(monkeypatch: pytest.MonkeyPatch, install: Install) -> None:
    api, disk = install(LOG_FORMAT="json").client(), Disk(10_000)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(disk)))
    for _ in range(3):
        ok(api("GET", "/users", by="owner"))
    assert len(disk.writes) == 3
    assert all(json.loads(line)["path"] == "/users" for line in disk.writes)


def test_a_full_disk_fails_no_request(monkeypatch: pytest.MonkeyPatch, install: Install) -> None:
    api = install().client()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(disk := Disk(0))))
    ok(api("GET", "/users", by="owner"))
    new_user(api)
    disk.room = 10_000
    ok(api("GET", "/users", by="owner"))
    assert b"GET /users 200" in disk.writes[-1]
