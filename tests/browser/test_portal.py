"""A tenant's portal in Chromium: its link opens by itself, in the host's colours, also in a frame of another site."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from aiohttp import web
from playwright.async_api import Browser, expect

from support.browser import PHONE, WIDE, Tab
from support.managing import managing
from support.portals import portal_link
from support.tenants import SOURCES, shared_outbox

pytestmark = pytest.mark.asyncio(loop_scope="session")  # the browser's

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360606060000000050001"
    "a5f645400000000049454e44ae426082"
)


@pytest.mark.parametrize(("code", "size", "dark"), [("en", WIDE, False), ("es", PHONE, True)])
async def test_portal_opens_by_itself_in_the_hosts_colours_and_language(
    browser: Browser, tmp_path: Path, code: str, size: tuple[int, int], dark: bool
) -> None:
    (tmp_path / "logo.png").write_bytes(PIXEL)
    web = {"brand_name": "Example Hosting", "brand_accent": "#0b6e4f", "brand_logo": tmp_path / "logo.png"}
    async with managing(await shared_outbox(), source=SOURCES, web=web) as managed:
        base = str(managed.client.make_url("")).rstrip("/")
        tab = await Tab.open(browser, base, code, size, dark=dark)
        await tab.go(await portal_link(managed, language=code, return_url="https://panel.example.com/"))
        await tab.page.wait_for_url("**/endpoints")
        for path in ("/endpoints/ep_shop", "/deliveries", "/endpoints/new", "/endpoints/new?kind=teams"):
            await tab.go(path)
            await expect(tab.page.locator("header strong")).to_have_text("Example Hosting")
            await tab.open_menu()
            await expect(tab.page.get_by_role("link", name=tab.text("Back"))).to_be_visible()
            assert await tab.barriers() == [], path
            assert await tab.too_wide() <= 0, path
        colour = "getComputedStyle(document.documentElement).getPropertyValue('--accent')"
        assert (await tab.page.evaluate(colour) == "#0b6e4f") is not dark
        await tab.button("Sign out").click()
        await expect(tab.page.get_by_text(tab.text("You have signed out."))).to_be_visible()
        assert tab.errors == []
        await tab.close()


@asynccontextmanager
async def panel(authority: trustme.LeafCert) -> AsyncIterator[tuple[str, dict[str, str]]]:
    """The page of a host, of another site, with a frame; its origin, and what to put the frame's address into."""
    shown = {"frame": ""}

    async def page(_request: web.Request) -> web.Response:
        return web.Response(text=f'<iframe name="cdc" src="{shown["frame"]}"></iframe>', content_type="text/html")

    app = web.Application()
    app.router.add_get("/", page)
    runner = web.AppRunner(app)
    await runner.setup()
    yield f"https://localhost:{await served(runner, authority)}", shown
    await runner.cleanup()


async def served(runner: web.BaseRunner[web.Request], certificate: trustme.LeafCert) -> int:
    """Serve over https too; the port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    return int(runner.addresses[-1][1])


async def test_a_configured_site_has_a_portal_in_a_frame_and_another_has_not(browser: Browser) -> None:
    certificate = trustme.CA().issue_cert("localhost", "127.0.0.1")
    async with panel(certificate) as (allowed, shown), panel(certificate) as (other, others):
        web = {"frame_ancestors": [allowed]}
        async with managing(await shared_outbox(), source=SOURCES, web=web) as managed:
            assert managed.client.server.runner is not None
            base = f"https://127.0.0.1:{await served(managed.client.server.runner, certificate)}"
            context = await browser.new_context(ignore_https_errors=True, locale="en-US")
            page = await context.new_page()
            shown["frame"] = base + await portal_link(managed)
            await page.goto(allowed)
            framed = page.frame_locator("iframe")
            await expect(framed.get_by_role("heading", name="Endpoints")).to_be_visible()
            await framed.locator("details.menu summary").click()
            await framed.get_by_role("link", name="Deliveries").click()
            await framed.locator("details.menu summary").click()
            await framed.get_by_role("button", name="Español").click()
            await expect(framed.get_by_role("heading", name="Entregas")).to_be_visible()
            assert {each["sameSite"] for each in await context.cookies() if each["name"] == "cdc_portal"} == {"None"}

            others["frame"] = base + await portal_link(managed)
            async with page.expect_console_message(lambda message: "frame-ancestors" in message.text):
                await page.goto(other)
            assert await page.frame_locator("iframe").get_by_role("button").count() == 0
