"""A dispatcher on an outbox in memory, with a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from cdc.dispatch.dispatcher import Dispatcher, DispatchSettings
from cdc.dispatch.sender import Sender
from cdc.dispatch.signing import new_secret
from cdc.model.change import Position
from cdc.model.delivery import Outcome
from cdc.model.endpoint import Endpoint
from cdc.model.errors import OutboxError
from cdc.model.event import Event
from cdc.outbox.store import OutboxStore
from support.manual_clock import START, ManualClock
from support.memory_outbox import MemoryOutbox
from support.waiting import HANG_SECONDS


class WatchedOutbox(MemoryOutbox):
    """Hands each recorded outcome to the test.  ``failures``: how many calls of lease or finish fail from now on."""

    def __init__(self) -> None:
        super().__init__()
        self.recorded: asyncio.Queue[Outcome] = asyncio.Queue()
        self.writes: list[int] = []  # outcomes of each `finish`
        self.failures = 0

    async def lease(self, *args: Any, **kwargs: Any) -> Any:
        self._fail()
        return await super().lease(*args, **kwargs)

    async def finish(
        self, worker: str, outcomes: Sequence[Outcome], now: datetime, announcements: Sequence[Event] = ()
    ) -> None:
        self._fail()
        await super().finish(worker, outcomes, now, announcements)
        self.writes.append(len(outcomes))
        for outcome in outcomes:
            self.recorded.put_nowait(outcome)

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise OutboxError("The outbox cannot be written: no space left on the disk.")

    async def next_recorded(self) -> Outcome:
        async with asyncio.timeout(HANG_SECONDS):
            return await self.recorded.get()


def no_jitter() -> float:
    return 0.0


def endpoint(url: str, endpoint_id: str = "ep_1", **changes: Any) -> Endpoint:
    fields = {"events": ("*",), "secret": new_secret(), "created_at": START, "timeout": 5.0, **changes}
    return Endpoint(id=endpoint_id, url=url, **fields)


def event(number: int, record: str | None = None, name: str = "invoice.paid") -> Event:
    return Event(
        id=f"evt_{number}",
        name=name,
        source="main",
        table="facturascli",
        record=record or f"facturascli:{number}",
        key={"idfactura": number},
        data={"idfactura": number, "total": 121.0, "observaciones": "planted-personal-data"},
        previous=None,
        time=START,
        transaction=f"t{number}",
    )


async def store_events(store: MemoryOutbox, events: Sequence[Event], now: datetime = START) -> None:
    await store.store("main", Position("1"), events, {}, now)


@asynccontextmanager
async def dispatching(
    store: OutboxStore, sender: Sender, clock: ManualClock, **settings: Any
) -> AsyncIterator[Dispatcher]:
    dispatcher = Dispatcher(store, sender, clock, DispatchSettings("worker-1", **settings), no_jitter)
    running = asyncio.create_task(dispatcher.run())
    try:
        yield dispatcher
    finally:
        dispatcher.stop()
        while not running.done():
            await asyncio.wait([running], timeout=0.01)
            clock.advance(1)
        await running
