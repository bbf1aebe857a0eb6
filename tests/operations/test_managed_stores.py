"""Stores as providers set them up: what is wrong is said in a sentence, wherever it is asked."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO
from urllib.parse import urlsplit

import psycopg2
import pytest
import redis

from devserver.servers import Postgres, Valkey, free_port
from taskapi import doctor
from taskapi.config import Settings, load
from taskapi.errors import DatabaseUnreachable, StoreUnreachable, Unusable
from taskapi.store import server
from taskapi.store.connection import Store
from taskapi.sync import bootstrap
from tests.api.factories import everything, new_group, new_task, new_user, ok
from tests.faults import nodes
from tests.operations.nginx import program
from tests.support import ROOT, Installation, ambient, eventually

pytestmark = pytest.mark.long
PASSWORD = "tenant-canary-6140"
SET_UP = f"""
CREATE ROLE tenant LOGIN PASSWORD '{PASSWORD}';
CREATE DATABASE usual;
GRANT ALL ON DATABASE usual TO tenant;
CREATE DATABASE latin OWNER tenant ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0;
CREATE DATABASE "foreign" OWNER tenant;
CREATE DATABASE readonly OWNER tenant;
ALTER DATABASE readonly SET default_transaction_read_only = on;
"""


class Provider(Postgres):
    """A PostgreSQL with databases of a tenant."""

    def _set_up(self, log: IO[str]) -> None:
        super()._set_up(log)
        single = self._as_user("postgres", "--single", "-D", str(self.directory / "data"))
        for statement in SET_UP.strip().splitlines():
            self._run(log, [*single, "postgres"], f"{statement}\n")

    def url_of(self, database: str, password: str = PASSWORD) -> str:
        """Return the URL of a tenant's database."""
        return f"postgresql://tenant:{password}@127.0.0.1:{self.port}/{database}"


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with Provider(tmp_path_factory.mktemp("provider"), options=["fsync=off"]) as postgres:
        with closing(psycopg2.connect(postgres.url_of("foreign"))) as connection:
            connection.cursor().execute("CREATE TABLE users (id serial, name text)")
            connection.commit()
        yield postgres


@pytest.fixture
def settings(installation: Installation) -> Settings:
    """Settings for an empty Redis."""
    return replace(installation.settings, key_prefix=f"{installation.name}-empty")


def findings(settings: Settings) -> list[str]:
    """Return what the doctor reports as failed."""
    found = doctor.examine(settings)
    return [f"{each.detail} – {each.remedy}" for each in found if each.status.value == "fail"]  # noqa: RUF001


@pytest.mark.parametrize(
    ("database", "sentence", "finding"),
    [
        ("usual", "permission denied for schema public", "GRANT CREATE ON SCHEMA public"),
        ("latin", "has the encoding LATIN1", "ENCODING 'UTF8'"),
        ("foreign", "tables of another program (users)", "users belong to another program"),
        ("readonly", "permits no writes", "permits no writes – use the primary"),  # noqa: RUF001
        ("missing", 'database "missing" does not exist', 'database "missing" does not exist'),
        ("usual?colour=red", 'query parameter: "colour"', 'query parameter: "colour"'),
        ("usual?sslmode=require", "server does not support SSL", "server does not support SSL"),
        ("usual?sslmode=red", 'sslmode value: "red"', 'sslmode value: "red"'),
    ],
)
def test_a_database_that_cannot_be_used_is_explained(
    provider: Provider, settings: Settings, database: str, sentence: str, finding: str
) -> None:
    settings = replace(settings, database_url=provider.url_of(database))
    with pytest.raises((DatabaseUnreachable, Unusable)) as caught:
        bootstrap.prepare(settings)
    assert sentence in str(caught.value)
    assert PASSWORD not in str(caught.value)
    assert "127.0.0.1" not in str(caught.value)
    assert any(finding in each for each in findings(settings)), findings(settings)


def test_a_wrong_password_is_explained(provider: Provider, settings: Settings) -> None:
    url = provider.url_of("usual", "wrong-canary-3")
    with pytest.raises(DatabaseUnreachable, match="refuses the user or the password"):
        bootstrap.prepare(replace(settings, database_url=url))


