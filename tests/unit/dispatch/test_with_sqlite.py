"""The dispatcher on the embedded outbox, the machine's clock and real sockets."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from pathlib import Path

from cdc.demo.receiver import Received, receiver_app
from cdc.dispatch.dispatcher import Dispatcher, DispatchSettings
from cdc.dispatch.sender import HttpSender
from cdc.dispatch.signing import new_secret
from cdc.model.change import Position
from cdc.model.clock import SystemClock
from cdc.model.delivery import DeliveryFilter, DeliveryState
from cdc.outbox.sqlite.outbox import SqliteOutbox
from support.dispatching import endpoint, event
from support.http_servers import served
from support.waiting import HANG_SECONDS

EVENTS = 300


async def test_events_stored_by_another_process_arrive_once_verified_and_in_order(tmp_path: Path) -> None:
    """Nobody notifies: the dispatcher finds out by itself.  Ten records, each in the order of its commits."""
    arrived: list[Received] = []
    complete = asyncio.Event()

    async def take(received: Received) -> None:
        arrived.append(received)
        if len(arrived) >= EVENTS:
            complete.set()

    secret, clock = new_secret(), SystemClock()
    ours, theirs = SqliteOutbox(tmp_path / "outbox.db"), SqliteOutbox(tmp_path / "outbox.db")
    await ours.open()
    await theirs.open()
    async with served(receiver_app(secret, take)) as url, HttpSender(allow_private=True) as sender:
        await theirs.add_endpoint(endpoint(url, secret=secret))
        dispatcher = Dispatcher(ours, sender, clock, DispatchSettings("worker-1"))
        running = asyncio.create_task(dispatcher.run())
        events = [event(n, record=f"facturascli:{n % 10}") for n in range(EVENTS)]
        await theirs.store("main", Position("1"), events, {}, clock.now())
        async with asyncio.timeout(HANG_SECONDS):
            await complete.wait()
        dispatcher.stop()
        await asyncio.wait_for(running, HANG_SECONDS)
    views = await ours.deliveries(DeliveryFilter(), EVENTS + 1)
    await theirs.close()
    await ours.close()
    assert [(view.state, view.attempts) for view in views] == [(DeliveryState.DELIVERED, 1)] * EVENTS
    assert all(received.verified for received in arrived)
    order = defaultdict(list)
    for received in arrived:
        order[received.event["key"]["idfactura"] % 10].append(received.event["key"]["idfactura"])
    assert order == {rest: list(range(rest, EVENTS, 10)) for rest in range(10)}
