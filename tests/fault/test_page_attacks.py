"""Attacks on the management page, each with what must not happen."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from yarl import URL

from cdc.access.model import AuditFilter, Role, Scope
from cdc.api import application
from cdc.model.backfill import Backfill, BackfillState
from cdc.model.delivery import DeliveryState
from cdc.pages.application import routes
from cdc.pages.session_auth import COOKIE
from support.browsing import Markup, Visitor, visiting
from support.managing import API, Managed, managing
from support.memory_outbox import MemoryOutbox
from support.outboxes import EVERYTHING, at, endpoint, event, lease, outcome, store

SCRIPT = "<script>alert('planted')</script>"
IMAGE = '"><img src=x onerror=alert(1)>'
SECRET = "whsec_cGxhbnRlZC1zZWNyZXQtb2YtdGhlLWVuZHBvaW50"
ROUTES = [route for route in routes() if route.method == "POST"]


@pytest.fixture
async def site() -> AsyncIterator[Managed]:
    """A delivery of each kind, with markup wherever others choose the text."""
    async with managing(MemoryOutbox()) as managed:
        await managed.store.add_endpoint(
            endpoint("ep_a", description=SCRIPT, headers=(("X-Key", "planted-header"),), secret=SECRET)
        )
        planted = {"idfactura": 1, "nombrecliente": SCRIPT, "observaciones": IMAGE, "cifnif": "planted-tax-id"}
        await store(managed.store, event(1, f"clientes:{SCRIPT}", data=planted, previous={"nombrecliente": IMAGE}))
        (leased,) = await lease(managed.store)
        failed = outcome(leased, DeliveryState.DEAD, error=f"It said {SCRIPT}.", answer=f"{SCRIPT}{IMAGE}")
        await managed.store.finish("w", [failed], leased.lease_until)
        planted_backfill = Backfill("bf_a", "main", SCRIPT, SCRIPT, at(1), where=f"nombre = '{IMAGE}'", error=SCRIPT)
        await managed.store.add_backfill(planted_backfill)
        yield managed


async def nothing_changed(site: Managed) -> None:
    (found,) = await site.store.endpoints()
    assert (found.enabled, found.secret) == (True, SECRET)
    assert [user.name for user in await site.access.users()] == ["ann", "bob"]
    assert {token.name for token in await site.access.tokens()} == {scope.value for scope in Scope}
    assert await site.store.replays(10) == []
    assert [each.state for each in await site.store.backfills(10)] == [BackfillState.RUNNING]
    (view,) = await site.store.deliveries(EVERYTHING, 10)
    assert view.state is DeliveryState.DEAD


# -- stored XSS -------------------------------------------------------------------------------------------------------


PAGES = ["/", "/endpoints", "/endpoints/ep_a", "/endpoints/ep_a/edit", "/deliveries", "/deliveries/dlv_1", "/events"]
PAGES += ["/replays", "/replays/new", "/replays/new?event=*&count=1", "/backfills", "/backfills/new?source=main"]
PAGES += [
    "/events/evt_1",
    "/catalogue",
    "/catalogue/invoice.paid",
    "/sources",
    "/sources/main",
    "/people",
    "/audit",
    "/account",
]


@pytest.mark.parametrize("path", PAGES)
async def test_what_others_wrote_is_text_and_nothing_is_inline(site: Managed, path: str) -> None:
    """Customers' names, what receivers answered, descriptions."""
    async with visiting(site, "ann") as ann:
        shown = await ann.get(path)
    assert shown.status == 200
    assert SCRIPT not in shown.text
    tags = Markup(shown.text).tags
    assert [attributes["src"] for tag, attributes in tags if tag == "script"] == ["/static/page.js"]
    assert not [tag for tag, _ in tags if tag in ("img", "style", "iframe", "object", "embed", "base")]
    names = {name for _, attributes in tags for name in attributes}
    assert not {name for name in names if name.startswith("on") or name == "style"}
    links = [value for _, attributes in tags for name, value in attributes.items() if name in ("href", "action")]
    assert not [link for link in links if link and re.match(r"\s*(javascript|data|vbscript):", link, re.IGNORECASE)]


async def test_the_planted_text_is_really_on_the_pages(site: Managed) -> None:
    """Else the test above looks at nothing."""
    async with visiting(site, "ann") as ann:
        for path in (
            "/backfills",
            "/endpoints",
            "/endpoints/ep_a",
            "/deliveries",
            "/deliveries/dlv_1",
            "/events/evt_1",
        ):
            assert "&lt;script&gt;alert" in (await ann.get(path)).text, path


