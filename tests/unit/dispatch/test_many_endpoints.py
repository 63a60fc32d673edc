"""What a dispatcher does costs what is due costs; and no endpoint's backlog delays another's first event."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest

from cdc.dispatch.dispatcher import FEW
from cdc.model.change import Position
from cdc.model.delivery import DeliveryState, LeasedDelivery
from cdc.model.endpoint import Endpoint, EndpointChange
from cdc.model.event import Event
from support.dispatching import WatchedOutbox, dispatching, endpoint, event
from support.manual_clock import START, ManualClock
from support.simulation import TAKEN, Receivers, Simulation, simulated


class CountingOutbox(WatchedOutbox):
    """Counts what depends on the number of endpoints."""

    def __init__(self) -> None:
        super().__init__()
        self.rooms: list[dict[str, int]] = []
        self.reads = 0

    async def lease(self, *args: Any, **kwargs: Any) -> list[LeasedDelivery]:
        self.rooms.append(dict(args[4]))
        return await super().lease(*args, **kwargs)

    async def endpoints(self) -> list[Endpoint]:
        self.reads += 1
        return await super().endpoints()


def of(source: str, number: int) -> Event:
    return event(number)._replace(id=f"evt_{source}_{number}", source=source)


async def outbox(names: Iterable[str]) -> CountingOutbox:
    """An endpoint for each source of its name."""
    store = CountingOutbox()
    for name in names:
        await store.add_endpoint(endpoint(f"http://{name}", name, sources=(name,)))
    return store


async def store(simulation: Simulation, source: str, number: int) -> None:
    await simulation.store.store(source, Position(str(number)), [of(source, number)], {}, simulation.clock.now())
    simulation.dispatcher.notify()
    await simulation.idle()


async def test_endpoints_with_nothing_due_are_neither_read_nor_considered() -> None:
    made = await outbox(f"s{number}" for number in range(FEW + 50))
    async with simulated(made, lambda _request: TAKEN) as simulation:
        await simulation.idle()
        for number in range(1, 6):
            await store(simulation, f"s{number}", number)
            await simulation.run(2)
        assert {sent.url for sent in simulation.receivers.sent} == {f"http://s{number}" for number in range(1, 6)}
        asked = made.reads
        assert [list(room) for room in made.rooms if room] == [[f"s{number}"] for number in range(1, 6)]
        await made.change_endpoint("s9", EndpointChange(url="http://elsewhere"))
        await simulation.run(2)
        await store(simulation, "s9", 9)
        assert simulation.receivers.sent[-1].url == "http://elsewhere"
    assert asked == 1


@pytest.mark.parametrize("others", [FEW // 2, FEW + 10])
async def test_a_backlog_of_others_does_not_delay_a_first_event(others: int) -> None:
    names = [f"busy{number}" for number in range(others)]
    made, clock = await outbox([*names, "fresh"]), ManualClock()
    receivers = Receivers(clock, lambda _request: TAKEN)
    for name in names:
        earlier = [of(name, number) for number in range(40)]
        await made.store(name, Position("p"), earlier, {}, START - timedelta(hours=1))
    await made.store("fresh", Position("p"), [of("fresh", 1)], {}, START)
    async with dispatching(made, receivers, clock, concurrency=8):
        for _ in range(others * 40 + 1):
            assert (await made.next_recorded()).state is DeliveryState.DELIVERED
    place = [sent.url for sent in receivers.sent].index("http://fresh")
    assert place < 2 * others, "about one round: each endpoint gets one before any gets more"


async def test_consumers_that_fetch_their_events_take_no_turn() -> None:
    made = await outbox(["fresh"])
    for number in range(FEW + 200):
        await made.add_endpoint(endpoint(f"pull:c{number}", f"pull{number}", concurrency=0, sources=("fetched",)))
    await made.store("fetched", Position("p"), [of("fetched", 1)], {}, START)
    async with simulated(made, lambda _request: TAKEN) as simulation:
        await store(simulation, "fresh", 2)
        assert [sent.url for sent in simulation.receivers.sent] == ["http://fresh"]
