"""A new endpoint is one function: the example in docs/architecture.md, served and called."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask import Blueprint, Flask

from schemas.fields import NOTHING
from taskapi import create_app
from taskapi.api import contract, openapi, tasks
from taskapi.api.authentication import EMERGENCY_OWNER
from taskapi.api.contract import CONTRACTS, public, takes
from tests.api.factories import login, new_group, new_task, new_user, refused
from tests.client import Api, in_process
from tests.conftest import Install
from tests.support import OWNER_PASSWORD, ROOT

PATH = "/users/{user_id}/tasks/{task_id}/reopen"


@pytest.fixture
def app(install: Install) -> Flask:
    """The application with the example's endpoint beside its own."""
    text = (ROOT / "docs/architecture.md").read_text()
    (example,) = re.findall(r"```python\n(@bp\.put.*?)```", text, re.DOTALL)
    bp = Blueprint("example", __name__)
    exec(example, vars(tasks) | {"bp": bp})
    app = create_app(install().settings)
    app.register_blueprint(bp)
    return app


@pytest.fixture
def api(app: Flask) -> Api:
    return Api(in_process(app), OWNER_PASSWORD)


def test_the_example_is_documented(app: Flask) -> None:
    operation = openapi.document(app)["paths"][PATH]["put"]
    assert operation["summary"] == "Mark a task as not done."
    assert operation["description"].startswith("Allowed: Owners; group admins for tasks")
    parameters = [part.get("name", part.get("$ref")) for part in operation["parameters"]]
    assert parameters[:2] == ["user_id", "task_id"]
    assert "#/components/parameters/If-Match" in parameters
    assert {"200", "400", "401", "403", "404", "412"} <= set(operation["responses"])


def test_the_example_does_what_its_contract_says(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    group = new_group(api, 1)
    user, other = new_user(api, group["id"]), new_user(api, group["id"])
    task = new_task(api, user["id"], group["id"])
    path = PATH.format(user_id=user["id"], task_id=task["id"])
    api("PUT", path.replace("reopen", "done"), by="owner")
    capsys.readouterr()

    answer = api("PUT", path, by=login(user))
    assert answer.json["data"]["task"]["status"] is False
    assert answer.headers["ETag"] == f'"{answer.json["data"]["task"]["version"]}"'
    line = capsys.readouterr().out
    assert f"audit=task.reopen user={user['id']} task={task['id']}" in line

    refused(api("PUT", path), 401)
    refused(api("PUT", path, by=login(other)), 403)
    refused(api("PUT", f"{path}?now=1", by=login(user)), 400)
    stale = {"If-Match": f'"{task["version"]}"'}
    refused(api("PUT", path, by=login(user), headers=stale), 412)


def test_a_view_without_a_contract_is_a_500(app: Flask) -> None:
    app.view_functions["users.index"] = lambda: "everything"
    answer = Api(in_process(app), OWNER_PASSWORD)("GET", "/users", by="owner")
    assert answer.status == 500
    assert b"everything" not in answer.body


def test_a_view_without_authorisation_is_refused() -> None:
    def view(query: dict[str, Any]) -> str:
        return str(query)

    takes(NOTHING)(view)
    with pytest.raises(contract.NoAuthorisation):
        contract.call(view, EMERGENCY_OWNER, {}, {})
    assert view in CONTRACTS


def test_a_view_that_asks_for_what_its_path_does_not_name_is_refused(app: Flask) -> None:
    @public
    def view(group: dict[str, Any]) -> str:
        return str(group)

    with app.test_request_context("/"), pytest.raises(LookupError):
        contract.call(view, EMERGENCY_OWNER, {}, {})
