"""Settings: the only reader of the environment, parsed once, every mistake reported at once."""

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlsplit

from marshmallow import ValidationError

from schemas.fields import email
from taskapi.reader import Reader

DEFAULT_OWNER_PASSWORD = "admin1234"
DEFAULT_POSTGRES_PASSWORD = "EKQH9jQX7gAfV7pLwVmsbLbF3XfY6n4S"
SECRET_FILES = (
    *("OWNER_PASSWORD_FILE", "REDIS_PASSWORD_FILE", "POSTGRES_PASSWORD_FILE"),
    *("REDIS_URL_FILE", "DATABASE_URL_FILE"),
)
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
SSL_MODES = "disable|prefer|require|verify-ca|verify-full"
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
DURATION = re.compile(r"(?=.)(?:([0-9]{1,4})h)?(?:([0-9]{1,5})m)?(?:([0-9]{1,6})s)?")


class ConfigError(ValueError):
    """The environment is not usable; the message has one line for each mistake."""


@dataclass(frozen=True)
class Settings:
    """What the environment says, checked. Durations are seconds, sizes bytes.

    Attributes:
        cors_origins: the sites whose scripts browsers let in; none where there are no such sites.
        secret_files: the files that secrets were read from.
    """

    owner_password: str
    owner_email: str
    server_host: str
    server_port: int
    redis_url: str
    database_url: str
    sync_interval_seconds: float
    trusted_proxies: int
    max_body_bytes: int
    key_prefix: str
    data_dir: Path
    backup_dir: Path
    backup_keep: int
    web_concurrency: int
    cors_origins: tuple[str, ...]
    secret_files: tuple[Path, ...]
    log_format: str
    has_docs: bool

    @property
    def is_default_password(self) -> bool:
        """Whether the owner password is the one everybody can read in the guide."""
        return self.owner_password == DEFAULT_OWNER_PASSWORD

    @property
    def url(self) -> str:
        """Where this machine reaches the service."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.server_host, self.server_host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.server_port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens on `host`."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def seconds(value: str) -> float:
    """Parse `15m`, `30s` or `1h30m`; raises ValueError for anything else and for zero."""
    match = DURATION.fullmatch(value)
    total = (
        sum(int(n or 0) * unit for n, unit in zip(match.groups(), (3600, 60, 1), strict=True))
        if match
        else 0
    )
    if not total:
        raise ValueError(value)
    return float(total)


def _email(value: str) -> str:
    try:
        return email(value)
    except ValidationError as error:
        raise ValueError(value) from error


def _matching(pattern: str | re.Pattern[str]) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(value)
        return value

    return parse


def _origins(value: str) -> tuple[str, ...]:
    return tuple(_matching(ORIGIN)(origin.strip()) for origin in value.split(",")) if value else ()


def _url(*schemes: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in schemes or parts.port == 0:
            raise ValueError(value)
        return value

    return parse


def _redis_url(read: Reader) -> str:
    port = read.whole("REDIS_PORT", 6380, 1, 65535)
    password = read.text("REDIS_PASSWORD", "")
    login = f":{quote(password, safe='')}@" if password else ""
    url = f"redis://{login}{read.text('REDIS_HOST', 'localhost')}:{port}/0"
    url = _masked_url(read, "REDIS_URL", url, "redis", "rediss", "unix")
    _check_options(read, url)
    return url


def _check_options(read: Reader, url: str) -> None:
    """Refuse what the driver would stumble over at the first request."""
    parts = urlsplit(url)
    known = REDIS_OPTIONS | (TLS_OPTIONS if parts.scheme == "rediss" else {})
    given = parse_qsl(parts.query, keep_blank_values=True)
    if not all(re.fullmatch(known.get(name, "(?!)"), value) for name, value in given):
        names = ", ".join(known)
        read.mistakes.append(
            f"REDIS_URL has an option that is not usable with {parts.scheme}: set only {names}."
        )


def _database_url(read: Reader) -> str:
    port = read.whole("DB_PORT", 5433, 1, 65535)
    user, password, database = (
        quote(read.text(name, default), safe="")
        for name, default in (
            ("POSTGRES_USER", "airflow"),
            ("POSTGRES_PASSWORD", DEFAULT_POSTGRES_PASSWORD),
            ("POSTGRES_DB", "airflow"),
        )
    )
    host = read.text("DB_HOST", "localhost")
    mode = read.parsed(
        "POSTGRES_SSLMODE", "prefer", _matching(SSL_MODES), f"set {SSL_MODES.replace('|', ', ')}"
    )
    suffix = f"?sslmode={mode}" if read.text("POSTGRES_SSLMODE", "") else ""
    url = f"postgresql://{user}:{password}@{host}:{port}/{database}{suffix}"
    return _masked_url(read, "DATABASE_URL", url, "postgresql", "postgres")


def _masked_url(read: Reader, name: str, default: str, *schemes: str) -> str:
    """Parse a URL whose value may hold a password: a mistake names the variable only."""
    value = read.text(name, default)
    try:
        return _url(*schemes)(value)
    except ValueError:
        read.mistakes.append(f"{name} is not usable: set a URL that begins with {schemes[0]}://.")
        return default


def load(environ: Mapping[str, str]) -> Settings:
    """Return the settings that `environ` asks for.

    Raises:
        ConfigError: naming every variable that is not usable, with what to set instead.
    """
    read = Reader(environ, SECRET_FILES)
    read.choose("REDIS_URL", REDIS_PARTS)
    read.choose("DATABASE_URL", POSTGRES_PARTS)
    settings = _settings(read)
    if settings.is_default_password and not is_loopback(settings.server_host):
        read.mistakes.append(
            f"OWNER_PASSWORD is the default, and SERVER_HOST={settings.server_host!r} is reachable "
            "from other machines: set a password of your own, or listen on 127.0.0.1."
        )
    if read.mistakes:
        raise ConfigError("\n".join(read.mistakes))
    return settings


def _settings(read: Reader) -> Settings:
    data_dir = Path(read.text("DATA_DIR", ".data")).absolute()
    port_name = "SERVER_PORT" if read.text("SERVER_PORT", "") else "PORT"
    interval = read.parsed(
        "SYNC_INTERVAL", "15m", seconds, "set a duration such as 15m, 30s or 1h30m"
    )
    prefix = _matching("[A-Za-z0-9_.-]{1,64}")
    return Settings(
        owner_password=read.secret("OWNER_PASSWORD", DEFAULT_OWNER_PASSWORD, 6, 128),
        owner_email=read.parsed("OWNER_EMAIL", "admin@gmail.com", _email, "set an e-mail address"),
        server_host=read.text("SERVER_HOST", "127.0.0.1"),
        server_port=read.whole(port_name, 7890, 1, 65535),
        redis_url=_redis_url(read),
        database_url=_database_url(read),
        sync_interval_seconds=interval,
        trusted_proxies=read.whole("TRUSTED_PROXIES", 0, 0, 16),
        max_body_bytes=read.whole("MAX_BODY_BYTES", 1 << 20, 1 << 10, 1 << 28),
        key_prefix=read.parsed("KEY_PREFIX", "taskapi", prefix, "set letters, digits and . _ -"),
        data_dir=data_dir,
        backup_dir=Path(read.text("BACKUP_DIR", str(data_dir / "backups"))).absolute(),
        backup_keep=read.whole("BACKUP_KEEP", 7, 1, 10_000),
        web_concurrency=read.whole(
            "WEB_CONCURRENCY", min(max(2, os.cpu_count() or 1), 256), 1, 256
        ),
        cors_origins=read.parsed(
            "CORS_ORIGINS", "", _origins, "set origins such as https://app.example.com, no *"
        ),
        secret_files=tuple(read.files),
        log_format=read.parsed("LOG_FORMAT", "text", _matching("text|json"), "set text or json"),
        has_docs=read.flag("DOCS_ENABLED", True),
    )
