"""Each page as it is met: on a desk and on a phone, in light and dark, in both languages, by keyboard, without
JavaScript, by those who may only look."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from support.browser import PHONE, WIDE, Tab
from support.consumer import Inbox, receiving
from support.database import Database
from support.site import MANAGER, PASSWORD, VIEWER, Site, play_story, serving

pytestmark = pytest.mark.asyncio(loop_scope="session")  # the browser's

#: Bytes of a first view, at most.
MOST = 200_000
PATHS = (
    "/",
    "/endpoints",
    "/endpoints/new",
    "/endpoints/new?kind=program",
    "/endpoints/new?kind=telegram",
    "/deliveries",
    "/replays",
    "/replays/new?endpoint=&event=invoice.*&rate=0.5&count=1",
    "/events",
    "/search?q=invoice",
    "/catalogue",
    "/catalogue/invoice.paid",
    "/sources",
    "/explain?record=clientes:1",
    "/sources/main",
    "/backfills",
    "/backfills/new?source=main&table=facturascli",
    "/people",
    "/audit",
    "/account",
    "/nothing/here",
)
#: Chromium tells the console of each answer that is no 2xx.
_NOT_FOUND = "/nothing/here"


@pytest_asyncio.fixture(loop_scope="session")
async def site(postgres_erp: Database, tmp_path: Path) -> AsyncIterator[Site]:
    """With a manager, a viewer, one endpoint, and the deliveries of the demo's story."""
    inbox = Inbox()
    async with serving(postgres_erp, tmp_path) as site, receiving(inbox) as url:
        await asyncio.to_thread(site.user, MANAGER, "manager")
        await asyncio.to_thread(site.user, VIEWER, "viewer")
        await asyncio.to_thread(site.consumer.add_endpoint, url, "*", "--description", "Tienda")
        count = await asyncio.to_thread(play_story, postgres_erp)
        await inbox.until_count(count)
        yield site


@pytest.mark.parametrize(
    ("code", "size", "dark"), [("en", WIDE, False), ("es", PHONE, True)], ids=["desk", "phone in the dark"]
)
async def test_each_page_is_fit_to_be_met(
    site: Site, browser: Browser, code: str, size: tuple[int, int], dark: bool
) -> None:
    tab = await Tab.open(browser, site.base, code, size, dark=dark)
    await tab.go("/sign-in")
    found = [*await _faults(tab)]
    await tab.sign_in(MANAGER, PASSWORD)
    for path in PATHS:
        await tab.go(path)
        found += await _faults(tab)
    for path in await _deeper(tab):
        await tab.go(path)
        await tab.page.locator("summary").evaluate_all("all => all.forEach(each => each.parentElement.open = true)")
        found += await _faults(tab)
    found += await _answers_to_forms(tab)
    found += await _slow_replay(tab)
    found += await _slow_backfill(tab)
    assert found == []
    assert [error for error in tab.errors if _NOT_FOUND not in error] == []
    assert tab.hosts == {site.base.removeprefix("http://")}


async def _faults(tab: Tab) -> list[str]:
    """What is wrong with the page that is open."""
    found = await tab.barriers()
    if (wider := await tab.too_wide()) > 0:
        found.append(f"{wider} pixels wider than the window")
    if (weight := await tab.weight()) > MOST:
        found.append(f"{weight} bytes")
    if await tab.page.locator("html").get_attribute("lang") != tab.code:
        found.append("another language")
    return [f"{tab.page.url}: {each}" for each in found]


async def _deeper(tab: Tab) -> list[str]:
    """A delivery that was tried twice would not differ; an event, an endpoint and its form."""
    await tab.go("/deliveries?event=invoice.paid")
    delivery = await tab.event("invoice.paid").get_attribute("href")
    endpoint = await tab.link("Tienda").get_attribute("href")
    await tab.go("/events?event=invoice.paid")
    event = await tab.event("invoice.paid").get_attribute("href")
    assert delivery and endpoint and event  # noqa: PT018 - each is a link that is there
    return [delivery, event, endpoint, f"{endpoint}/edit"]


