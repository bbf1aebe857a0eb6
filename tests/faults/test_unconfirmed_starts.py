"""A start of Redis is compared with PostgreSQL, but something fails before Redis knows of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from devserver.servers import Postgres
from taskapi.store import meta as store_meta
from taskapi.store import server_start
from taskapi.sync import bootstrap, start_check
from taskapi.sync.start_check import StartWatch
from tests.api.factories import new_group, ok
from tests.stores import before, meta, sql
from tests.support import eventually
from tests.sync.lossy_site import LossySite, uncompared


@pytest.fixture
def site(tmp_path: Path, postgres: Postgres) -> Iterator[LossySite]:
    with closing(LossySite(tmp_path, postgres.url, "always")) as site:
        yield site


def is_known_to_postgresql(site: LossySite) -> bool:
    """Return whether PostgreSQL knows the start of Redis that is served."""
    ((run_id,),) = sql(site.installation, "SELECT run_id FROM sync_state")
    return bool(run_id == meta(site.installation)["opened"])


def test_the_next_start_is_no_other_redis_though_postgresql_knows_only_the_one_before(
    site: LossySite, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(start_check, "confirm", lambda *_: None)  # the process died before it
        site.restart()
        new_group(site.api)
        eventually(lambda: is_known_to_postgresql(site))
    assert meta(site.installation)["confirmed"] != meta(site.installation)["opened"]
    for _ in range(2):
        with uncompared(site):
            site.restart()
            new_group(site.api)
    assert not is_known_to_postgresql(site)
    site.installation.sync()
    assert is_known_to_postgresql(site)
    assert not meta(site.installation)["unconfirmed"]
    new_group(site.api)


@pytest.mark.parametrize(
    ("module", "step"),
    [(server_start, "open_for_clients"), (server_start, "_open"), (store_meta, "publish_status")],
)
def test_a_process_that_is_late_does_not_say_that_nobody_compared_the_start(
    site: LossySite,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    module: Any,
    step: str,
) -> None:
    check, ended = StartWatch._check, Event()

    def check_to_the_end(watch: StartWatch) -> None:
        check(watch)
        ended.set()

    def refuse(_: StartWatch, *events: Event) -> None:
        for event in events:
            event.set()

    monkeypatch.setattr(StartWatch, "_check", check_to_the_end)
    monkeypatch.setattr(StartWatch, "_compare", refuse)  # PostgreSQL refuses this process
    site.restart()
    before(monkeypatch, module, step, lambda: bootstrap.prepare(site.installation.settings))
    new_group(site.api)
    assert ended.wait(15)
    has_opened_it = step == "publish_status"
    assert (start_check.UNCOMPARED in capsys.readouterr().out) is has_opened_it
    status = ok(site.api("GET", "/admin/status", by="owner"))
    assert start_check.UNCOMPARED not in status["warnings"]
    assert meta(site.installation)["confirmed"] == meta(site.installation)["opened"]
