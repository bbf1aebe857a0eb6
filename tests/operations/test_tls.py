"""Both stores over TLS, with verified certificates."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from devserver.servers import Postgres, Valkey
from taskapi.config import load
from taskapi.errors import DatabaseUnreachable
from taskapi.sync.postgres import Database
from tests.api.factories import new_group, ok, refused
from tests.conftest import Install
from tests.operations.tls import make_certificate, relay
from tests.support import Installation


class Tls(NamedTuple):
    """The ports of the relays to both stores, and the certificate of the relays."""

    redis: int
    postgres: int
    certificate: Path


@pytest.fixture(scope="module")
def tls(
    valkey: Valkey, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Tls]:
    if not (shutil.which("openssl") or "CI" in os.environ):
        pytest.skip("openssl is not installed")
    certificate = make_certificate(tmp_path_factory.mktemp("tls"))
    with ExitStack() as stack:
        ports = [
            stack.enter_context(relay(server.port, certificate)) for server in (valkey, postgres)
        ]
        yield Tls(*ports, certificate)


def over_tls(installation: Installation, tls: Tls, redis: str, postgres: str) -> dict[str, str]:
    """Return the environment with the URLs of the relays; add `redis` and `postgres` to them."""
    environ = installation.env.copy()
    to_redis = environ["REDIS_URL"].replace("redis://", "rediss://")
    port = urlsplit(to_redis).port
    environ["REDIS_URL"] = to_redis.replace(f":{port}/", f":{tls.redis}/") + redis
    port = urlsplit(environ["DATABASE_URL"]).port
    to_postgres = environ["DATABASE_URL"].replace(f":{port}/", f":{tls.postgres}/")
    return environ | {"DATABASE_URL": to_postgres + postgres}


def test_both_stores_are_used_over_tls(install: Install, tls: Tls) -> None:
    ca = tls.certificate
    installation = install()
    installation.env = over_tls(
        installation, tls, f"?ssl_ca_certs={ca}", f"?sslmode=verify-full&sslrootcert={ca}"
    )
    installation.settings = load(installation.env)
    api = installation.client()
    new_group(api)
    assert installation.sync().written
    assert ok(api("GET", "/admin/status", by="owner"))["postgres_status"] == "connected"
    with Database(installation.settings) as db:
        assert db.rows("SELECT count(*) FROM groups") == [(1,)]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_redis_whose_certificate_is_not_trusted_or_not_its_own_is_refused(
    install: Install, tls: Tls, host: str
) -> None:
    installation = install()
    trusted = "" if host == "127.0.0.1" else f"?ssl_ca_certs={tls.certificate}"
    environ = over_tls(installation, tls, trusted, "")
    environ["REDIS_URL"] = environ["REDIS_URL"].replace("@127.0.0.1:", f"@{host}:")
    installation.settings = load(environ)
    error = refused(installation.client()("GET", "/users", by="owner"), 503)["error"]
    assert error.startswith("The TLS connection to Redis fails: see the certificate")


def reached(postgres: Postgres, mode: str, port: int) -> bool:
    """Return whether PostgreSQL can be reached with this sslmode."""
    url = urlsplit(postgres.url)
    parts = {"DB_HOST": "127.0.0.1", "DB_PORT": str(port), "POSTGRES_DB": url.path[1:]}
    parts |= {"POSTGRES_USER": url.username or "", "POSTGRES_PASSWORD": url.password or ""}
    try:
        with Database(load(parts | {"POSTGRES_SSLMODE": mode})) as db:
            return db.rows("SELECT 1") == [(1,)]
    except DatabaseUnreachable:
        return False


def test_the_ssl_mode_decides_with_which_postgresql_we_speak(
    tls: Tls, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGSSLROOTCERT", raising=False)
    modes = ("disable", "prefer", "require", "verify-ca", "verify-full")
    plain = [mode for mode in modes if reached(postgres, mode, postgres.port)]
    assert plain == ["disable", "prefer"]
    untrusted = [mode for mode in modes if reached(postgres, mode, tls.postgres)]
    assert untrusted == ["prefer", "require"]
    monkeypatch.setenv("PGSSLROOTCERT", str(tls.certificate))
    trusted = [mode for mode in modes if reached(postgres, mode, tls.postgres)]
    assert trusted == ["prefer", "require", "verify-ca", "verify-full"]


@pytest.mark.parametrize(
    ("mode", "host", "problem"),
    [
        ("verify-ca", "127.0.0.1", "certificate verify failed"),
        ("verify-full", "localhost", "does not match host"),
    ],
)
def test_a_certificate_of_postgresql_that_is_not_accepted_is_explained(
    tls: Tls, postgres: Postgres, tmp_path: Path, mode: str, host: str, problem: str
) -> None:
    other = make_certificate(tmp_path) if mode == "verify-ca" else tls.certificate
    url = urlsplit(postgres.url)
    netloc = f"{url.username}:{url.password}@{host}:{tls.postgres}"
    address = url._replace(netloc=netloc, query=f"sslmode={mode}&sslrootcert={other}").geturl()
    with pytest.raises(DatabaseUnreachable) as caught:
        Database(load({"DATABASE_URL": address}))
    assert str(caught.value).startswith("The TLS certificate is not accepted (")
    assert problem in str(caught.value)
    assert host not in str(caught.value)