@pytest.mark.parametrize("path", ["/", "/sign-in", "/static/page.js", "/nothing", f"{API}/endpoints", "/live/events"])
async def test_the_policy_forbids_what_is_inline(site: Managed, path: str) -> None:
    async with visiting(site, "ann") as ann, ann.session.get(ann.root + path) as answer:
        policy = answer.headers["Content-Security-Policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "/deliveries?event={}",
        "/deliveries?record={}",
        "/deliveries?endpoint={}",
        "/deliveries?state={}",
        "/deliveries?since={}",
        "/deliveries?before={}",
        "/events?event={}",
        "/catalogue?q={}",
        "/sign-in?to={}",
        "/people?notice={}",
        "/audit?actor={}&subject={}&before={}",
        "/replays?before={}",
        "/backfills?before={}",
        "/backfills/new?source={}&table={}&where={}&endpoint={}&rate={}",
        "/replays/new?event=*&record={}&endpoint={}&state={}&since={}&until={}&rate={}&count={}",
        "/endpoints/{}",
        "/events/{}",
        "/deliveries/{}",
        "/catalogue/{}",
        "/{}",
    ],
)
@pytest.mark.parametrize("planted", [SCRIPT, IMAGE], ids=["script", "image"])
async def test_what_an_address_says_is_text(site: Managed, path: str, planted: str) -> None:
    async with visiting(site, "ann") as ann:
        shown = await ann.get(path.replace("{}", planted.replace("/", "%2F")))
    assert shown.status < 500
    tags = Markup(shown.text).tags
    assert [attributes.get("src") for tag, attributes in tags if tag == "script"] in ([], ["/static/page.js"])
    assert "img" not in [tag for tag, _ in tags]


# -- CSRF -------------------------------------------------------------------------------------------------------------


def path_of(path: str) -> str:
    values = {
        "id": "ep_a",
        "name": "bob",
        "state:enable|disable": "disable",
        "state": "disable",
        "link": "x",
        "file": "schemas.json",
        "source": "main",
        "record": "facturascli:1",
    }
    return re.sub(r"{([^}]+)}", lambda match: values[match[1]], path)


@pytest.mark.parametrize("route", [route for route in ROUTES if route.role], ids=lambda route: route.path)
async def test_a_form_of_another_site_does_nothing(site: Managed, route: Any) -> None:
    async with visiting(site, "ann") as ann, visiting(site, "bob") as bob:
        theirs = await bob.csrf()
        path = path_of(route.path)
        for form in ({}, {"csrf": ""}, {"csrf": "x.y"}, {"csrf": theirs}):
            assert (await ann.post(path, form)).status == 403, form
        good = {"csrf": await ann.csrf()}
        for origin in (
            "https://evil.example.com",
            "null",
            "http://127.0.0.1:1",
            ann.root.replace("http:", "https:") + "1",
        ):
            assert (await ann.post(path, good, headers={"Origin": origin})).status == 403, origin
        for kind in ("text/plain", "application/json", "multipart/form-data; boundary=x"):
            sent = await ann._ask("POST", path, data=f"csrf={good['csrf']}", headers={"Content-Type": kind})
            assert sent.status == 415, kind
        assert (await ann.get(path)).status in (200, 303, 404)  # nothing is done by a GET
    await nothing_changed(site)


async def test_the_cookie_is_not_sent_from_other_sites(site: Managed) -> None:
    async with visiting(site) as ann:
        answer = await ann.sign_in("ann")
    told = answer.headers["Set-Cookie"]
    assert told.startswith(f"{COOKIE}=")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {part.strip() for part in told.split(";")}


# -- IDOR: what a viewer and a stranger may not -----------------------------------------------------------------------


@pytest.mark.parametrize("route", routes(), ids=lambda route: f"{route.method} {route.path}")
async def test_every_page_is_for_those_it_is_for(site: Managed, route: Any) -> None:
    path = path_of(route.path)
    async with visiting(site) as stranger, visiting(site, "bob") as bob:
        if route.role is not None:
            refused = await stranger._ask(route.method, path)
            assert (refused.status, refused.headers["Location"].split("?")[0]) == (303, "/sign-in")
        if route.role is Role.MANAGER:
            form = {"data": {"csrf": await bob.csrf()}} if route.method == "POST" else {}
            assert (await bob._ask(route.method, path, **form)).status == 403
    await nothing_changed(site)


async def test_a_viewer_sees_no_payload_and_no_secret(site: Managed) -> None:
    async with visiting(site, "ann") as ann:
        assert "planted-tax-id" in (await ann.get("/events/evt_1")).text
    async with visiting(site, "bob") as bob:
        for path in PAGES:
            text = (await bob.get(path)).text
            for planted in ("planted-tax-id", SECRET, "planted-header"):
                assert planted not in text, (path, planted)


async def test_a_demoted_manager_is_a_viewer_at_once(site: Managed) -> None:
    async with visiting(site, "ann") as ann:
        await site.accounts.change_role("cli:root", "ann", Role.VIEWER)
        assert (await ann.get("/people")).status == 403
        assert (await ann.send("/endpoints/ep_a/remove")).status == 403
        await site.accounts.change_password("cli:root", "ann", "another good password")
        assert (await ann.get("/endpoints")).status == 303
    await nothing_changed(site)


# -- sessions and passwords -------------------------------------------------------------------------------------------


async def test_a_cookie_that_was_planted_is_worth_nothing(site: Managed) -> None:
    async with visiting(site) as ann:
        planted = "A" * 43
        answer = await ann.sign_in("ann", headers={"Cookie": f"{COOKIE}={planted}"})
        assert answer.status == 303
        assert planted not in answer.headers["Set-Cookie"]
    async with visiting(site) as attacker:
        assert (await attacker.get("/account", headers={"Cookie": f"{COOKIE}={planted}"})).status == 303


