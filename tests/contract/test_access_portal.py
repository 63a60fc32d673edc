"""Promises of every store of access about portals: links that are used once, sessions without a user, and their end."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from cdc.access.base import AccessStore
from cdc.access.model import Allowance, Origin, PageSession, Portal, Role
from cdc.model.errors import NotFound
from support.accesses import IDLE, actions, entry, session, token
from support.outboxes import NOW, at

PORTAL = Portal(("shop", "main"), timedelta(minutes=30), "es", "https://panel.example.com/a", (Allowance.MAIL,))


def link(digest: str = "l1", portal: Portal = PORTAL, stamp: str = "") -> PageSession:
    return session(
        digest,
        "portal:Acme",
        stamp,
        role=Role.MANAGER,
        origin=Origin.PORTAL_LINK,
        expires_at=at(600),
        sources=portal.sources,
        portal=portal,
    )


def begun(of: PageSession, digest: str = "s1", seconds: int = 1) -> PageSession:
    times = {"created_at": at(seconds), "last_used_at": at(seconds), "expires_at": at(seconds) + PORTAL.lifetime}
    return replace(of, digest=digest, origin=Origin.PORTAL, **times)


async def test_link_is_no_session_and_begins_one_with_its_sources(access: AccessStore) -> None:
    await access.open()
    await access.add_portal_link(link(), entry("portal.link"))
    assert await access.use_session("l1", at(1), IDLE) is None
    found = await access.portal_link("l1")
    assert found is not None
    assert found.portal == PORTAL
    assert await access.take_portal_link("l1", begun(link()), entry("session.begin"))
    assert await access.use_session("s1", at(2), IDLE) == begun(link())
    assert await access.use_session("s1", at(1) + PORTAL.lifetime, IDLE) is None
    assert await actions(access) == ["portal.link", "session.begin"]


async def test_link_works_once_however_many_try(access: AccessStore) -> None:
    await access.open()
    await access.add_portal_link(link(), entry("portal.link"))
    tries = [access.take_portal_link("l1", begun(link(), f"s{n}"), entry("session.begin")) for n in range(8)]
    assert sum(await asyncio.gather(*tries)) == 1
    assert await actions(access) == ["portal.link", "session.begin"]
    assert await access.portal_link("l1") is None
    assert not await access.take_portal_link("s0", begun(link(), "again"), entry()), "a session is no link"


async def test_expired_link_begins_nothing(access: AccessStore) -> None:
    await access.open()
    await access.add_portal_link(link(), entry("portal.link"))
    assert not await access.take_portal_link("l1", begun(link(), seconds=600), entry("session.begin"))
    assert await access.use_session("s1", at(601), IDLE) is None
    assert await actions(access) == ["portal.link"]


async def test_links_and_sessions_end_with_their_token(access: AccessStore) -> None:
    await access.open()
    await access.add_token(token(1), "digest", entry("token.add"))
    await access.add_portal_link(link(stamp="tok_1"), entry("portal.link"))
    await access.add_portal_link(link("l2", stamp="tok_1"), entry("portal.link"))
    await access.add_portal_link(link("l3"), entry("portal.link"))
    assert await access.take_portal_link("l1", begun(link(stamp="tok_1")), entry("session.begin"))
    await access.remove_token("tok_1", entry("token.remove"))
    assert await access.use_session("s1", at(2), IDLE) is None
    assert await access.portal_link("l2") is None
    assert await access.portal_link("l3") is not None
    with pytest.raises(NotFound):
        await access.add_portal_link(link("l4", stamp="tok_1"), entry("portal.link"))
    assert await access.portal_link("l4") is None


async def test_links_and_sessions_end_when_their_token_expires(access: AccessStore) -> None:
    await access.open()
    await access.add_token(token(1, expires_at=at(60)), "digest", entry("token.add"))
    for digest in ("l1", "l2"):
        added = await access.add_portal_link(link(digest, stamp="tok_1"), entry("portal.link"))
        assert added.expires_at == at(60)
    assert await access.take_portal_link("l1", begun(link(stamp="tok_1")), entry("session.begin"))
    assert await access.use_session("s1", at(59), IDLE) is not None
    assert await access.use_session("s1", at(60), IDLE) is None
    assert not await access.take_portal_link("l2", begun(link(stamp="tok_1"), "s2", 60), entry("session.begin"))


@pytest.mark.parametrize(("by", "ended"), [((), 2), (("shop",), 1), (("shop", "main", "x"), 2), (("other",), 0)])
async def test_a_tenants_portal_is_ended_by_those_who_have_its_sources(
    access: AccessStore, by: tuple[str, ...], ended: int
) -> None:
    await access.open()
    await access.add_portal_link(link(), entry("portal.link"))
    await access.add_portal_link(link("l2", replace(PORTAL, sources=("shop",))), entry("portal.link"))
    await access.add_session(session("ann", created_at=NOW))
    assert await access.end_portal("portal:ACME", by, entry("portal.revoke")) == ended
    assert (await actions(access)).count("portal.revoke") == (1 if ended else 0)
    assert (await access.portal_link("l1") is None) == (ended == 2)
