"""A client that openapi-python-client generates from the document tells a whole story."""

from __future__ import annotations

import datetime
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.api.factories import PASSWORD, ok
from tests.client import Api
from tests.conftest import Install
from tests.support import OWNER_PASSWORD, without_coverage


@pytest.fixture(scope="module")
def api(install: Install) -> Iterator[Api]:
    with install().serve(workers=1) as api:
        yield api


@pytest.fixture(scope="module")
def client(api: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The generated package."""
    folder: Path = tmp_path_factory.mktemp("client")
    document = api("GET", "/openapi.json", by=None).json
    (folder / "openapi.json").write_text(json.dumps(document))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # where ruff is
    words = ["openapi_python_client", "generate", "--path", "openapi.json", "--fail-on-warning"]
    done = subprocess.run(
        [sys.executable, "-m", *words, "--meta", "none", "--output-path", "taskapi_client"],
        cwd=folder,
        env=without_coverage({**os.environ}) | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    sys.path.insert(0, str(folder))
    yield importlib.import_module("taskapi_client")
    sys.path.remove(str(folder))


class Story:
    """Calls operations of the generated client."""

    def __init__(self, package: ModuleType, url: str, stack: ExitStack) -> None:
        self._package, self._url, self._stack = package, url, stack
        self.models: Any = importlib.import_module(f"{package.__name__}.models")

    def caller(self, kind: str = "Client", *args: Any, **options: Any) -> Any:
        client = getattr(self._package, kind)(self._url, *args, **options)
        return self._stack.enter_context(client)

    def call(self, operation: str, *args: Any, client: Any, **kwargs: Any) -> Any:
        """Return the `data` of a successful answer."""
        module = importlib.import_module(f"{self._package.__name__}.api.{operation}")
        sync: Callable[..., Any] = module.sync
        answer = sync(*args, client=client, **kwargs)
        assert answer.success is True, answer
        return answer.data


@pytest.mark.long
def test_a_generated_client_tells_a_whole_story(api: Api, client: ModuleType) -> None:
    with ExitStack() as stack:
        tell(Story(client, api.url, stack), api)


def tell(story: Story, api: Api) -> None:
    models, call = story.models, story.call
    owner = story.caller(headers={"X-Owner-Password": OWNER_PASSWORD})
    new_group = models.NewGroup(name="Engineering", admin_id=1)
    group = call("groups.groups_create", client=owner, body=new_group).group
    users = []
    for name in ("ann", "bob"):
        body = models.NewUser(name, f"{name}@example.com", PASSWORD, group_ids=[group.id])
        users.append(call("users.users_create", client=owner, body=body).user)
    ann = story.caller(httpx_args={"auth": ("ann@example.com", PASSWORD)})
    assert call("users.users_show", "me", client=ann).id == users[0].id

    due = datetime.date(2026, 1, 2)
    late = models.NewTask(title="Late", group_id=group.id, deadline=due)
    task = call("tasks.tasks_create", "me", client=ann, body=late).task
    done = models.BatchCreate("create", [models.NewTask("Batched", group.id)] * 3)
    key = {"idempotency_key": "story-1"}
    first = call("tasks.tasks_batch", client=ann, body=done, **key)
    assert call("tasks.tasks_batch", client=ann, body=done, **key) == first
    assert first.created_count == 3

    overdue = {"overdue": models.TasksIndexOverdue.TRUE, "sort": models.TasksIndexSort.DEADLINE}
    page = call("tasks.tasks_index", "me", client=ann, total=True, **overdue)
    assert ([each.title for each in page.tasks], page.total) == (["Late"], 1)
    changes = models.TaskChanges(user_id=users[1].id)
    given = call("tasks.tasks_edit", users[0].id, task.id, client=owner, body=changes).task
    assert given.user_id == users[1].id
    marked = models.BatchChange(models.BatchChangeAction.MARK_DONE, first.created_ids)
    assert call("tasks.tasks_batch", client=owner, body=marked).updated_count == 3

    token = call("tokens.tokens_create", "me", client=ann, body=models.NewToken("Script"))
    script = story.caller("AuthenticatedClient", token.secret)
    assert call("tasks.tasks_stats", client=script).completed_tasks == 3
    followed = call("tasks.tasks_changes", client=owner, since="0")
    assert len(followed.changes) == 4
    assert ok(api("GET", "/tasks/filter", by="owner"))["count"] == 4
