"""An endpoint's first day as a manager lives it: everything by the page, but for the ERP's own writes."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from cdc.dispatch.signing import verify
from support.browser import Tab
from support.consumer import Inbox, answering
from support.database import Database
from support.site import MANAGER, PASSWORD, Site, serving

pytestmark = pytest.mark.asyncio(loop_scope="session")  # the browser's

INVOICE = """INSERT INTO facturascli (idfactura, codigo, numero, codserie, codejercicio, codcliente, nombrecliente,
    cifnif, coddivisa, codpago, codalmacen, idempresa, fecha, hora, idestado, editable, total)
    VALUES (7, 'FAC2026A7', '7', 'A', '2026', NULL, 'Peña e Hijos', 'B1', 'EUR', '30D', 'ALG', 1, '2026-11-24',
    '10:15:00', 10, true, 0)"""
EVENTS = ("invoice.created", "invoice.updated", "invoice.paid")
RECORD = "facturascli:7"


@dataclass
class Receiver:
    """Answers ``status``."""

    status: int = HTTPStatus.NO_CONTENT
    inbox: Inbox = field(default_factory=Inbox)

    async def answer(self, _event: dict[str, Any]) -> int:
        return self.status

    def accepted(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.inbox.accepted if event["event"] == name]

    async def got(self, name: str, times: int = 1) -> None:
        await self.inbox.until(lambda _inbox: len(self.accepted(name)) >= times)


@pytest.mark.parametrize("code", ["en", "es"])
async def test_from_the_set_up_to_an_event_that_waited(
    code: str, postgres_erp: Database, browser: Browser, tmp_path: Path
) -> None:
    receiver = Receiver()
    async with (
        serving(postgres_erp, tmp_path) as site,
        answering(receiver.answer, receiver.inbox) as url,
    ):
        tab = await Tab.open(browser, site.base, code, copies=True)
        await _set_up(tab, site)
        secret = await _add_endpoint(tab, url)
        await _send_test(tab, receiver, secret)
        await _see_it_live(tab, postgres_erp, receiver)
        await _break_and_mend(tab, postgres_erp, receiver)
        await _resend(tab, receiver)
        await _replay(tab, receiver)
        await _disable_and_enable(tab, postgres_erp, receiver)
        assert tab.errors == []
        assert tab.hosts == {site.base.removeprefix("http://")}


async def _set_up(tab: Tab, site: Site) -> None:
    await tab.go("/")
    await expect(tab.page).to_have_url(f"{site.base}/set-up")
    await expect(tab.page.locator("html")).to_have_attribute("lang", tab.code)
    await tab.go(site.link)
    await tab.field("Name").fill(MANAGER)
    await tab.field("Password").fill(PASSWORD)
    await tab.field("Repeat the password").fill(PASSWORD)
    await tab.button("Create user").click()
    await expect(tab.page.get_by_role("heading", name=tab.text("Overview"))).to_be_visible()
    await tab.button("Sign out").click()
    await tab.sign_in(MANAGER, PASSWORD)


async def _add_endpoint(tab: Tab, url: str) -> str:
    """Its secret, as copied from the page."""
    await tab.link("Endpoints").click()
    await tab.link("Add an endpoint").first.click()
    await tab.page.get_by_role("link", name=tab.text("My program")).click()
    await tab.field("URL").fill(url)
    await tab.field("Name").fill("Tienda")
    for name in EVENTS:
        await tab.field("Search").fill(name)
        await tab.field("Search").press("Enter")  # which sends nothing
        await tab.page.get_by_label(tab.words.when(name), exact=True).check()
    await expect(tab.page.get_by_text("invoice.sent", exact=True)).to_be_hidden()
    await tab.page.get_by_text(tab.text("More options")).click()
    await tab.field("Retries").fill("1, 1, 1, 1, 1, 1, 1, 1")
    await tab.button("Add").click()
    secret = tab.page.locator("#secret")
    await expect(secret).to_have_value(re.compile(r"whsec_\S+"))
    await tab.button("Copy").first.click()
    await expect(tab.button("Copied")).to_be_visible()
    copied = str(await tab.page.evaluate("navigator.clipboard.readText()"))
    assert copied == await secret.input_value()
    await tab.page.get_by_text("PHP", exact=True).click()
    await expect(tab.page.get_by_text("function webhook_is_genuine")).to_be_visible()
    await tab.link("Go to the endpoint").click()
    assert copied not in await tab.page.content()
    return copied


async def _send_test(tab: Tab, receiver: Receiver, secret: str) -> None:
    await tab.field("Test event").select_option("endpoint.test")
    await tab.button("Send a test").click()
    await expect(tab.page.get_by_role("status")).to_contain_text("204")
    await receiver.got("endpoint.test")
    sent = receiver.inbox.received[-1]
    assert verify(secret, sent.headers, sent.body, datetime.now(UTC)).verified
    shown = tab.page.locator("#test")
    await expect(shown).to_contain_text(sent.headers["webhook-signature"])
    await expect(shown).to_contain_text(sent.body.decode())
    await tab.link("Go to the delivery").click()
    await _state(tab, "delivered")


async def _state(tab: Tab, state: str) -> None:
    """Of the delivery that is shown."""
    await expect(tab.page.locator("#now dl .badge").first).to_have_text(tab.text(state))


async def _see_it_live(tab: Tab, database: Database, receiver: Receiver) -> None:
    await tab.link("Deliveries").click()
    await expect(tab.page.get_by_text(tab.text("live"), exact=True)).to_be_visible()
    await tab.page.evaluate("window.stayed = true")
    database.execute(INVOICE)
    await receiver.got("invoice.created")
    row = tab.page.get_by_role("row").filter(has=tab.page.locator(f"[title^='{RECORD} ']"))
    await expect(row).to_contain_text(tab.words.event("invoice.created"))
    await expect(row).to_contain_text(tab.text("delivered"))
    assert await tab.page.evaluate("window.stayed"), "the page was loaded anew"
    await tab.field("Text").fill("Peña")
    await tab.button("Search").click()
    await expect(tab.page.locator("#rows tbody tr")).to_have_count(1)


async def _break_and_mend(tab: Tab, database: Database, receiver: Receiver) -> None:
    receiver.status = HTTPStatus.INTERNAL_SERVER_ERROR
    database.execute("UPDATE facturascli SET observaciones = 'Urgente' WHERE idfactura = 7")
    await tab.link("Deliveries").click()
    await tab.event("invoice.updated").click()
    attempts = tab.page.locator("#now tbody tr")
    await expect(attempts.nth(1)).to_contain_text("500")
    await expect(tab.page.get_by_text(tab.text("Next attempt"))).to_be_visible()
    await expect(tab.page.locator(".diff")).to_contain_text("Urgente")
    receiver.status = HTTPStatus.NO_CONTENT
    await _state(tab, "delivered")
    await receiver.got("invoice.updated")


async def _resend(tab: Tab, receiver: Receiver) -> None:
    await tab.button("Send again").click()
    await receiver.got("invoice.updated", times=2)
    first, again = receiver.accepted("invoice.updated")
    assert first["id"] == again["id"]
    await _state(tab, "delivered")


async def _replay(tab: Tab, receiver: Receiver) -> None:
    """What a search found, once more; the page shows by itself that it is done."""
    await tab.link("Deliveries").click()
    await tab.field("Record").fill(RECORD)
    await tab.field("Event or its id").fill("invoice.updated")
    await tab.button("Search").click()
    await tab.link("Send all of these again").click()
    await expect(tab.page.get_by_role("status")).to_contain_text(
        tab.words.plural("%(number)s delivery would be sent again.", "%(number)s deliveries would be sent again.", 1)
    )
    await tab.button("Send them again").dblclick()
    await expect(tab.page.locator("#rows tbody tr")).to_have_count(1)
    await expect(tab.page.locator("#rows tbody tr")).to_contain_text(tab.text("done"))
    await receiver.got("invoice.updated", times=3)
    assert len({event["id"] for event in receiver.accepted("invoice.updated")}) == 1
    await tab.go("/deliveries?event=invoice.updated")


async def _disable_and_enable(tab: Tab, database: Database, receiver: Receiver) -> None:
    await tab.link("Tienda").click()
    await tab.button("Disable").click()
    await expect(tab.button("Enable")).to_be_visible()
    database.execute("UPDATE facturascli SET pagada = true WHERE idfactura = 7")
    await tab.link("Events").click()
    await expect(tab.event("invoice.paid")).to_be_visible()
    await tab.event("invoice.paid").click()
    await expect(tab.page.get_by_role("row").filter(has_text="Tienda")).to_contain_text(tab.text("waits its turn"))
    await asyncio.sleep(1)  # that nothing comes is told by nothing but time
    assert receiver.accepted("invoice.paid") == []
    await tab.link("Overview").click()
    said, _, _ = tab.words.message("Tienda is disabled; deliveries waiting: 1.").partition(";")
    await tab.page.get_by_role("link", name=said).click()
    await tab.button("Enable").click()
    await receiver.got("invoice.paid")
    await expect(tab.page.get_by_role("status")).to_contain_text(
        tab.text("Enabled: waiting deliveries are being sent.")
    )