def test_what_the_role_lacks_is_in_the_log_and_in_health(
    provider: Provider, settings: Settings, installation: Installation
) -> None:
    env = {"DATABASE_URL": provider.url_of("usual"), "KEY_PREFIX": settings.key_prefix}
    installation.env |= env
    sentence = "GRANT it. A new installation needs CREATE ON SCHEMA public."
    with installation.worker() as log, installation.serve(workers=1) as api:
        eventually(lambda: sentence in log.read_text())
        health = eventually(lambda: _issues_of(api))
        assert api("GET", "/health").status == 503
        assert any(sentence in issue for issue in health)
        assert "GRANT" in ok(api("GET", "/admin/status", by="owner"))["last_error"]


def _issues_of(api: object) -> list[str]:
    issues = api("GET", "/health").json["issues"]  # type: ignore[operator]
    return issues if len(issues) > 1 else []


def test_a_database_is_found_on_the_host_that_takes_writes(
    installation: Installation,
) -> None:
    parts = urlsplit(installation.env["DATABASE_URL"])
    login, _, server_address = parts.netloc.rpartition("@")
    hosts = f"{login}@127.0.0.1:{free_port()},{server_address}"
    url = parts._replace(netloc=hosts, query="target_session_attrs=read-write").geturl()
    installation.env["DATABASE_URL"] = url
    with installation.serve(workers=1) as api, installation.worker():
        new_task(api, 1, new_group(api)["id"])
        assert ok(api("POST", "/admin/sync", by="owner"))["written"]["tasks"] == 1
        eventually(lambda: api("GET", "/health").json["status"] == "healthy")
        page = ok(api("GET", "/tasks/filter?sort=title&total=true", by="owner"))
        assert (page["count"], page["total"]) == (1, 1)


def test_a_database_may_be_behind_a_socket(tmp_path: Path, installation: Installation) -> None:
    with TemporaryDirectory(prefix="socket-") as folder:
        Path(folder).chmod(0o777)
        options = ["fsync=off", f"unix_socket_directories={folder}"]
        with Postgres(tmp_path / "postgres", options=options) as postgres:
            rules = tmp_path / "postgres/data/pg_hba.conf"
            rules.write_text("local all all scram-sha-256\n")
            postgres.stop()
            postgres._wait_until_ready = lambda _: None  # type: ignore[method-assign]
            postgres.start()
            env = {"DB_HOST": folder, "DB_PORT": str(postgres.port), "POSTGRES_DB": "taskapi"}
            env |= {"POSTGRES_USER": "taskapi", "POSTGRES_PASSWORD": postgres._password}
            kept = {name: value for name, value in installation.env.items() if name[:3] != "DAT"}
            settings = load(kept | env | {"KEY_PREFIX": f"{installation.name}-socket"})
            eventually(lambda: _is_prepared(settings))


def _is_prepared(settings: Settings) -> bool:
    with suppress(DatabaseUnreachable):
        bootstrap.prepare(settings)
        return True
    return False


@pytest.mark.parametrize("arguments", [["-m", "gunicorn", "app:app"], ["sync_worker.py"]])
def test_a_wrong_encoding_ends_the_start_with_one_line_of_json(
    provider: Provider, installation: Installation, arguments: list[str]
) -> None:
    env = installation.env | {"DATABASE_URL": provider.url_of("latin"), "LOG_FORMAT": "json"}
    env["KEY_PREFIX"] = f"{installation.name}-latin"
    done = _run(arguments, env)
    assert done.returncode != 0
    assert '"level":"Error"' in done.stdout
    assert "LATIN1" in done.stdout
    assert all(line.startswith("{") for line in (done.stdout + done.stderr).splitlines())


@pytest.mark.parametrize("arguments", [["-m", "gunicorn", "app:app"], ["sync_worker.py"]])
def test_mistakes_in_the_settings_are_lines_of_json(arguments: list[str]) -> None:
    done = _run(arguments, {"LOG_FORMAT": "json", "SYNC_INTERVAL": "soon", "BACKUP_KEEP": "x"})
    assert (done.returncode, done.stderr) == (1, "")
    assert [line[:1] for line in done.stdout.splitlines()] == ["{", "{"]


