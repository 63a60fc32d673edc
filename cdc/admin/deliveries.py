"""Deliveries: the log, sending one again; and replays, which send many again."""

from __future__ import annotations

import secrets
from dataclasses import replace

from cdc.admin.base import UseCases, page_of
from cdc.dispatch.replay import ReplayPlan, count
from cdc.model.delivery import Attempt, DeliveryFilter, DeliveryView, Replay, Replayed, ReplayState
from cdc.model.quota import Limited
from cdc.outbox.shared import no_delivery, no_endpoint, no_replay
from cdc.outbox.slices import SearchPage, TimeBudget

#: Time limit (seconds) of counting the deliveries of a replay, because the caller waits for it.
COUNT_SECONDS = 5.0


class Deliveries(UseCases):
    async def search(self, which: DeliveryFilter, limit: int, before: str | None = None) -> SearchPage[DeliveryView]:
        theirs, budget = await self._of_theirs(which), TimeBudget(self._clock.monotonic)
        return await self._store.search_deliveries(theirs, limit, budget, before)

    async def get(self, delivery_id: str) -> DeliveryView:
        """Raises `NotFound`.  A test has no source: it belongs to the endpoint."""
        found = await self._store.delivery(delivery_id)
        seen = found is not None and (found.is_test or self._principal.sees(found.source))
        if found is None or not (seen and await self._owns(found.endpoint_id)):
            raise no_delivery(delivery_id)
        return found

    async def attempts(self, delivery: DeliveryView) -> list[Attempt]:
        return await self._store.attempts(delivery.id)

    async def retry(self, delivery_id: str) -> None:
        """Send it again.  Raises `UsageError`."""
        if self._principal.sources:
            await self.get(delivery_id)
        await self._store.retry(delivery_id, self._clock.now(), self._note("delivery.retry", delivery_id))

    # -- replays ----------------------------------------------------------------------------------------------------

    async def replays(self, limit: int, before: str | None = None) -> list[Replay]:
        """Newest first."""
        if not self._principal.sources:
            return await self._store.replays(limit, before)

        async def owned(replay: Replay) -> bool:
            return self._principal.owns(replay.which.sources or ())

        return await page_of(self._store.replays, owned, limit, before)

    async def replay(self, replay_id: str) -> Replay:
        """Raises `NotFound`."""
        found = await self._store.find_replay(replay_id)
        if found is None or not self._principal.owns(found.which.sources or ()):
            raise no_replay(replay_id)
        return found

    async def count_replay(self, which: DeliveryFilter) -> Replayed:
        """Return what a replay would do; counting ends after some seconds, and then ``after`` is not None.  Raises
        `NotFound` for its endpoint."""
        return await self._count(await self._replayed(which))

    async def begin_replay(self, which: DeliveryFilter, rate: float) -> Replay:
        """Store a replay, which this process continues, or another one that serves.  Raises as `count_replay`."""
        which = await self._replayed(which)
        found = await self._count(which)
        total = found.deliveries if found.after is None else None
        begun = Replay(f"rpl_{secrets.token_hex(8)}", self._principal.name, which, rate, total, self._clock.now())
        within = self._quotas(Limited.REPLAYS, which.sources or ())
        await self._store.add_replay(begun, self._note("delivery.replay", begun.id, within=within))
        self._service.replay_asked()
        return begun

    async def cancel_replay(self, replay_id: str) -> Replay:
        """Raises `NotFound`."""
        await self.replay(replay_id)
        note = self._note("delivery.cancel-replay", replay_id)
        return await self._store.end_replay(replay_id, ReplayState.CANCELLED, "", self._clock.now(), note)

    def replay_plan(self, which: DeliveryFilter, rate: float, after: str | None) -> ReplayPlan:
        """Return the plan of a replay that the caller does itself, step by step."""
        subject = which.endpoint_id or which.event_pattern or "deliveries"
        return ReplayPlan(which, rate, after, self._note("delivery.replay", subject))

    async def _count(self, which: DeliveryFilter) -> Replayed:
        return await count(self._store, ReplayPlan(which, rate=0), self._clock, COUNT_SECONDS)

    # -- what is theirs ---------------------------------------------------------------------------------------------

    async def _owns(self, endpoint_id: str) -> bool:
        if not self._principal.sources:
            return True
        found = await self._store.endpoint(endpoint_id)
        return found is not None and self._principal.owns(found.sources)

    async def _of_theirs(self, which: DeliveryFilter) -> DeliveryFilter:
        if not self._principal.sources:
            return which
        endpoints = await self._store.endpoints()
        theirs = tuple(each.id for each in endpoints if self._principal.owns(each.sources))
        return replace(self._principal.narrowed(which), endpoint_ids=theirs)

    async def _replayed(self, which: DeliveryFilter) -> DeliveryFilter:
        if which.endpoint_id is not None and not await self._owns(which.endpoint_id):
            raise no_endpoint(which.endpoint_id)
        return await self._of_theirs(which)
