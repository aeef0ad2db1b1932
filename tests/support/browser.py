"""A real Chromium, watched: what it prints to its console and whom it asks."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Error, Page, Playwright, Request, expect

from tests.support.tools import tool
from tests.support.waiting import PATIENCE, wait_for

PATIENCE_MS = PATIENCE * 1000
_STATUS = re.compile(r"Failed to load resource: the server responded with a status of (401|403|404|429)")


expect.set_options(timeout=PATIENCE_MS)


def launch(playwright: Playwright, *arguments: str) -> Browser:
    """Start Chromium without a window; the sandbox needs rights that containers lack."""
    return playwright.chromium.launch(
        executable_path=tool("chromium"), headless=True, args=["--no-sandbox", *arguments]
    )


def launch_with_profile(playwright: Playwright, folder: Path, *arguments: str) -> BrowserContext:
    """Start Chromium with the settings in a folder; certificates are not looked at."""
    return playwright.chromium.launch_persistent_context(
        folder,
        executable_path=tool("chromium"),
        headless=True,
        args=["--no-sandbox", *arguments],
        ignore_https_errors=True,
    )


OpenContext = Callable[..., BrowserContext]
"""What makes a browser without memory; it takes the options of Playwright's ``new_context``."""


def sign_in(page: Page, name: str, password: str) -> None:
    """Fill in the login form and send it."""
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def sign_in_there(page: Page, name: str = "alice") -> None:
    """Fill in the form of the certified provider, then its consent page where it asks."""
    page.locator("input[name=login]").fill(name)
    page.locator("input[name=password]").fill("any password")
    page.locator("button[type=submit]").click()
    consent = page.locator("input[name=prompt][value=consent]")

    def is_answered() -> bool:
        try:
            return "/interaction/" not in page.url or consent.count() > 0
        except Error:
            return False  # between two pages

    wait_for(is_answered, what="the provider's answer to the form")
    if "/interaction/" in page.url:
        page.locator("button[type=submit]").click()


class Watch:
    """What went wrong in a context: errors in the console, broken scripts, requests to other hosts."""

    def __init__(self, context: BrowserContext) -> None:
        self.problems: list[str] = []
        context.on("page", self._page)
        context.on("console", self._console)
        context.on("request", self._request)

    def _page(self, page: Page) -> None:
        page.on("pageerror", lambda error: self.problems.append(f"script: {error}"))

    def _console(self, message: ConsoleMessage) -> None:
        # A refused page is an error to Chromium's console, and right all the same.
        if message.type in ("error", "warning") and not _STATUS.match(message.text):
            self.problems.append(f"console: {message.text}")

    def _request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in ("http", "https", "ws", "wss") and not _is_here(parts.hostname or ""):
            self.problems.append(f"another host: {request.url}")


def _is_here(host: str) -> bool:
    return host in ("127.0.0.1", "localhost") or host.endswith(".localhost")
