"""The guards of a commit, tested by writes and a restore between any two steps of a request."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from devserver.servers import Postgres
from taskapi.errors import NewEpoch
from taskapi.store import groups, session, tasks
from taskapi.store.connection import Connection
from taskapi.store.keys import Kind
from taskapi.sync import restore, sync_pass
from tests.api.factories import login, made, new_group, new_task, new_user, ok, path_of
from tests.client import Answer, Api
from tests.faults.checks import settle
from tests.faults.steps import Intruder
from tests.stores import connect, root
from tests.support import Installation
from tests.sync.lossy_site import LossySite

Ask = Callable[[], Answer]


def between_steps(
    request: Callable[[int], Ask], act: Callable[[int], Any]
) -> Iterator[tuple[Answer, bool]]:
    """Repeat a request, with the act after its first step, then after its second, and so on.

    Yield each answer, and whether the act ran: in the last request, no step is left for it.
    """
    for step in count(1):
        ask = request(step)
        with pytest.MonkeyPatch.context() as patch:
            intruder = Intruder(patch.setattr, step, lambda step=step: act(step))
            answer = ask()
        yield answer, bool(intruder.where)
        if not intruder.where:
            return


def test_a_task_created_while_its_group_is_deleted_is_deleted_too(
    installation: Installation, api: Api
) -> None:
    last: dict[str, Any] = {}

    def delete(_: int) -> Ask:
        last["group"] = new_group(api)["id"]
        return lambda: api("DELETE", f"/groups/{last['group']}", by="owner")

    def create(_: int) -> None:
        body = {"title": "late", "group_id": last["group"]}
        with connect(installation) as connection:
            # This key refuses new tasks in the group while the group is being deleted.
            connection.delete(f"{root(installation)}closing:g:{last['group']}")
        assert api("POST", "/users/1/tasks", by="owner", json=body).status in (201, 400)

    for answer, _ in between_steps(delete, create):
        ok(answer)
        assert not ok(api("GET", "/tasks/filter", by="owner"))["tasks"]
    settle(installation)


def test_two_changes_of_one_task_are_both_kept(installation: Installation, api: Api) -> None:
    task = new_task(api, 1, new_group(api)["id"])

    def put(field: str, step: int) -> Answer:
        return api("PUT", path_of(task), by="owner", json={field: f"{field} {step}"})

    crossings = between_steps(lambda n: lambda: put("title", n), lambda n: put("information", n))
    for step, (answer, is_crossed) in enumerate(crossings, 1):
        ok(answer)
        now = ok(api("GET", path_of(task), by="owner"))
        assert now["title"] == f"title {step}"
        assert now["information"] == f"information {step}" or not is_crossed
    settle(installation)


def test_a_group_name_taken_between_two_steps_is_taken_once(
    installation: Installation, api: Api
) -> None:
    admins = [new_user(api, role="group_admin")["id"] for _ in range(2)]

    def create(step: int, admin: int) -> Answer:
        body = {"name": f"Name {step}", "admin_id": admin}
        return api("POST", "/groups", by="owner", json=body)

    crossings = between_steps(
        lambda n: lambda: create(n, admins[0]), lambda n: create(n, admins[1])
    )
    for _ in crossings:
        names = [group["name"] for group in ok(api("GET", "/groups", by="owner"))["groups"]]
        assert len(names) == len(set(names))
    settle(installation)


def test_an_address_taken_between_two_steps_is_taken_once(
    installation: Installation, api: Api
) -> None:
    first, second = (new_user(api)["id"] for _ in range(2))

    def take(step: int, user: int) -> Answer:
        body = {"email": f"prize{step}@example.com"}
        return api("PUT", f"/users/{user}", by="owner", json=body)

    for _ in between_steps(lambda n: lambda: take(n, first), lambda n: take(n, second)):
        emails = [user["email"] for user in ok(api("GET", "/users", by="owner"))["users"]]
        assert len(emails) == len(set(emails))
    settle(installation)


def test_a_right_taken_away_between_two_steps_refuses_the_write(
    installation: Installation, api: Api
) -> None:
    caller = new_user(api, role="owner")
    role = f"/users/{caller['id']}"

    def write(step: int) -> Ask:
        api("PUT", role, by="owner", json={"role": "owner"})
        body = {"name": f"By a former owner {step}", "admin_id": 1}
        return lambda: api("POST", "/groups", by=login(caller), json=body)

    def demote(_: int) -> None:
        ok(api("PUT", role, by="owner", json={"role": "user"}))

    *crossed, (last, _), (alone, _) = between_steps(write, demote)
    assert [answer.status for answer, _ in crossed] == [403] * len(crossed)
    made(last)  # the right was removed only after this write
    made(alone)
    settle(installation)


def test_a_commit_does_not_cross_a_restore(installation: Installation, api: Api) -> None:
    task = new_task(api, 1, new_group(api)["id"])
    store = sync_pass.open_store(installation.settings)
    view = session.begin(store)
    view.open()
    user = view.referred(Kind.USER, 1)
    restore.force(installation.settings, store)
    with pytest.raises(NewEpoch):
        tasks.update(view, [(task, user)], {"title": "Of the epoch before"})
    settle(installation)


def test_a_commit_that_arrives_after_a_later_one_is_refused(installation: Installation) -> None:
    store = sync_pass.open_store(installation.settings)
    sent: list[Any] = []
    view = session.begin(store)
    view.open()
    with pytest.MonkeyPatch.context() as patch:
        execute = Connection.execute

        def record(self: Connection, *commands: Any, **options: Any) -> Any:
            sent.append(commands)
            return execute(self, *commands, **options)

        patch.setattr(Connection, "execute", record)
        groups.create(view, {"name": "First", "admin_id": 1})
    late = sent[-1]
    groups.create(view, {"name": "Second", "admin_id": 1})
    assert store.connection.execute(*late) == [b"STALE"]
    settle(installation)


def test_no_client_reads_or_writes_during_a_restore(installation: Installation, api: Api) -> None:
    task = new_task(api, 1, new_group(api)["id"])
    statuses = []

    def look(_: int) -> None:
        read = api("GET", path_of(task), by="owner")
        write = api("PUT", path_of(task), by="owner", json={"title": f"at {len(statuses)}"})
        assert read.status == write.status, (read.body, write.body)
        if read.status == 200:
            task.update(write.data["task"])
        statuses.append(read.status)

    def force(_: int) -> Ask:
        return lambda: api("POST", "/admin/sync?action=restore", by="owner")

    for answer, _ in between_steps(force, look):
        ok(answer)
        assert ok(api("GET", path_of(task), by="owner")) == task
    assert {200, 503} == set(statuses)
    settle(installation)


def test_a_clock_that_was_ahead_issues_no_version_twice(tmp_path: Path, postgres: Postgres) -> None:
    with closing(LossySite(tmp_path, postgres.url, "everysec")) as site:
        an_hour_ahead = int((time.time() + 3600) * 1_000_000)
        with connect(site.installation) as connection:
            connection.hset(f"{root(site.installation)}meta", "version", an_hour_ahead)
        with site.lost():
            lost = new_group(site.api)
        new = new_group(site.api)
        assert new["version"] > lost["version"]
        assert new["id"] == lost["id"] + 1  # the check of the start knew all versions
