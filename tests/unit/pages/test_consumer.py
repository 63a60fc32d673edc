"""A consumer on the page: how it is added, its lag, what it does not have, and its test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from support.browsing import Visitor, visiting
from support.managing import Managed, managing
from support.memory_outbox import MemoryOutbox
from support.outboxes import endpoint, event, store


@pytest.fixture
async def managed() -> AsyncIterator[Managed]:
    async with managing(MemoryOutbox()) as managed:
        yield managed


@pytest.fixture
async def visitor(managed: Managed) -> AsyncIterator[Visitor]:
    async with visiting(managed, "ann") as visitor:
        yield visitor


async def test_it_is_added_without_showing_a_secret_and_changed(managed: Managed, visitor: Visitor) -> None:
    form = {"url": "pull:orders", "events": "invoice.*"}
    added = await visitor.send("/endpoints/new", form)
    (made,) = await managed.store.endpoints()
    assert (added.status, made.url, made.concurrency) == (303, "pull:orders", 0)
    assert made.secret not in added.text
    changed = await visitor.send(f"/endpoints/{made.id}/edit", form | {"description": "Tienda", "concurrency": "16"})
    (present,) = await managed.store.endpoints()
    assert (changed.status, present.description, present.concurrency) == (303, "Tienda", 0)


async def test_it_shows_since_when_its_events_wait_and_nothing_of_sending(managed: Managed, visitor: Visitor) -> None:
    await managed.store.add_endpoint(endpoint("ep_pull", url="pull:orders", concurrency=0))
    assert "<dt>Oldest waiting event</dt><dd>none</dd>" in (await visitor.get("/endpoints/ep_pull")).text
    await store(managed.store, event(1), now=managed.clock.now())
    managed.clock.advance(3600)
    shown = (await visitor.get("/endpoints/ep_pull")).text
    assert "<code>cdc consume orders</code>" in shown
    assert "due since " in shown
    for absent in ("Concurrent requests", "Signature", "rotate-secret", "Timeout"):
        assert absent not in shown, absent
    spanish = (await visitor.get("/endpoints/ep_pull", headers={"Accept-Language": "es"})).text
    assert "Evento pendiente más antiguo" in spanish
    assert "pendiente desde el " in spanish


async def test_its_test_waits_to_be_fetched(managed: Managed, visitor: Visitor) -> None:
    await managed.store.add_endpoint(endpoint("ep_pull", url="pull:orders", concurrency=0))
    shown = (await visitor.send("/endpoints/ep_pull/test", {"event": "endpoint.test"})).text
    assert "It waits until the consumer fetches it." in shown
    assert (await managed.store.counts())["ep_pull"]
