"""The management page in a real browser, headless, and what is noted of all that it does there."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, ConsoleMessage, Locator, Page, StorageState, async_playwright

from cdc.pages.language import Language, language

#: Names of Chromium's program; the first one found is taken.  The shell has nothing of a window, and takes a fifth
#: less of a processor.
PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
#: It does not ask anybody anything by itself; the sandbox is not to be had in containers.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-lcd-text",
)
WIDE, PHONE = (1280, 800), (360, 740)
#: Of axe's verdicts, those that a test fails for.
GRAVE = ("serious", "critical")
_WEIGHT = """() => [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
    .reduce((sum, entry) => sum + entry.encodedBodySize, 0)"""


def chromium() -> str | None:
    """Return the path of the program; None without one."""
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


@asynccontextmanager
async def browsing() -> AsyncIterator[Browser]:
    program = chromium()
    assert program is not None, (
        "No Chromium here: run `make databases`, or install it (Debian: apt-get install chromium)."
    )
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        try:
            yield browser
        finally:
            await browser.close()


@dataclass
class Tab:
    """A page of the site at ``base`` in a browser of its own: nothing is kept of others.

    ``errors``: what JavaScript and the console complained of.  ``hosts``: who was asked for anything.
    """

    page: Page
    base: str
    code: str
    errors: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    @staticmethod
    async def open(
        browser: Browser,
        base: str,
        code: str = "en",
        size: tuple[int, int] = WIDE,
        *,
        dark: bool = False,
        script: bool = True,
        copies: bool = False,
        state: StorageState | None = None,
    ) -> Tab:
        """``copies``: the page may use the clipboard, and the test may read it.  ``state``: of a tab that signed in."""
        width, height = size
        context = await browser.new_context(
            viewport={"width": width, "height": height},
            locale={"en": "en-US", "es": "es-ES"}[code],
            color_scheme="dark" if dark else "light",
            java_script_enabled=script,
            storage_state=state,
            permissions=["clipboard-read", "clipboard-write"] if copies else [],
        )
        context.set_default_timeout(15_000)
        tab = Tab(await context.new_page(), base, code)
        tab.page.on("pageerror", lambda error: tab.errors.append(f"{tab.page.url}: {error}"))
        tab.page.on("console", tab._hear)
        context.on("request", lambda request: tab.hosts.add(urlsplit(request.url).netloc))
        return tab

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(f"{self.page.url}: {message.text}")

    async def close(self) -> None:
        await self.page.context.close()

    @property
    def words(self) -> Language:
        return language(self.code, UTC)

    def text(self, message: str, **values: object) -> str:
        """A text of the page in the tab's language."""
        return self.words.text(message, **values)

    async def go(self, path: str) -> None:
        await self.page.goto(path if path.startswith("http") else self.base + path)

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=self.text(name), exact=True)

    def link(self, name: str) -> Locator:
        return self.page.get_by_role("link", name=self.text(name), exact=True)

    def event(self, name: str) -> Locator:
        """Return the links of a list's rows with this event."""
        return self.page.locator(f'[data-open][title="{name}"]')

    def field(self, name: str) -> Locator:
        return self.page.get_by_label(self.text(name), exact=True)

    async def open_menu(self) -> None:
        """Show the sections and the account, which a narrow window folds."""
        menu = self.page.locator("details.menu:not([open]) summary")
        if await menu.is_visible():
            await menu.click()

    async def sign_in(self, name: str, password: str) -> None:
        await self.go("/sign-in")
        await self.field("Name").fill(name)
        await self.field("Password").fill(password)
        await self.button("Sign in").click()
        await self.page.wait_for_url(f"{self.base}/")

    async def weight(self) -> int:
        """Bytes of the page and all that it loaded, as of a first view."""
        return int(await self.page.evaluate(_WEIGHT))

    async def too_wide(self) -> int:
        """Return by how many pixels the page is wider than its window."""
        return int(await self.page.evaluate("() => document.documentElement.scrollWidth - innerWidth"))

    async def barriers(self) -> list[str]:
        """Return axe's grave findings, each with the markup of its elements."""
        # the list of what passes is long, and an element's selector takes longer to find than its text
        options = {"resultTypes": ["violations"], "selectors": False, "preload": False}
        results = await Axe().run(self.page, options=options)
        violations: list[dict[str, Any]] = results.response["violations"]
        return [
            f"{each['id']}: {each['help']}: {[node['html'] for node in each['nodes']]}"
            for each in violations
            if each["impact"] in GRAVE
        ]
