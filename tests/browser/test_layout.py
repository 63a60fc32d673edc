"""What a window of a desk and of a phone shows, over an outbox in memory that lived through an hour."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Route, expect

from cdc import __version__
from cdc.model.delivery import DeliveryState
from support.browser import WIDE, Tab
from support.busy_hour import BOOKS, STORE, live_through
from support.managing import PASSWORD, Managed, managing
from support.memory_outbox import MemoryOutbox
from support.outboxes import event, lease, outcome, store

pytestmark = pytest.mark.asyncio(loop_scope="session")  # the browser's

PHONE = (390, 800)
LONG = "The endpoint answered 500: https://tienda.example.com/" + "webhooks/" * 20 + " and some words behind it."


@pytest_asyncio.fixture(loop_scope="session")
async def managed() -> AsyncIterator[Managed]:
    async with managing(MemoryOutbox(), web={"timezone": "Europe/Madrid"}) as managed:
        await live_through(managed)
        now = managed.clock.now()
        await store(managed.store, event(1, name="invoice.payment_recorded_by_plugin"), now=now)
        (leased,) = [each for each in await lease(managed.store, now) if each.endpoint_id == BOOKS]
        await managed.store.finish("w", [outcome(leased, DeliveryState.DEAD, error=LONG, started_at=now)], now)
        managed.clock.advance(timedelta(seconds=1).total_seconds())
        yield managed


async def signed_in(browser: Browser, managed: Managed, size: tuple[int, int], code: str = "es") -> Tab:
    tab = await Tab.open(browser, str(managed.client.make_url("")).rstrip("/"), code, size, copies=True)
    await tab.sign_in("ann", PASSWORD)
    return tab


@pytest.mark.parametrize(
    "path", ["/deliveries?state=dead", "/", f"/endpoints/{BOOKS}?period=hour", "/events", "/audit"]
)
async def test_no_column_is_cut_on_a_desk(managed: Managed, browser: Browser, path: str) -> None:
    tab = await signed_in(browser, managed, WIDE)
    await tab.go(path)
    cut = "all => all.filter(each => each.checkVisibility() && each.scrollWidth > each.clientWidth).length"
    assert await tab.page.locator(".scroll").evaluate_all(cut) == 0
    assert await tab.too_wide() <= 0
    await tab.close()


@pytest.mark.parametrize("width", [390, 360, 320])
async def test_a_phone_shows_a_bar_with_a_menu_and_folded_filters(
    managed: Managed, browser: Browser, width: int
) -> None:
    tab = await signed_in(browser, managed, (width, 800))
    await tab.go("/deliveries")
    header = await tab.page.locator("header").bounding_box()
    assert header is not None
    assert header["height"] <= 60
    await expect(tab.button("Sign out")).to_be_hidden()
    await tab.open_menu()
    await expect(tab.page.locator("header [aria-current]")).to_be_in_viewport(ratio=1)
    await expect(tab.page.locator("header [aria-current]")).to_have_text(tab.text("Deliveries"))
    await tab.button("Sign out").scroll_into_view_if_needed()
    await expect(tab.button("Sign out")).to_be_in_viewport(ratio=1)
    await tab.go("/deliveries")
    await expect(tab.field("Record")).to_be_hidden()
    await tab.page.get_by_text(tab.text("Filters"), exact=True).click()
    await tab.field("Record").fill("facturascli:1")
    await tab.button("Search").click()
    await expect(tab.field("Record")).to_be_visible()  # it says what is shown
    assert await tab.too_wide() <= 0
    await tab.close()


@pytest.mark.parametrize("size", [WIDE, PHONE])
async def test_search_is_reached_by_the_keyboard_from_each_page(
    managed: Managed, browser: Browser, size: tuple[int, int]
) -> None:
    tab = await signed_in(browser, managed, size)
    await tab.go("/people")
    await tab.page.keyboard.press("Control+k")
    await expect(tab.field("Search everything")).to_be_focused()
    await tab.page.keyboard.type("almac")
    await tab.page.keyboard.press("Enter")
    await tab.page.locator(".hits a").focus()
    await tab.page.keyboard.press("Enter")
    await expect(tab.page).to_have_url(f"{tab.base}/endpoints/{STORE}")
    await tab.go("/search?q=facturascli")
    assert await tab.barriers() == []
    assert await tab.too_wide() <= 0
    assert tab.errors == []
    await tab.close()


async def test_each_page_shows_the_number_of_problems_and_a_repaired_one_is_gone(
    managed: Managed, browser: Browser
) -> None:
    tab = await signed_in(browser, managed, WIDE)
    for path in ("/events", "/people", "/nothing"):
        await tab.go(path)
        await expect(tab.page.locator("header .health.bad")).to_have_text(
            f"3{tab.words.plural('%(number)s problem', '%(number)s problems', 3)}"
        )
    await tab.go(f"/endpoints/{STORE}")
    await tab.button("Enable").click()
    await expect(tab.page.locator("header .health")).to_have_text(
        f"2{tab.words.plural('%(number)s problem', '%(number)s problems', 2)}"
    )
    await tab.close()


async def test_a_row_replaced_under_the_pointer_keeps_the_click(managed: Managed, browser: Browser) -> None:
    tab = await signed_in(browser, managed, WIDE)
    asked, pressed = asyncio.Event(), asyncio.Event()

    async def answer_when_pressed(route: Route) -> None:
        if not route.request.is_navigation_request():  # the live page asks for its rows
            asked.set()
            await pressed.wait()
        await route.continue_()

    await tab.page.route(f"{tab.base}/deliveries", answer_when_pressed)
    await tab.go("/deliveries")
    await asyncio.wait_for(asked.wait(), 60)
    await tab.event("invoice.payment_recorded_by_plugin").first.hover()
    await tab.page.mouse.down()
    async with tab.page.expect_event("requestfinished"):
        pressed.set()
    await tab.page.evaluate("async () => (await fetch(location.href)).text()")  # by then the page has read its own
    await tab.page.mouse.up()
    await expect(tab.page).to_have_url(re.compile("/deliveries/.+"))
    await tab.close()


async def test_a_word_is_not_broken_on_a_phone(managed: Managed, browser: Browser) -> None:
    tab = await signed_in(browser, managed, PHONE)
    await tab.go("/events?event=invoice.updated")
    await tab.page.locator("#rows tbody tr a").first.click()
    boxes = await tab.page.locator(".diff code").first.evaluate("each => each.getClientRects().length")
    assert boxes == 1
    await tab.close()


@pytest.mark.parametrize("path", ["/endpoints", "/people", f"/endpoints/{BOOKS}", "/sources", "/audit", "/events"])
async def test_a_phone_shows_values_beside_their_names_and_cuts_none(
    managed: Managed, browser: Browser, path: str
) -> None:
    tab = await signed_in(browser, managed, PHONE)
    await tab.go(path)
    left_of_names = """cells => cells.flatMap(cell => [...cell.children].filter(each => each.checkVisibility()
        && each.getBoundingClientRect().left < cell.getBoundingClientRect().left + 112).map(each => each.outerHTML))"""
    assert await tab.page.locator("table.stack td[data-title]").evaluate_all(left_of_names) == []
    cut = "all => all.filter(each => each.clientWidth < each.form.clientWidth / 2 - 40).map(each => each.outerHTML)"
    assert await tab.page.locator("td select").evaluate_all(cut) == []
    assert await tab.too_wide() <= 0
    await tab.close()


@pytest.mark.parametrize("code", ["en", "es"])
async def test_the_catalogue_does_not_scroll_sideways_on_a_narrow_phone(
    managed: Managed, browser: Browser, code: str
) -> None:
    tab = await signed_in(browser, managed, (360, 800), code)
    await tab.go("/catalogue")
    wider = """all => all.filter(each => each.scrollWidth > each.clientWidth)
        .map(each => [each.scrollWidth - each.clientWidth, each.innerText])"""
    assert await tab.page.locator(".scroll").evaluate_all(wider) == []
    assert await tab.too_wide() <= 0
    await tab.close()


async def test_an_id_is_short_and_copied_whole(managed: Managed, browser: Browser) -> None:
    tab = await signed_in(browser, managed, WIDE)
    await tab.go("/events?event=invoice.updated")
    await tab.page.locator("#rows tbody tr a").first.click()
    shown = tab.page.locator(".id code")
    full = str(await shown.get_attribute("title"))
    assert full.startswith(str(await shown.text_content()).removesuffix("…"))
    assert len(full) > 30
    await tab.page.locator(".id button").click()
    assert await tab.page.evaluate("navigator.clipboard.readText()") == full
    await tab.close()


async def test_the_footer_has_the_version_help_and_the_api(managed: Managed, browser: Browser) -> None:
    tab = await signed_in(browser, managed, WIDE)
    footer = tab.page.locator("footer")
    await expect(footer).to_contain_text(__version__)
    assert str(await footer.get_by_text(tab.text("Help")).get_attribute("href")).endswith("/docs/es")
    async with tab.page.expect_navigation() as answered:
        await footer.get_by_text(tab.text("HTTP API")).click()
    assert (await answered.value).status == 200
    await tab.close()


async def test_a_delivery_is_one_line_on_a_desk_and_three_on_a_phone(managed: Managed, browser: Browser) -> None:
    tab = await signed_in(browser, managed, WIDE)
    await tab.go("/deliveries")
    heights = "all => all.map(each => each.getBoundingClientRect().height)"
    assert max(await tab.page.locator("#rows tbody tr").evaluate_all(heights)) < 40
    answer = tab.page.locator("#rows .said", has_text="500").first
    assert await answer.evaluate("each => each.scrollWidth > each.clientWidth")  # cut, and whole on hover
    assert LONG[-20:] in str(await answer.get_attribute("title"))
    await tab.close()
    phone = await signed_in(browser, managed, PHONE)
    await phone.go("/deliveries")
    assert max(await phone.page.locator("#rows tbody tr").evaluate_all(heights)) < 90
    assert await phone.barriers() == []
    assert await phone.too_wide() <= 0
    await phone.close()


async def test_a_row_opens_beside_the_list_and_closes_by_the_keyboard(managed: Managed, browser: Browser) -> None:
    tab = await signed_in(browser, managed, WIDE)
    await tab.go("/deliveries?endpoint=" + BOOKS)
    page, listed, panel = tab.page, tab.page.url, tab.page.locator("aside.panel")
    paths = await page.locator("[data-open]").evaluate_all("all => all.map(each => each.href)")
    for key in ("j", "j", "k", "j"):
        await page.keyboard.press(key)
    await expect(page.locator("[data-open]").nth(1)).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(paths[1])
    await expect(panel).to_be_focused()
    await expect(page.locator("#rows tr[aria-current]")).to_have_count(1)
    assert await tab.barriers() == []
    await page.keyboard.press("j")
    await expect(page).to_have_url(paths[2])
    await expect(panel).to_have_count(1)
    shared = await tab.page.title()
    await page.keyboard.press("Escape")
    await expect(page).to_have_url(listed)
    await expect(panel).to_have_count(0)
    await expect(page.locator("[data-open]").nth(2)).to_be_focused()
    await page.go_forward()
    await expect(panel).to_be_visible()
    await page.reload()
    await expect(panel).to_have_count(0)  # it is the delivery's own page, as for whom the address was sent to
    assert await tab.page.title() == shared
    await page.go_back()
    await expect(page.locator("#rows")).to_be_visible()
    await page.locator("#rows tbody tr").nth(3).locator(".said").click()
    await expect(page).to_have_url(paths[3])
    await panel.get_by_role("button", name=tab.text("Close")).click()
    await expect(panel).to_have_count(0)
    assert tab.errors == []
    await tab.close()


async def test_chosen_rows_are_sent_again_and_keep_the_list_still(managed: Managed, browser: Browser) -> None:
    tab = await signed_in(browser, managed, WIDE)
    await tab.go("/deliveries?state=dead")
    page, button = tab.page, tab.page.locator("[data-of-chosen]")
    await expect(button).to_be_disabled()
    await page.locator("#choose-all").check()
    number = await page.locator("#rows input:checked").count()
    await expect(button).to_have_attribute("data-number", str(number))
    await page.locator("#rows input").first.uncheck()
    await button.click()
    text = tab.words.plural("%(number)s delivery is sent again.", "%(number)s deliveries are sent again.", number - 1)
    await expect(page.get_by_role("status").filter(has_text=text)).to_be_visible()
    await expect(page.locator("#rows tbody tr")).to_have_count(1)
    await tab.close()


@pytest.mark.parametrize("script", [True, False], ids=["script", "plain"])
async def test_more_rows_are_added_or_shown_on_a_page_of_their_own(
    managed: Managed, browser: Browser, *, script: bool
) -> None:
    tab = await Tab.open(browser, str(managed.client.make_url("")).rstrip("/"), "es", WIDE, script=script)
    await tab.sign_in("ann", PASSWORD)
    await tab.go("/events")
    rows, url = tab.page.locator("#rows tbody tr"), tab.page.url
    first = await rows.count()
    await tab.link("Load more").click()
    await expect(rows.nth(first)).to_be_visible() if script else await expect(tab.link("Newest")).to_be_visible()
    assert (tab.page.url == url) is script
    if script:
        paths = await tab.page.locator("[data-open]").evaluate_all("all => all.map(each => each.href)")
        assert len(paths) == len(set(paths)) > first
        await expect(tab.page.locator("[data-open]").nth(first)).to_be_focused()
        await expect(tab.page.locator(".live")).to_have_text(tab.text("Paused"))
    else:
        await tab.page.locator("[data-open]").first.click()
        await expect(tab.page.locator("#payload")).to_be_visible()
    await tab.close()


async def test_filters_are_saved_by_name_for_this_user_in_this_browser(managed: Managed, browser: Browser) -> None:
    tab = await signed_in(browser, managed, WIDE)
    await tab.go("/deliveries?state=dead&endpoint=" + BOOKS)
    tab.page.once("dialog", lambda dialog: dialog.accept(" Fallidas <b> "))
    await tab.button("Save these filters").click()
    await tab.go("/deliveries")
    await tab.page.get_by_role("link", name="Fallidas <b>", exact=True).click()
    await expect(tab.field("State")).to_have_value("dead")
    await tab.page.get_by_role("button", name=f"{tab.text('Remove')} Fallidas <b>").click()
    await expect(tab.page.locator(".saved li")).to_have_count(0)
    assert tab.errors == []
    await tab.close()
