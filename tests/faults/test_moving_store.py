"""Clients change entities between any two steps of a pass; the next pass converges."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from taskapi.store import changes
from tests.api.factories import new_group, new_task, new_user, ok, path_of
from tests.client import Api
from tests.faults.checks import settle
from tests.faults.steps import STORES, Intruder
from tests.stores import dirty
from tests.support import Installation

Do = Callable[..., Any]


class World:
    """Two users, a group and a task; each act continues from the state of the one before."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.home = new_group(api)
        self.pair = [new_user(api, self.home["id"]) for _ in range(2)]
        self.group = new_group(api, name="The name")
        self.task = new_task(api, self.pair[0]["id"], self.group["id"])

    def do(self, method: str, path: str, **body: Any) -> Any:
        return self.api(method, path, by="owner", json=body)

    def touch(self) -> None:
        """Change an entity of each kind, and delete one."""
        ok(self.do("PUT", f"/groups/{self.home['id']}", name=f"Home {next(_numbers)}"))
        gone = new_task(self.api, self.pair[1]["id"], self.home["id"])
        ok(self.do("DELETE", path_of(gone)))
        ok(self.do("PUT", path_of(self.task), title=f"Title {next(_numbers)}"))
        for user in self.pair:
            ok(self.do("PUT", f"/users/{user['id']}", number=str(next(_numbers))))


_numbers = count()


def swap_addresses(world: World) -> None:
    first, second = world.pair
    mine, yours = first["email"], second["email"]
    for user, email in ((first, "between@example.com"), (second, mine), (first, yours)):
        ok(world.do("PUT", f"/users/{user['id']}", email=email))
    first["email"], second["email"] = yours, mine


def free_a_name_and_take_it_again(world: World) -> None:
    ok(world.do("DELETE", f"/groups/{world.group['id']}"))
    world.group = new_group(world.api, name="THE NAME")
    world.task = new_task(world.api, world.pair[0]["id"], world.group["id"])


def write_a_child_and_its_parents(world: World) -> None:
    group = new_group(world.api)
    world.task = new_task(world.api, world.pair[0]["id"], group["id"])
    ok(world.do("POST", f"/groups/{group['id']}/users", user_id=world.pair[1]["id"]))


def move_a_task_out_of_a_group_and_delete_the_group(world: World) -> None:
    ok(world.do("PUT", path_of(world.task), group_id=world.home["id"]))
    ok(world.do("DELETE", f"/groups/{world.group['id']}"))
    world.group = new_group(world.api, name="The name")
    world.task = new_task(world.api, world.pair[0]["id"], world.group["id"])


def delete_what_the_pass_copies(world: World) -> None:
    ok(world.do("DELETE", path_of(world.task)))
    ok(world.do("DELETE", f"/groups/{world.home['id']}"))
    world.home = new_group(world.api)
    world.task = new_task(world.api, world.pair[0]["id"], world.group["id"])


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize(
    "acts",
    [
        [swap_addresses, free_a_name_and_take_it_again, write_a_child_and_its_parents],
        [move_a_task_out_of_a_group_and_delete_the_group, delete_what_the_pass_copies],
    ],
)
@pytest.mark.long
def test_changes_between_any_two_steps_of_a_pass_are_copied_by_the_next_pass(
    installation: Installation, api: Api, acts: list[Callable[[World], None]], store: str
) -> None:
    world = World(api)

    def intrude() -> None:
        for act in acts:
            act(world)

    for step in count(1):
        world.touch()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(changes, "CHUNK", 4)
            intruder = Intruder(patch.setattr, step, intrude, store)
            installation.sync()
        if not intruder.where:
            break
        settle(installation)
        assert not dirty(installation), intruder.where
    assert step > 8
