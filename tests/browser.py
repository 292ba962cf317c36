"""A real Chromium, without a window."""

import contextlib
import importlib.resources
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from tests.processes import PATIENCE_S

AXE = (importlib.resources.files("axe_playwright_python") / "axe.min.js").read_text("utf-8")

RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_OPTIONS = [
    "--no-sandbox",  # which a container's root cannot have
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Start the browser; it and its profile are gone when the block ends."""
    path = next((found for name in _PROGRAMS if (found := shutil.which(name))), None)
    if path is None:
        raise RuntimeError("there is no Chromium on the PATH; scripts/test installs it, or says how")
    # Other tests run beside these.
    expect.set_options(timeout=1000 * PATIENCE_S)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_OPTIONS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visit:
    """One visitor's window, and what went wrong in it.

    Attributes:
        complaints: Errors of scripts, refusals of the content security policy, and dialogs, which only a script that
            came with a message would open.
    """

    page: Page
    complaints: list[str] = field(default_factory=list)

    @classmethod
    def begin(cls, context: BrowserContext) -> "Visit":
        visit = cls(context.new_page())
        visit.page.set_default_timeout(1000 * PATIENCE_S)
        visit.page.on("console", visit._heard)
        visit.page.on("pageerror", lambda error: visit.complaints.append(f"error: {error}"))

        def refuse(dialog: object) -> None:
            visit.complaints.append("a dialog was opened")
            dialog.dismiss()  # type: ignore[attr-defined]  # Playwright's handlers take any object

        visit.page.on("dialog", refuse)
        return visit

    def _heard(self, message: ConsoleMessage) -> None:
        # An answer that is an error is part of some tests, and the page's own business.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.complaints.append(f"console: {message.text}")


def row_of(page: Page, topic: str) -> Any:
    """Return the row of a letter in the table."""
    return page.locator("#letters tbody tr").filter(has=page.get_by_role("link", name=topic, exact=True))


def accessibility_faults(page: Page, part: str = "body") -> list[str]:
    """Return what axe-core finds, by the rules of WCAG 2.2 AA and its best practices; the contrast in both themes."""
    page.evaluate(AXE)
    faults = []
    for theme, rules in (("light", list(RULES)), ("dark", {"type": "rule", "values": ["color-contrast"]})):
        page.evaluate("theme => document.documentElement.setAttribute('data-bs-theme', theme)", theme)
        page.evaluate("document.getAnimations().forEach((change) => change.finish())")
        found = page.evaluate("([part, rules]) => axe.run(part, {runOnly: rules})", [part, rules])
        faults += [
            f"{theme} {fault['id']}: {node['target']}" for fault in found["violations"] for node in fault["nodes"]
        ]
    return faults
