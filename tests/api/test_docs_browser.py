"""/docs in a real browser: log in, try an operation, on a desk and on a phone."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator

from tests.api.browser import Visit, chromium, visit
from tests.api.factories import new_group, ok
from tests.client import Api
from tests.conftest import Install
from tests.support import OWNER_PASSWORD

PHONE, DESK = 360, 1280  # pixels


@pytest.fixture(scope="module")
def site(install: Install) -> Iterator[Api]:
    with install().serve(workers=1) as api:
        new_group(api)
        yield api


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(params=[PHONE, DESK])
def docs(request: pytest.FixtureRequest, browser: Browser, site: Api) -> Iterator[Visit]:
    with visit(browser, f"{site.url}/docs", request.param) as opened:
        opened.page.locator(".opblock").first.wait_for()
        yield opened


def operation(docs: Visit, name: str) -> Locator:
    """Open an operation; return its part of the page."""
    block = docs.page.locator(f"[id$='-{name}']")
    block.locator(".opblock-summary-control").click()
    block.locator(".opblock-body").wait_for()
    return block


def log_in(docs: Visit) -> None:
    docs.page.locator("button.authorize").first.click()
    form = docs.page.locator(".auth-container", has_text="X-Owner-Password")
    form.locator("input").fill(OWNER_PASSWORD)
    form.get_by_role("button", name="Apply credentials").click()
    docs.page.locator(".modal-ux .btn-done").first.click()


def execute(block: Locator) -> None:
    block.get_by_role("button", name="Try it out").click()
    for parameter in block.locator("tr[data-param-in=path] input").all():
        parameter.fill("1")
    block.locator("button.execute").click()
    block.locator(".live-responses-table tbody .response-col_status").first.wait_for()


def test_every_operation_is_shown_and_nothing_comes_from_outside(docs: Visit, site: Api) -> None:
    paths = site("GET", "/openapi.json").json["paths"].values()
    assert docs.page.locator(".opblock").count() == sum(map(len, paths))
    assert docs.requested
    assert all(url.startswith((f"{site.url}/", "data:")) for url in docs.requested)
    assert docs.errors == []


def test_a_person_logs_in_and_creates_a_task(docs: Visit, site: Api) -> None:
    before = ok(site("GET", "/tasks/filter", by="owner"))["count"]
    log_in(docs)
    block = operation(docs, "tasks_create")
    execute(block)
    answer = block.locator(".live-responses-table")
    assert answer.locator("tbody .response-col_status").first.inner_text().startswith("201")
    assert json.loads(answer.locator("pre code").first.inner_text())["success"] is True
    assert ok(site("GET", "/tasks/filter", by="owner"))["count"] == before + 1
    assert docs.errors == []


def test_the_page_is_as_wide_as_a_phone(docs: Visit) -> None:
    width = docs.page.evaluate("document.documentElement.scrollWidth")
    assert width <= docs.page.viewport_size["width"]  # type: ignore[index]
