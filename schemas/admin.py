"""The owner's actions, and the state of the stores and the service."""

from typing import Any, Final

from marshmallow import INCLUDE, ValidationError, fields, validate, validates_schema

from schemas.fields import (
    Answer,
    Object,
    Query,
    QueryBoolean,
    StrictInteger,
    answer_field,
    objects,
)
from schemas.times import Timestamp

SYNC_ACTIONS: Final = ("force", "restore", "backup")
TABLES: Final = ("users", "groups", "tasks")
DURATION: Final = validate.Regexp("^([0-9]+h)?([0-9]+m)?[0-9]+s$")


class Sync(Query):
    action = fields.String(validate=validate.OneOf(SYNC_ACTIONS), load_default="force")
    reseed = fields.String(validate=validate.OneOf(("true", "false")), load_default="false")

    @validates_schema
    def require_force(self, data: dict[str, Any], **_: Any) -> None:
        if data["reseed"] == "true" and data["action"] != "force":
            raise ValidationError("Only action=force can reseed PostgreSQL.", "reseed")


class TableCounts(Answer):
    users = answer_field(10)
    groups = answer_field(3)
    tasks = answer_field(45)


class KnownTableCounts(Answer):
    """Counts are null if the store does not answer."""

    users = answer_field(10, allow_none=True)
    groups = answer_field(3, allow_none=True)
    tasks = answer_field(47, allow_none=True)


def seconds(example: float, **kwargs: Any) -> fields.Float:
    """Return a field of an answer that holds a time span in seconds."""
    return fields.Float(validate=validate.Range(0), metadata={"example": example}, **kwargs)


def choice(example: str, *others: str) -> fields.String:
    """Return a field of an answer that holds one of these words."""
    return fields.String(validate=validate.OneOf((example, *others)), metadata={"example": example})


class Synced(Answer):
    action = choice(*SYNC_ACTIONS)
    message = answer_field("PostgreSQL has every change made so far.")
    duration_seconds = seconds(0.048)
    written = Object(TableCounts)
    deleted = Object(TableCounts)
    loaded = Object(TableCounts)
    saved = Object(TableCounts)
    file = answer_field("taskapi-backup-20250929T100000Z-7.jsonl.gz")
    size_bytes = answer_field(18_432)
    sha256 = answer_field("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")

    class Meta:
        optional = ("written", "deleted", "loaded", "saved", "file", "size_bytes", "sha256")


class Refusal(Answer):
    """A change in quarantine: PostgreSQL refused it."""

    type = choice("task", "user", "group")
    id = StrictInteger(metadata={"example": 7})
    version = answer_field("1759140000000000")
    sqlstate = answer_field("23503")
    reason = answer_field("it breaks the constraint tasks_user")
    since = Timestamp()


class Status(Answer):
    """Fields are null if their value is unknown."""

    running = answer_field(True, allow_none=True)
    interval = fields.String(validate=DURATION, metadata={"example": "15m0s"})
    last_sync = Timestamp(allow_none=True)
    time_since_last_sync = fields.String(
        validate=DURATION, allow_none=True, metadata={"example": "5m30s"}
    )
    healthy = answer_field(True)
    dirty_types = fields.List(choice(*TABLES), allow_none=True, metadata={"example": ["tasks"]})
    pending_changes = answer_field(True, allow_none=True)
    redis_status = choice("connected", "error")
    postgres_status = choice("connected", "error", "unknown")
    dirty_counts = Object(TableCounts, allow_none=True)
    oldest_unsynced_seconds = seconds(12.5, allow_none=True)
    quarantined = objects(Refusal, allow_none=True)
    quarantined_count = answer_field(1, allow_none=True)
    restore_progress = answer_field("20000 of 100000", allow_none=True)
    last_error = fields.String(allow_none=True, metadata={"example": None})
    consecutive_failures = answer_field(0, allow_none=True)
    last_duration_seconds = seconds(0.048, allow_none=True)
    loss_window = fields.String(
        validate=DURATION,
        allow_none=True,
        metadata={
            "example": "0s",
            "description": "If Redis crashes now, no change older than this is lost.",
        },
    )
    warnings = fields.List(fields.String(), metadata={"example": []})


class SyncSummary(Answer):
    running = answer_field(True, allow_none=True)
    healthy = answer_field(True)
    pending_changes = answer_field(True, allow_none=True)


class Stats(Answer):
    postgresql = Object(KnownTableCounts)
    redis = Object(KnownTableCounts)
    sync = Object(SyncSummary)


class HealthQuery(Query):
    strict = QueryBoolean(
        load_default=False, metadata={"description": "With `true`, degraded is 503 too."}
    )


class Alive(Answer):
    status = answer_field("alive")


class Health(Answer):
    status = choice("healthy", "degraded", "unhealthy")
    timestamp = Timestamp()
    issues = fields.List(
        fields.String(),
        metadata={"example": ["PostgreSQL does not answer."]},
    )

    class Meta:
        optional = ("issues",)


class Index(Answer):
    service = answer_field("taskapi")
    documentation = answer_field("/docs")
    openapi = answer_field("/openapi.json")
    health = answer_field("/health")


class Document(Answer):
    """An OpenAPI document."""

    openapi = answer_field("3.1.0")
    info = fields.Dict(metadata={"example": {"title": "taskapi", "version": "0.1.0"}})
    paths = fields.Dict(metadata={"example": {}})

    class Meta:
        unknown = INCLUDE


SYNC: Final = Sync()
HEALTH: Final = HealthQuery()
