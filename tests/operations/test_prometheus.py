"""The files for Prometheus and Grafana fit the metrics that the service has."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.api.factories import new_group, new_task, ok
from tests.client import Api
from tests.operations.nginx import program
from tests.support import ROOT, Installation

FOLDER = ROOT / "deploy/prometheus"
NOT_YET = {
    "taskapi_last_sync_timestamp_seconds",
    "taskapi_last_sync_duration_seconds",
    "taskapi_password_checks_total",
}
"""Metrics that a new installation does not have yet."""


@pytest.fixture
def promtool() -> str:
    return program("promtool", "prometheus")


def run(promtool: str, *words: str, text: bytes | None = None, cwd: Path | None = None) -> None:
    done = subprocess.run(
        [promtool, *words], input=text, cwd=cwd, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
    assert not done.stderr.strip(), done.stderr.decode()


def test_promtool_accepts_the_configuration_and_the_rules(promtool: str, tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
    (tmp_path / "taskapi.token").write_text("tk_1_x")
    run(promtool, "check", "config", "prometheus.yml", cwd=tmp_path)


def test_promtool_accepts_the_metrics(promtool: str, api: Api, installation: Installation) -> None:
    new_task(api, 1, new_group(api)["id"])
    installation.sync()
    api("GET", "/users", by=(1, "wrong-canary-1"))
    run(promtool, "check", "metrics", text=api("GET", "/metrics", by="owner").body)


def test_an_alert_fires_for_what_it_names(promtool: str, tmp_path: Path) -> None:
    shutil.copy(FOLDER / "taskapi.rules.yml", tmp_path)
    cases = {
        "TaskapiDown": 'up{job="taskapi"} 0',
        "TaskapiRedisDown": "taskapi_redis_up 0",
        "TaskapiNotReady": 'taskapi_state{state="fenced"} 1',
        "TaskapiPostgresDown": "taskapi_postgres_up 0",
        "TaskapiWorkerDown": "taskapi_worker_running 0",
        "TaskapiSyncLate": "taskapi_sync_late 1",
        "TaskapiQuarantine": "taskapi_quarantined_changes 2",
        "TaskapiErrors": 'taskapi_requests_total{status="503"} 0+9',
        "TaskapiSlow": 'taskapi_request_duration_seconds_bucket{le="+Inf"} 0+9',
        "TaskapiLoginsRefused": 'taskapi_password_checks_total{result="refused"} 0+90',
    }
    rules = yaml.safe_load((FOLDER / "taskapi.rules.yml").read_text())["groups"][0]["rules"]
    assert [rule["alert"] for rule in rules] == [*cases]
    tests = [
        {
            "interval": "30s",
            "input_series": _series(series),
            "promql_expr_test": [
                {
                    "expr": f'count(ALERTS{{alertname="{name}", alertstate="firing"}})',
                    "eval_time": "30m",
                    "exp_samples": [{"value": 1}],
                }
            ],
        }
        for name, series in cases.items()
    ]
    text = yaml.safe_dump({"rule_files": ["taskapi.rules.yml"], "tests": tests})
    (tmp_path / "tests.yml").write_text(text)
    run(promtool, "test", "rules", "tests.yml", cwd=tmp_path)


def _series(text: str) -> list[dict[str, str]]:
    """Return a series that has one value all the time, or grows: `0+9` adds 9 each time."""
    name, value = text.split()
    found = [{"series": name, "values": f"{value}x100"}]
    if name.startswith("taskapi_request_duration"):
        found.append({"series": name.replace("+Inf", "1"), "values": "0x100"})
    return found


@pytest.mark.parametrize("file", ["taskapi.rules.yml", "grafana.json"])
def test_the_files_name_only_metrics_that_exist(api: Api, file: str) -> None:
    ok(api("GET", "/users", by="owner"))
    shown = set(re.findall(r"(?m)^(taskapi_\w+)", api("GET", "/metrics", by="owner").body.decode()))
    named = set(re.findall(r"\btaskapi_\w+", (FOLDER / file).read_text()))
    assert named - shown - NOT_YET == set()


def test_every_metric_is_described_in_the_documentation(api: Api) -> None:
    ok(api("GET", "/users", by="owner"))
    text = api("GET", "/metrics", by="owner").body.decode()
    families = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    page = (ROOT / "docs/deployment.md").read_text()
    described = set(re.findall(r"`(\w+)`", page[page.index("### Prometheus") :]))
    assert {name.removeprefix("taskapi_") for name in families} - described == set()


def test_the_dashboard_has_a_query_in_each_panel() -> None:
    dashboard = json.loads((FOLDER / "grafana.json").read_text())
    assert len(dashboard["panels"]) == 12
    assert all(panel["targets"][0]["expr"] for panel in dashboard["panels"])
