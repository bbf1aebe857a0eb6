"""Every script of docs/scripting.md does what it says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.factories import PASSWORD, new_group, new_task, new_token, new_user, ok, path_of
from tests.client import Api
from tests.conftest import Install
from tests.operations.nginx import program
from tests.support import OWNER_PASSWORD, ROOT, without_coverage

SECTION = re.compile(r"^## (.*?)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
SCRIPTS = {
    title: re.findall(r"```(bash|python)\n(.*?)```", text, re.DOTALL)
    for title, text in SECTION.findall((ROOT / "docs/scripting.md").read_text())
}


class Site:
    """A group with two users; the first one has tasks."""

    def __init__(self, api: Api, folder: Path) -> None:
        self.api, self.folder = api, folder
        self.group = new_group(api)["id"]
        self.users = [new_user(api, self.group, full_name=name) for name in ("Ann", "Bob")]
        self.ran: set[str] = set()

    def task(self, title: str, **fields: Any) -> Any:
        return new_task(self.api, self.users[0]["id"], self.group, title=title, **fields)

    def run(self, title: str, **variables: object) -> str:
        """Run the script of a section as Ann, and return its output."""
        ((language, script),) = SCRIPTS[title]
        for name, value in variables.items():
            script = re.sub(rf"\b{name}=\S+", f"{name}={value}", script)
        words = {"bash": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}
        env = {
            "URL": self.api.url,
            "LOGIN": f"{self.users[0]['id']}:{PASSWORD}",
            "OWNER": f"X-Owner-Password: {OWNER_PASSWORD}",
        }
        done = subprocess.run(
            [*words[language], script],
            env=without_coverage({**os.environ})
            | env
            | {name: str(value) for name, value in variables.items()},
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (title, done.stdout, done.stderr)
        return done.stdout

    def tasks(self, number: int = 0) -> list[Any]:
        path = f"/users/{self.users[number]['id']}/tasks"
        tasks: list[Any] = ok(self.api("GET", path, by="owner"))["tasks"]
        return tasks


@pytest.fixture(scope="module")
def served(install: Install) -> Iterator[Api]:
    for name in ("bash", "curl", "jq"):
        program(name, name)
    with install().serve(workers=1) as api:
        yield api


@pytest.fixture
def site(served: Api, tmp_path: Path) -> Site:
    return Site(served, tmp_path)


def overdue(site: Site) -> None:
    for title, deadline in (
        ("Late", "2026-01-02"),
        ("First", "2026-01-01"),
        ("Next", "2999-01-01"),
    ):
        site.task(title, deadline=deadline)
    site.task("Done", deadline="2026-01-01", status=True)
    out = site.run("What is mine and overdue, soonest first?")
    assert out == "2026-01-01 First\n2026-01-02 Late\n"


def imported(site: Site) -> None:
    days = ["2027-01-01", "", "2027-01-03"]
    lines = [f"{title},1,{day},{site.group}" for title, day in zip("abc", days, strict=True)]
    (site.folder / "tasks.csv").write_text("\n".join(lines) + "\n")
    for _ in range(2):
        out = json.loads(site.run("Import tasks from a CSV file"))
        assert out == {"created_count": 3, "errors": None}
    assert [(task["title"], task["deadline"]) for task in site.tasks()] == [
        (title, day or None) for title, day in zip("abc", days, strict=True)
    ]


def exported(site: Site) -> None:
    site.task("Exported")
    count = ok(site.api("GET", "/tasks/filter", by="owner"))["count"]
    assert int(site.run("Export all tasks to a CSV file")) == count + 1
    assert "Exported" in (site.folder / "all-tasks.csv").read_text()


def paged(site: Site) -> None:
    for number in range(3):
        site.task(f"Paged {number}")
    count = ok(site.api("GET", "/tasks/filter", by="owner"))["count"]
    assert len(site.run("Read a long list page by page").splitlines()) == count


def reported(site: Site) -> None:
    for title, is_done in (("Shipped", True), ("Tested", True), ("Open", False)):
        site.task(title, status=is_done)
    assert "Ann: 2 (Shipped, Tested)" in site.run("What was done this week, by person").splitlines()


def overdue_by_person(site: Site) -> None:
    for deadline in ("2026-02-02", "2026-02-01", "2999-01-01"):
        site.task("Late", deadline=deadline)
    out = site.run("Overdue tasks, by person").splitlines()
    assert "Ann: 2, the oldest since 2026-02-01" in out


def handed_over(site: Site) -> None:
    for number in range(3):
        site.task(f"Given {number}", status=number == 0)
    first, second = (user["id"] for user in site.users)
    out = site.run("Hand over everything that is pending, for a leave", FROM=first, TO=second)
    assert out == "Batch update: 2 of 2 done.\n"
    assert [task["title"] for task in site.tasks(1)] == ["Given 1", "Given 2"]


def closed(site: Site) -> None:
    for day in ("2026-11-12", "2026-11-13", "2026-11-14"):
        site.task(f"Due {day}", deadline=day)
    title = "Close a sprint: everything or nothing"
    assert site.run(title, GROUP=site.group) == "Batch mark_done: 2 of 2 done.\n"
    assert site.run(title, GROUP=site.group) == ""
    assert [task["status"] for task in site.tasks()] == [True, True, False]


def changed(site: Site) -> None:
    task = site.task("Mine")
    assert site.run("Change a task only if nobody else has") == "Task updated.\n"
    assert ok(site.api("GET", path_of(task), by="owner"))["priority"] == 1


def replaced(site: Site) -> None:
    token, _ = new_token(site.api, site.users[0])
    assert site.run("Replace a token", TOKEN_ID=token["id"]) == "Ann\nToken revoked.\n"


def mirrored(site: Site) -> None:
    task, title = site.task("Mirrored"), "Keep a copy of all tasks in a file"
    first = int(site.run(title).split()[0])
    ok(site.api("DELETE", path_of(task), by="owner"))
    assert site.run(title) == f"{first - 1} tasks\n"
    copy = json.loads((site.folder / "mirror.json").read_text())["tasks"]
    tasks = ok(site.api("GET", "/tasks/filter", by="owner"))["tasks"]
    assert copy == {str(task["id"]): task for task in tasks}


@pytest.mark.parametrize(
    "story",
    [
        *(overdue, imported, exported, paged, reported, overdue_by_person),
        *(handed_over, closed, changed, replaced, mirrored),
    ],
)
def test_the_script_does_what_it_says(site: Site, story: Callable[[Site], None]) -> None:
    story(site)


def test_every_script_has_a_test() -> None:
    tested = Path(__file__).read_text()
    assert [title for title in SCRIPTS if f'"{title}"' not in tested] == []
    assert len(SCRIPTS) == 11
