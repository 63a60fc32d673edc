"""The outbox in memory: retries and replays, retention, expunging."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from cdc.model.audit import Note
from cdc.model.delivery import DeliveryFilter, DeliveryState, Replayed
from cdc.outbox.base import Retained, Retention
from cdc.outbox.shared import (
    endpoint_removed,
    event_expunged,
    no_endpoint,
    no_event,
    not_finished,
    place_of,
    place_text,
    restored,
    still_subscribed,
    subscriber_of,
)
from cdc.outbox.upkeep import RetentionCandidate, sort_out
from support.memory_outbox.log import MemoryLog, check, fits, place_in_log
from support.memory_outbox.tables import Delivery, ordering_key, settle


class MemoryUpkeep(MemoryLog):
    """Retries, replays and retention of the outbox in memory."""

    async def retry(self, delivery_id: str, now: datetime, note: Note = ()) -> None:
        self._retry(delivery_id, now)
        self.audit.note(note)

    def _retry(self, delivery_id: str, now: datetime) -> None:
        delivery = self._find(delivery_id)
        if not delivery.state.final:
            if not delivery.active or delivery.worker is not None:
                raise not_finished(delivery_id)
            delivery.due = min(delivery.due, now)
            self._changes += 1
            return
        if delivery.endpoint_id in self._removed:
            raise endpoint_removed(delivery_id)
        if not delivery.payload:
            raise event_expunged(delivery.event.id)
        self._changes += 1
        self._reopen(delivery, now)

    def _reopen(self, delivery: Delivery, now: datetime) -> None:
        delivery.state, delivery.due = DeliveryState.WAITING, now
        delivery.attempts, delivery.finished_at = 0, None
        delivery.lane = ordering_key(self._endpoints[delivery.endpoint_id].order, delivery.event)
        self._enqueue(delivery)

    async def replay(
        self,
        which: DeliveryFilter,
        limit: int,
        now: datetime,
        after: str | None = None,
        *,
        dry_run: bool = False,
        note: Note = (),
    ) -> Replayed:
        if which.endpoint_id is not None and which.endpoint_id not in self._endpoints:
            raise no_endpoint(which.endpoint_id)
        if not dry_run:
            self.audit.note(note)
        start = place_of(after)
        done = expunged = 0
        for place, payload, replay in self._replayable(which, now):
            if place <= start:
                continue
            if not payload:
                expunged += 1
                continue
            if not dry_run:
                self._changes += 1
                replay()
            done += 1
            if done == limit:
                return Replayed(done, expunged, place_text(*place))
        return Replayed(done, expunged, None)

    def _replayable(
        self, which: DeliveryFilter, now: datetime
    ) -> Iterator[tuple[tuple[int, int], bytes, Callable[[], object]]]:
        """Place in the log, payload, and what to do; in order."""
        found = [
            (place_in_log(each), each.payload, lambda each=each: self._reopen(each, now))
            for each in self._found(which)
            if each.state.final and each.endpoint_id in self._endpoints
        ]
        found += [
            ((sequence, 0), self._payloads[event_id], lambda event_id=event_id: self._make(event_id, which, now))
            for event_id, sequence in self._missing(which)
        ]
        yield from sorted(found, key=lambda each: each[0])

    def _missing(self, which: DeliveryFilter) -> Iterator[tuple[str, int]]:
        """Events that the endpoint wants and never got: id and sequence."""
        if which.endpoint_id is None or which.state is not None:
            return
        check(which)
        subscriber = subscriber_of(self._endpoints[which.endpoint_id])
        got = {each.event.id for each in self._deliveries.values() if each.endpoint_id == which.endpoint_id}
        for stored in self._events.values():
            if stored.id not in got and fits(stored, which) and still_subscribed(subscriber, stored):
                yield stored.id, stored.sequence

    def _make(self, event_id: str, which: DeliveryFilter, now: datetime) -> None:
        assert which.endpoint_id is not None
        event = restored(self._events[event_id])
        self._deliver(which.endpoint_id, event, ordering_key(self._endpoints[which.endpoint_id].order, event), now)

    async def retain(self, what: Retention, limit: int, after: int = 0) -> Retained:
        newest = max((event.sequence for event in self._events.values()), default=0)
        behind = [event.id for event in self._events.values() if after < event.sequence < newest]
        ids = {self._events[each].sequence: each for each in behind[:limit]}
        found = sort_out(what, [self._looked(each) for each in ids.values()], newest, limit)
        last = max(self._deliveries, default=0)
        gone = [
            each
            for each in self._deliveries.values()
            if each.number < last
            and (
                each.sequence in found.surplus
                or (each.sequence in found.old and _finished_before(each, what.finished_before))
            )
        ]
        for delivery in gone:
            del self._deliveries[delivery.number]
        left = {each.sequence for each in self._deliveries.values()}
        bare = [sequence for sequence in found.old + found.surplus if sequence not in left]
        for sequence in bare:
            del self._events[ids[sequence]], self._payloads[ids[sequence]]
        emptied = [sequence for sequence in found.emptied if sequence not in bare]
        for sequence in emptied:
            self._empty(ids[sequence])
        self._changes += len(gone) + len(bare) + len(emptied)
        return Retained(len(bare), len(gone), len(emptied), found.after)

    def _looked(self, event_id: str) -> RetentionCandidate:
        event = self._events[event_id]
        mine = [each for each in self._deliveries.values() if each.event.id == event_id]
        finished = [each.finished_at for each in mine if each.finished_at]
        dead = [each.finished_at for each in mine if each.finished_at and each.state is DeliveryState.DEAD]
        unfinished = len(finished) < len(mine)
        return RetentionCandidate(
            event.sequence,
            event.time,
            not event.expunged,
            unfinished,
            max(finished, default=None),
            max(dead, default=None),
        )

    async def expunge(self, event_ids: Sequence[str], now: datetime, note: Note = ()) -> int:
        for event_id in event_ids:
            if event_id not in self._events:
                raise no_event(event_id)
        self._changes += 1
        ended = [each for each in self._deliveries.values() if each.event.id in event_ids and not each.state.final]
        for delivery in ended:
            delivery.state, delivery.worker, delivery.finished_at = DeliveryState.CANCELLED, None, now
            del self._unfinished[delivery.endpoint_id][delivery.number]
            queue = self._queue(delivery)
            queue.remove(delivery)
            settle(queue)
        for event_id in event_ids:
            self._empty(event_id)
        self.audit.note(note)
        return len(ended)

    def _empty(self, event_id: str) -> None:
        self._events[event_id] = replace(self._events[event_id], payload={})
        self._payloads[event_id] = b""
        self._labels.pop(event_id, None)
        for delivery in self._deliveries.values():
            if delivery.event.id == event_id:
                delivery.payload = b""
                delivery.event = delivery.event._replace(key={}, data={}, previous=None)
                delivery.log = [attempt._replace(answer="") for attempt in delivery.log]


def _finished_before(delivery: Delivery, limit: datetime | None) -> bool:
    return limit is not None and delivery.finished_at is not None and delivery.finished_at < limit
