"""Rates, breakers and pauses of endpoints that hold over all processes which dispatch from one outbox.

What is detected here is published, what others published is followed, and requests by a rate and probes are admitted by
the outbox, in whose clock all times are.  A process that dies leaves nothing that does not pass by itself."""

from __future__ import annotations

from cdc.dispatch.scheduler import Channel, Scheduler
from cdc.model.clock import Clock
from cdc.model.delivery import EndpointHold
from cdc.model.errors import OutboxError
from cdc.outbox.base import LimitStore


class SharedLimits:
    def __init__(self, store: LimitStore, worker: str, clock: Clock, scheduler: Scheduler) -> None:
        self._store = store
        self._worker = worker
        self._clock = clock
        self._scheduler = scheduler
        self._unpublished: set[Channel] = set()

    def ended(self, channel: Channel) -> bool:
        """Note the end of a request.  Return whether there is something to publish."""
        if channel.flow.unpublished:
            self._unpublished.add(channel)
        return channel.flow.unpublished

    async def publish(self) -> bool:
        """Publish which breakers opened or closed, and pauses.  Return whether there were any: now `follow`, for what
        another process published before counts."""
        if not self._unpublished:
            return False
        channels, self._unpublished = self._unpublished, set()
        now = self._clock.monotonic()
        holds = {each: each.flow.take(now) for each in channels if each.flow.unpublished}
        try:
            await self._store.publish(self._worker, {each.endpoint.id: hold for each, hold in holds.items()})
        except OutboxError:
            self._unpublished |= channels
            for each, hold in holds.items():
                each.flow.put_back(hold)
            raise
        return True

    async def follow(self) -> None:
        """Take over what was published."""
        holds = await self._store.holds()
        now, channels, active = self._clock.monotonic(), self._scheduler.channels, self._scheduler.active
        active.update(channels[each] for each in holds if each in channels)
        for channel in active:
            channel.flow.follow(holds.get(channel.endpoint.id, EndpointHold()), now)

    async def admit(self) -> bool:
        """Have requests that wait here admitted, as far as that is needed.  Return whether some are not to be sent
        soon."""
        if not self._scheduler.free():
            return False
        now, channels = self._clock.monotonic(), self._scheduler.channels
        found = {
            each.endpoint.id: each.flow.request(min(each.ready, each.room()), each.endpoint.timeout, now)
            for each in self._scheduler.active
            if each.ready
        }
        wanted = {endpoint_id: each for endpoint_id, each in found.items() if each}
        if not wanted:
            return False
        admitted = await self._store.admit(self._worker, wanted)
        now = self._clock.monotonic()
        for endpoint_id in admitted.keys() & channels.keys():
            channels[endpoint_id].flow.admit(admitted[endpoint_id], now)
        return not all(each.requests for each in admitted.values())
