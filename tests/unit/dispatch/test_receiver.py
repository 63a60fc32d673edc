"""The receiver library, fed by the real sender."""

from __future__ import annotations

import aiohttp

from cdc.demo.receiver import Received, Refusals, receiver_app
from cdc.dispatch.sender import HttpSender
from cdc.dispatch.signing import new_secret
from cdc.model.delivery import DeliveryState
from support.dispatching import WatchedOutbox, dispatching, endpoint, event, store_events
from support.http_servers import served
from support.manual_clock import START, ManualClock


async def test_a_delivery_arrives_verified_and_a_refused_one_is_retried() -> None:
    got: list[Received] = []

    async def note(received: Received) -> None:
        got.append(received)

    secret, clock, store = new_secret(), ManualClock(), WatchedOutbox()
    refusals = Refusals(1, 503, {"Retry-After": "60"})
    async with served(receiver_app(secret, note, refusals, clock)) as url, HttpSender(allow_private=True) as sender:
        await store.add_endpoint(endpoint(url, secret=secret))
        await store_events(store, [event(1)])
        async with dispatching(store, sender, clock):
            refused = await store.next_recorded()
            clock.advance(60)
            accepted = await store.next_recorded()
    assert refused.due_at is not None
    assert (refused.attempt.status, (refused.due_at - START).total_seconds()) == (503, 60)
    assert (accepted.attempt.status, accepted.state) == (204, DeliveryState.DELIVERED)
    assert [(each.verified, each.reason, each.answered) for each in got] == [(True, "", 503), (True, "", 204)]
    assert got[0].event["event"] == "invoice.paid"
    assert got[0].headers["X-Webhook-Event"] == "invoice.paid"
    assert got[0].headers["webhook-id"] == got[1].headers["webhook-id"] == "evt_1"
    assert got[0].headers["Accept-Encoding"] == "identity"
    assert got[0].body == got[1].body


async def test_a_batch_arrives_verified_and_is_refused_as_one() -> None:
    got: list[Received] = []

    async def note(received: Received) -> None:
        got.append(received)

    secret, clock, store = new_secret(), ManualClock(), WatchedOutbox()
    refusals = Refusals(1, 503, events=("invoice.paid",))
    async with served(receiver_app(secret, note, refusals, clock)) as url, HttpSender(allow_private=True) as sender:
        await store.add_endpoint(endpoint(url, secret=secret, batch_size=2))
        await store_events(store, [event(1, name="invoice.updated"), event(2)])
        async with dispatching(store, sender, clock):
            states = [(await store.next_recorded()).state for _ in range(2)]
            clock.advance(5)
            states += [(await store.next_recorded()).state for _ in range(2)]
    assert states == [DeliveryState.PENDING] * 2 + [DeliveryState.DELIVERED] * 2
    assert [(each.verified, each.answered, dict(each.event)) for each in got] == [(True, 503, {}), (True, 204, {})]
    for each in got:
        assert [one["id"] for one in each.batch] == ["evt_1", "evt_2"]
        assert each.headers["X-Webhook-Event"] == "batch"
    assert got[0].headers["webhook-id"] == got[1].headers["webhook-id"]


async def test_a_wrong_secret_is_answered_401_and_a_large_event_passes() -> None:
    got: list[Received] = []

    async def note(received: Received) -> None:
        got.append(received)

    clock, store = ManualClock(), WatchedOutbox()
    large = event(2)
    large = large._replace(data={"text": "x" * 3_000_000})
    right = new_secret()
    async with (
        served(receiver_app(new_secret(), note, clock=clock)) as wrong_url,
        served(receiver_app(right, note, clock=clock)) as right_url,
        HttpSender(allow_private=True) as sender,
    ):
        await store.add_endpoint(endpoint(wrong_url, "ep_wrong"))
        await store.add_endpoint(endpoint(right_url, "ep_right", secret=right))
        await store_events(store, [large])
        async with dispatching(store, sender, clock):
            statuses = {(await store.next_recorded()).attempt.status for _ in range(2)}
    assert statuses == {401, 204}
    assert {each.verified: bool(each.reason) for each in got} == {False: True, True: False}
    assert [len(each.event["data"]["text"]) for each in got] == [3_000_000, 3_000_000]


async def test_without_a_secret_everything_is_taken_and_nothing_verified() -> None:
    got: list[Received] = []

    async def note(received: Received) -> None:
        got.append(received)

    async with (
        served(receiver_app(None, note)) as url,
        aiohttp.ClientSession() as session,
        session.post(url, data=b"no json") as response,
    ):
        assert response.status == 204
    assert got[0].event == {}
    assert not got[0].verified
    assert got[0].reason == "No secret was given to verify with."
