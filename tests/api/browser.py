"""A real Chromium, and what it requests and reports while it shows a page."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--no-first-run", "--disable-sync", "--disable-component-update"),
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Yield a browser with its own profile, which is removed afterwards."""
    path = shutil.which("chromium")
    if path is None and os.environ.get("CI") != "true":
        pytest.skip("needs the system package chromium")
    assert path, "CI has to install chromium"
    with sync_playwright() as driver:
        yield driver.chromium.launch(executable_path=path, args=[*FLAGS])


@dataclass
class Visit:
    """A page, the URLs that it requested, and the errors in its console."""

    page: Page
    requested: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@contextmanager
def visit(browser: Browser, url: str, width: int) -> Iterator[Visit]:
    """Open the page on a screen of `width` pixels."""
    with browser.new_context(viewport={"width": width, "height": 800}) as context:
        context.set_default_timeout(10_000)
        opened = Visit(context.new_page())
        opened.page.on("request", lambda request: opened.requested.append(request.url))
        opened.page.on(
            "console",
            lambda message: opened.errors.append(message.text) if message.type == "error" else None,
        )
        opened.page.on("pageerror", lambda error: opened.errors.append(str(error)))
        opened.page.goto(url)
        yield opened
