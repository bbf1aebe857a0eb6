"""The doctor reports each problem, shows no secret, and changes neither store."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from devserver.servers import Postgres, Valkey
from taskapi import doctor
from taskapi.config import Settings, load
from taskapi.doctor import Finding, store_checks
from taskapi.store import server
from taskapi.sync.migrations import NEWEST
from tests.stores import connect, empty_redis, keys, meta, root, sql
from tests.support import ROOT, Installation, ambient, eventually

LINE = re.compile(r"(ok|warn|fail) {2,4}[a-z_ ]+: [^–]+( – [^–]+)?")  # noqa: RUF001


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[Valkey]:
    """A server for this test only, with the recommended settings."""
    with Valkey(tmp_path / "valkey") as server:
        yield server


def examine(settings: Settings, clock: Callable[[], float] = time.time) -> dict[str, Finding]:
    return {finding.name: finding for finding in doctor.examine(settings, clock)}


def seen(settings: Settings, name: str) -> tuple[str, str]:
    """Return status and detail of a finding; check that it has a remedy unless it is ok."""
    finding = examine(settings)[name]
    assert bool(finding.remedy) == (finding.status != "ok")
    return finding.status.value, finding.detail


def run(env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "taskapi", *arguments],
        cwd=ROOT,
        env=ambient() | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def secrets_of(env: dict[str, str]) -> list[str]:
    urls = [urlsplit(env[name]).password or "" for name in ("REDIS_URL", "DATABASE_URL")]
    return [secret for secret in (*urls, env["OWNER_PASSWORD"]) if secret]


def test_a_sound_installation_passes(
    own_valkey: Valkey, postgres: Postgres, tmp_path: Path
) -> None:
    installation = Installation(tmp_path, own_valkey.url, postgres.url)
    with (
        closing(installation),
        installation.prepare().serve(workers=1) as api,
        installation.worker(),
    ):
        env = installation.env | {"SERVER_PORT": str(urlsplit(api.url).port)}
        eventually(lambda: examine(load(env))["sync worker"].status == "ok")
        as_text, as_json = run(env, "doctor"), run(env, "doctor", "--json")
    assert (as_text.returncode, as_json.returncode) == (0, 0), as_text.stdout + as_text.stderr
    findings = json.loads(as_json.stdout)
    assert {tuple(finding) for finding in findings} == {("name", "status", "detail", "remedy")}
    not_ok = [finding["name"] for finding in findings if finding["status"] != "ok"]
    assert not_ok in ([], ["pg_trgm"])
    lines = as_text.stdout.splitlines()
    assert [line.split(": ")[0].split("  ")[-1].strip() for line in lines] == [
        finding["name"] for finding in findings
    ]
    assert all(map(LINE.fullmatch, lines)), lines
    for secret in secrets_of(env):
        assert secret not in as_text.stdout + as_json.stdout


def test_stores_that_are_away_fail(installation: Installation) -> None:
    env = installation.env | {
        "REDIS_URL": "redis://:canary-r-1@127.0.0.1:1/0",
        "DATABASE_URL": "postgresql://u:canary-p-2@127.0.0.1:1/x?password=canary-q-3",
    }
    done = run(env, "doctor")
    assert done.returncode == 1
    assert re.search(r"^fail  redis: redis://127.0.0.1:1/0 .*refused.* – ", done.stdout, re.M)  # noqa: RUF001
    assert re.search(r"^fail  postgresql: postgresql://127.0.0.1:1/x .*refused", done.stdout, re.M)
    assert "canary" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "variable"), [("redis", "REDIS_URL"), ("postgresql", "DATABASE_URL")]
)
def test_a_wrong_password_is_named_and_not_shown(
    installation: Installation, name: str, variable: str
) -> None:
    right = urlsplit(installation.env[variable]).password or ""
    env = installation.env | {variable: installation.env[variable].replace(right, "canary-9")}
    finding = examine(load(env))[name]
    assert finding.status == "fail"
    assert "password" in finding.detail
    assert "canary-9" not in str(finding)


def test_a_redis_that_loses_data_fails(tmp_path: Path, installation: Installation) -> None:
    options = ["appendonly no", "maxmemory 1mb", "maxmemory-policy allkeys-lru"]
    with Valkey(tmp_path / "valkey", options=options) as server:
        settings = load(installation.env | {"REDIS_URL": server.url})
        assert seen(settings, "redis persistence") == ("fail", "appendonly no")
        assert seen(settings, "redis eviction") == ("fail", "maxmemory-policy allkeys-lru")
        assert seen(settings, "redis memory")[0] == "fail"


def test_a_redis_that_writes_late_or_is_nearly_full_is_warned_of(
    own_valkey: Valkey, installation: Installation
) -> None:
    installation.settings = load(installation.env | {"REDIS_URL": own_valkey.url})
    with connect(installation) as connection:
        connection.config_set("appendfsync", "everysec")
        status, detail = seen(installation.settings, "redis persistence")
        assert (status, detail) == ("warn", "appendonly yes, appendfsync everysec")
        connection.config_set("maxmemory", int(connection.info("memory")["used_memory"] / 0.87))
    assert seen(installation.settings, "redis memory")[0] == "warn"


def test_servers_that_are_too_old_fail(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert seen(installation.settings, "redis")[0] == "ok"
    assert seen(installation.settings, "postgresql")[0] == "ok"
    monkeypatch.setattr(server, "OLDEST", (99, 0))
    monkeypatch.setattr(store_checks, "OLDEST_POSTGRES", (99, 0))
    assert seen(installation.settings, "redis")[0] == "fail"
    assert seen(installation.settings, "postgresql")[0] == "fail"


@pytest.mark.parametrize(("shift", "status"), [(0, "ok"), (3, "ok"), (60, "fail"), (-60, "fail")])
def test_a_clock_that_is_off_fails(installation: Installation, shift: float, status: str) -> None:
    findings = examine(installation.settings, lambda: time.time() + shift)
    for name in ("redis clock", "postgresql clock"):
        assert findings[name].status == status
        assert ("behind" in findings[name].detail) == (shift == 60)


def test_two_empty_stores_are_only_warned_of(
    valkey: Valkey, postgres: Postgres, tmp_path: Path
) -> None:
    with closing(Installation(tmp_path, valkey.url, postgres.url)) as installation:
        assert seen(installation.settings, "installation") == ("warn", "both stores are empty")
        assert seen(installation.settings, "schema")[0] == "warn"
        assert not keys(installation)
        assert sql(installation, "SELECT to_regclass('users')") == [(None,)]


def test_a_missing_table_fails(installation: Installation) -> None:
    assert seen(installation.settings, "schema") == ("ok", f"{NEWEST} of {NEWEST}")
    sql(installation, "DROP TABLE tombstones")
    assert seen(installation.settings, "schema") == ("fail", "without tombstones")


def test_a_schema_of_another_program_is_named(installation: Installation) -> None:
    sql(installation, "DELETE FROM migrations WHERE number >= 2")
    assert seen(installation.settings, "schema") == ("warn", f"1 of {NEWEST}")
    sql(installation, "INSERT INTO migrations VALUES (99)")
    assert seen(installation.settings, "schema") == ("fail", f"99 of {NEWEST}")


def test_a_reader_that_leaves_early_sees_no_traceback(installation: Installation) -> None:
    command = f"{sys.executable} -m taskapi doctor | head -n 1"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=ROOT,
        env=ambient() | installation.env,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""


def test_searches_without_an_index_are_warned_of(installation: Installation) -> None:
    extensions = "SELECT count(*) FROM pg_extension WHERE extname = 'pg_trgm'"
    expected = "ok" if sql(installation, extensions) == [(1,)] else "warn"
    assert seen(installation.settings, "pg_trgm")[0] == expected


def test_stores_of_different_histories_fail(installation: Installation) -> None:
    installation_id = meta(installation)["installation"]
    assert seen(installation.settings, "installation")[1].startswith(installation_id)
    sql(installation, "UPDATE sync_state SET epoch = epoch + 1")
    status, detail = seen(installation.settings, "installation")
    assert (status, "different histories" in detail) == ("fail", True)
    sql(installation, "UPDATE sync_state SET epoch = 0")
    assert "PostgreSQL has lost" in seen(installation.settings, "installation")[1]
    sql(installation, "UPDATE sync_state SET installation = gen_random_uuid()")
    assert "different histories" in seen(installation.settings, "installation")[1]
    sql(installation, "DELETE FROM sync_state")
    assert "PostgreSQL has lost" in seen(installation.settings, "installation")[1]


def test_a_fenced_and_an_emptied_redis_are_warned_of(installation: Installation) -> None:
    with connect(installation) as connection:
        connection.hset(root(installation) + "meta", "state", "fenced")
    assert "changes are refused" in seen(installation.settings, "installation")[1]
    empty_redis(installation)
    status, detail = seen(installation.settings, "installation")
    assert (status, detail.startswith("Redis is empty")) == ("warn", True)


@pytest.mark.parametrize(
    ("age", "postgres_word", "status", "words"),
    [
        (None, "connected", "warn", "no worker has run yet"),
        (0, "connected", "ok", "running"),
        (0, "error", "fail", "running, but PostgreSQL does not answer it"),
        (605, "connected", "fail", "no heartbeat for 10m"),
    ],
)
def test_the_worker_is_known_by_its_beat(
    installation: Installation, age: int | None, postgres_word: str, status: str, words: str
) -> None:
    if age is not None:
        beat = {"beat": time.time() - age, "postgres": postgres_word}
        with connect(installation) as connection:
            connection.hset(root(installation) + "sync", mapping=beat)
    found_status, detail = seen(installation.settings, "sync worker")
    assert (found_status, detail.startswith(words)) == (status, True)


def test_nothing_is_changed_in_either_store(installation: Installation) -> None:
    with connect(installation) as connection:  # a connection of the service would close the store
        connection.hset(root(installation) + "meta", "opened", "another")
    before = keys(installation)
    tables = ("sync_state", "users", "tombstones")
    rows = [sql(installation, f"SELECT *, xmin::text FROM {table}") for table in tables]
    assert "fail" not in {
        examine(installation.settings)[name].status for name in ("redis", "schema")
    }
    assert keys(installation) == before
    assert [sql(installation, f"SELECT *, xmin::text FROM {table}") for table in tables] == rows
    assert not list(installation.settings.backup_dir.parent.glob("backups*"))


@pytest.mark.parametrize("arguments", [(), ("nurse",), ("doctor", "--yaml")])
def test_bad_arguments_exit_with_2(arguments: tuple[str, ...]) -> None:
    assert run({}, *arguments).returncode == 2


def test_bad_settings_exit_with_2() -> None:
    bad = run({"SYNC_INTERVAL": "soon", "OWNER_PASSWORD": "pw-77"}, "doctor")
    assert (bad.returncode, bad.stdout) == (2, "")
    assert "SYNC_INTERVAL" in bad.stderr
    assert "pw-77" not in bad.stderr


def test_a_default_password_off_loopback_is_a_mistake_in_the_settings() -> None:
    done = run({"SERVER_HOST": "0.0.0.0"}, "doctor")
    assert done.returncode == 2
    assert "OWNER_PASSWORD is the default" in done.stderr
