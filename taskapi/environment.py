"""Helpers of `config.py`: read variables and secret files, and build the URLs of both stores."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from marshmallow import ValidationError, validate

DEFAULT_POSTGRES_PASSWORD = "EKQH9jQX7gAfV7pLwVmsbLbF3XfY6n4S"
SECRETS = ("OWNER_PASSWORD", "REDIS_PASSWORD", "POSTGRES_PASSWORD", "REDIS_URL", "DATABASE_URL")
"""Variables whose value may be in a file instead: OWNER_PASSWORD_FILE is its path."""
REDIS_PARTS = ("REDIS_HOST", "REDIS_PORT", "REDIS_PASSWORD")
POSTGRES_PARTS = (
    *("DB_HOST", "DB_PORT", "POSTGRES_DB", "POSTGRES_USER", "POSTGRES_PASSWORD"),
    "POSTGRES_SSLMODE",
)
REDIS_OPTIONS = {"db": "[0-9]{1,5}", "username": ".*", "password": ".*"}
TLS_OPTIONS = {
    **dict.fromkeys(("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"), ".+"),
    "ssl_cert_reqs": "none|optional|required",
    "ssl_check_hostname": "true|false",
}
DISCOVERY_OPTIONS = {
    "redis+sentinel": {
        **REDIS_OPTIONS,
        **dict.fromkeys(("service", "sentinel_username", "sentinel_password"), ".+"),
    },
    "redis+cluster": {"username": ".*", "password": ".*"},
}
"""Options of URLs of several nodes that say where the primary is; `+tls` has TLS_OPTIONS too."""
SSL_MODES = ("disable", "prefer", "require", "verify-ca", "verify-full")
Check = Callable[[Any], object]
"""A validator: raises ValidationError with what to set instead."""


@contextmanager
def as_environment(environ: Mapping[str, str]) -> Iterator[None]:
    """Replace `os.environ` during the block, because environs reads only `os.environ`."""
    before, given = dict(os.environ), {name: value for name, value in environ.items() if value}
    os.environ.clear()
    os.environ.update(given)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def ambiguous() -> Iterator[str]:
    """Yield a sentence for each setting that is given twice."""
    for name in SECRETS:
        if name in os.environ and f"{name}_FILE" in os.environ:
            yield f"{name} and {name}_FILE are both given: set one of them."
    for url, parts in (("REDIS_URL", REDIS_PARTS), ("DATABASE_URL", POSTGRES_PARTS)):
        given = [name for name in parts if is_given(name)]
        if is_given(url) and given:
            yield f"{url} and {', '.join(given)} are both given: set either the URL or its parts."


def is_given(name: str) -> bool:
    """Return whether a variable, or its `_FILE` variable, is set."""
    return name in os.environ or f"{name}_FILE" in os.environ


def unusable_files() -> Iterator[str]:
    """Yield a sentence for each file without a secret, and unset its variable."""
    for name in SECRETS:
        try:
            path = os.environ.get(f"{name}_FILE")
            if path is None or Path(path).read_text().rstrip("\r\n"):
                continue
            problem = "names an empty file: set one with the secret in it."
        except (OSError, ValueError):
            problem = "cannot be read: set a readable text file."
        del os.environ[f"{name}_FILE"]
        yield f"{name}_FILE {problem}"


def secret_files() -> tuple[Path, ...]:
    """Return the files that secrets are read from."""
    paths = [os.environ.get(f"{name}_FILE") for name in SECRETS]
    return tuple(Path(path) for path in paths if path)


def whole(env: Any, name: str, default: int, low: int, high: int) -> Any:
    """Return a whole number from `low` to `high`; None where it is not usable."""
    remedy = f"set a whole number from {low} to {high}."
    in_range = validate.Range(low, high, error=remedy)
    return env.int(name, default, validate=in_range, error_messages={"invalid": remedy})


def secret(env: Any, name: str, default: str, *checks: Check) -> str:
    """Return a variable that may be in a file, without the line end of the file."""
    return (env.str(name, default, validate=checks) or "").rstrip("\r\n")


def usable(parse: Check, remedy: str) -> Check:
    """Return a validator whose error has the remedy, but not the value, when parsing fails."""

    def check(value: str) -> None:
        try:
            parse(value)
        except (ValueError, ValidationError):
            raise ValidationError(remedy) from None

    return check


def redis_url(env: Any) -> str:
    """Return REDIS_URL, or the URL made of its parts."""
    if is_given("REDIS_URL"):
        return secret(env, "REDIS_URL", "", _is_redis_url, _has_known_options)
    port = whole(env, "REDIS_PORT", 6380, 1, 65535)
    password = quote(secret(env, "REDIS_PASSWORD", ""), safe="")
    login = f":{password}@" if password else ""
    return f"redis://{login}{env.str('REDIS_HOST', 'localhost')}:{port}/0"


def database_url(env: Any) -> str:
    """Return DATABASE_URL, or the URL made of its parts."""
    if is_given("DATABASE_URL"):
        return secret(env, "DATABASE_URL", "", _is_database_url)
    port = whole(env, "DB_PORT", 5433, 1, 65535)
    user, database = (
        quote(env.str(name, "airflow"), safe="") for name in ("POSTGRES_USER", "POSTGRES_DB")
    )
    password = quote(secret(env, "POSTGRES_PASSWORD", DEFAULT_POSTGRES_PASSWORD), safe="")
    modes = validate.OneOf(SSL_MODES, error=f"set {', '.join(SSL_MODES)}.")
    mode = env.str("POSTGRES_SSLMODE", "", validate=modes)
    options = f"?sslmode={mode}" if mode else ""
    host = env.str("DB_HOST", "localhost")
    if host.startswith("/"):
        host = quote(host, safe="")  # the folder of a socket
    return f"postgresql://{user}:{password}@{host}:{port}/{database}{options}"


def _url(*schemes: str) -> Check:
    def parse(value: str) -> None:
        parts = urlsplit(value.rstrip("\r\n"))
        if parts.scheme not in schemes or parts.port == 0:
            raise ValueError

    return usable(parse, f"set a URL that begins with {schemes[0]}://.")


def _is_redis_url(value: str) -> object:
    scheme = value.partition("://")[0].removesuffix("+tls")
    if scheme in DISCOVERY_OPTIONS:
        return usable(_nodes, f"set {scheme}://host:port,host:port.")(value)
    return _url("redis", "rediss", "unix")(value)


def _is_database_url(value: str) -> object:
    scheme = value.partition("://")[0]
    if scheme in ("postgresql", "postgres") and "," in urlsplit(value).netloc:
        return usable(_nodes, f"set {scheme}://USER:PASSWORD@HOST:PORT,HOST:PORT/NAME.")(value)
    return _url("postgresql", "postgres")(value)


def _nodes(value: str) -> None:
    parts = urlsplit(value.rstrip("\r\n"))
    for node in parts.netloc.rpartition("@")[2].split(","):
        if not (address := urlsplit(f"//{node}")).hostname or address.port == 0:
            raise ValueError


def _has_known_options(value: str) -> None:
    """Refuse options that redis-py would refuse only at the first request."""
    parts = urlsplit(value.rstrip("\r\n"))
    plain = parts.scheme.removesuffix("+tls")
    known = DISCOVERY_OPTIONS.get(plain, REDIS_OPTIONS)
    known = known | (TLS_OPTIONS if parts.scheme in ("rediss", f"{plain}+tls") else {})
    given = parse_qsl(parts.query, keep_blank_values=True)
    never = "(?!)"  # a pattern that matches nothing
    if not all(re.fullmatch(known.get(name, never), text) for name, text in given):
        names = ", ".join(known)
        problem = f"it has an option that {parts.scheme}:// does not know"
        raise ValidationError(f"{problem}: set only {names}.")
    if plain == "redis+sentinel" and "service" not in dict(given):
        raise ValidationError("it does not name the service: set ?service=NAME.")
    if plain == "redis+cluster" and parts.path not in ("", "/", "/0"):
        raise ValidationError("a Redis Cluster has no databases: set no path.")
