"""A real browser for the tests of pages: Chromium, driven by Playwright, without network."""

import shutil
import threading
from pathlib import Path

import pytest

from engine.pages.server import Ending, Page, PageServer

OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
LAPTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


def find_chromium() -> str:
    """Return the browser's path; the test is skipped where there is none."""
    pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install '.[test]'")
    path = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)
    if path is None:
        pytest.skip("no browser: apt-get install chromium")
    return path


class Served:
    """A page that is being served; ending: why it ended, once it has."""

    def __init__(self, page: Page, **limits: float) -> None:
        self.page, self.server = page, PageServer(page, **limits)
        self.ending: Ending | None = None
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        self.ending = self.server.serve()

    @property
    def address(self) -> str:
        return self.server.address

    def close(self) -> None:
        self.server.stop()
        self._thread.join(20)
        assert not self._thread.is_alive()
        assert not self.server.faults


class Tabs:
    """Tabs of one browser that fail the test if a page logs an error, asks another address, or opens a dialog.

    expected: parts of errors that the test causes on purpose. may_leave: whether pages may ask before they are left;
    left: how often one did, and was.
    """

    def __init__(self, browser) -> None:
        self._browser, self._contexts = browser, []
        self._served: list[Served] = []
        self.problems: list[str] = []
        self.expected: list[str] = []
        self.may_leave, self.left = False, 0

    def serve(self, page: Page, **limits: float) -> Served:
        """Serve a page until the tabs are closed."""
        self._served.append(Served(page, **limits))
        return self._served[-1]

    def context(self, **options):
        context = self._browser.new_context(viewport=options.pop("viewport", LAPTOP), **options)
        context.set_default_timeout(15_000)
        self._contexts.append(context)
        return context

    def open(self, address: str | Path, context=None, **options):
        """Open an address, or a file, in a new tab."""
        tab = (context or self.context(**options)).new_page()
        url = address.as_uri() if isinstance(address, Path) else address
        origin = "file:///" if isinstance(address, Path) else "/".join(url.split("/")[:3]) + "/"
        own = (origin, "data:", "blob:")
        tab.on("console", lambda m: m.type in ("error", "warning") and self.problems.append(f"console: {m.text}"))
        tab.on("pageerror", lambda e: self.problems.append(f"error: {e}"))
        tab.on("dialog", self._answer_dialog)
        tab.on("request", lambda r: None if r.url.startswith(own) else self.problems.append(f"request: {r.url}"))
        tab.goto(url)
        return tab

    def _answer_dialog(self, dialog) -> None:
        if self.may_leave and dialog.type == "beforeunload":
            self.left += 1
            dialog.accept()
        else:
            self.problems.append(f"dialog: {dialog.message}")
            dialog.dismiss()

    def close(self) -> None:
        for context in self._contexts:
            context.close()
        for served in self._served:
            served.close()
        left = [p for p in self.problems if not any(e in p for e in self.expected)]
        assert not left, left


def wait_until(tab, expression: str, argument: object = None) -> None:
    """Wait until a JavaScript expression is true; Playwright's own wait needs `eval`, which pages do not allow."""
    for _ in range(150):
        if tab.evaluate(expression, argument):
            return
        tab.wait_for_timeout(100)
    raise AssertionError(expression)