async def test_signing_in_again_ends_the_session_before(site: Managed) -> None:
    async with visiting(site, "ann") as ann, visiting(site) as thief:
        stolen = {"Cookie": f"{COOKIE}={ann.cookie}"}
        assert (await thief.get("/account", headers=stolen)).status == 200
        await ann.send("/sign-in", {"name": "ann", "password": "correct horse battery"})
        assert (await thief.get("/account", headers=stolen)).status == 303
        stolen = {"Cookie": f"{COOKIE}={ann.cookie}"}
        await ann.send("/sign-out")
        assert (await thief.get("/account", headers=stolen)).status == 303


async def test_guessing_passwords_is_slowed_down_and_tells_nothing(site: Managed) -> None:
    async with visiting(site) as attacker:
        answers = [await attacker.sign_in("ann", f"guess {number}") for number in range(12)]
        assert {answer.status for answer in answers} <= {401, 429, 503}
        assert answers[-1].text != answers[0].text  # a pause is asked for
        right = await attacker.sign_in("ann")  # even the right one is not looked at now
        assert right.status != 303
        assert attacker.cookie == ""
        known, unknown = await _refusals(site, attacker)
    assert known == unknown


async def _refusals(site: Managed, attacker: Visitor) -> list[str]:
    site.clock.advance(24 * 3600)
    texts = [(await attacker.sign_in(name, "a wrong password")).text for name in ("bob", "nobody")]
    return [re.sub(r'value="(bob|nobody)"', "", text) for text in texts]


# -- paths and headers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/static/..%2f..%2f..%2fetc%2fpasswd",
        "/static/%2e%2e/site.py",
        "/static/page.js%00.css",
        "/static//etc/passwd",
        "/..%2fcdc.toml",
        "/%2e%2e%2f%2e%2e%2fcdc.db",
        "/endpoints/..%2f..%2fpeople",
    ],
)
async def test_paths_lead_nowhere_else(site: Managed, path: str) -> None:
    async with (
        visiting(site, "bob") as bob,
        bob.session.get(URL(bob.root + path, encoded=True), allow_redirects=False) as answer,
    ):
        text = await answer.text()
    assert answer.status == 404
    assert "root:" not in text
    assert "aiohttp" not in text


@pytest.mark.parametrize(
    "to",
    ["//evil.example.com", "https://evil.example.com", "/\\evil.example.com", "javascript:alert(1)", "/\r\nX-A: 1"],
)
async def test_after_signing_in_nobody_is_sent_elsewhere(site: Managed, to: str) -> None:
    async with visiting(site) as ann:
        answer = await ann.post("/sign-in", {"name": "ann", "password": "correct horse battery", "to": to})
        assert (answer.status, answer.headers["Location"]) == (303, "/")
        assert "X-A" not in answer.headers
        answer = await ann.send("/language", {"language": "es", "back": to})
        assert answer.headers["Location"] == "/"


async def test_headers_cannot_be_injected(site: Managed) -> None:
    """By headers of an endpoint, nor by what is noted of the visitor."""
    async with visiting(site, "ann") as ann:
        edit = await ann.get("/endpoints/ep_a/edit")
        fields = {
            attributes["name"]: attributes.get("value") or ""
            for tag, attributes in Markup(edit.text).tags
            if tag == "input" and attributes.get("name") and attributes.get("type") not in ("checkbox", "submit")
        }
        form = fields | {"url": "https://x.example.com", "patterns": "invoice.*", "format": "facturascripts"}
        form |= {"order": "record", "headers": "X-Good: 1\r\nHost: elsewhere"}
        answer = await ann.send("/endpoints/ep_a/edit", form)
        assert answer.status == 422
        forged = {"X-Forwarded-For": "10.0.0.1\t<script>", "X-Remote-User": "ann", "Forwarded": "for=1.2.3.4"}
    async with visiting(site) as stranger:
        assert (await stranger.get("/people", headers=forged)).status == 303
        await stranger.sign_in("bob", headers=forged)
    entries = await site.access.audit(AuditFilter(action="session.begin"), 10)
    assert {each.entry.detail["address"] for each in entries} == {"127.0.0.1"}
    await nothing_changed(site)


async def test_a_form_that_does_not_come(site: Managed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application, "BODY_SECONDS", 0.05)
    never = asyncio.Event()

    async def drip() -> AsyncIterator[bytes]:
        yield b"name="
        await never.wait()

    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    async with visiting(site) as stranger:
        answer = await stranger._ask("POST", "/sign-in", data=drip(), headers=kind)
    assert answer.status == 408
    assert "The form did not come in time." in answer.text


async def test_a_body_that_is_too_large(site: Managed) -> None:
    async with visiting(site, "ann") as ann:
        answer = await ann.send("/endpoints/new", {"description": "x" * 300_000})
        assert answer.status == 413
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    async with visiting(site) as stranger:
        assert (await stranger.sign_in("x" * 300_000)).status == 413
    await nothing_changed(site)
