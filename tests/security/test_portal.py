"""A portal's link opens one tenant's endpoints, deliveries and events once, and nothing else however it is tried."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from cdc.access.model import Allowance, AuditFilter, Scope
from cdc.model.delivery import DeliveryFilter
from cdc.pages.application import HEADERS, PORTAL_PATHS, routes
from cdc.pages.session_auth import COOKIE, PORTAL_COOKIE
from support.browsing import visiting
from support.managing import API, Answered, Managed, managing
from support.memory_outbox import MemoryOutbox
from support.portals import PANEL, Tenant, in_portal, portal_link
from support.tenants import FOREIGN_ENDPOINTS, OTHER, OWN, SOURCES, shared_outbox

HTTPS = {"X-Forwarded-Proto": "https"}
FRAMED = {"frame_ancestors": [PANEL], "trusted_proxies": ["127.0.0.1/32"], "hosts": ["cdc.example.com"]}
#: No page that the tenant opens may hold one of these.
HIDDEN = re.compile(rf"\b({OTHER}|ep_(?!shop)\w+|a:1|evt_1|corporate)\b")


@pytest.fixture
async def managed() -> AsyncIterator[Managed]:
    proxies = {"allow_http": True, "allow_private": True, "proxies": {"corporate": "http://10.0.0.1:3128"}}
    async with managing(await shared_outbox(), source=SOURCES, dispatch=proxies) as managed:
        yield managed


async def ask_with(managed: Managed, token: str, method: str, path: str, **more: Any) -> Answered:
    headers = {"Authorization": f"Bearer {token}"}
    return await managed.ask(method, path, None, headers=headers, **more)


async def tenant_token(managed: Managed, *allowed: Allowance) -> str:
    made = await managed.accounts.add_token("cli:root", "acme", Scope.MANAGE, None, [OWN], allowed=allowed)
    return made[1]


# -- the link ----------------------------------------------------------------------------------------------------------


async def test_link_opens_one_session(managed: Managed) -> None:
    link = await portal_link(managed)
    async with visiting(managed) as first, visiting(managed) as second:
        asked = await first.get(link)
        assert (asked.status, "data-send-now" in asked.text) == (200, True)
        assert (await first.post(link)).status == 303
        assert (await second.post(link)).status == 403
        assert (await second.get("/endpoints")).status == 303
        assert (await first.get("/endpoints")).status == 200


async def test_expired_link_opens_nothing(managed: Managed) -> None:
    link = await portal_link(managed, minutes=5)
    managed.clock.advance(timedelta(minutes=5).total_seconds())
    async with visiting(managed) as visitor:
        assert (await visitor.post(link)).status == 403


async def test_forged_or_altered_link_opens_nothing(managed: Managed) -> None:
    link = await portal_link(managed)
    start, secret = link[:-43], link[-43:]
    altered = [secret[:-1] + ("A" if secret[-1] != "A" else "B"), secret.swapcase(), secret + "=", secret[:-1]]
    async with visiting(managed) as visitor:
        for each in (*altered, "A" * 43, "x", "%00", "ended"):
            answered = await visitor.post(start + each)
            assert answered.status in (303, 403, 404), each
            assert PORTAL_COOKIE not in answered.headers.get("Set-Cookie", ""), each
        assert (await visitor.post(link)).status == 303, "it was not used up"


async def test_secret_of_a_link_is_no_cookie_and_a_cookie_no_link(managed: Managed) -> None:
    link = await portal_link(managed)
    async with visiting(managed) as visitor:
        for name in (COOKIE, PORTAL_COOKIE):
            shown = await visitor.get("/endpoints", headers={"Cookie": f"{name}={link[-43:]}"})
            assert shown.status == 303, name
        opened = await visitor.post(link)
        cookie = re.search(rf"{PORTAL_COOKIE}=([\w-]+)", opened.headers["Set-Cookie"])
        assert cookie
        assert (await visitor.post(f"/portal/{cookie[1]}")).status == 403


async def test_session_ends_in_time(managed: Managed) -> None:
    async with in_portal(managed, session_minutes=30) as tenant:
        managed.clock.advance(29 * 60)
        assert (await tenant.get("/endpoints")).status == 200
        managed.clock.advance(60)
        assert (await tenant.get("/endpoints")).headers["Location"] == "/portal/ended"


async def test_wrong_links_are_refused(managed: Managed) -> None:
    for wanted in (
        {"minutes": 0},
        {"minutes": 61},
        {"session_minutes": 721},
        {"tenant": "a b"},
        {"tenant": ""},
        {"sources": []},
        {"sources": ["nowhere"]},
        {"sources": [OWN, ""]},
        {"language": "xx"},
        {"unknown": 1},
    ):
        answered = await managed.ask("POST", "/portal-links", json={"tenant": "acme", "sources": [OWN], **wanted})
        assert 400 <= answered.status < 500, answered.text
    assert await managed.access.audit(AuditFilter(action="portal.link"), 10) == []


# -- what the scope of the token decides -------------------------------------------------------------------------------


async def test_token_of_some_sources_makes_links_of_these_only(managed: Managed) -> None:
    token = await tenant_token(managed)
    for sources in ([OTHER], [OWN, OTHER], ["nowhere"]):
        answered = await ask_with(managed, token, "POST", "/portal-links", json={"tenant": "x", "sources": sources})
        assert answered.status == 422
        told = {name: value for name, value in answered.json.items() if name != "type"}  # the URL of a branch "main"
        assert OTHER not in json.dumps(told)
    own = await ask_with(managed, token, "POST", "/portal-links", json={"tenant": "x"})
    assert own.json["sources"] == [OWN]
    mail = await ask_with(managed, token, "POST", "/portal-links", json={"tenant": "x", "allow_mail": True})
    assert mail.status == 422


async def test_token_that_reads_makes_links_that_read(managed: Managed) -> None:
    read, consume = managed.tokens[Scope.READ], managed.tokens[Scope.CONSUME]
    wanted = {"tenant": "acme", "sources": [OWN]}
    made = await ask_with(managed, read, "POST", "/portal-links", json=wanted)
    assert made.json["read_only"] is True
    assert (await ask_with(managed, consume, "POST", "/portal-links", json=wanted)).status == 403
    assert (await ask_with(managed, read, "DELETE", "/portal-links/acme")).status == 403
    async with in_portal(managed, read_only=True) as tenant:
        assert (await tenant.get("/endpoints/new")).status == 403
        csrf = re.search(r'name="csrf" value="([^"]+)"', (await tenant.get("/endpoints")).text)
        assert csrf
        sent = await tenant.send("/endpoints/ep_shop/remove")
        assert sent.status == 403


async def test_link_and_session_end_with_their_token(managed: Managed) -> None:
    token = await tenant_token(managed)
    async with visiting(managed) as visitor:
        links = [
            (await ask_with(managed, token, "POST", "/portal-links", json={"tenant": "acme"})).json["url"][-43:]
            for _ in range(2)
        ]
        assert (await visitor.post(f"/portal/{links[0]}")).status == 303
        await managed.accounts.remove_token("cli:root", "acme")
        assert (await visitor.get("/endpoints")).headers["Location"] == "/portal/ended"
        assert (await visitor.post(f"/portal/{links[1]}")).status == 403


async def test_portal_is_revoked(managed: Managed) -> None:
    link = await portal_link(managed)
    async with in_portal(managed) as tenant:
        assert (await managed.ask("DELETE", "/portal-links/Acme")).json == {"ended": 2}
        assert (await tenant.get("/endpoints")).headers["Location"] == "/portal/ended"
        assert (await tenant.open(link)).status == 403
    assert (await managed.ask("DELETE", "/portal-links/acme")).json == {"ended": 0}


async def test_portal_ends_when_its_source_leaves_and_never_sees_all(managed: Managed) -> None:
    both = {"sources": [OWN, OTHER]}
    async with in_portal(managed) as one, in_portal(managed, **both) as two:
        left = {OTHER: SOURCES[OTHER]}
        async with managing(managed.store, access=await _without_users(managed), source=left) as after:
            for tenant in (one, two):
                tenant.root = str(after.client.make_url("")).rstrip("/")
            assert (await one.get("/endpoints")).headers["Location"] == "/portal/ended"
            shown = (await two.get("/endpoints")).text
            assert "ep_main" in shown
            assert "ep_shop" not in shown


async def _without_users(managed: Managed) -> Any:
    """The sessions of one installation in another, which makes users and tokens of its own."""
    assert isinstance(managed.store, MemoryOutbox)
    await managed.store.thread.rescue(lambda db: db.executescript("DELETE FROM access_user; DELETE FROM access_token"))
    return managed.access


# -- what it reaches ---------------------------------------------------------------------------------------------------


async def test_portal_reaches_its_own_and_nothing_else(managed: Managed) -> None:
    reached, refused = set(), set()
    foreign = [
        view.id
        for each in FOREIGN_ENDPOINTS
        for view in await managed.store.deliveries(DeliveryFilter(endpoint_id=each), 10)
    ]
    before = [await managed.store.endpoint(each) for each in FOREIGN_ENDPOINTS]
    async with in_portal(managed, return_url=f"{PANEL}/back") as tenant:
        for route in routes():
            if route.path.startswith(("/portal/", "/live/")):
                continue
            for given in (*FOREIGN_ENDPOINTS, *foreign, "evt_1", "source.failed", OTHER, "ann"):
                path = re.sub(r"\{\w+\}", given, route.path).replace("{state:enable|disable}", "disable")
                answered = await (tenant.get(path) if route.method == "GET" else tenant.send(path))
                if route.path == "/":
                    assert answered.headers["Location"] == "/endpoints"
                elif not route.path.startswith(PORTAL_PATHS):
                    assert answered.status == 404, path
                    refused.add(route.path)
                elif "{" in route.path:
                    assert answered.status in (404, 405), path
                else:
                    assert not HIDDEN.findall(re.sub(r"</?main|id=\"main\"", "", answered.text)), path
                    reached.add(route.path)
                if "{" not in route.path:
                    break
        own = [(await tenant.get(path)).status for path in ("/endpoints/ep_shop", "/events/evt_2", "/catalogue")]
        assert own == [200] * 3
    assert {"/endpoints", "/deliveries", "/events", "/catalogue", "/endpoints/new"} <= reached
    assert {"/people", "/audit", "/account", "/sources", "/replays", "/backfills", "/sign-in"} <= refused
    assert [await managed.store.endpoint(each) for each in FOREIGN_ENDPOINTS] == before


async def test_portal_adds_and_tests_its_endpoints_and_is_named_in_the_audit_log(managed: Managed) -> None:
    async with in_portal(managed) as tenant:
        form = {"url": "http://127.0.0.1:9/hook", "patterns": "invoice.*"}
        assert (await tenant.send("/endpoints/new", {**form, "sources": OTHER})).status == 422
        assert (await tenant.send("/endpoints/new", {**form, "url": "mailto:it@acme.example"})).status == 422
        assert (await tenant.send("/endpoints/new", form)).status == 201
        made = next(each for each in await managed.store.endpoints() if each.url == form["url"])
        assert made.sources == (OWN,)
        assert (await tenant.send(f"/endpoints/{made.id}/test", {"event": "endpoint.test"})).status == 200
        operators = replace(made, id="ep_ours", headers=(("X-Key", "secret"),))
        await managed.store.add_endpoint(operators)
        assert (await tenant.send("/endpoints/ep_ours/test", {"event": "endpoint.test"})).status == 422
    entries = [each.entry for each in await managed.access.audit(AuditFilter(), 6)]
    assert [(each.actor, each.action, each.subject) for each in entries[::-1]][-4:] == [
        ("token:manage", "portal.link", "portal:acme"),
        ("portal:acme", "session.begin", "portal:acme"),
        ("portal:acme", "endpoint.add", made.id),
        ("portal:acme", "endpoint.test", made.id),
    ]


async def test_portal_is_no_way_into_the_api(managed: Managed) -> None:
    async with in_portal(managed) as tenant:
        for path in ("/endpoints", "/events", "/deliveries", "/portal-links"):
            assert (await tenant.get(API + path)).status in (401, 405)


async def test_portal_beside_a_session_goes_first_and_leaves_it(managed: Managed) -> None:
    async with visiting(managed, "ann") as ann:
        link = await portal_link(managed)
        asked = await ann.get(link)
        assert "data-send-now" not in asked.text, "a user is asked first"
        assert (await ann.post(link)).status == 403, "without the form's token"
        assert (await ann.send(link)).status == 303
        assert (await ann.get("/people")).status == 404
        tenant = Tenant(ann.session, ann.root)
        assert (await tenant.send("/portal/leave")).status == 200
        assert (await ann.get("/people")).status == 200


# -- forms, frames, cookies --------------------------------------------------------------------------------------------


async def test_forms_need_their_token_and_their_origin(managed: Managed) -> None:
    async with in_portal(managed) as tenant:
        form = {"url": "http://127.0.0.1:9/hook", "patterns": "invoice.*"}
        token = {"csrf": await tenant.csrf()}
        own, foreign = {"Origin": tenant.root}, {"Origin": PANEL}
        for sent, headers in (
            (form, own),
            (form | token, {}),
            (form | token, foreign),
            (form | token, {"Origin": "null"}),
        ):
            assert (await tenant.post("/endpoints/new", sent, headers=headers)).status == 403
        assert (await tenant.post("/endpoints/new", form | token, headers=own)).status == 201


async def test_no_site_frames_a_portal_unless_it_is_configured(managed: Managed) -> None:
    async with in_portal(managed) as tenant:
        for path in ("/endpoints", await portal_link(managed), "/portal/ended"):
            headers = (await tenant.get(path)).headers
            assert headers["Content-Security-Policy"] == HEADERS["Content-Security-Policy"]
            assert headers["X-Frame-Options"] == "DENY"


async def test_configured_sites_frame_portals_and_no_other_page() -> None:
    async with managing(await shared_outbox(), source=SOURCES, web=FRAMED) as managed:
        async with in_portal(managed) as tenant:
            for path in ("/endpoints", "/endpoints/nothing", await portal_link(managed), "/portal/ended"):
                headers = (await tenant.get(path)).headers
                assert f"frame-ancestors {PANEL}; base-uri" in headers["Content-Security-Policy"], path
                assert "X-Frame-Options" not in headers
        async with visiting(managed, "ann") as ann, visiting(managed) as nobody:
            for visitor, path in ((ann, "/"), (ann, "/endpoints"), (nobody, "/sign-in"), (nobody, "/static/page.css")):
                headers = (await visitor.get(path)).headers
                assert headers["Content-Security-Policy"] == HEADERS["Content-Security-Policy"], path
                assert headers["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize(
    ("web", "headers", "attributes"),
    [
        (FRAMED, HTTPS, {"SameSite=None", "Secure", "Partitioned"}),
        (FRAMED, {}, {"SameSite=Strict"}),
        ({**FRAMED, "frame_ancestors": []}, HTTPS, {"SameSite=Strict", "Secure"}),
        ({"frame_ancestors": [PANEL]}, HTTPS, {"SameSite=Strict"}),  # no proxy is trusted
    ],
)
async def test_cookies_of_portals_work_in_frames_only_where_they_may(
    web: dict[str, Any], headers: dict[str, str], attributes: set[str]
) -> None:
    async with managing(await shared_outbox(), source=SOURCES, web=web) as managed:
        async with visiting(managed) as visitor:
            opened = await visitor.post(await portal_link(managed), headers=headers)
        parts = set(opened.headers["Set-Cookie"].split("; ")[1:])
        assert parts == {"HttpOnly", "Path=/"} | attributes
        async with visiting(managed) as visitor:
            signed = await visitor.sign_in("ann", headers=headers)
        assert "SameSite=Strict" in signed.headers["Set-Cookie"], "of users, always"


# -- the way back ------------------------------------------------------------------------------------------------------


async def test_no_other_return_url_is_taken(managed: Managed) -> None:
    for url in (
        "javascript:alert(1)",
        "//evil.example",
        "/endpoints",
        "http://evil.example/",
        "http://127.0.0.1.evil.example/",
        "https://user:word@panel.example.com/",
        "https://panel.example.com@evil.example/",
        "https://panel.example.com\\@evil.example/",
        'https://panel.example.com/"onclick',
        "https://panel.example.com/ b",
        "https://panel.example.com:port/",
        "https:///x",
        "data:text/html,x",
        "https://[::1",
        "https://" + "a" * 2000,
    ):
        wanted = {"tenant": "acme", "sources": [OWN], "return_url": url}
        assert (await managed.ask("POST", "/portal-links", json=wanted)).status == 422, url


async def test_token_of_some_sources_returns_to_configured_sites_only() -> None:
    async with managing(await shared_outbox(), source=SOURCES, web=FRAMED) as managed:
        token = await tenant_token(managed)
        for url, status in ((f"{PANEL}/a?b=c", 201), ("https://evil.example/", 422), (f"{PANEL}.evil.example/", 422)):
            wanted = {"tenant": "acme", "return_url": url}
            assert (await ask_with(managed, token, "POST", "/portal-links", json=wanted)).status == status, url


async def test_the_way_back_is_a_link_that_no_request_changes(managed: Managed) -> None:
    async with in_portal(managed, return_url=f"{PANEL}/a?b=c&d=e") as tenant:
        shown = await tenant.get("/endpoints?return_url=https://evil.example/&to=https://evil.example/")
        assert f'href="{PANEL}/a?b=c&amp;d=e" target="_top" rel="noreferrer"' in shown.text
        left = await tenant.send("/portal/leave?return_url=https://evil.example/", {"back": "https://evil.example/"})
        assert (left.status, "Location" in left.headers) == (200, False)
        assert f'href="{PANEL}/a?b=c&amp;d=e"' in left.text
        assert 'href="https://evil.example' not in shown.text + left.text
        assert (await tenant.get("/endpoints")).status == 303
