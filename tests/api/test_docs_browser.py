"""/docs as people meet it: in a browser, by keyboard, on a phone, and pasted into a shell."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import pytest
from playwright.sync_api import Browser

from taskapi.api.codes import CODES
from taskapi.api.openapi import page
from taskapi.config import DEFAULT_OWNER_PASSWORD
from tests.api.browser import FAINT_TEXTS, TOO_WIDE, Visit, chromium, visit
from tests.api.factories import new_admin, new_group, new_task, new_user, refused
from tests.client import Api
from tests.conftest import Install

PHONE, DESK = 360, 1280  # pixels
SHELL = {"PATH": "/usr/bin:/bin:/usr/local/bin"}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


@pytest.fixture(scope="module")
def site(install: Install) -> Iterator[Api]:
    with install(OWNER_PASSWORD=DEFAULT_OWNER_PASSWORD).serve() as api:
        yield api


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(params=[PHONE, DESK])
def shown(request: pytest.FixtureRequest, browser: Browser, site: Api) -> Iterator[Visit]:
    with visit(browser, f"{site.url}/docs", request.param, "light") as found:
        yield found


def operations(api: Api) -> dict[str, str]:
    """`GET /users` by the id of the operation."""
    paths = api("GET", "/openapi.json").json["paths"]
    return {
        operation["operationId"]: f"{method.upper()} {path}"
        for path, item in paths.items()
        for method, operation in item.items()
        if method.upper() in METHODS
    }


def text_of(api: Api) -> str:
    answer = api("GET", "/docs")
    assert answer.status == 200
    return answer.body.decode()


def commands(api: Api) -> list[str]:
    found = re.findall(r'<pre class="curl"><code>(.*?)</code></pre>', text_of(api), re.DOTALL)
    return [html.unescape(command) for command in found]


def test_a_person_finds_every_operation_from_the_contents(shown: Visit, site: Api) -> None:
    assert "taskapi" in shown.page.title()
    shown.open_all()
    for name, heading in operations(site).items():
        link = shown.page.get_by_role("navigation").locator(f'a[href="#{name}"]')
        assert link.inner_text().split() == heading.split()
        link.click()
        target = shown.page.locator(f"h3#{name}")
        assert target.inner_text().split() == heading.split()
        assert target.evaluate("it => it.getBoundingClientRect().top < innerHeight")


def test_a_person_finds_every_error_code_with_its_status_and_what_to_do(shown: Visit) -> None:
    shown.open_all()
    shown.page.get_by_role("link", name="All error codes").click()
    entries = shown.page.get_by_role("region", name="All error codes").get_by_role("listitem")
    said = [f"{code} ({status}): {advice}" for code, (status, advice) in CODES.items()]
    assert entries.all_inner_texts() == [entry.replace("`", "") for entry in said]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESK])
def test_all_is_readable_fits_and_comes_from_here(
    browser: Browser, site: Api, width: int, scheme: str
) -> None:
    with visit(browser, f"{site.url}/docs", width, scheme) as shown:
        shown.open_all()
        assert shown.page.evaluate(f"matchMedia('(prefers-color-scheme: {scheme})').matches")
        assert shown.page.evaluate(FAINT_TEXTS) == []
        assert shown.page.evaluate(TOO_WIDE) == []
    assert {url for url in shown.asked if not url.startswith("data:")} == {f"{site.url}/docs"}
    assert shown.complaints == []


def test_the_keyboard_comes_first_to_the_skip_link(shown: Visit) -> None:
    shown.page.keyboard.press("Tab")
    assert shown.focused == "Skip to the content"
    has_focus = "getComputedStyle(document.activeElement)"
    assert shown.page.evaluate(f"{has_focus}.outlineStyle") == "solid"
    assert shown.page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    shown.page.keyboard.press("Tab")
    is_phone = shown.page.evaluate("innerWidth") == PHONE
    assert shown.focused == ("Contents" if is_phone else "Getting started")
    shown.page.keyboard.press("Shift+Tab")
    shown.page.keyboard.press("Enter")
    assert shown.page.evaluate("document.activeElement.id") == "content"


def test_the_contents_are_folded_on_a_phone_and_open_on_a_desk(shown: Visit) -> None:
    is_phone = shown.page.evaluate("innerWidth") == PHONE
    entry = shown.page.get_by_role("link", name="Getting started")
    assert entry.is_visible() is not is_phone
    if is_phone:
        shown.page.get_by_text("Contents", exact=True).click()
        assert entry.is_visible()


def test_headings_go_down_by_one_level_and_landmarks_are_there(shown: Visit) -> None:
    levels = shown.page.evaluate(
        "Array.from(document.querySelectorAll('h1, h2, h3, h4'), it => Number(it.tagName[1]))"
    )
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below - above <= 1 for above, below in pairwise(levels))
    assert shown.page.get_by_role("main").count() == 1
    assert shown.page.get_by_role("navigation", name="Operations").count() == 1
    assert shown.page.locator("html").get_attribute("lang") == "en"
    assert shown.page.locator("th:not([scope])").count() == 0


def test_no_id_is_given_twice(site: Api) -> None:
    ids = Counter(re.findall(r'\bid="([^"]+)"', text_of(site)))
    assert [name for name, count in ids.items() if count > 1] == []


def prepare(api: Api) -> None:
    """Group 1 with its admin, user 2; user 3, who is in no group, with a task in it."""
    new_admin(api)
    new_group(api, admin_id=2)
    new_task(api, new_user(api)["id"], 1)


def test_the_page_is_for_everybody_and_lets_nothing_else_in(site: Api) -> None:
    answer = site("GET", "/docs")
    assert answer.headers.get_content_type() == "text/html"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"].startswith(
        "default-src 'none'; style-src 'sha"
    )
    assert refused(site("GET", "/docs?a=1"), 400)["fields"]


def test_commands_name_the_host_that_was_asked_unless_it_is_odd(install: Install) -> None:
    installation = install()
    api = installation.client()
    for host, base in [
        ("api.example.com", "http://api.example.com"),
        ("x';id;'", installation.settings.url),
    ]:
        text = api("GET", "/docs", headers={"Host": host}).body.decode()
        assert f"{base}/users" in html.unescape(text)
        assert page.PLACE not in text
        assert "x';" not in html.unescape(text)


@pytest.mark.parametrize(("proxies", "scheme"), [("0", "http"), ("1", "https")])
def test_only_behind_a_proxy_of_ours_commands_speak_tls(
    install: Install, proxies: str, scheme: str
) -> None:
    api = install(TRUSTED_PROXIES=proxies).client()
    headers = {"Host": "api.example.com", "X-Forwarded-Proto": "https"}
    text = api("GET", "/docs", headers=headers).body.decode()
    assert f"{scheme}://api.example.com/users" in text
