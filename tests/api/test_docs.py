"""The index, the OpenAPI document and /docs, and switching them off."""

import pytest

from tests.api.factories import ok, refused
from tests.client import Api
from tests.conftest import Install


def test_the_index_has_the_addresses(api: Api) -> None:
    places = ok(api("GET", "/"))
    assert places["service"] == "taskapi"
    assert api("GET", places["openapi"]).json["openapi"] == "3.1.0"
    assert api("GET", places["health"]).json["status"]


@pytest.mark.parametrize("by", [None, "owner", (1, "wrong")])
def test_the_document_is_for_everybody(api: Api, by: tuple[object, str] | str | None) -> None:
    answer = api("GET", "/openapi.json", by=by)
    assert (answer.status, answer.headers.get_content_type()) == (200, "application/json")


@pytest.mark.parametrize("path", ["/?a=1", "/openapi.json?a=1"])
def test_unknown_parameters_are_refused_here_too(api: Api, path: str) -> None:
    assert "a" in refused(api("GET", path), 400)["fields"]


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json"])
def test_switched_off_they_are_not_there(install: Install, path: str) -> None:
    api = install(DOCS_ENABLED="false").client()
    assert refused(api("GET", path), 404)["code"] == "no_such_route"


def test_the_page_runs_only_the_scripts_that_it_came_with(api: Api) -> None:
    answer = api("GET", "/docs")
    assert answer.headers.get_content_type() == "text/html"
    policy = answer.headers["Content-Security-Policy"]
    assert "script-src 'self' 'sha256-" in policy
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy.split("style-src")[0]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("host", ["evil.example", "x</script><script>alert(1)</script>"])
def test_the_page_does_not_contain_the_host_header(api: Api, host: str) -> None:
    assert host.encode() not in api("GET", "/docs", headers={"Host": host}).body


@pytest.mark.parametrize("path", ["/docs/../app.py", "/docs/%2e%2e/__init__.py", "/docs/none.js"])
def test_only_the_assets_of_the_page_are_served(api: Api, path: str) -> None:
    assert api("GET", path).status == 404
