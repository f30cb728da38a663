"""A page in a real browser: what it asked for, what it complained about, how it looks; skips where there is none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


@dataclass
class Opened:
    """``requests`` besides the page itself, and whatever stood on the console."""

    page: Any
    requests: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)

    def picture(self, path: Path) -> Path:
        """The whole page as a PNG."""
        self.page.screenshot(path=str(path), full_page=True)
        return path

    def paper(self, path: Path) -> Path:
        """The page as it would be printed."""
        self.page.pdf(path=str(path), format="A4", prefer_css_page_size=True)
        return path

    def overflowing(self) -> int:
        """Pixels by which the page is wider than its window."""
        script = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        return int(self.page.evaluate(script))


@contextmanager
def opened(path: Path, *, scheme: Literal["light", "dark"] = "light", width: int = 1100) -> Iterator[Opened]:
    """``path`` in headless Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is on the PATH")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        try:
            page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
            state = Opened(page)
            address = path.resolve().as_uri()
            page.on("request", lambda request: request.url == address or state.requests.append(request.url))
            page.on("console", lambda message: state.console.append(f"{message.type}: {message.text}"))
            page.on("pageerror", lambda error: state.console.append(f"error: {error}"))
            page.goto(address, wait_until="load")
            yield state
        finally:
            browser.close()
