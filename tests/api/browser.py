"""A real Chromium, and what a person would notice on a page that it shows."""

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
FAINT_TEXTS = """() => {
  const channels = text => text.match(/[\\d.]+/g).map(Number);
  const luminance = rgb => rgb.slice(0, 3).map(value => value / 255)
    .map(value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
  const paper = element => {
    const rgba = channels(getComputedStyle(element).backgroundColor);
    return rgba[3] === 0 ? paper(element.parentElement) : rgba;
  };
  const faint = [], all = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (all.nextNode()) {
    const element = all.currentNode.parentElement;
    if (!all.currentNode.data.trim()) continue;
    const [low, high] = [getComputedStyle(element).color, null]
      .map(color => luminance(color ? channels(color) : paper(element))).sort((a, b) => a - b);
    const contrast = (high + 0.05) / (low + 0.05);
    if (!(contrast >= 4.5)) faint.push([all.currentNode.data, contrast]);
  }
  return faint;
}"""
TOO_WIDE = """() => [document.documentElement, ...document.querySelectorAll('body *')]
  .filter(element => element.scrollWidth > element.clientWidth + 1 && element.clientWidth > 1)
  .map(element => element.outerHTML.slice(0, 80))"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser, with a profile of its own that goes with it."""
    path = shutil.which("chromium")
    if path is None and os.environ.get("CI") != "true":
        pytest.skip("needs the system package chromium")
    assert path, "CI has to install chromium"
    with sync_playwright() as driver:
        yield driver.chromium.launch(executable_path=path, args=[*FLAGS])


@dataclass
class Visit:
    """A page as it is shown, and what the browser asked and complained of on the way."""

    page: Page
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    @property
    def focused(self) -> str:
        """The text of what has the keyboard."""
        return str(self.page.evaluate("document.activeElement.textContent.trim()"))

    def open_all(self) -> None:
        self.page.evaluate("document.querySelectorAll('details').forEach(it => it.open = true)")


@contextmanager
def visit(browser: Browser, url: str, width: int, scheme: str) -> Iterator[Visit]:
    """Open the page without JavaScript of its own, on a screen of this width in this scheme."""
    context = browser.new_context(
        viewport={"width": width, "height": 800},
        color_scheme=scheme,
        java_script_enabled=False,
    )
    with context:
        context.set_default_timeout(10_000)
        found = Visit(context.new_page())
        found.page.on("request", lambda request: found.asked.append(request.url))
        found.page.on("console", lambda message: found.complaints.append(message.text))
        found.page.on("pageerror", lambda error: found.complaints.append(str(error)))
        found.page.goto(url)
        yield found
