"""deploy/kubernetes: valid, and it fits the image and the settings of the service."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import pytest
import yaml

from taskapi.config import load
from tests.operations.test_deploy import PROCFILE
from tests.support import ROOT

VERSION = "1.33"
OBJECTS = list(yaml.safe_load_all((ROOT / "deploy/kubernetes/taskapi.yaml").read_text()))
DEPLOYMENTS = [each for each in OBJECTS if each["kind"] == "Deployment"]


def settings() -> dict[str, str]:
    secret, plain = (each for each in OBJECTS if each["kind"] in ("Secret", "ConfigMap"))
    return {**secret["stringData"], **plain["data"]}


def pod(deployment: Any) -> Any:
    return deployment["spec"]["template"]["spec"]


@pytest.mark.parametrize("each", OBJECTS, ids=lambda each: each["kind"])
def test_an_object_is_valid_by_the_schemas_of_kubernetes(each: Any) -> None:
    kubernetes_validate.validate(each, VERSION, strict=True)


def test_the_service_accepts_the_settings() -> None:
    given = load(settings())
    assert given.log_format == "json"
    assert given.redis_url.startswith("redis+sentinel://")
    assert not given.is_default_password


def test_the_pods_run_the_processes_of_the_procfile() -> None:
    commands = [" ".join(pod(each)["containers"][0]["command"]) for each in DEPLOYMENTS]
    assert commands == [PROCFILE["web"], PROCFILE["sync"]]


def test_the_probes_ask_what_the_service_answers() -> None:
    container = pod(DEPLOYMENTS[0])["containers"][0]
    probes = {
        name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("readiness", "liveness")
    }
    assert probes == {"readiness": "/health", "liveness": "/health/live"}
    (port,) = container["ports"]
    assert str(port["containerPort"]) == settings()["SERVER_PORT"]
    assert pod(DEPLOYMENTS[0])["terminationGracePeriodSeconds"] > 30 + 5


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=["web", "sync"])
def test_a_pod_has_no_more_rights_than_it_needs(deployment: Any) -> None:
    (container,) = pod(deployment)["containers"]
    assert pod(deployment)["securityContext"]["runAsNonRoot"]
    assert not pod(deployment)["automountServiceAccountToken"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/data", "/tmp"]


def test_the_network_policy_selects_every_pod() -> None:
    (policy,) = (each["spec"] for each in OBJECTS if each["kind"] == "NetworkPolicy")
    for deployment in DEPLOYMENTS:
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert policy["podSelector"]["matchLabels"].items() <= labels.items()
