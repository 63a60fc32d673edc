"""410 Gone: the endpoint is disabled, and whoever wants to know is told in the same write."""

from __future__ import annotations

import asyncio

from cdc.dispatch.outcome_writer import Finished, disablings
from cdc.dispatch.request import WebhookRequest
from cdc.dispatch.retry import Answer
from cdc.model.delivery import DeliveryState
from cdc.model.endpoint import EndpointChange
from cdc.outbox.base import StoredEvent
from support.dispatching import WatchedOutbox, dispatching, endpoint, event, store_events
from support.manual_clock import START, ManualClock
from support.outboxes import outcome
from support.waiting import HANG_SECONDS

GONE = "It answered 410 Gone."


class Gone:
    """Answers 410 for ``gone.example.com``, else 200; keeps what was asked of the others."""

    def __init__(self) -> None:
        self.accepted: asyncio.Queue[WebhookRequest] = asyncio.Queue()

    async def send(self, request: WebhookRequest) -> Answer:
        if "gone" in request.url:
            return Answer(410, 0.1)
        self.accepted.put_nowait(request)
        return Answer(200, 0.1)


async def prepared(*urls: str) -> WatchedOutbox:
    store = WatchedOutbox()
    for number, url in enumerate(urls, 1):
        await store.add_endpoint(endpoint(url, f"ep_{number}", events=("invoice.*",), description="Shop"))
    await store.add_endpoint(endpoint("https://ops.example.com", "ep_ops", events=("endpoint.disabled",)))
    return store


async def told(store: WatchedOutbox) -> list[StoredEvent]:
    return await store.events(100, after=0, pattern="endpoint.*")


async def test_it_is_told_of_at_once() -> None:
    store, sender = await prepared("https://gone.example.com/hook?token=planted"), Gone()
    await store_events(store, [event(number) for number in range(5)])
    async with dispatching(store, sender, ManualClock()), asyncio.timeout(HANG_SECONDS):
        request = await sender.accepted.get()
    (announced,) = await told(store)
    assert request.headers["webhook-id"] == announced.id
    data = announced.payload["data"]
    assert (announced.record, data["endpoint"], data["description"]) == ("endpoint:ep_1", "ep_1", "Shop")
    assert (data["url"], data["reason"]) == ("https://gone.example.com/…ep_1", GONE)
    assert data["failing_since"] == "2026-11-24T21:48:00.000000Z"
    assert "planted" not in str(announced.payload)


async def test_it_is_one_write() -> None:
    """When the outbox refuses it, neither is done; when it is repeated, both are."""
    store, sender, clock = await prepared("https://gone.example.com/hook"), Gone(), ManualClock()
    await store_events(store, [event(1)])

    original = store.finish
    calls: list[int | bool] = []

    async def finish(*args: object) -> None:
        calls.append(len(await told(store)))
        found = await store.endpoint("ep_1")
        assert found is not None
        calls.append(found.enabled)
        if len(calls) == 2:
            store.failures = 1
        await original(*args)  # type: ignore[arg-type]  # whatever it was called with

    store.finish = finish  # type: ignore[method-assign, assignment]  # looks before it goes on
    async with dispatching(store, sender, clock), asyncio.timeout(HANG_SECONDS):
        while sender.accepted.empty():
            clock.advance(0.2)
            await asyncio.sleep(0)
    assert calls[:4] == [0, True, 0, True]
    assert len(await told(store)) == 1


async def test_what_is_disabled_already_is_not_told_of_again() -> None:
    store = await prepared("https://gone.example.com", "https://gone.example.com/2", "https://gone.example.com/3")
    await store_events(store, [event(1), event(2)])
    leased = await store.lease("w", START, START, 10)
    finished = [
        Finished(outcome(each, DeliveryState.PENDING, disable_reason=GONE), each.endpoint_id) for each in leased
    ]
    await store.change_endpoint("ep_2", EndpointChange(enabled=False))
    await store.remove_endpoint("ep_3", START)
    events = await disablings(store, finished, START)
    assert [each.record for each in events] == ["endpoint:ep_1"]
    assert (
        await disablings(
            store, [one._replace(outcome=one.outcome._replace(disable_reason="")) for one in finished], START
        )
        == []
    )


async def test_gone_again_after_it_was_enabled_is_told_of_again() -> None:
    store, sender, clock = await prepared("https://gone.example.com/hook"), Gone(), ManualClock()
    await store_events(store, [event(1)])
    async with dispatching(store, sender, clock) as dispatcher, asyncio.timeout(HANG_SECONDS):
        await sender.accepted.get()
        clock.advance(60)
        await store.change_endpoint("ep_1", EndpointChange(enabled=True, disabled_reason=""))
        dispatcher.notify()
        while sender.accepted.empty():
            clock.advance(0.2)
            await asyncio.sleep(0)
    first, second = await told(store)
    assert first.id != second.id