async def _answers_to_forms(tab: Tab) -> list[str]:
    """What is only shown to who sent something; its address leads back when it is asked for again."""
    found: list[str] = []
    endpoint = (await _deeper(tab))[2]
    tab.page.on("dialog", lambda dialog: dialog.accept())
    for path, button, back in (
        ("/sources/main", "Run checks", "/sources/main"),
        (endpoint, "Send a test", endpoint),
        (endpoint, "Create a new secret", endpoint),
    ):
        await tab.go(path)
        async with tab.page.expect_navigation():
            await tab.button(button).click()
        found += await _faults(tab)
        await tab.go(tab.page.url)
        await expect(tab.page).to_have_url(tab.base + back)
    return found


async def _slow_replay(tab: Tab) -> list[str]:
    """Begun, seen going on, stopped."""
    await tab.go("/replays/new?event=*&rate=0.1&count=1")
    await tab.button("Send them again").click()
    row = tab.page.locator("#rows tbody tr")
    await expect(row.get_by_role("progressbar")).to_have_attribute("value", "1")  # the first one is due at once
    found = await _faults(tab)
    await tab.button("Stop").click()
    await expect(row).to_contain_text(tab.text("stopped"))
    return found


async def _slow_backfill(tab: Tab) -> list[str]:
    """Looked at, begun, seen going on, resting, stopped."""
    await tab.go("/backfills/new?source=main&table=receipt&rate=0.01")
    await tab.field("Only rows that meet this condition").fill("importe <> 0.01")
    await tab.button("Count them").click()
    await expect(tab.page.locator("#plan")).to_contain_text("recibospagoscli")
    found = await _faults(tab)
    await tab.button("Send them").click()
    row = tab.page.locator("#rows tbody tr")
    await expect(row.get_by_role("progressbar")).not_to_have_attribute("value", "0")
    found += await _faults(tab)
    await tab.button("Pause").click()
    await expect(row).to_contain_text(tab.text("paused"))
    found += await _faults(tab)
    await tab.button("Continue").click()
    await expect(row).to_contain_text(tab.text("running"))
    await tab.button("Stop").click()
    await expect(row).to_contain_text(tab.text("stopped"))
    return found


async def test_everything_works_by_keyboard(site: Site, browser: Browser) -> None:
    tab = await Tab.open(browser, site.base)
    await tab.sign_in(MANAGER, PASSWORD)
    await tab.page.keyboard.press("Tab")
    await expect(tab.link("Skip to the content")).to_be_focused()
    await tab.page.keyboard.press("Enter")
    await tab.page.keyboard.press("Tab")
    assert await tab.page.evaluate("document.querySelector('main').contains(document.activeElement)")
    await tab.go("/endpoints/new")
    await tab.page.get_by_role("link", name="My program").focus()
    await tab.page.keyboard.press("Enter")
    await tab.page.locator("#find-event").focus()
    await tab.page.keyboard.type("paid invoice")
    await tab.page.keyboard.press("Tab")
    await tab.page.keyboard.press("Tab")
    await expect(tab.page.get_by_label("anything happens to an invoice")).to_be_focused()
    await tab.page.keyboard.press("Tab")
    await tab.page.keyboard.press("Space")
    await expect(tab.page.get_by_label("an invoice is paid", exact=True)).to_be_checked()
    await tab.page.locator("#url").focus()
    await tab.page.keyboard.type("https://tienda.example.com/hook")
    await tab.page.keyboard.press("Enter")  # shows what would be sent
    await expect(tab.page.locator("#result")).to_contain_text("Of the last 26 events, 1 would have been sent.")
    await expect(tab.page.locator("#url")).to_have_value("https://tienda.example.com/hook")
    assert tab.errors == []


