"""Markup wherever others choose the text, put there as an attacker would: on every page that shows it, it is text."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from playwright.async_api import Browser, Dialog, expect

from support.browser import Tab
from support.database import Database
from support.http_servers import served
from support.site import MANAGER, PASSWORD, Site, serving

pytestmark = pytest.mark.asyncio(loop_scope="session")  # the browser's

SCRIPTS = "\"'></script><script>alert(1)</script><img src=x onerror=alert(1)>{{99**99}}\u202e"
#: Of ten characters, as long as a customer's code may be.
CODE = "<b>\"'</b>x"
CUSTOMER = """INSERT INTO clientes (codcliente, nombre, razonsocial, cifnif, observaciones)
    VALUES (%s, %s, 'Peña', %s, 'javascript:alert(1)')"""
LINK = "javascript:alert(1)"
#: What a page has of elements that nobody of ours put there, or that would run something.
_PLANTED = r"""() => {
    const runs = ({name, value}) => name.startsWith("on") || name === "style"
        || (["href", "action", "src", "formaction"].includes(name) && /^\s*(javascript|data|vbscript):/i.test(value));
    return [
        ...[...document.scripts].filter((each) => each.getAttribute("src") !== "/static/page.js" || each.textContent),
        ...document.querySelectorAll("img, b, iframe, object, embed, base, style"),
        ...[...document.querySelectorAll("*")].filter((each) => [...each.attributes].some(runs)),
    ].map((each) => each.outerHTML.slice(0, 200));
}"""
_REPORT = """addEventListener("securitypolicyviolation", (event) =>
    console.error(`against the policy: ${event.violatedDirective} ${event.sample}`))"""


def planted(where: str) -> str:
    """``where``: a word by which it is found again; 100 characters in all, as a customer's name may have."""
    return f"{where}{SCRIPTS}"


class Visit:
    """One manager, who looks everywhere.  ``wrong``: what must not be."""

    def __init__(self, tab: Tab) -> None:
        self.tab = tab
        self.wrong: list[str] = []
        tab.page.on("dialog", self._dialog)

    async def _dialog(self, dialog: Dialog) -> None:
        if dialog.type == "alert":
            self.wrong.append(f"{self.tab.page.url}: a dialog: {dialog.message}")
        await dialog.accept()

    async def go(self, path: str, *shown: str) -> None:
        await self.tab.go(path)
        await self.look(*shown)

    async def send(self, button: str, *shown: str) -> None:
        async with self.tab.page.expect_navigation():
            await self.tab.button(button).first.click()
        await self.look(*shown)

    async def look(self, *shown: str) -> None:
        """At the page that is open, which must show these words: else this looks at nothing."""
        page = self.tab.page
        await page.locator("summary").evaluate_all("all => all.forEach(each => each.parentElement.open = true)")
        found = await page.evaluate(_PLANTED)
        self.wrong += [f"{page.url}: {each}" for each in found]
        content = await page.content()
        values = " ".join(await page.locator("input, textarea, option").evaluate_all("all => all.map(e => e.value)"))
        told = f"{await page.locator('body').inner_text()} {values}"
        self.wrong += [f"{page.url}: it does not show {word!r}" for word in shown if word not in told]
        if str(99**99) in content:
            self.wrong.append(f"{page.url}: a template was run")


async def test_what_others_wrote_is_text(postgres_erp: Database, browser: Browser, tmp_path: Path) -> None:
    async with serving(postgres_erp, tmp_path) as site, _receiver() as url:
        await asyncio.to_thread(site.user, MANAGER, "manager")
        endpoint = await _endpoint(site, url)
        tab = await Tab.open(browser, site.base)
        await tab.page.context.add_init_script(_REPORT)
        visit = Visit(tab)
        await _sign_in(visit)
        await _live(visit, postgres_erp)
        await _deliveries(visit)
        await _endpoints(visit, endpoint)
        await _people(visit)
        await _replays(visit)
        for path in ("/sources", "/account", "/catalogue", f"/catalogue?q={SCRIPTS}", "/nothing/<script>alert(1)"):
            await visit.go(path)
        assert visit.wrong == []
        assert [each for each in tab.errors if " status of 4" not in each] == []  # which Chromium tells of refusals
        assert tab.hosts == {urlsplit(site.base).netloc}


@asynccontextmanager
async def _receiver() -> AsyncIterator[str]:
    """It refuses what it gets, and says so in HTML."""

    async def refuse(_request: web.Request) -> web.Response:
        return web.Response(status=400, reason=SCRIPTS[:-1], text=planted("answer"), content_type="text/html")

    app = web.Application()
    app.router.add_post("/{anything:.*}", refuse)
    async with served(app) as url:
        yield f"{url}/{LINK}/\"'><script>alert(1)<"


