"""The settings: read from the environment once, with all mistakes reported together."""

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from environs import EnvValidationError, FileAwareEnv
from marshmallow import ValidationError, validate

from schemas.fields import email
from taskapi.environment import (
    SECRETS,
    ambiguous,
    as_environment,
    database_url,
    redis_url,
    secret,
    secret_files,
    unusable_files,
    usable,
    whole,
)

DEFAULT_OWNER_PASSWORD = "admin1234"
EXPOSED = (
    "OWNER_PASSWORD is the default, and {} is reachable from other machines: "
    "set a password of your own, or listen on 127.0.0.1."
)
"""What is wrong with an address to listen on, if other machines can reach it."""
_ORIGIN = r"[a-z][a-z0-9+.-]*://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?"
ORIGINS = rf"{_ORIGIN}(?:\s*,\s*{_ORIGIN})*\Z"
DURATION = re.compile(r"(?=.)(?:([0-9]{1,4})h)?(?:([0-9]{1,5})m)?(?:([0-9]{1,6})s)?")


class ConfigError(ValueError):
    """The environment is not usable; the message has one line for each mistake."""


@dataclass(frozen=True)
class Settings:
    """The validated settings. Durations are in seconds, sizes in bytes.

    Attributes:
        cors_origins: the sites whose scripts may read answers in a browser.
        secret_files: the files that secrets were read from.
    """

    owner_password: str
    owner_email: str
    server_host: str
    server_port: int
    redis_url: str
    database_url: str
    sync_interval_seconds: float
    sync_max_pending: int
    trusted_proxies: int
    max_body_bytes: int
    key_prefix: str
    data_dir: Path
    backup_dir: Path
    backup_keep: int
    deletes_kept_seconds: float
    web_concurrency: int
    cors_origins: tuple[str, ...]
    secret_files: tuple[Path, ...]
    log_format: str
    has_docs: bool

    @property
    def is_default_password(self) -> bool:
        """Whether the owner password is the one in the public guide."""
        return self.owner_password == DEFAULT_OWNER_PASSWORD

    @property
    def url(self) -> str:
        """The URL of the service on this machine."""
        host = own_address(self.server_host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.server_port}"


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a server on `host`."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def own_address(host: str) -> str:
    """Return the address under which this machine reaches a service that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def load(environ: Mapping[str, str]) -> Settings:
    """Return the settings in `environ`; an empty variable counts as not set.

    Raises:
        ConfigError: names every variable that is not usable, with what to set instead.
    """
    with as_environment(environ):
        mistakes = [*ambiguous(), *unusable_files()]
        env = FileAwareEnv(eager=False)
        values = _read(env)
    try:
        env.seal()
    except EnvValidationError as error:
        messages: Mapping[str, list[str]] = error.error_messages  # type: ignore[assignment]
        for name in messages:
            shown = name if name in SECRETS else f"{name}={environ[name]!r}"
            mistakes.append(f"{shown} is not usable: {' '.join(messages[name])}")
    password, host = values["owner_password"], values["server_host"]
    if password == DEFAULT_OWNER_PASSWORD and not is_loopback(host):
        mistakes.append(EXPOSED.format(f"SERVER_HOST={host!r}"))
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return Settings(**values)


def _read(env: Any) -> dict[str, Any]:
    """Return the fields of `Settings` from a FileAwareEnv; None for those that are not usable."""
    data_dir = env.path("DATA_DIR", Path(".data")).absolute()
    port = "SERVER_PORT" if "SERVER_PORT" in os.environ else "PORT"
    cores = min(max(2, os.cpu_count() or 1), 256)
    prefix = validate.Regexp(
        r"[A-Za-z0-9_.-]{1,64}\Z", error="set 1 to 64 letters, digits or . _ - signs."
    )
    not_a_flag = {"invalid": "set true or false."}
    styles = validate.OneOf(("text", "json"), error="set text or json.")
    return {
        "owner_password": secret(env, "OWNER_PASSWORD", DEFAULT_OWNER_PASSWORD, _check_length),
        "owner_email": env.str(
            "OWNER_EMAIL", "admin@gmail.com", validate=usable(email, "set an e-mail address.")
        ),
        "server_host": env.str("SERVER_HOST", "127.0.0.1"),
        "server_port": whole(env, port, 7890, 1, 65535),
        "redis_url": redis_url(env),
        "database_url": database_url(env),
        "sync_interval_seconds": _duration(env, "SYNC_INTERVAL", "15m"),
        "sync_max_pending": whole(env, "SYNC_MAX_PENDING", 2000, 1, 1_000_000_000),
        "trusted_proxies": whole(env, "TRUSTED_PROXIES", 0, 0, 16),
        "max_body_bytes": whole(env, "MAX_BODY_BYTES", 1 << 20, 1 << 10, 1 << 28),
        "key_prefix": env.str("KEY_PREFIX", "taskapi", validate=prefix),
        "data_dir": data_dir,
        "backup_dir": env.path("BACKUP_DIR", data_dir / "backups").absolute(),
        "backup_keep": whole(env, "BACKUP_KEEP", 7, 1, 10_000),
        "deletes_kept_seconds": _duration(env, "DELETES_KEPT", "720h"),
        "web_concurrency": whole(env, "WEB_CONCURRENCY", cores, 1, 256),
        "cors_origins": _origins(env),
        "secret_files": secret_files(),
        "log_format": env.str("LOG_FORMAT", "text", validate=styles),
        "has_docs": env.bool("DOCS_ENABLED", True, error_messages=not_a_flag),
    }


def _duration(env: Any, name: str, default: str) -> float:
    remedy = "set a duration such as 15m, 30s or 1h30m."
    return seconds(env.str(name, default, validate=usable(seconds, remedy)) or default)


def _origins(env: Any) -> tuple[str, ...]:
    remedy = "set origins such as https://app.example.com, no *."
    listed = env.str("CORS_ORIGINS", "", validate=validate.Regexp(ORIGINS, error=remedy))
    return tuple(re.findall(_ORIGIN, listed or ""))


def _check_length(value: str) -> None:
    if not 6 <= (size := len(value.rstrip("\r\n"))) <= 128:
        raise ValidationError(f"it has {size} characters: set 6 to 128.")


def seconds(value: str) -> float:
    """Parse `15m`, `30s` or `1h30m`; raises ValueError for anything else and for zero."""
    match = DURATION.fullmatch(value)
    hours, minutes, rest = (int(number or 0) for number in match.groups()) if match else (0, 0, 0)
    if not (total := 3600 * hours + 60 * minutes + rest):
        raise ValueError(value)
    return float(total)