async def test_a_plot_is_read_by_keyboard_and_by_pointer(site: Site, browser: Browser) -> None:
    tab = await Tab.open(browser, site.base)
    await tab.sign_in(MANAGER, PASSWORD)
    plot = tab.page.get_by_role("slider", name="Delivered and failed attempts, Last 24 hours")
    readout = tab.page.locator(".readout").first
    now = str(await plot.get_attribute("aria-valuetext"))
    await plot.focus()
    await expect(readout).to_have_text(now)
    await tab.page.keyboard.press("ArrowLeft")
    await expect(plot).not_to_have_attribute("aria-valuetext", now)
    await expect(readout).to_have_text(str(await plot.get_attribute("aria-valuetext")))
    await tab.page.keyboard.press("End")
    await expect(plot).to_have_attribute("aria-valuetext", now)
    await plot.hover(position={"x": 2, "y": 20})
    await expect(plot).to_have_attribute("aria-valuenow", "0")
    await tab.page.get_by_text("Values as a table").click()
    await expect(tab.page.get_by_role("columnheader", name="Attempts delivered").first).to_be_visible()
    assert await tab.barriers() == []
    assert tab.errors == []


async def test_pages_do_without_javascript(site: Site, browser: Browser) -> None:
    tab = await Tab.open(browser, site.base, script=False)
    await tab.sign_in(MANAGER, PASSWORD)
    await tab.go("/endpoints/new")
    await tab.page.get_by_role("link", name="My program").click()
    await tab.field("URL").fill("https://tienda.example.com/hook")
    await tab.page.get_by_text("Stock", exact=True).click()
    await tab.page.get_by_label("the stock of a product changes", exact=True).check()
    await tab.button("Send a test").click()
    await expect(tab.page.locator("#result")).to_contain_text("Nothing was saved.")
    await expect(tab.page.get_by_label("the stock of a product changes", exact=True)).to_be_checked()
    await tab.button("Add").click()
    await expect(tab.page.locator("#secret")).to_be_visible()
    await expect(tab.button("Copy")).to_have_count(0)
    await tab.go("/replays/new")
    await tab.field("Event or its id").fill("invoice.paid")
    await tab.button("Count them").click()
    await expect(tab.page.get_by_role("status")).to_contain_text("1 delivery would be sent again.")
    await tab.button("Send them again").click()
    await expect(tab.page.get_by_role("status")).to_contain_text("The replay has started.")
    await expect(tab.page.locator("#rows tbody tr")).to_contain_text(["invoice.paid"])
    await tab.go("/deliveries")
    await tab.field("Text").fill("Sevilla")
    await tab.button("Search").click()
    await expect(tab.page.locator("#rows tbody tr")).to_contain_text(["O'Brien & Sons"])
    await tab.button("Español").click()
    await expect(tab.page.get_by_role("heading", name="Entregas")).to_be_visible()
    await expect(tab.page).to_have_url(f"{site.base}/deliveries?{tab.page.url.partition('?')[2]}")
    assert "text=Sevilla" in tab.page.url


async def test_the_language_and_the_theme_that_were_chosen_stay(site: Site, browser: Browser) -> None:
    tab = await Tab.open(browser, site.base)
    await tab.sign_in(MANAGER, PASSWORD)
    paper = "getComputedStyle(document.body).backgroundColor"
    light = await tab.page.evaluate(paper)
    await tab.button("Theme").click()
    dark = await tab.page.evaluate(paper)
    assert dark != light
    await tab.button("Español").click()
    await tab.go("/sources")
    await expect(tab.page.get_by_role("heading", name="Orígenes")).to_be_visible()
    assert await tab.page.evaluate(paper) == dark
    assert tab.errors == []


