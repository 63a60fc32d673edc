"""What dispatch knows of endpoints survives its failure: `cdc run` starts it again in the same process."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from typing import Any

from cdc.config import Config
from cdc.dispatch.flow_control import LAST_PROBE, LEAST_RESULTS, FlowControl
from cdc.dispatch.request import WebhookRequest
from cdc.dispatch.retry import Answer
from cdc.dispatch.scheduler import Channel, Flight, Tenant
from cdc.model.clock import SystemClock
from cdc.model.delivery import Held, Hold
from cdc.model.errors import CdcError
from cdc.model.observer import Observer
from cdc.model.worker import ProcessRole
from cdc.runtime.consumer import DISPATCH, ConsumerParts
from cdc.runtime.process import Supervisor
from cdc.web.monitor import Reported
from support.dispatching import endpoint, event, no_jitter, store_events
from support.manual_clock import ManualClock
from support.memory_outbox import MemoryOutbox
from support.waiting import HANG_SECONDS

URL = "http://a"


class FailingOutbox(MemoryOutbox):
    """Its next lease fails by a defect, when it is told to."""

    defect = False

    async def lease(self, *args: Any, **kwargs: Any) -> Any:
        if self.defect:
            self.defect = False
            raise RuntimeError("a defect")
        return await super().lease(*args, **kwargs)


class Receiver:
    """A sender to an endpoint that is down."""

    def __init__(self) -> None:
        self.sent = 0

    async def send(self, _request: WebhookRequest) -> Answer:
        self.sent += 1
        return Answer(503, 0.01)


class Watching(Observer):
    """``held``: reasons by endpoint, in the order of the reports.  ``failures``: of components."""

    def __init__(self) -> None:
        self.held_now: Mapping[str, Held] = {}
        self.failures = 0
        self.changed = asyncio.Event()

    def held(self, held: Mapping[str, Held]) -> None:
        self.held_now = held
        self.changed.set()

    def component_failed(self, name: str, error: CdcError) -> None:
        assert name == DISPATCH, error
        self.failures += 1
        self.changed.set()

    async def until(self, failures: int) -> None:
        """Wait until so many failed and the breaker is reported as open since."""
        async with asyncio.timeout(HANG_SECONDS):
            while self.failures < failures or {each.by for each in self.held_now.values()} != {Hold.BREAKER}:
                self.changed.clear()
                await self.changed.wait()


async def _never_reloaded(config: Config) -> None:
    raise AssertionError(f"nothing is reloaded: {config}")


async def test_open_breaker_stays_open_when_dispatch_fails_and_starts_again() -> None:
    store, receiver, observer, stop = FailingOutbox(), Receiver(), Watching(), asyncio.Event()
    await store.add_endpoint(endpoint(URL))
    parts = ConsumerParts(store, Reported(SystemClock()), observer, ProcessRole.ALL, print, Supervisor())

    async def dispatch(stop: asyncio.Event) -> None:
        await parts._dispatched(Config(), receiver, stop, _never_reloaded)

    running = asyncio.create_task(parts.components.keep(DISPATCH, dispatch, stop))
    try:
        await store_events(store, [event(number) for number in range(1, 41)], SystemClock().now())
        parts.wake()
        await observer.until(failures=0)
        sent = receiver.sent
        assert LEAST_RESULTS <= sent < 40
        store.defect, observer.held_now = True, {}
        parts.wake()
        await observer.until(failures=1)
        assert receiver.sent <= sent + 1, "a probe at most"
    finally:
        stop.set()
        await running


def test_probe_that_breaks_off_with_its_dispatcher_is_followed_by_another() -> None:
    clock = ManualClock()
    flow = FlowControl(0.0, no_jitter, trying=True)
    tenant = Tenant("main")
    probe = Flight(Channel(endpoint(URL), flow, tenant), (), tenant, clock.monotonic())
    assert flow.wait(clock.monotonic()) == math.inf
    probe.broken_off(clock)
    assert 0 < flow.wait(clock.monotonic()) <= LAST_PROBE