async def _endpoint(site: Site, url: str) -> str:
    """Its id.  A second one refuses all connections."""
    condition = "data.nombre != \"condition</script><script>alert(1)</script><img src=x onerror=alert('')>\""
    options = ("--description", planted("name"), "--filter", condition, "--header", "X-'`$|: 1", "--retries", "none")
    added = await asyncio.to_thread(site.consumer.add_endpoint, url, "customer.*", *options)
    await asyncio.to_thread(
        site.consumer.add_endpoint, "http://127.0.0.1:9/\"'><img/src=x/onerror=alert(1)>", "customer.*"
    )
    return str(added["id"])


async def _sign_in(visit: Visit) -> None:
    tab = visit.tab
    await tab.go("/sign-in")
    await tab.field("Name").fill(planted("user"))
    await tab.field("Password").fill(planted("password"))
    await visit.send("Sign in", "user")
    await tab.sign_in(MANAGER, PASSWORD)


async def _live(visit: Visit, database: Database) -> None:
    """Rows that come while the page is open are made of the answer by JavaScript."""
    tab = visit.tab
    for path in ("/events", "/deliveries"):
        await tab.go(path)
        await expect(tab.page.get_by_text("live", exact=True)).to_be_visible()
        database.execute(*_change(path))
        await expect(tab.page.locator("#rows")).to_contain_text(CODE)
        await visit.look(CODE)


def _change(path: str) -> tuple[str, list[str]]:
    if path == "/events":
        return CUSTOMER, [CODE, planted("customer"), planted("tax")[:30]]
    return "UPDATE clientes SET nombre = %s WHERE codcliente = %s", [planted("renamed"), CODE]


async def _deliveries(visit: Visit) -> None:
    tab, page = visit.tab, visit.tab.page
    await visit.go("/", "name")
    await visit.go("/deliveries?event=customer.updated&state=dead", CODE, "name")
    await page.locator("#rows tbody a").first.click()
    await expect(page.locator(".diff")).to_contain_text("renamed")
    await visit.look(CODE, "name", "customer", "renamed", "answer")
    await visit.go("/deliveries?event=customer.created", CODE)
    await visit.go("/events?event=customer.updated", CODE)
    await tab.event("customer.updated").first.click()
    await expect(page.locator(".diff")).to_contain_text("renamed")
    await visit.look(CODE, "name", "customer", "renamed")
    await tab.go("/deliveries")
    for field in ("Event or its id", "Record", "Text"):
        await tab.field(field).fill(planted("search"))
    await visit.send("Search", "search")


async def _endpoints(visit: Visit, endpoint: str) -> None:
    tab = visit.tab
    await visit.go("/endpoints", "name")
    await visit.go(f"/endpoints/{endpoint}", "name", "condition", "X-'`$|")
    await visit.send("Send a test", "answer")
    await visit.go(f"/endpoints/{endpoint}/edit", "name", LINK, "condition", "X-'`$|")
    await tab.field("Headers").fill(f"{planted('header')}: {SCRIPTS}")
    await visit.send("Save", "name", "header")
    await tab.go("/endpoints/new?kind=program")
    await tab.page.locator(".more > summary").click()
    await tab.field("URL").fill(LINK)
    await tab.field("Name").fill(planted("other"))
    await tab.field("Patterns").fill(planted("pattern"))
    await tab.field("Filter").fill(planted("filter"))
    await visit.send("Add", LINK, "other", "pattern", "filter")
    await tab.field("Patterns").fill("customer.*")
    await visit.send("Preview", "filter")
    await tab.field("Filter").fill("")
    await tab.button("Preview").click()
    await expect(tab.page.locator("#preview")).to_be_visible()
    await visit.look(CODE)


async def _people(visit: Visit) -> None:
    tab = visit.tab
    await tab.go("/people")
    await tab.page.locator("#user-name").fill(planted("user"))
    await tab.page.locator("#user-password").fill(planted("password"))
    await visit.send("Add", "This name cannot be used.")
    await tab.page.locator("#token-name").fill(planted("token"))
    await visit.send("Create", "This name cannot be used.")
    await tab.go("/audit")
    await tab.field("Actor").fill(planted("who"))
    await tab.field("Object").fill(planted("what"))
    await visit.send("Search", "who", "what")
    await visit.go("/audit")


async def _replays(visit: Visit) -> None:
    tab = visit.tab
    await tab.go("/replays/new")
    await tab.field("Record").fill(f"clientes:{CODE}")
    await tab.field("Deliveries a second").fill("0.01")
    await visit.send("Count them", CODE, "name")
    await visit.send("Send them again", CODE)
    await visit.send("Stop", CODE)
    await tab.go("/replays/new")
    for field in ("Event or its id", "Record", "Deliveries a second"):
        await tab.field(field).fill(planted("wanted"))
    await visit.send("Count them", "wanted")