async def test_a_viewer_sees_no_payload_and_changes_nothing(site: Site, browser: Browser) -> None:
    tab = await Tab.open(browser, site.base)
    await tab.sign_in(VIEWER, PASSWORD)
    await tab.go("/deliveries?event=customer.created")
    await expect(tab.page.get_by_label("Text", exact=True)).to_have_count(0)
    await tab.event("customer.created").click()
    await expect(tab.page.get_by_text("The payload is shown to managers only.")).to_be_visible()
    assert "Brien" not in await tab.page.content()
    await expect(tab.button("Send again")).to_have_count(0)
    await expect(tab.link("Replays")).to_have_count(0)
    await tab.link("Tienda").click()
    await expect(tab.page.get_by_role("heading", name="Tienda")).to_be_visible()
    await expect(tab.page.locator("main form")).to_have_count(0)
    assert tab.errors == []
    for path in (
        "/people",
        "/audit",
        "/endpoints/new",
        "/replays",
        "/replays/new",
        "/deliveries?text=Brien",
        "/backfills",
    ):
        await tab.go(path)
        await expect(tab.page.get_by_role("alert")).to_have_text("For managers only.")


async def test_patterns_tick_and_free_the_boxes_that_they_select(site: Site, browser: Browser) -> None:
    tab = await Tab.open(browser, site.base)
    await tab.sign_in(MANAGER, PASSWORD)
    await tab.go("/endpoints/new?kind=program")
    await tab.page.get_by_text("Invoice", exact=True).click()
    await tab.page.get_by_text("More options").click()
    paid, sent = tab.page.locator("#event-invoice\\.paid"), tab.page.locator("#event-invoice\\.sent")
    existing = tab.page.locator("#event-invoice\\.existing")
    await paid.check()
    await tab.page.locator("#event-invoice-all").check()
    await expect(sent).to_be_checked()
    await expect(sent).to_be_disabled()
    await expect(existing).not_to_be_checked()
    await tab.page.locator("#event-invoice-all").uncheck()
    await expect(sent).not_to_be_checked()
    await expect(paid).to_be_checked()
    await expect(paid).to_be_enabled()
    await tab.field("Patterns").fill("*.sent")
    await expect(sent).to_be_disabled()
    await expect(tab.page.get_by_text("by *.sent").first).to_be_visible()
    await tab.field("Patterns").fill("")
    await expect(sent).not_to_be_checked()
    assert tab.errors == []


async def test_a_form_in_spanish_finds_events_tests_and_says_what_came_of_it(site: Site, browser: Browser) -> None:
    tab = await Tab.open(browser, site.base, "es", PHONE)
    await tab.sign_in(MANAGER, PASSWORD)
    await tab.go("/endpoints/new?kind=program")
    await tab.page.locator("#find-event").fill("albaran borrado")
    await expect(tab.page.locator("#event-tree .choice:visible")).to_have_count(0)
    for words in ("proveedor albaran rechaza", "supplier delivery note rejected"):
        await tab.page.locator("#find-event").fill(words)
        await expect(tab.page.locator("#event-tree .choice[data-filter-text]:visible")).to_have_count(1)
    await tab.page.get_by_label("se rechaza un albarán de proveedor").check()
    await tab.page.get_by_text(tab.text("More options")).click()
    for kind, shown in (("oauth2", "token_url"), ("jwt", "issuer")):
        await tab.page.locator("#authentication").select_option(kind)
        visible = await tab.page.locator("#token_url:visible, #issuer:visible").evaluate_all(
            "all => all.map(each => each.id)"
        )
        assert visible == [shown]
    await tab.page.locator("#authentication").select_option("")
    await tab.page.locator("#headers").fill("X-Key: planted")
    async with receiving(Inbox()) as url:
        await tab.field("URL").fill(url)
        await tab.button("Send a test").click()
        await expect(tab.page.locator("#result")).to_contain_text("Aceptado con 204 en")
    await expect(tab.page.locator("#headers")).to_have_value("X-Key: planted")
    await tab.page.locator("#timeout").fill("nada")
    await tab.button("Send a test").click()
    await tab.page.get_by_role("link", name="Tiempo límite: valor no válido.").click()
    assert await tab.page.evaluate("location.hash") == "#timeout"
    await expect(tab.page.locator("#timeout")).to_be_in_viewport()
    assert await tab.barriers() == []
    assert await tab.too_wide() <= 0
    refused = [error for error in tab.errors if "422" not in error]
    assert refused == []
