"""The quarantine is shown everywhere, and an entry ends when its change is settled."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from devserver.servers import Postgres
from taskapi import doctor
from taskapi.doctor.store_checks import examine
from taskapi.store import quarantine
from taskapi.sync import status, sync_pass
from tests.api.factories import new_group, new_task, ok, path_of
from tests.client import Api
from tests.stores import dirty, sql
from tests.support import Installation
from tests.sync.lossy_site import LossySite, lose_task
from tests.sync.test_rollback import quarantined


@pytest.fixture
def site(tmp_path: Path, postgres: Postgres) -> Iterator[LossySite]:
    with closing(LossySite(tmp_path, postgres.url, "everysec")) as site:
        yield site


def poison(installation: Installation) -> None:
    sql(installation, "ALTER TABLE tasks ADD CONSTRAINT poison CHECK (title <> 'Poison')")


def poisoned_task(site: LossySite) -> Any:
    """Create a task that PostgreSQL refuses, and run the pass that notices."""
    poison(site.installation)
    task = new_task(site.api, 1, new_group(site.api)["id"], title="Poison")
    site.installation.sync()
    assert set(quarantined(site.api)) == {("task", task["id"])}
    return task


def test_a_change_in_quarantine_is_shown_by_health_status_and_doctor(
    installation: Installation, api: Api
) -> None:
    def shown() -> tuple[Any, ...]:
        status.publish_heartbeat(installation.settings, sync_pass.open_store(installation.settings))
        health, full = api("GET", "/health"), ok(api("GET", "/admin/status", by="owner"))
        found = {each.name: each for each in examine(installation.settings, time.time)}
        assert health.status == 200
        return (
            (health.json["status"], health.json.get("issues")),
            (full["healthy"], full["quarantined_count"]),
            (found["quarantine"].status, found["quarantine"].detail),
        )

    poison(installation)
    task = new_task(api, 1, new_group(api)["id"], title="Poison")
    installation.sync()
    issue = "1 change(s) are in quarantine, so PostgreSQL lacks them: see quarantined in"
    assert shown() == (
        ("degraded", [f"{issue} /admin/status."]),
        (False, 1),
        ("warn", "1 change(s) that PostgreSQL lacks"),
    )
    ok(api("PUT", path_of(task), by="owner", json={"title": "Antidote"}))
    installation.sync()
    assert shown() == (("healthy", None), (True, 0), ("ok", "empty"))


def test_an_entry_ends_when_a_rollback_brings_the_entity_a_newer_version(site: LossySite) -> None:
    task = poisoned_task(site)
    with site.lost():
        ok(site.api("PUT", path_of(task), by="owner", json={"title": "Antidote"}))
        site.installation.sync()
    site.installation.sync()
    assert ok(site.api("GET", path_of(task), by="owner"))["title"] == "Antidote"
    assert not quarantined(site.api)
    assert not dirty(site.installation)
    assert site.is_whole()


def test_an_entry_ends_when_a_rollback_deletes_the_entity(site: LossySite) -> None:
    task = poisoned_task(site)
    with site.lost():
        ok(site.api("DELETE", path_of(task), by="owner"))
        site.installation.sync()
    site.installation.sync()
    assert site.api("GET", path_of(task), by="owner").status == 404
    assert not quarantined(site.api)
    assert not dirty(site.installation)
    assert site.is_whole()


def test_an_older_mark_of_what_a_rollback_put_back_is_no_anomaly(site: LossySite) -> None:
    task = new_task(site.api, 1, new_group(site.api)["id"])
    with site.lost():
        ok(site.api("PUT", path_of(task), by="owner", json={"title": "Newer"}))
        site.installation.sync()
    site.installation.sync()
    assert not quarantined(site.api)
    assert site.is_whole()


def test_a_lost_change_that_does_not_fit_ends_the_pass_and_can_be_settled(
    site: LossySite,
) -> None:
    other = new_group(site.api)
    task = lose_task(site)
    kept = new_task(site.api, 1, other["id"])
    sync = Thread(target=site.installation.sync, daemon=True)
    sync.start()
    sync.join(30)
    assert not sync.is_alive()
    assert set(quarantined(site.api)) == {("task", task["id"]), ("group", task["group_id"])}
    assert sql(site.installation, "SELECT id FROM tasks WHERE id = %s", kept["id"])
    lines, _ = doctor.check(site.installation.settings, repairs=True)
    assert any(f"group {task['group_id']} does not exist" in line for line in lines)
    sql(site.installation, "DELETE FROM tasks WHERE id = %s", task["id"])
    doctor.check(site.installation.settings, repairs=True)
    quarantine.release(sync_pass.open_store(site.installation.settings))  # as the worker does daily
    site.installation.sync()
    assert not quarantined(site.api)
    assert site.is_whole()
