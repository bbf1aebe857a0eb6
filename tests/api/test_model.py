"""Random operations by random callers: the service and the model agree on every answer.

Set MODEL_EXAMPLES and MODEL_STEPS for a longer run; that run is random.
"""

import os
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.api import bodies
from tests.api.bodies import CALLERS, Caller, Ref, refs
from tests.api.model_runner import ServiceAndModel
from tests.conftest import Install

EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "30"))
STEPS = int(os.environ.get("MODEL_STEPS", "60"))
IS_LONG = "MODEL_EXAMPLES" in os.environ

SETTINGS = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    derandomize=not IS_LONG,
    database=None,
    deadline=None,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)

USERS, GROUPS, TASKS = refs("user"), refs("group"), refs("task")
MATCHES = st.sampled_from([None, None, None, None, "current", "another"])


class Machine(RuleBasedStateMachine):
    """Each example begins with the same users; after a failure, with a new installation."""

    install: ClassVar[Install]
    pair: ClassVar[ServiceAndModel | None] = None

    @initialize()
    def begin(self) -> None:
        if Machine.pair is None or Machine.pair.has_diverged:
            Machine.pair = ServiceAndModel(Machine.install(TRUSTED_PROXIES="1"))
        self.pair_now = Machine.pair
        self.pair_now.begin()

    def do(self, endpoint: str, by: Caller, *args: Any, match: str | None = None) -> None:
        self.pair_now.play(endpoint, by, *args, match=match)

    def teardown(self) -> None:
        if hasattr(self, "pair_now") and not self.pair_now.has_diverged:
            self.pair_now.end()

    @rule(by=CALLERS, body=bodies.NEW_USERS)
    def create_user(self, by: Caller, body: Any) -> None:
        self.do("create_user", by, body)

    @rule(by=CALLERS, user=USERS, body=bodies.USER_CHANGES, match=MATCHES)
    def update_user(self, by: Caller, user: Ref, body: Any, match: str | None) -> None:
        self.do("update_user", by, user, body, match=match)

    @rule(by=CALLERS, body=bodies.USER_CHANGES)
    def update_oneself(self, by: Caller, body: Any) -> None:
        self.do("update_user", by, by, body)

    @rule(by=CALLERS, user=USERS, number=st.integers(0, 99))
    def change_a_password(self, by: Caller, user: Ref, number: int) -> None:
        self.do("update_user", by, user, {"password": f" pass:word {number} "})

    @rule(by=CALLERS, user=USERS, body=bodies.NEW_WEEKS)
    def update_week(self, by: Caller, user: Ref, body: Any) -> None:
        self.do("update_week", by, user, body)

    @rule(by=CALLERS, user=USERS, match=MATCHES)
    def delete_user(self, by: Caller, user: Ref, match: str | None) -> None:
        self.do("delete_user", by, user, match=match)

    @rule(by=CALLERS, body=bodies.NEW_GROUPS)
    def create_group(self, by: Caller, body: Any) -> None:
        self.do("create_group", by, body)

    @rule(by=CALLERS, group=GROUPS, body=bodies.GROUP_CHANGES, match=MATCHES)
    def update_group(self, by: Caller, group: Ref, body: Any, match: str | None) -> None:
        self.do("update_group", by, group, body, match=match)

    @rule(by=CALLERS, group=GROUPS, match=MATCHES)
    def delete_group(self, by: Caller, group: Ref, match: str | None) -> None:
        self.do("delete_group", by, group, match=match)

    @rule(by=CALLERS, group=GROUPS, body=bodies.NEW_MEMBERS)
    def add_member(self, by: Caller, group: Ref, body: Any) -> None:
        self.do("add_member", by, group, body)

    @rule(by=CALLERS, group=GROUPS, user=bodies.SUITABLE_OR_ANY)
    def remove_member(self, by: Caller, group: Ref, user: Ref | None) -> None:
        self.do("remove_member", by, group, user)

    @rule(by=CALLERS, user=USERS, body=bodies.NEW_TASKS)
    def create_task(self, by: Caller, user: Ref, body: Any) -> None:
        self.do("create_task", by, user, body)

    @rule(by=CALLERS, body=bodies.NEW_TASKS)
    def create_own_task(self, by: Caller, body: Any) -> None:
        self.do("create_task", by, by, body)

    @rule(
        by=CALLERS,
        task=bodies.OWN_OR_ANY,
        under=bodies.SUITABLE_OR_ANY,
        body=bodies.TASK_CHANGES,
        match=MATCHES,
    )
    def update_task(
        self, by: Caller, task: Ref, under: Ref | None, body: Any, match: str | None
    ) -> None:
        self.do("update_task", by, under, task, body, match=match)

    @rule(
        by=CALLERS,
        task=bodies.OWN_OR_ANY,
        under=bodies.SUITABLE_OR_ANY,
        endpoint=st.sampled_from(["finish_task", "delete_task"]),
    )
    def end_task(self, by: Caller, task: Ref, under: Ref | None, endpoint: str) -> None:
        self.do(endpoint, by, under, task)

    @rule(by=CALLERS, body=bodies.BATCHES)
    def change_tasks(self, by: Caller, body: Any) -> None:
        self.do("change_tasks", by, body)

    @rule(by=CALLERS, request=bodies.SAFE_METHODS)
    def read(self, by: Caller, request: tuple[Any, ...]) -> None:
        self.do(request[0], by, *request[1:])

    @rule(by=CALLERS, request=bodies.LISTS)
    def look_through(self, by: Caller, request: tuple[Any, ...]) -> None:
        self.do(request[0], by, *request[1:])

    @rule(by=CALLERS, request=bodies.SEARCHES)
    def search(self, by: Caller, request: tuple[Any, ...]) -> None:
        self.do(request[0], by, *request[1:])

    @rule(action=st.sampled_from(["force", "force", "force", "backup", "restore"]))
    def sync(self, action: str) -> None:
        self.pair_now.sync(action)


@pytest.mark.long
def test_the_service_and_the_model_agree(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Machine, "install", install, raising=False)
    run_state_machine_as_test(Machine, settings=SETTINGS)
