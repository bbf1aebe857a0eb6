"""Private servers for the whole run, and installations on them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import psycopg2
import pytest

from devserver.servers import Postgres, Valkey
from taskapi.store import passwords
from tests.api.codes import Collector
from tests.support import CHEAP_HASHER, Api, Installation

Install = Callable[..., Installation]
LEAST_FREE_BYTES = 2 * 1024**3
SHIPPED_HASHER, SHIPPED_DUMMY_HASH = passwords.HASHER, passwords._DUMMY_HASH


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Collector())
    if "PYTHONDONTWRITEBYTECODE" in os.environ:
        _keep_bytecode(config)


def _keep_bytecode(config: pytest.Config) -> None:
    """Keep compiled modules in a temporary folder, not beside the source.

    Tests start hundreds of processes, and each would compile all modules again.
    """
    folder = TemporaryDirectory(prefix="taskapi-bytecode-")
    config.add_cleanup(folder.cleanup)
    del os.environ["PYTHONDONTWRITEBYTECODE"]
    os.environ["PYTHONPYCACHEPREFIX"] = folder.name


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mix the files of `api`, which need CPU time, with the others, which wait for processes.

    Some of those of `api`, which are short, are last, so that all processes end at the same time.
    """
    files = list(dict.fromkeys(item.path for item in items))
    short = [file for file in files if file.parent.name == "api"]
    long = [file for file in files if file.parent.name != "api"]
    places = {file: 1.15 * number / len(short) for number, file in enumerate(short)}
    places |= {file: number / len(long) for number, file in enumerate(long)}
    items.sort(key=lambda item: places[item.path])


@pytest.fixture(scope="session", autouse=True)
def _cheap_password_hashes() -> Iterator[None]:
    """Hash passwords at a hundredth of the cost in this process; a real server pays the full cost.

    A stored hash carries its own parameters, so a real server checks these hashes too.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "HASHER", CHEAP_HASHER)
        patch.setattr(passwords, "_DUMMY_HASH", CHEAP_HASHER.hash("a password that no user has"))
        yield


@pytest.fixture
def shipped_password_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash passwords at the cost that we ship, for a test about that cost."""
    monkeypatch.setattr(passwords, "HASHER", SHIPPED_HASHER)
    monkeypatch.setattr(passwords, "_DUMMY_HASH", SHIPPED_DUMMY_HASH)


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with Valkey(tmp_path_factory.mktemp("valkey"), options=["appendonly no"]) as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    options = ["fsync=off", "full_page_writes=off", "synchronous_commit=off", "autovacuum=off"]
    with (
        TemporaryDirectory(prefix="taskapi-", dir=_in_memory()) as folder,
        Postgres(Path(folder), options=options) as server,
    ):
        _make_log_ins_cheap(server)
        yield server


def _make_log_ins_cheap(server: Postgres) -> None:
    """Store the password with one round of SCRAM: a log-in takes 5 ms of CPU otherwise."""
    url = urlsplit(server.url)
    with closing(psycopg2.connect(server.url)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SET scram_iterations = 1; ALTER ROLE CURRENT_USER PASSWORD %s", (url.password,)
        )
        connection.commit()


def _in_memory() -> str | None:
    """Return a folder in memory, if the machine has one with enough space.

    Each test makes a database of 7 MB, which takes ten times as long on a busy disk.
    """
    folder = "/dev/shm"
    has_space = os.path.isdir(folder) and shutil.disk_usage(folder).free > LEAST_FREE_BYTES
    return folder if has_space and os.access(folder, os.W_OK) else None


@pytest.fixture(scope="session")
def _templates() -> dict[tuple[Valkey, Postgres], Installation]:
    return {}


@pytest.fixture(scope="module")
def template(
    valkey: Valkey,
    postgres: Postgres,
    tmp_path_factory: pytest.TempPathFactory,
    _templates: dict[tuple[Valkey, Postgres], Installation],
) -> Installation:
    """A prepared installation on these servers, to be copied."""
    servers = valkey, postgres
    if servers not in _templates:
        folder = tmp_path_factory.mktemp("template")
        _templates[servers] = Installation(folder, valkey.url, postgres.url).prepare()
    return _templates[servers]


@pytest.fixture(scope="module")
def install(
    valkey: Valkey,
    postgres: Postgres,
    template: Installation,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Install]:
    """Makes prepared installations that last as long as the module; takes environment variables.

    Most are copies, which cost a third of the CPU time. One with another owner is prepared, and so
    is one that `is_foreign`: its stores do not fit those of copies.
    """
    folder: Path = tmp_path_factory.mktemp("installations")
    with ExitStack() as stack:

        def make(*, is_foreign: bool = False, **env: str) -> Installation:
            is_new = is_foreign or not {"OWNER_EMAIL", "OWNER_PASSWORD"}.isdisjoint(env)
            model = None if is_new else template
            made = Installation(folder, valkey.url, postgres.url, model, **env)
            stack.enter_context(closing(made))
            return made.prepare() if is_new else made

        yield make


@pytest.fixture
def installation(install: Install) -> Installation:
    """A fresh, prepared installation of this test's own."""
    return install()


@pytest.fixture
def api(installation: Installation) -> Api:
    return installation.client()
