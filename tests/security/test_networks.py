"""A token or portal with networks works from these only, and a token ends: whatever the address is written like, and
whichever headers a client sends."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from cdc.access.base import warn_of_expiry
from cdc.access.model import TOKEN_LIFETIME, AuditFilter, Scope
from cdc.access.proxy import checked_networks, is_within
from cdc.admin.findings import token_checks
from cdc.model.errors import UsageError
from support.browsing import visiting
from support.managing import Managed, managing
from support.memory_outbox import MemoryOutbox
from support.portals import portal_link
from support.tenants import OWN, SOURCES, shared_outbox

REFUSED = AuditFilter(action="session.refused")
NETWORKS = ("203.0.113.0/24", "2001:db8:1::/48", "198.51.100.7")
#: Address → whether it is in `NETWORKS`.
ADDRESSES = {
    "203.0.113.9": True,
    "198.51.100.7": True,
    "2001:db8:1:ffff::9": True,
    "2001:DB8:1:0:0:0:0:1": True,
    "::ffff:203.0.113.9": True,  # IPv4 of a socket that takes both
    "::ffff:cb00:7109": True,  # the same
    "2001:db8:1::9%eth0": True,
    "203.0.114.9": False,
    "198.51.100.8": False,
    "2001:db8:2::9": False,
    "::203.0.113.9": False,  # not mapped: another address
    "64:ff9b::203.0.113.9": False,  # NAT64 is another network
    "::ffff:203.0.114.9": False,
    "2002:cb00:7109::1": False,  # 6to4 of an address within
    "0203.0113.0.9": False,  # octal
    "203.0.113.9.example.com": False,
    "203.0.113.9, 10.0.0.1": False,
    "203.0.113.9/24": False,
    "3405803785": False,
    "٢٠٣.0.113.9": False,
    "127.0.0.1": False,
    "": False,
    "unknown": False,
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_each_way_to_write_an_address(address: str) -> None:
    assert is_within(checked_networks(NETWORKS), address) == ADDRESSES[address]
    assert is_within((), address), "no networks: from anywhere"


@pytest.mark.parametrize(
    "text",
    [
        "203.0.113.5/24",
        "203.0.113.0/33",
        "2001:db8::1/32",
        "::ffff:0:0/95",
        "x",
        "203.0.113",
        "10.0.0.0/255.0.0.1",
        "a/b/c",
    ],
)
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no network"):
        checked_networks([text])


def test_networks_are_stored_in_one_form() -> None:
    texts = ["::ffff:203.0.113.0/120", " 198.51.100.7 ", "2001:DB8:1::/48", "::ffff:192.0.2.1", "198.51.100.7"]
    plain = ("203.0.113.0/24", "198.51.100.7/32", "2001:db8:1::/48", "192.0.2.1/32")
    assert checked_networks(texts) == plain
    with pytest.raises(UsageError, match="too many"):
        checked_networks([f"10.0.{number}.0/24" for number in range(51)])


#: The API's answer to a token of 203.0.113.0/24, by the proxies that are trusted and X-Forwarded-For; the socket's
#: address is 127.0.0.1.
FORWARDED: list[tuple[list[str], str, int]] = [
    ([], "203.0.113.9", 403),  # nobody is trusted: the client wrote it
    ([], "", 403),
    (["10.0.0.0/8"], "203.0.113.9", 403),  # the peer is no trusted proxy
    (["127.0.0.0/8"], "203.0.113.9", 200),
    (["127.0.0.0/8"], "::ffff:203.0.113.9", 200),
    (["127.0.0.0/8"], "[::ffff:203.0.113.9]", 200),
    (["127.0.0.0/8"], "203.0.113.9, 198.51.100.1", 403),  # forged before the proxy's own
    (["127.0.0.0/8"], "198.51.100.1, 203.0.113.9", 200),
    (["127.0.0.0/8", "10.0.0.0/8"], "203.0.113.9, 10.0.0.1", 200),  # two proxies of ours
    (["127.0.0.0/8", "10.0.0.0/8"], "203.0.113.9, 198.51.100.1, 10.0.0.1", 403),
    (["127.0.0.0/8"], "203.0.113.9, x", 403),
    (["127.0.0.0/8"], "203.0.113.9:443, ,", 403),
    (["127.0.0.0/8"], "", 403),
]


@pytest.mark.parametrize(("proxies", "forwarded", "status"), FORWARDED)
async def test_api_believes_trusted_proxies_only(proxies: list[str], forwarded: str, status: int) -> None:
    async with managing(MemoryOutbox(), web={"trusted_proxies": proxies}) as managed:
        _, text = await managed.accounts.add_token("cli:root", "shop", Scope.MANAGE, networks=["203.0.113.0/24"])
        headers = {"Authorization": f"Bearer {text}", "X-Real-IP": "203.0.113.9", "Forwarded": "for=203.0.113.9"}
        headers |= {"X-Forwarded-For": forwarded} if forwarded else {}
        for path in ("/endpoints", "/events/stream") if status == 403 else ("/endpoints",):
            answer = await managed.ask("GET", path, None, headers=headers)
            assert answer.status == status
            assert text not in answer.text
        entries = await managed.access.audit(REFUSED, 10)
        assert [(each.entry.subject, each.entry.detail["by"]) for each in entries] == (
            [("token:shop", "address")] if status == 403 else []
        )


async def test_two_headers_are_one_list() -> None:
    async with managing(MemoryOutbox(), web={"trusted_proxies": ["127.0.0.0/8"]}) as managed:
        _, text = await managed.accounts.add_token("cli:root", "shop", Scope.MANAGE, networks=["203.0.113.0/24"])
        two: Any = [("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-For", "198.51.100.1")]
        request = managed.client.request(
            "GET", "/api/v1/endpoints", headers=[*two, ("Authorization", f"Bearer {text}")]
        )
        async with request as answer:
            assert answer.status == 403


async def test_refused_addresses_have_the_rate_of_strangers() -> None:
    async with managing(MemoryOutbox()) as managed:
        _, text = await managed.accounts.add_token("cli:root", "shop", Scope.MANAGE, networks=["203.0.113.0/24"])
        headers = {"Authorization": f"Bearer {text}"}
        statuses = [(await managed.ask("GET", "/endpoints", None, headers=headers)).status for _ in range(25)]
        assert statuses == [403] * 20 + [429] * 5
        assert len(await managed.access.audit(REFUSED, 100)) == 1


# -- portals -----------------------------------------------------------------------------------------------------------

PROXY = {"trusted_proxies": ["127.0.0.0/8"]}
INSIDE, OUTSIDE = {"X-Forwarded-For": "203.0.113.9"}, {"X-Forwarded-For": "198.51.100.1"}


async def limited_portal(managed: Managed) -> str:
    return await portal_link(managed, networks=["203.0.113.0/24", "2001:db8::/32"])


async def test_link_and_session_of_a_portal_work_from_its_networks_only() -> None:
    async with managing(await shared_outbox(), source=SOURCES, web=PROXY) as managed, visiting(managed) as tenant:
        link = await limited_portal(managed)
        for headers in (OUTSIDE, {}, {"X-Forwarded-For": "203.0.113.9, 198.51.100.1"}, {"X-Forwarded-For": "x"}):
            assert (await tenant.post(link, headers=headers)).status == 403
        opened = await tenant.post(link, headers={"X-Forwarded-For": "::ffff:203.0.113.9"})
        assert opened.status == 303, "it was not used up"
        assert (await tenant.get("/endpoints", headers=INSIDE)).status == 200
        assert (await tenant.get("/endpoints", headers={"X-Forwarded-For": "2001:db8::9"})).status == 200
        for path in ("/endpoints", "/deliveries", "/events", "/live/endpoints"):
            shown = await tenant.get(path, headers=OUTSIDE)
            assert shown.status in (303, 401, 403, 404), path
            assert OWN not in shown.text
        entries = await managed.access.audit(REFUSED, 10)
        named = {(each.entry.subject, each.entry.detail["by"]) for each in entries}
        assert named == {("portal:acme", "address")}
        made = (await managed.access.audit(AuditFilter(action="portal.link"), 1))[0]
        assert made.entry.detail["networks"] == "203.0.113.0/24, 2001:db8::/32"


@pytest.mark.parametrize("networks", [["203.0.113.5/24"], [""], ["x"], [5], "203.0.113.0/24", ["10.0.0.0/8"] * 51])
async def test_a_portal_takes_networks_only(networks: object) -> None:
    async with managing(await shared_outbox(), source=SOURCES) as managed:
        body = {"tenant": "acme", "sources": [OWN], "networks": networks}
        answer = await managed.ask("POST", "/portal-links", json=body)
        assert answer.status == (201 if networks == [""] else 422), answer.text


# -- expiry ------------------------------------------------------------------------------------------------------------


async def test_a_token_expires_unless_its_maker_says_otherwise() -> None:
    async with managing(MemoryOutbox()) as managed, visiting(managed, "ann") as ann:
        made, text = await managed.accounts.add_token("cli:root", "shop", Scope.READ)
        assert made.expires_at == managed.clock.now() + TOKEN_LIFETIME
        for name, days in (("page", ""), ("endless", "0"), ("short", "1")):
            assert "cdct_" in (await ann.send("/people/tokens", {"name": name, "scope": "read", "days": days})).text
        lifetimes = {
            each.name: each.expires_at and each.expires_at - managed.clock.now()
            for each in await managed.access.tokens()
        }
        assert lifetimes["page"] == TOKEN_LIFETIME
        assert lifetimes["endless"] is None
        assert lifetimes["short"] == timedelta(days=1)
        form = {"name": "net", "scope": "read", "networks": "203.0.113.0/24, 2001:db8::/32"}
        assert "cdct_" in (await ann.send("/people/tokens", form)).text
        assert "203.0.113.0/24, 2001:db8::/32" in (await ann.get("/people")).text
        wrong = await ann.send("/people/tokens", form | {"name": "bad", "networks": "203.0.113.5/24"})
        assert wrong.status == 422
        headers = {"Authorization": f"Bearer {text}"}
        managed.clock.advance((TOKEN_LIFETIME - timedelta(days=14)).total_seconds() - 1)
        managed.clock.advance(1)
        assert (await managed.ask("GET", "/endpoints", None, headers=headers)).status == 200
        async with visiting(managed, "ann") as later:
            assert "shop: It expires on 2027-11-24 (UTC)." in (await later.get("/")).text
        managed.clock.advance(timedelta(days=14).total_seconds())
        assert (await managed.ask("GET", "/endpoints", None, headers=headers)).status == 401


async def test_doctor_and_log_warn_before_a_token_expires() -> None:
    stop = asyncio.Event()
    async with managing(MemoryOutbox()) as managed:
        for name, days in (("soon", 14), ("late", 15), ("gone", 1)):
            await managed.accounts.add_token("cli:root", name, Scope.READ, timedelta(days=days))
        clock = managed.clock
        clock.advance(86_400)
        checks = token_checks(await managed.access.tokens(), clock.now())
        found = {each.about: each.finding.severity.value for each in checks}
        assert found == {"token soon": "warning", "token late": "warning", "tokens": "ok"}
        assert "manage" in checks[-1].finding.detail, "tokens of former releases, without an end"
        with capture_logs() as logs:
            running = asyncio.create_task(warn_of_expiry(managed.access, clock, stop))
            await clock.begun.wait()
            stop.set()
            await running
        assert {each["token"] for each in logs} == {"soon", "late"}
