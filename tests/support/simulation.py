"""A dispatcher whose clock jumps from one moment at which it has something to do to the next: days in seconds."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from typing import NamedTuple

from cdc.dispatch.dispatcher import Dispatcher, DispatchSettings
from cdc.dispatch.request import WebhookRequest
from cdc.dispatch.retry import Answer
from cdc.dispatch.sender import Sender
from cdc.model.change import Position
from cdc.model.event import Event
from cdc.model.observer import SILENT, Observer
from cdc.outbox.store import OutboxStore
from support.dispatching import no_jitter
from support.manual_clock import START, ManualClock
from support.waiting import HANG_SECONDS

REFUSED = Answer(None, 0.01, error="It refused the connection.")
TAKEN = Answer(204, 0.01)


class Sent(NamedTuple):
    """``at``: seconds since the start of the simulation."""

    at: float
    url: str
    event_id: str
    well: bool


class Receivers:
    """A `cdc.dispatch.sender.Sender`: ``answer`` says what comes back, ``sent`` what they were sent."""

    def __init__(self, clock: ManualClock, answer: Callable[[WebhookRequest], Answer]) -> None:
        self._clock = clock
        self.answer = answer
        self.sent: list[Sent] = []

    async def send(self, request: WebhookRequest) -> Answer:
        answer = self.answer(request)
        at = (self._clock.now() - START).total_seconds()
        self.sent.append(Sent(at, request.url, request.headers["webhook-id"], answer.status == TAKEN.status))
        await asyncio.sleep(0)
        return answer

    def to(self, url: str) -> list[Sent]:
        return [each for each in self.sent if each.url == url]

    def attempts(self, url: str) -> Counter[str]:
        """Return how often each event was sent there."""
        return Counter(each.event_id for each in self.to(url))


@dataclass
class Stepping:
    """A dispatcher on any outbox, with any sender, whose clock moves when the test says so."""

    store: OutboxStore
    clock: ManualClock
    dispatcher: Dispatcher

    async def idle(self) -> None:
        """Wait until the dispatcher has done all that there is to do at this moment: then it waits for a later one.
        A loop that only spins would keep the outbox's thread from its work."""
        async with asyncio.timeout(HANG_SECONDS):
            for turn in count():
                if self._is_idle():
                    return
                await (asyncio.sleep(0) if turn < 20 else self._begun_to_wait())

    async def _begun_to_wait(self) -> None:
        """Wait until a task waits for a time; at most two milliseconds, for the last write may end behind that."""
        self.clock.begun.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(0.002):
                await self.clock.begun.wait()

    def _is_idle(self) -> bool:
        dispatcher = self.dispatcher
        at_work = dispatcher._wake.is_set() or dispatcher._scheduler.in_flight or dispatcher._recorder.unrecorded
        return not at_work and self.clock.next_wake() is not None

    async def run(self, seconds: float, step: float = 0.0) -> None:
        """Let time pass.  ``step``: the shortest jump; 0: no moment is passed over."""
        end = self.clock.now() + timedelta(seconds=seconds)
        await self.idle()
        while self.clock.now() < end:
            wake = self.clock.next_wake() or end
            at = min(max(wake, self.clock.now() + timedelta(seconds=step)), end)
            self.clock.advance((at - self.clock.now()).total_seconds())
            await self.idle()

    async def store_events(self, events: Sequence[Event]) -> None:
        """Store events as the relay of this process does."""
        await self.store.store("main", Position(str(self.clock.now())), events, {}, self.clock.now())
        self.dispatcher.notify()
        await self.idle()

    def now(self) -> float:
        """Seconds since the start."""
        return (self.clock.now() - START).total_seconds()


@dataclass
class Simulation(Stepping):
    """Simulation with receivers in memory."""

    receivers: Receivers


@asynccontextmanager
async def stepping(
    store: OutboxStore, sender: Sender, clock: ManualClock, observer: Observer = SILENT
) -> AsyncIterator[Stepping]:
    dispatcher = Dispatcher(store, sender, clock, DispatchSettings("worker-1"), no_jitter, observer=observer)
    running = asyncio.create_task(dispatcher.run())
    try:
        yield Stepping(store, clock, dispatcher)
    finally:
        dispatcher.stop()
        await running


@asynccontextmanager
async def simulated(
    store: OutboxStore,
    answer: Callable[[WebhookRequest], Answer],
    *,
    start: datetime = START,
    observer: Observer = SILENT,
) -> AsyncIterator[Simulation]:
    clock = ManualClock(start)
    receivers = Receivers(clock, answer)
    async with stepping(store, receivers, clock, observer) as made:
        yield Simulation(store, clock, made.dispatcher, receivers)
