"""A receiver that refuses every request that holds a certain event: real sockets, a real outbox, a clock that jumps."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import orjson
import pytest
from aiohttp import web

from cdc.dispatch.sender import HttpSender
from cdc.model.change import Position
from cdc.model.delivery import DeliveryFilter, DeliveryState, Outcome
from cdc.model.endpoint import PayloadFormat
from cdc.model.event import Event
from cdc.outbox.sqlite.outbox import SqliteOutbox
from support.dispatching import dispatching, endpoint, event
from support.http_servers import served
from support.manual_clock import START, ManualClock
from support.waiting import HANG_SECONDS

POISONOUS = "evt_137"
EVENTS = 250


class Refusing:
    """Answers ``status`` to what holds the poisonous event, and notes what it took and refused."""

    def __init__(self, status: int) -> None:
        self._status = status
        self.taken: list[str] = []
        self.refused: list[int] = []  # how many events each refused request held

    def app(self) -> web.Application:
        app = web.Application(client_max_size=2**24)
        app.router.add_post("/{path:.*}", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.Response:
        ids = [each["id"] for each in orjson.loads(await request.read())]
        if POISONOUS in ids:
            self.refused.append(len(ids))
            return web.Response(status=self._status)
        self.taken += ids
        return web.Response(status=204)


class Recording(SqliteOutbox):
    """Tells of each outcome when it is recorded."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.recorded: asyncio.Queue[Outcome] = asyncio.Queue()

    async def finish(
        self, worker: str, outcomes: Sequence[Outcome], now: datetime, announcements: Sequence[Event] = ()
    ) -> None:
        await super().finish(worker, outcomes, now, announcements)
        for outcome in outcomes:
            self.recorded.put_nowait(outcome)


@pytest.mark.parametrize("payload", list(PayloadFormat))
@pytest.mark.parametrize("status", [400, 500])
async def test_its_neighbours_are_delivered_and_it_is_a_dead_letter(
    tmp_path: Path, status: int, payload: PayloadFormat
) -> None:
    receiver, clock, store = Refusing(status), ManualClock(), Recording(tmp_path / "outbox.db")
    await store.open()
    delays = (5.0, 25.0, 125.0)
    events = [event(number) for number in range(1, EVENTS + 1)]
    async with served(receiver.app()) as url, HttpSender(allow_private=True) as sender:
        to = endpoint(url, batch_size=50, batch_wait=1.0, retry_schedule=delays, format=payload)
        await store.add_endpoint(to)
        await store.store("main", Position("1"), events, {}, START)
        async with dispatching(store, sender, clock) as dispatcher:
            states = [await _outcomes(store, EVENTS)]
            for seconds, count in zip(delays, (50, 50, 1), strict=True):  # two times together, then each by itself
                clock.advance(seconds)
                dispatcher.notify()  # it may have looked at the clock before, and this one stands still again
                states.append(await _outcomes(store, count))
    dead = await store.deliveries(DeliveryFilter(state=DeliveryState.DEAD), 10)
    log = await store.attempts(dead[0].id)
    await store.close()
    assert [(view.event_id, view.attempts) for view in dead] == [(POISONOUS, 4)]
    assert [attempt.started_at - START for attempt in log] == [
        timedelta(seconds=sum(delays[:number])) for number in range(4)
    ]
    assert sorted(receiver.taken) == sorted({each.id for each in events} - {POISONOUS})  # each once
    assert receiver.refused == [50, 50, 1, 1]
    assert states == [
        {DeliveryState.DELIVERED: EVENTS - 50, DeliveryState.PENDING: 50},
        {DeliveryState.PENDING: 50},
        {DeliveryState.DELIVERED: 49, DeliveryState.PENDING: 1},
        {DeliveryState.DEAD: 1},
    ]


async def _outcomes(store: Recording, count: int) -> Counter[DeliveryState]:
    async with asyncio.timeout(HANG_SECONDS):
        return Counter([(await store.recorded.get()).state for _ in range(count)])
