"""Metrics for Prometheus: what the web processes counted, and the state of the stores."""

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

from flask import Request
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.values import MutexValue, ValueClass

from taskapi.api.audit import METHODS
from taskapi.api.services import Services
from taskapi.errors import Unavailable
from taskapi.store import meta
from taskapi.sync import status

disable_created_metrics()  # type: ignore[no-untyped-call]
_COUNTED: Final = CollectorRegistry()
"""The metrics that each process counts."""
_REQUESTS: Final = Counter(
    "taskapi_requests",
    "Requests by route, method and status.",
    ("route", "method", "status"),
    registry=_COUNTED,
)
_SECONDS: Final = Histogram(
    "taskapi_request_duration_seconds",
    "How long requests took, until the first byte of the answer.",
    ("route", "method"),
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
    registry=_COUNTED,
)
_PASSWORD_CHECKS: Final = Counter(
    "taskapi_password_checks",
    "Passwords that were checked with the slow hash, or not for lack of time, by result.",
    ("result",),
    registry=_COUNTED,
)
_of_request: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
"""(route, method, status) -> its metrics: to look them up by label takes longer."""


def count_request(request: Request, status_code: int, seconds: float) -> None:
    """Count a request that was answered."""
    rule = request.url_rule.rule if request.url_rule else "unknown"
    key = (rule, request.method, status_code)
    counter, histogram = _of_request.get(key) or _metrics_of(key)
    counter.inc()
    histogram.observe(seconds)


def count_password_check(result: str) -> None:
    """Count the check of a password: `right`, `wrong`, or `refused` because too many wait."""
    _PASSWORD_CHECKS.labels(result).inc()


def route_of(rule: str) -> str:
    """Return the path of a Flask rule as the OpenAPI document has it."""
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule)


def _metrics_of(key: tuple[str, str, int]) -> tuple[Counter, Histogram]:
    rule, method, status_code = key
    if method not in METHODS:
        method = "unknown"
    labels = (route_of(rule), method)
    found = (_REQUESTS.labels(*labels, str(status_code)), _SECONDS.labels(*labels))
    if method != "unknown":
        _of_request[key] = found
    return found


def text(shared: Services) -> bytes:
    """Return all metrics of an installation in the text format of Prometheus."""
    registry = CollectorRegistry()
    if ValueClass is MutexValue:  # not in gunicorn
        registry.register(_COUNTED)
    else:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    registry.register(_Stores(shared))
    return generate_latest(registry)


class _Stores:
    """Collects the state of the stores and of the sync; what is not known is left out."""

    def __init__(self, shared: Services) -> None:
        self._shared = shared

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics, as prometheus-client asks for them."""
        shared = self._shared
        shown = status.status(shared.settings, shared.store, shared.postgres)
        for name, words, value in _gauges(shown):
            if value is not None:
                yield GaugeMetricFamily(f"taskapi_{name}", words, float(value))
        if counts := shown["dirty_counts"]:
            words = "Changes that PostgreSQL does not have yet, by kind."
            yield _by_label("pending_changes", words, "kind", counts)
        with suppress(Unavailable):
            yield from self._of_redis()

    def _of_redis(self) -> Iterator[Metric]:
        store, settings = self._shared.store, self._shared.settings
        state, published, now, _ = meta.read_status(store)
        states = {str(name): int(name == state) for name in meta.State}
        yield _by_label("state", "The state of the store: one of them is 1.", "state", states)
        late = status.is_late(settings, published, now)
        yield GaugeMetricFamily("taskapi_sync_late", "The last pass is too long ago.", float(late))
        if "last_sync" in published:
            words, last = "When the last pass ended, since 1970.", float(published["last_sync"])
            yield GaugeMetricFamily("taskapi_last_sync_timestamp_seconds", words, last)
        for name, text in (
            ("passes", "Passes that ended well."),
            ("failed_passes", "Failed ones."),
        ):
            yield CounterMetricFamily(f"taskapi_sync_{name}", text, float(published.get(name, 0)))
        sizes = {kind.plural: size for kind, size in meta.sizes(store).items()}
        yield _by_label("entities", "Entities in Redis, by kind.", "kind", sizes)


def _gauges(shown: dict[str, Any]) -> Iterator[tuple[str, str, float | None]]:
    """Yield name, description and value of the metrics that /admin/status shows too."""
    has_postgres = {"connected": 1, "error": 0}.get(shown["postgres_status"])
    yield "redis_up", "Redis answers.", shown["redis_status"] == "connected"
    yield "postgres_up", "PostgreSQL answers.", has_postgres
    yield "healthy", "`healthy` of /admin/status.", shown["healthy"]
    yield "worker_running", "A sync worker has published a heartbeat just now.", shown["running"]
    yield (
        "oldest_pending_change_seconds",
        "The age of the oldest change that PostgreSQL does not have; 0 if there is none.",
        None if shown["dirty_counts"] is None else shown["oldest_unsynced_seconds"] or 0,
    )
    yield "quarantined_changes", "Changes that PostgreSQL refused.", shown["quarantined_count"]
    yield "last_sync_duration_seconds", "How long it took.", shown["last_duration_seconds"]
    failures = shown["consecutive_failures"]
    yield "sync_failures_in_a_row", "Passes that failed since the last good one.", failures


def _by_label(name: str, words: str, label: str, values: dict[str, int]) -> Metric:
    metric = GaugeMetricFamily(f"taskapi_{name}", words, labels=[label])
    for value, number in values.items():
        metric.add_metric([value], number)
    return metric
