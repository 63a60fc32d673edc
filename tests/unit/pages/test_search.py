"""Search for everything: what each kind of text finds, for whom, and the way by the keyboard is in `tests/browser`."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from html import unescape

import pytest

from cdc.access.model import Role
from cdc.model.delivery import DeliveryFilter
from support.browsing import Visitor, visiting
from support.managing import PASSWORD, Managed, managing
from support.memory_outbox import MemoryOutbox
from support.outboxes import endpoint, event, store
from support.tenants import OTHER, OWN, SOURCES


@pytest.fixture
async def site() -> AsyncIterator[Managed]:
    """The record ``a:1`` is of two sources, of different customers; each source has an endpoint."""
    async with managing(MemoryOutbox(), source=SOURCES) as managed:
        for name, source in (("ep_own", OWN), ("ep_other", OTHER)):
            secret = "whsec_" + "c2VjcmV0" * 4
            added = endpoint(name, description=f"Tienda {source}", sources=(source,), secret=secret)
            await managed.store.add_endpoint(added)
        own = event(1, "a:1", source=OWN, name="invoice.paid", labels=("fac2026a1", "talleres ruiz"))
        other = event(2, "a:1", source=OTHER, name="invoice.paid", labels=("fac2026a2", "peña"))
        await store(managed.store, own, other)
        yield managed


async def hits(visitor: Visitor, text: str) -> list[str]:
    shown = await visitor.get("/search", params={"q": text})
    assert shown.status == 200
    assert f'value="{text}"' in unescape(shown.text)
    part = "".join(re.findall(r'<section class="sheet hits">.*?</section>', shown.text, re.DOTALL))
    found = re.findall(r'<a href="(.*?)">', part)
    assert bool(found) != ("Nothing is called" in shown.text)
    return [unescape(path) for path in found]


async def test_each_kind_of_text_finds_what_it_names(site: Managed) -> None:
    (sent,) = await site.store.deliveries(DeliveryFilter(endpoint_id="ep_own"), 10)
    async with visiting(site, "ann") as ann:
        assert await hits(ann, "evt_1") == ["/events/evt_1"]
        assert await hits(ann, sent.id) == [f"/deliveries/{sent.id}"]
        assert set(await hits(ann, "a:1")) == {f"/records/{OWN}/a%3A1", f"/records/{OTHER}/a%3A1"}
        assert await hits(ann, "FAC2026A2") == [f"/records/{OTHER}/a%3A1"]
        assert await hits(ann, "Talleres Ruiz") == [f"/records/{OWN}/a%3A1"]
        assert await hits(ann, "tienda") == ["/endpoints/ep_own", "/endpoints/ep_other"]
        assert await hits(ann, "ep_own") == ["/endpoints/ep_own"]
        for nothing in ("evt_9", "dlv_9", "zzz:1", "nothing", "<script>"):
            assert await hits(ann, nothing) == []
        assert "Nothing is called" not in (await ann.get("/search")).text


async def test_viewers_find_no_names_and_users_of_a_source_nothing_of_another(site: Managed) -> None:
    (foreign,) = await site.store.deliveries(DeliveryFilter(endpoint_id="ep_other"), 10)
    await site.accounts.add_user("cli:root", "sue", Role.MANAGER, PASSWORD, (OWN,))
    async with visiting(site, "bob") as bob, visiting(site, "sue") as sue:
        assert await hits(bob, "FAC2026A2") == []
        assert len(await hits(bob, "a:1")) == 2
        assert await hits(sue, "a:1") == [f"/records/{OWN}/a%3A1"]
        assert await hits(sue, "tienda") == ["/endpoints/ep_own"]
        for hidden in ("evt_2", foreign.id, "FAC2026A2", "ep_other"):
            assert await hits(sue, hidden) == []
    async with visiting(site) as nobody:
        assert (await nobody.get("/search?q=evt_1")).status == 303
