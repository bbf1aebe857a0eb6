"""What proxies, monitors and other clients send differently from curl."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest

from taskapi import create_app
from taskapi.config import load
from tests.api.factories import new_group, new_task, new_user, ok, path_of, refused
from tests.client import Api, in_process
from tests.conftest import Install
from tests.support import OWNER_PASSWORD, Installation


@pytest.fixture(scope="module")
def installation(install: Install) -> Installation:
    return install()


@pytest.fixture(scope="module")
def api(installation: Installation) -> Api:
    return installation.client()


@pytest.fixture
def task(api: Api) -> dict[str, Any]:
    task: dict[str, Any] = new_task(api, 1, new_group(api)["id"])
    return task


ETAGS = ['"{}"', 'W/"{}"', '"{}-gzip"', 'W/"{}-br"', '"{};gzip"', '"1", W/"{}"']


@pytest.mark.parametrize("etag", ETAGS)
def test_an_etag_that_a_proxy_changed_names_its_version(
    api: Api, task: dict[str, Any], etag: str
) -> None:
    old = {"If-Match": etag.format(task["version"])}
    changed = ok(api("PUT", path_of(task), by="owner", json={"title": "New"}, headers=old))["task"]
    refused(api("PUT", path_of(task), by="owner", json={"title": "Old"}, headers=old), 412)
    for version, status in ((changed["version"], 304), (task["version"], 200)):
        known = {"If-None-Match": etag.format(version)}
        assert api("GET", path_of(task), by="owner", headers=known).status == status


def test_a_suffix_of_nobody_names_no_version(api: Api, task: dict[str, Any]) -> None:
    other = {"If-Match": f'"{task["version"]}-other"'}
    refused(api("PUT", path_of(task), by="owner", json={"title": "New"}, headers=other), 412)


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_credentials_are_utf_8_or_latin_1(api: Api, encoding: str) -> None:
    user = new_user(api, password="pässwörd-5521")
    sent = b64encode(f"{user['id']}:pässwörd-5521".encode(encoding)).decode()
    shown = api("GET", "/users/me", headers={"Authorization": f"Basic {sent}"})
    assert ok(shown)["id"] == user["id"]
    wrong = b64encode(f"{user['id']}:pässword-5521".encode(encoding)).decode()
    refused(api("GET", "/users/me", headers={"Authorization": f"Basic {wrong}"}), 401)


@pytest.mark.parametrize("sent", ["Basic", "Basic é", "Basic 4pyT=", "Basic AP8=", "Other /w=="])
def test_credentials_that_nobody_sends_are_refused(api: Api, sent: str) -> None:
    headers = {"Authorization": sent.encode().decode("latin-1")}
    answer = api("GET", "/users/me", headers=headers)
    refused(answer, 401)
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="taskapi", charset="UTF-8"'


def test_a_merge_patch_is_json_for_patch_only(api: Api, task: dict[str, Any]) -> None:
    headers = {"Content-Type": "application/merge-patch+json"}
    body = b'{"title": "Merged"}'
    patched = api("PATCH", path_of(task), by="owner", data=body, headers=headers)
    assert ok(patched)["task"]["title"] == "Merged"
    for method, path in (("PUT", path_of(task)), ("POST", "/users/1/tasks")):
        refused(api(method, path, by="owner", data=body, headers=headers), 415)


@pytest.mark.parametrize(
    ("header", "value", "shown"),
    [
        (
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "traceparent=00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
        ("X-Correlation-ID", "order.77_a-1", "correlation_id=order.77_a-1"),
        ("X-Correlation-ID", "a b", None),
        ("X-Correlation-ID", "x" * 65, None),
        ("traceparent", "password=secret", None),
    ],
)
def test_the_log_line_has_what_identifies_the_request_elsewhere(
    api: Api, capsys: pytest.CaptureFixture[str], header: str, value: str, shown: str | None
) -> None:
    ok(api("GET", "/users/1", by=(1, OWNER_PASSWORD), headers={header: value}))
    line = capsys.readouterr().out.splitlines()[-1]
    assert (shown in line.split(" ")) if shown else header.lower() not in line.lower()


NOWHERE = {"DATABASE_URL": "postgresql://127.0.0.1:1/none"}


def client(installation: Installation, env: dict[str, str]) -> Api:
    return Api(in_process(create_app(load(installation.env | env))), OWNER_PASSWORD)


def test_a_process_is_alive_whatever_the_stores_do(installation: Installation) -> None:
    for env, status in (({}, 200), (NOWHERE | {"REDIS_URL": "redis://127.0.0.1:1"}, 503)):
        api = client(installation, env)
        assert api("GET", "/health/live").json == {"status": "alive"}
        assert api("GET", "/health").status == status


def test_strict_health_is_503_when_degraded(installation: Installation) -> None:
    for env, word, strict in (({}, "healthy", 200), (NOWHERE, "degraded", 503)):
        api = client(installation, env)
        for query, status in (("", 200), ("?strict=false", 200), ("?strict=true", strict)):
            answer = api("GET", f"/health{query}")
            assert (answer.json["status"], answer.status) == (word, status)
    refused(api("GET", "/health?strict=yes"), 400)


@pytest.fixture(scope="module")
def behind(install: Install) -> Api:
    """A client of an installation that trusts one proxy."""
    return install(TRUSTED_PROXIES="1").client()


FORWARDED = {
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "tasks.example.com",
    "X-Forwarded-Prefix": "/team/api",
}


def test_addresses_have_the_prefix_of_the_proxy(behind: Api) -> None:
    group = new_group(behind)["id"]
    body = {"title": "New", "group_id": group}
    path = "/users/1/tasks"
    for _ in range(2):
        made = behind("POST", path, by="owner", json=body, headers=FORWARDED)
        assert made.headers["Location"].startswith("/team/api/users/1/tasks/")
    page = behind("GET", f"{path}?limit=1", by="owner", headers=FORWARDED)
    assert page.headers["Link"].startswith("</team/api/users/1/tasks?limit=1&after=")
    index = behind("GET", "/", headers=FORWARDED).data
    assert index["openapi"] == "/team/api/openapi.json"
    document = behind("GET", "/openapi.json", headers=FORWARDED).json
    assert document["servers"] == [{"url": "https://tasks.example.com/team/api"}]
    html = behind("GET", "/docs", headers=FORWARDED).body.decode()
    assert 'src="/team/api/docs/swagger-ui-bundle.js"' in html
    assert '"/team/api/openapi.json"' in html
    assert '"/docs' not in html


@pytest.mark.parametrize("prefix", ["", "/", "x", '/"><script>', "//evil.example.com", "/a b"])
def test_any_other_prefix_is_ignored(behind: Api, prefix: str) -> None:
    headers = {"X-Forwarded-Prefix": prefix}
    assert behind("GET", "/", headers=headers).data["openapi"] == "/openapi.json"
    assert b"evil" not in behind("GET", "/docs", headers=headers).body


def test_without_trusted_proxies_no_header_counts(api: Api) -> None:
    assert api("GET", "/openapi.json", headers=FORWARDED).json["servers"] == [{"url": "/"}]
    assert api("GET", "/", headers=FORWARDED).data["openapi"] == "/openapi.json"
