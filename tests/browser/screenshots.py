"""``make screenshots``: writes docs/images/*.png, the pictures of docs/web.md.

Chromium takes them of the real page, in this process, over an outbox in memory that lived through `support.busy_hour`;
the findings of the doctor are of a real PostgreSQL.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg
from playwright.async_api import Browser, FloatRect, Page, StorageState
from psycopg import sql

from cdc.config import Config
from cdc.demo.server import demo_server
from cdc.model.connection import ConnectionInfo
from cdc.runtime import capture
from support.browser import PHONE, Tab, browsing
from support.busy_hour import BOOKS, go_on, live_through
from support.managing import PASSWORD, Managed, managing
from support.memory_outbox import MemoryOutbox
from support.png import smaller

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "images"
#: Of the window; what is further down is not in the picture.
DESK, TALLEST = (1280, 640), 1000

Prepare = Callable[[Page], Awaitable[None]]


@dataclass(frozen=True)
class Picture:
    """``prepare``: what is done on the page before.  ``top``: the element that the picture begins with."""

    name: str
    path: str
    code: str = "en"
    dark: bool = False
    size: tuple[int, int] = DESK
    prepare: Prepare | None = None
    top: str = "body"


async def _search(page: Page) -> None:
    await page.locator("#find-event").fill("invoice.paid")
    await page.locator("#event-invoice\\.paid").check()
    await page.locator("#url").fill("https://tienda.example.com/webhooks")
    await page.locator("#description").fill("Tienda")


async def _preview(page: Page) -> None:
    await page.locator("#bot_token").fill("123456789:AAH")
    await page.locator("#chat").fill("-1001234567890")
    await page.locator("#find-event").fill("invoice paid")
    await page.locator("#event-invoice\\.paid").check()
    await page.locator("button[name=preview]").click()
    await page.locator("#preview").wait_for()


async def _add(page: Page) -> None:
    await _search(page)
    await page.locator("main .primary").click()
    await page.get_by_text("PHP", exact=True).click()


async def _first(page: Page) -> None:
    async with page.expect_navigation():
        await page.locator("#rows tbody tr a").first.click()


async def _examine(page: Page) -> None:
    await page.locator("form[action*=examine] button").click()
    await page.locator("h3").wait_for()


async def _look(page: Page) -> None:
    await page.locator("#table").fill("facturascli")
    await page.locator("#where").fill("fecha >= '2026-01-01'")
    await page.locator("#endpoint").select_option(BOOKS)
    await page.locator("#rate").fill("2")
    await page.locator("form[action$=new] button").click()
    await page.locator("#plan").wait_for()


PICTURES = (
    Picture("overview", "/"),
    Picture("overview-dark", "/", "es", dark=True),
    Picture("overview-phone", "/", "es", size=PHONE),
    Picture("endpoints", "/endpoints"),
    Picture("endpoint", f"/endpoints/{BOOKS}"),
    Picture("endpoint-kinds", "/endpoints/new"),
    Picture("endpoint-new", "/endpoints/new?kind=program", "es", prepare=_search),
    Picture("endpoint-preview", "/endpoints/new?kind=telegram", prepare=_preview, top="#event-tree"),
    Picture("endpoint-secret", "/endpoints/new?kind=program", prepare=_add),
    Picture("deliveries", "/deliveries"),
    Picture("deliveries-phone", "/deliveries", "es", size=PHONE),
    Picture("delivery", "/deliveries?state=dead", prepare=_first),
    Picture("replays", "/replays"),
    Picture("replay-new", f"/replays/new?endpoint={BOOKS}&state=dead&count=1", "es"),
    Picture("replays-phone", "/replays", "es", size=PHONE),
    Picture("events", "/events", "es"),
    Picture("event", "/events?event=invoice.updated", "es", dark=True, prepare=_first),
    Picture("catalogue", "/catalogue", "es"),
    Picture("event-kind", "/catalogue/invoice.paid"),
    Picture("record", "/records/main/facturascli:12", "es"),
    Picture("explain", "/explain?record=facturascli:12&event=invoice.paid", "es"),
    Picture("tables", "/sources/main/tables"),
    Picture("sources", "/sources/main", "es", prepare=_examine),
    Picture("backfills", "/backfills"),
    Picture("backfill-new", "/backfills/new", prepare=_look),
    Picture("backfills-phone", "/backfills", "es", size=PHONE),
    Picture("people", "/people"),
    Picture("audit", "/audit", "es"),
    Picture("account", "/account"),
    Picture("sign-in", "/sign-in", "es", dark=True),
)


async def main() -> int:
    FOLDER.mkdir(exist_ok=True)
    with demo_server() as server:
        config = _config(server.info)
        await asyncio.to_thread(_install, config)
        sections = config.model_dump(mode="json", exclude_unset=True)
        async with managing(MemoryOutbox(), **sections) as managed, browsing() as browser:
            await live_through(managed)
            state = await _signed_in(browser, managed)
            for picture in PICTURES:
                taken = await _take(browser, managed, picture, state)
                (FOLDER / f"{picture.name}.png").write_bytes(smaller(taken))
                print(picture.name, file=sys.stderr)
    return 0


def _config(info: ConnectionInfo) -> Config:
    url = f"postgresql://{info.user}@localhost/{info.database}?socket={info.socket}"
    return Config.model_validate({"source": {"main": {"url": url}}, "web": {"timezone": "Europe/Madrid"}})


def _install(config: Config) -> None:
    """Triggers, but for those of a table: the doctor is to have something to say."""
    source = config.select_source("main")
    installer = capture.installer(source)
    installer.apply(installer.plan_install(capture.captures(source)), lambda _: None)
    info = source.connection()
    with psycopg.connect(host=info.socket, user=info.user, dbname=info.database, autocommit=True) as connection:
        found = connection.execute(
            "SELECT tgname FROM pg_trigger WHERE tgrelid = 'clientes'::regclass AND NOT tgisinternal"
        )
        for (name,) in found.fetchall():
            connection.execute(sql.SQL("DROP TRIGGER {} ON clientes").format(sql.Identifier(name)))


async def _signed_in(browser: Browser, managed: Managed) -> StorageState:
    tab = await Tab.open(browser, _base(managed))
    await tab.sign_in("ann", PASSWORD)
    state = await tab.page.context.storage_state()
    await tab.close()
    return state


def _base(managed: Managed) -> str:
    return str(managed.client.make_url("")).rstrip("/")


async def _take(browser: Browser, managed: Managed, picture: Picture, state: StorageState) -> bytes:
    known = None if picture.path == "/sign-in" else state
    tab = await Tab.open(browser, _base(managed), picture.code, picture.size, dark=picture.dark, state=known)
    try:
        await tab.go(picture.path)
        if picture.prepare is not None:
            await picture.prepare(tab.page)
        width, _ = picture.size
        box = await tab.page.locator(picture.top).bounding_box()
        assert box is not None
        length = await tab.page.evaluate("document.querySelector('footer').getBoundingClientRect().bottom")
        top = max(box["y"] - 16, 0.0)
        clip: FloatRect = {"x": 0, "y": top, "width": width, "height": min(length - top, TALLEST)}
        return await tab.page.screenshot(full_page=True, clip=clip)
    finally:
        await tab.close()
        await go_on(managed, 10)  # whoever told the tab what is new notices that it is gone


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