def _run(arguments: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=ambient() | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_redis_user_needs_info_and_nothing_else_that_is_dangerous(
    tmp_path: Path, postgres: Postgres
) -> None:
    """The rule that docs/deployment.md gives, on a server of its own."""
    with ExitStack() as stack:
        valkey = stack.enter_context(Valkey(tmp_path / "valkey"))
        installation = Installation(tmp_path, valkey.url, postgres.url)
        stack.enter_context(closing(installation))
        rule = f"~{{{installation.name}}}:* +@all -@dangerous +info resetchannels"
        with redis.Redis.from_url(valkey.url) as admin:
            admin.execute_command("ACL", "SETUSER", "app", "on", ">pw-canary", *rule.split())
        page = (ROOT / "docs/deployment.md").read_text()
        assert rule.replace(installation.name, "taskapi") in page
        url = f"redis://app:pw-canary@127.0.0.1:{valkey.port}/0"
        settings = replace(installation.settings, redis_url=url)
        bootstrap.prepare(settings)
        installation.env["REDIS_URL"] = url
        with installation.serve(workers=1) as api, installation.worker():
            user = new_user(api, group := new_group(api)["id"])
            new_task(api, user["id"], group)
            for action in ("force", "backup", "restore"):
                ok(api("POST", f"/admin/sync?action={action}", by="owner"))
            eventually(lambda: api("GET", "/health").json["status"] == "healthy")
            assert not [each for each in findings(settings) if "redis" in each.lower()]


def test_the_address_of_a_sentinel_is_explained(tmp_path: Path, installation: Installation) -> None:
    with nodes.watched(tmp_path) as several:
        port = several.sentinels[0].port
        url = f"redis://:{nodes.SENTINEL_PASSWORD}@127.0.0.1:{port}/0"
        settings = replace(installation.settings, redis_url=url)
        with pytest.raises(StoreUnreachable, match=r"address of a Sentinel: set redis\+sentinel"):
            bootstrap.prepare(settings)
        assert any("address of a Sentinel" in each for each in findings(settings))
        url = several.url.replace("service=main", "service=other")
        with pytest.raises(StoreUnreachable, match="No Sentinel knows a primary of the service"):
            bootstrap.prepare(replace(settings, redis_url=url))


def test_a_node_of_a_cluster_that_has_other_keys_is_explained(
    tmp_path: Path, installation: Installation
) -> None:
    with nodes.cluster(tmp_path) as several:
        own = several.number_of(f"{{{installation.name}}}:meta")
        other = several.primaries[(own + 1) % 3]
        url = f"redis://:{nodes.PASSWORD}@{other.address}/0"
        settings = replace(installation.settings, redis_url=url)
        with pytest.raises(StoreUnreachable, match=r"must begin with redis\+cluster://"):
            bootstrap.prepare(settings)
        assert any("redis+cluster" in each for each in findings(settings)), findings(settings)


def test_a_redis_that_is_too_old_is_refused(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "OLDEST", (99, 0))
    with pytest.raises(Unusable, match=r"is too old: use Redis 7\.0 or newer"):
        bootstrap.prepare(installation.settings)
    assert any("use Redis 7.0 or newer" in each for each in findings(installation.settings))


class DebiansRedis(Valkey):
    """The Redis 7.0 of Debian 12, the oldest one that is supported."""

    def _command(self) -> list[str]:
        *guard, _, file = super()._command()
        return [*guard, program("redis-server", "redis-server"), file]


def test_everything_works_on_the_oldest_redis(tmp_path: Path, postgres: Postgres) -> None:
    program("redis-server", "redis-server")
    with ExitStack() as stack:
        old = stack.enter_context(DebiansRedis(tmp_path / "redis"))
        installation = Installation(tmp_path, old.url, postgres.url)
        stack.enter_context(closing(installation)).prepare()
        facts = server.look(Store(old.url, installation.name))
        assert (facts.name.split()[0], facts.version >= server.OLDEST) == ("Redis", True)
        with installation.serve() as api, installation.worker():
            user = new_user(api, group := new_group(api)["id"])
            tasks = [new_task(api, user["id"], group, title=f"Task {n}") for n in range(5)]
            body = {"task_ids": [tasks[0]["id"]], "updates": {"status": True}}
            ok(api("POST", "/tasks/batch", by="owner", json=body))
            for path in ("/tasks/search?q=task", "/tasks/filter?sort=title", "/tasks/changes"):
                ok(api("GET", path, by="owner"))
            before = everything(api)
            for action in ("force", "backup", "restore"):
                ok(api("POST", f"/admin/sync?action={action}", by="owner"))
            assert everything(api) == before
            old.kill()
            old.start()
            assert eventually(lambda: api("GET", "/tasks/filter", by="owner").status == 200)
            assert everything(api) == before
            ok(api("DELETE", f"/users/{user['id']}", by="owner"))
