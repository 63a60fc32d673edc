"""On every outbox: an endpoint that fails for days is warned of, disabled, and gets all of it when it is enabled."""

from __future__ import annotations

from datetime import datetime, timedelta

from cdc.dispatch.auto_disable import AutoDisable, Failures
from cdc.model.delivery import DeliveryFilter, DeliveryState
from cdc.model.endpoint import EndpointChange
from cdc.outbox.store import OutboxStore
from support.manual_clock import ManualClock
from support.outboxes import endpoint, event, event_ids, outcome, store

HOUR = timedelta(hours=1)


class Process:
    """A dispatcher of ``ep_a``, which refuses everything, and what looks after it."""

    def __init__(self, outbox: OutboxStore, clock: ManualClock) -> None:
        self._outbox = outbox
        self._clock = clock
        self._failures = Failures()
        self._endurance = AutoDisable(outbox, self._failures, clock, lambda: None, lambda: None)

    async def work(self) -> None:
        """Attempts what is due, which is due again in an hour; then a look."""
        now = self._clock.now()
        leased = await self._outbox.lease("w", now, now + HOUR, 10, {"ep_ops": 0})
        outcomes = [outcome(each, DeliveryState.PENDING, now + HOUR, started_at=now) for each in leased]
        await self._outbox.finish("w", outcomes, now)
        self._failures.attempted([(each, "ep_a") for each in outcomes])
        await self._endurance.look()


async def told(outbox: OutboxStore) -> list[tuple[str, int | None, datetime]]:
    found = await outbox.events(100, after=0, pattern="endpoint.*")
    return [(each.name, each.payload["data"].get("percent"), each.time) for each in found]


async def test_five_days_of_failure(outbox: OutboxStore) -> None:
    clock = ManualClock()
    begin = clock.now()
    await outbox.add_endpoint(endpoint())
    await outbox.add_endpoint(endpoint("ep_ops", events=("endpoint.*",)))
    await store(outbox, event(1, "a:1"), event(2, "a:1"), event(3, "b:1"), now=begin)
    processes = [Process(outbox, clock) for _ in range(2)]
    for hour in range(6 * 24):
        await processes[hour % 2].work()  # they share the attempts
        await processes[1 - hour % 2].work()
        clock.advance(3600)
    assert await told(outbox) == [
        ("endpoint.failing", 50, begin + 60 * HOUR),
        ("endpoint.failing", 70, begin + 84 * HOUR),
        ("endpoint.failing", 90, begin + 108 * HOUR),
        ("endpoint.disabled", None, begin + 120 * HOUR),
    ]
    found = await outbox.endpoint("ep_a")
    assert found is not None
    assert (found.enabled, found.disabled_reason) == (False, "It has accepted nothing for 5 days.")
    assert len(await outbox.deliveries(DeliveryFilter(endpoint_id="ep_ops"), 10)) == 4
    await outbox.change_endpoint("ep_a", EndpointChange(enabled=True, disabled_reason=""))
    leased = await outbox.lease("w", clock.now(), clock.now() + HOUR, 10, {"ep_ops": 0})
    assert event_ids(leased) == ["evt_1", "evt_3"]
    assert [each.attempt for each in leased] == [122, 122]  # each of the 121 hours once
