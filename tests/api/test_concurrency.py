"""Eight concurrent clients of gunicorn: the result is that of some sequential order."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count, pairwise
from threading import Barrier
from typing import Any

import pytest

from tests.api.drift import check_stores
from tests.conftest import Install
from tests.support import Answer, Api, Installation, eventually

CLIENTS = 8
ROUNDS = 20
PASSWORD = "a shared password"
NUMBERS = count(1)


@pytest.fixture(scope="module")
def shared(install: Install) -> Iterator[tuple[Installation, Api]]:
    installation = install()
    with installation.serve() as api:
        yield installation, api


@pytest.fixture
def api(shared: tuple[Installation, Api]) -> Iterator[Api]:
    """Yield a client; after the test, check the indexes, and that PostgreSQL equals Redis."""
    installation, api = shared
    yield api
    installation.sync()
    check_stores(installation)


def at_once(*jobs: Callable[[], Any]) -> list[Any]:
    """Run the jobs at the same time; return their results."""
    start = Barrier(len(jobs))

    def run(job: Callable[[], Any]) -> Any:
        start.wait()
        return job()

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(run, jobs))


def repeat(request: Callable[[int], Answer]) -> Callable[[], list[Answer]]:
    return lambda: [request(n) for n in range(ROUNDS)]


def until_refused(request: Callable[[int], Answer]) -> Callable[[], list[Answer]]:
    """Return a job that repeats the request until an answer is not a success."""

    def run() -> list[Answer]:
        answers = [request(0)]
        while answers[-1].status in (200, 201) and len(answers) < 1000:
            answers.append(request(len(answers)))
        return answers

    return run


def statuses(answers: list[Answer]) -> list[int]:
    return sorted(answer.status for answer in answers)


def done(answer: Answer) -> Any:
    assert answer.status in (200, 201), answer.body
    return answer.data


def new_user(api: Api, **fields: Any) -> int:
    number = next(NUMBERS)
    body = {"full_name": f"User {number}", "email": f"u{number}@example.com", "password": PASSWORD}
    return int(done(api("POST", "/users", by="owner", json=body | fields))["user"]["id"])


def new_group(api: Api, admin_id: int = 1) -> int:
    body = {"name": f"Group {next(NUMBERS)}", "admin_id": admin_id}
    return int(done(api("POST", "/groups", by="owner", json=body))["group"]["id"])


def new_task(api: Api, user_id: int, group_id: int, by: Any = "owner") -> Answer:
    body = {"title": f"Task {next(NUMBERS)}", "group_id": group_id}
    return api("POST", f"/users/{user_id}/tasks", by=by, json=body)


def test_partial_updates_of_one_thing_are_all_kept(api: Api) -> None:
    user, group = new_user(api), new_group(api)
    task = done(new_task(api, user, group))["task"]["id"]
    values: list[tuple[str, str, Callable[[int], Any]]] = [
        ("task", "title", lambda n: f"title {n}"),
        ("task", "information", lambda n: f"information {n}"),
        ("task", "deadline", lambda n: f"2025-10-{n + 1:02}"),
        ("task", "priority", lambda n: 3 if n % 2 else 1),
        ("user", "full_name", lambda n: f"name {n}"),
        ("user", "number", lambda n: f"+{n}"),
        ("user", "email", lambda n: f"mail{n}@example.com"),
        ("user", "work_times", lambda n: {"Monday": n}),
    ]
    paths = {"task": f"/users/{user}/tasks/{task}", "user": f"/users/{user}"}

    def writer(kind: str, field: str, value: Callable[[int], Any]) -> Callable[[], list[Answer]]:
        return repeat(lambda n: api("PUT", paths[kind], by="owner", json={field: value(n + 1)}))

    histories = at_once(*(writer(*row) for row in values))

    versions: dict[str, list[int]] = {"task": [], "user": []}
    for (kind, field, value), history in zip(values, histories, strict=True):
        written = [done(answer)[kind] for answer in history]
        assert [entity[field] for entity in written] == [value(n + 1) for n in range(ROUNDS)]
        assert done(api("GET", paths[kind], by="owner"))[field] == value(ROUNDS)
        versions[kind] += [entity["version"] for entity in written]
    for kind, seen in versions.items():
        assert len(set(seen)) == len(seen), f"two changes of the {kind} made one version"


def test_an_email_is_taken_once(api: Api) -> None:
    spellings = ["same@example.com", "SAME@example.com"] * (CLIENTS // 2)
    body = {"full_name": "Twin", "password": PASSWORD}

    def create(email: str) -> Callable[[], Answer]:
        return lambda: api("POST", "/users", by="owner", json=body | {"email": email})

    assert statuses(at_once(*map(create, spellings))) == [201] + [409] * (CLIENTS - 1)


def test_an_email_is_taken_once_by_changes_too(api: Api) -> None:
    users = [new_user(api) for _ in range(CLIENTS)]

    def claim(user: int, n: int) -> Callable[[], Answer]:
        body = {"email": f"prize{n}@example.com"}
        return lambda: api("PUT", f"/users/{user}", by="owner", json=body)

    for n in range(5):
        answers = at_once(*(claim(user, n) for user in users))
        assert statuses(answers) == [200] + [409] * (CLIENTS - 1)


def test_a_group_name_is_taken_once(api: Api) -> None:
    groups = [new_group(api) for _ in range(CLIENTS // 2)]
    spellings = ["Stra\u00dfe", "STRASSE", "stra\u00dfe", "strasse"]

    def create(name: str) -> Callable[[], Answer]:
        return lambda: api("POST", "/groups", by="owner", json={"name": name, "admin_id": 1})

    def rename(group: int, name: str) -> Callable[[], Answer]:
        return lambda: api("PUT", f"/groups/{group}", by="owner", json={"name": name})

    for n in range(5):
        names = [f"{spelling} {n}" for spelling in spellings]
        jobs = [*map(create, names), *map(rename, groups, names)]
        won, *lost = statuses(at_once(*jobs))
        assert won in (200, 201)
        assert lost == [409] * (CLIENTS - 1)


def test_no_id_is_issued_twice(api: Api) -> None:
    group = new_group(api)
    histories = at_once(*[repeat(lambda _: new_task(api, 1, group))] * CLIENTS)
    ids = [[done(answer)["task"]["id"] for answer in history] for history in histories]
    given = {task_id for history in ids for task_id in history}
    assert len(given) == CLIENTS * ROUNDS
    assert all(a < b for history in ids for a, b in pairwise(history))
    listed = done(api("GET", f"/groups/{group}/tasks", by="owner"))["tasks"]
    assert [task["id"] for task in listed] == sorted(given)


def test_no_task_stays_behind_when_its_user_leaves_the_group(api: Api) -> None:
    left, kept = new_group(api), new_group(api)
    user = new_user(api, group_ids=[left, kept])

    def leave_and_return() -> list[Answer]:
        answers = []
        for _ in range(ROUNDS // 2):
            answers.append(api("DELETE", f"/groups/{left}/users/{user}", by="owner"))
            answers.append(api("POST", f"/groups/{left}/users", by="owner", json={"user_id": user}))
        return [*answers, api("DELETE", f"/groups/{left}/users/{user}", by="owner")]

    create = repeat(lambda _: new_task(api, user, left, by=(user, PASSWORD)))
    moves, *creations = at_once(leave_and_return, *[create] * (CLIENTS - 1))

    assert {answer.status for answer in moves} == {200}
    made = [answer for history in creations for answer in history if answer.status == 201]
    refused = [answer.status for history in creations for answer in history if answer not in made]
    assert set(refused) <= {403}
    tasks = done(api("GET", f"/users/{user}/tasks", by="owner"))["tasks"]
    assert [task["id"] for task in tasks] == sorted(answer.data["task"]["id"] for answer in made)
    assert {task["group_id"] for task in tasks} <= {kept}


def test_a_deleted_group_takes_every_task_with_it(api: Api) -> None:
    group = new_group(api)
    create = until_refused(lambda _: new_task(api, 1, group))
    delete = once(lambda: tasks_count(api, group) > CLIENTS, api, "DELETE", f"/groups/{group}")
    deleted, *creations = at_once(delete, *[create] * (CLIENTS - 1))
    made = [answer for history in creations for answer in history if answer.status == 201]
    assert {a.status for history in creations for a in history} <= {201, 400}
    assert done(deleted)["deleted_tasks"] == len(made)
    tasks = done(api("GET", "/tasks/filter", by="owner"))["tasks"]
    assert group not in {task["group_id"] for task in tasks}


def test_a_deleted_user_takes_every_task_with_them(api: Api) -> None:
    group = new_group(api)
    user = new_user(api, group_ids=[group])
    create = until_refused(lambda _: new_task(api, user, group))
    delete = once(lambda: tasks_count(api, group) > CLIENTS, api, "DELETE", f"/users/{user}")
    deleted, *creations = at_once(delete, *[create] * (CLIENTS - 1))
    made = [answer for history in creations for answer in history if answer.status == 201]
    assert {a.status for history in creations for a in history} <= {201, 404}
    assert done(deleted)["deleted_tasks"] == len(made)
    assert tasks_count(api, group) == 0


def test_an_owner_who_was_demoted_writes_nothing_more(api: Api) -> None:
    second_owner = new_user(api, role="owner")
    groups = [new_group(api) for _ in range(CLIENTS - 1)]
    me = (second_owner, PASSWORD)

    def rename(group: int) -> Callable[[], list[Answer]]:
        path = f"/groups/{group}"
        return until_refused(
            lambda n: api("PUT", path, by=me, json={"name": f"Renamed {group} {n}"})
        )

    def has_begun() -> bool:
        return "Renamed" in done(api("GET", f"/groups/{groups[0]}", by="owner"))["name"]

    demote = once(has_begun, api, "PUT", f"/users/{second_owner}", json={"role": "user"})
    demoted, *histories = at_once(demote, *map(rename, groups))
    check_none_is_later(done(demoted)["user"], histories, "group")


def test_a_former_group_admin_writes_nothing_more(api: Api) -> None:
    admin = new_user(api, role="group_admin")
    group = new_group(api, admin)
    members = [new_user(api, group_ids=[group]) for _ in range(CLIENTS - 1)]
    me = (admin, PASSWORD)

    def renumber(user: int) -> Callable[[], list[Answer]]:
        path = f"/users/{user}"
        return until_refused(lambda n: api("PUT", path, by=me, json={"number": f"+{n}"}))

    def has_begun() -> bool:
        return bool(done(api("GET", f"/users/{members[0]}", by="owner"))["number"])

    replace = once(has_begun, api, "PUT", f"/groups/{group}", json={"admin_id": 1})
    replaced, *histories = at_once(replace, *map(renumber, members))
    check_none_is_later(done(replaced)["group"], histories, "user")


def test_no_admin_of_a_group_becomes_a_role_user_at_the_same_time(api: Api) -> None:
    group, user = new_group(api), new_user(api, role="group_admin")
    for _ in range(ROUNDS):
        answers = at_once(
            lambda: api("PUT", f"/groups/{group}", by="owner", json={"admin_id": user}),
            lambda: api("PUT", f"/users/{user}", by="owner", json={"role": "user"}),
        )
        assert statuses(answers) in ([200, 409], [200, 400])
        done(api("PUT", f"/groups/{group}", by="owner", json={"admin_id": 1}))
        done(api("PUT", f"/users/{user}", by="owner", json={"role": "group_admin"}))


def test_overlapping_batches_delete_each_task_once(api: Api) -> None:
    group = new_group(api)
    tasks = [done(new_task(api, 1, group))["task"]["id"] for _ in range(4 * CLIENTS)]
    update: dict[str, Any] = {"action": "update", "updates": {"priority": 3}}

    def batch(n: int, body: Any) -> Callable[[], Answer]:
        ids = tasks[2 * n : 2 * n + 16]
        return lambda: api("POST", "/tasks/batch", by="owner", json=body | {"task_ids": ids})

    bodies = [update, {"action": "delete"}, {"action": "mark_done"}, {"action": "delete"}] * 2
    answers = [done(a) for a in at_once(*(batch(n, body) for n, body in enumerate(bodies)))]
    deleted = [task_id for answer in answers for task_id in answer["deleted_ids"]]
    assert len(deleted) == len(set(deleted))
    left = done(api("GET", f"/groups/{group}/tasks", by="owner"))["tasks"]
    assert [task["id"] for task in left] == sorted(set(tasks) - set(deleted))


def once(begun: Callable[[], bool], api: Api, *request: str, **more: Any) -> Callable[[], Answer]:
    """Return a job that sends a request when the concurrent one has begun."""

    def make() -> Answer:
        eventually(begun)
        method, path = request
        return api(method, path, by="owner", **more)

    return make


def tasks_count(api: Api, group: int) -> int:
    return int(done(api("GET", f"/groups/{group}", by="owner"))["tasks_count"])


def check_none_is_later(last: Any, histories: list[list[Answer]], kind: str) -> None:
    """Check that every accepted write has a lower version than `last`."""
    assert {history[-1].status for history in histories} == {403}
    made = [answer.data[kind]["version"] for history in histories for answer in history[:-1]]
    assert max(made) < last["version"]
