"""Settings are read once, and every mistake is reported at once."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from taskapi.config import ConfigError, load
from taskapi.environment import POSTGRES_PARTS, REDIS_PARTS, SECRETS
from tests.support import ROOT

GUIDES_DATABASE = "postgresql://airflow:EKQH9jQX7gAfV7pLwVmsbLbF3XfY6n4S@localhost:5433/airflow"
UNUSABLE = {
    "OWNER_PASSWORD": ("short", "x" * 129),
    "OWNER_EMAIL": ("nobody", "ä@example.com"),
    "SERVER_PORT": ("0", "65536", "http"),
    "PORT": ("-1",),
    "REDIS_PORT": ("none",),
    "REDIS_URL": (
        *("http://localhost", "redis://localhost:99999", "redis://h/?db=x", "redis://h/?x=1"),
        *(
            "redis://h/?ssl_ca_certs=/ca",
            "rediss://h/?ssl_ca_cert=/ca",
            "rediss://h/?ssl_ca_certs=",
        ),
        "rediss://h/?ssl_cert_reqs=no",
        *("redis+sentinel://h:1/0", "redis+sentinel://h:1,:2/0?service=m", "redis+tls://h"),
        *("redis+sentinel://h/?service=m&ssl_ca_certs=/ca", "redis+sentinel://?service=m"),
        *("redis+cluster://h:1,h:x", "redis+cluster://h/3", "redis+cluster://h/?service=m"),
    ),
    "DB_PORT": ("1.5",),
    "DATABASE_URL": ("mysql://localhost/x", "postgresql://h:1,h:x/d", "postgresql://a,,b/d"),
    "SYNC_INTERVAL": ("15", "m", "0s", "-1m", "1d", "15m30"),
    "SYNC_MAX_PENDING": ("0", "many"),
    "TRUSTED_PROXIES": ("one", "17"),
    "MAX_BODY_BYTES": ("1k", "1"),
    "KEY_PREFIX": ("a:b", "{x}", "x" * 65),
    "BACKUP_KEEP": ("0",),
    "DELETES_KEPT": ("30", "30d"),
    "WEB_CONCURRENCY": ("0",),
    "POSTGRES_SSLMODE": ("on", "verify"),
    "CORS_ORIGINS": ("*", "https://*.a.com", "https://a.com/", "a.com", "null", "https://a.com,,"),
    "OWNER_PASSWORD_FILE": ("/nowhere/owner", "/"),
    "LOG_FORMAT": ("xml", "JSON"),
    "DOCS_ENABLED": ("maybe",),
}
HIDDEN = {"PORT", "OWNER_PASSWORD_FILE", "REDIS_PORT", "DB_PORT", "POSTGRES_SSLMODE"}
"""Variables that are ignored if another one is set."""


def test_without_variables_the_guides_defaults_hold() -> None:
    settings = load({})
    assert settings.owner_password == "admin1234"
    assert settings.owner_email == "admin@gmail.com"
    assert (settings.server_host, settings.server_port) == ("127.0.0.1", 7890)
    assert settings.redis_url == "redis://localhost:6380/0"
    assert settings.database_url == GUIDES_DATABASE
    assert settings.sync_interval_seconds == 900
    assert settings.backup_dir == Path(".data/backups").absolute()


def test_an_empty_variable_counts_as_not_set() -> None:
    assert load({"SERVER_PORT": "", "PORT": "8000", "REDIS_URL": ""}).server_port == 8000


def test_special_characters_in_parts_of_a_url_are_escaped() -> None:
    settings = load(
        {
            **{"REDIS_HOST": "cache", "REDIS_PORT": "1", "REDIS_PASSWORD": "a/b@c"},
            **{"DB_HOST": "db", "DB_PORT": "2", "POSTGRES_DB": "d", "POSTGRES_USER": "u"},
            "POSTGRES_PASSWORD": "p#w",
        }
    )
    assert settings.redis_url == "redis://:a%2Fb%40c@cache:1/0"
    assert settings.database_url == "postgresql://u:p%23w@db:2/d"


@pytest.mark.parametrize("mode", ["disable", "prefer", "require", "verify-ca", "verify-full"])
def test_the_url_made_of_parts_carries_the_ssl_mode(mode: str) -> None:
    assert load({"POSTGRES_SSLMODE": mode}).database_url == f"{GUIDES_DATABASE}?sslmode={mode}"


@pytest.mark.parametrize("name", [*REDIS_PARTS, *POSTGRES_PARTS])
def test_a_url_together_with_one_of_its_parts_is_refused(name: str) -> None:
    urls = {"REDIS_URL": "redis://pw-77@a", "DATABASE_URL": "postgresql://pw-77@a/b"}
    value = {"POSTGRES_SSLMODE": "require"}.get(name, "9")
    with pytest.raises(ConfigError) as caught:
        load(urls | {name: value})
    url = "REDIS_URL" if name in REDIS_PARTS else "DATABASE_URL"
    remedy = "set either the URL or its parts."
    assert str(caught.value) == f"{url} and {name} are both given: {remedy}"


def test_both_contradictions_are_reported_at_once(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("redis://a")
    (tmp_path / "password").write_text("pw-77")
    given = {"REDIS_URL_FILE": str(tmp_path / "url"), "REDIS_HOST": "a", "REDIS_PORT": "1"}
    given |= {"DATABASE_URL": "postgresql://a/b"}
    with pytest.raises(ConfigError) as caught:
        load(given | {"POSTGRES_PASSWORD_FILE": str(tmp_path / "password")})
    remedy = "are both given: set either the URL or its parts."
    assert str(caught.value).splitlines() == [
        f"REDIS_URL and REDIS_HOST, REDIS_PORT {remedy}",
        f"DATABASE_URL and POSTGRES_PASSWORD {remedy}",
    ]


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
@pytest.mark.parametrize("name", [f"{name}_FILE" for name in SECRETS])
def test_a_secret_is_read_from_its_file(name: str, end: str, tmp_path: Path) -> None:
    secret = {"REDIS_URL_FILE": "redis://h/3", "DATABASE_URL_FILE": "postgresql://h/d"}
    value = secret.get(name, " pw-77")
    path = tmp_path / "secret"
    path.write_text(value + end, newline="")
    settings = load({name: str(path)})
    assert settings == replace(load({name.removesuffix("_FILE"): value}), secret_files=(path,))


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff", None])
def test_a_secret_file_without_a_secret_is_refused(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    with pytest.raises(ConfigError, match=r"^POSTGRES_PASSWORD_FILE [^\n]*: set [^\n]*$"):
        load({"POSTGRES_PASSWORD_FILE": str(tmp_path / "secret")})


def test_a_secret_given_directly_and_in_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("pw-77-file")
    with pytest.raises(ConfigError) as caught:
        load({"REDIS_PASSWORD": "pw-77", "REDIS_PASSWORD_FILE": str(tmp_path / "secret")})
    assert str(caught.value) == (
        "REDIS_PASSWORD and REDIS_PASSWORD_FILE are both given: set one of them."
    )


def test_a_redis_url_may_have_the_options_of_its_kind() -> None:
    options = "ssl_ca_certs=/ca&ssl_cert_reqs=required&ssl_check_hostname=false&db=2"
    sentinel = "service=m&sentinel_username=u&sentinel_password=p"
    for url in (
        *(f"rediss://h/?{options}", "unix:///run/redis?db=1&password=p"),
        *(f"redis+sentinel://u:p@h:1,h,[::1]:3/2?{sentinel}", "redis+cluster://:p@h:1,h:2"),
        *(f"redis+sentinel+tls://h/?{options}&{sentinel}", "redis+cluster+tls://h/?ssl_keyfile=/k"),
    ):
        assert load({"REDIS_URL": url}).redis_url == url


def test_a_database_may_have_several_hosts_or_a_socket() -> None:
    url = "postgresql://u:p@h1:1,h2/d?target_session_attrs=read-write"
    assert load({"DATABASE_URL": url}).database_url == url
    made = load({"DB_HOST": "/run/postgresql", "POSTGRES_PASSWORD": "p", "DB_PORT": "5432"})
    assert made.database_url == "postgresql://airflow:p@%2Frun%2Fpostgresql:5432/airflow"


def test_origins_are_a_list() -> None:
    given = "https://a.example, http://localhost:3000,https://[::1]:8443"
    expected = ("https://a.example", "http://localhost:3000", "https://[::1]:8443")
    assert load({"CORS_ORIGINS": given}).cors_origins == expected
    assert load({}).cors_origins == ()


def test_server_port_wins_over_port() -> None:
    assert load({"SERVER_PORT": "1000", "PORT": "2000"}).server_port == 1000


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("15m", 900), ("1h30m", 5400)])
def test_durations_are_written_as_in_go(text: str, seconds: float) -> None:
    assert load({"SYNC_INTERVAL": text}).sync_interval_seconds == seconds


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in UNUSABLE.items() for value in values]
)
def test_what_cannot_be_used_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{name}\b.*: set [^\n]*$"):
        load({name: value})


def test_all_mistakes_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        load({name: values[0] for name, values in UNUSABLE.items() if name not in HIDDEN})
    named = {re.split(r"\W", line)[0] for line in str(caught.value).splitlines()}
    assert named == UNUSABLE.keys() - HIDDEN


@pytest.mark.parametrize("name", ["OWNER_PASSWORD", "REDIS_URL", "DATABASE_URL"])
def test_a_mistake_does_not_repeat_a_secret(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load({name: "pw-77"})
    assert "pw-77" not in str(caught.value)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
def test_the_default_password_is_for_loopback_only(host: str) -> None:
    with pytest.raises(ConfigError, match="OWNER_PASSWORD"):
        load({"SERVER_HOST": host})
    assert load({"SERVER_HOST": host, "OWNER_PASSWORD": "one of our own"}).server_host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "::1"])
def test_the_default_password_is_fine_on_loopback(host: str) -> None:
    assert load({"SERVER_HOST": host}).is_default_password


def test_the_example_file_and_the_readme_name_every_variable() -> None:
    sources = [(ROOT / f"taskapi/{name}.py").read_text() for name in ("config", "environment")]
    known = set(re.findall(r'"([A-Z]+(?:_[A-Z]+)*)"', "".join(sources)))
    for name in (".env.example", "README.md"):
        missing = [variable for variable in known if variable not in (ROOT / name).read_text()]
        assert not missing, name
