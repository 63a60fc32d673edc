"""What an endpoint asks for and what its breaker does hold together, wherever limits are stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from cdc.dispatch.flow_control import LEAST_RESULTS, FlowControl
from cdc.dispatch.scheduler import Scheduler
from cdc.dispatch.shared_limits import SharedLimits
from cdc.outbox.store import OutboxStore
from support.dispatching import endpoint, no_jitter
from support.manual_clock import ManualClock


@pytest.mark.parametrize(
    "order", [("open", "pause"), ("pause", "open"), ("open", "pause", "probe"), ("open", "probe", "pause")]
)
@pytest.mark.parametrize("publish_each", [True, False])
async def test_pause_outlives_what_the_breaker_does(
    outbox: OutboxStore, order: Sequence[str], *, publish_each: bool
) -> None:
    """A 503 with ``Retry-After: 600`` may come before and after the breaker opens, and while it probes."""
    await outbox.add_endpoint(endpoint("https://example.com"))
    clock = ManualClock()
    scheduler = Scheduler(64, clock, no_jitter, shared=outbox.limits is not None)
    limits = outbox.limits and SharedLimits(outbox.limits, "w", clock, scheduler)  # none of a single process
    scheduler.follow(await outbox.endpoints())
    channel = scheduler.channels["ep_1"]
    flow, now = channel.flow, clock.monotonic()
    started = [flow.start(now) for _ in range(LEAST_RESULTS + 1)]

    def fail(flow: FlowControl) -> None:
        for turn in started[1:]:
            flow.ended(turn, now, trouble=True)

    acts: dict[str, Callable[[], object]] = {
        "open": lambda: fail(flow),
        "pause": lambda: flow.ended(started[0], now, trouble=True, retry_after=600),
        "probe": lambda: flow.ended(flow.start(now), now, trouble=True),
    }
    for act in order:
        acts[act]()
        if limits:
            limits.ended(channel)
            if publish_each:
                await limits.publish()
    if limits:
        await limits.publish()
        await limits.follow()
    assert 300 < flow.wait(clock.monotonic()) <= 600
