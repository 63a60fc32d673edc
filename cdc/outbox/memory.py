"""The outbox in memory: the twin of the durable ones, for tests.  Nothing survives the process."""

from __future__ import annotations

from bisect import insort
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from heapq import nsmallest
from itertools import islice
from typing import NamedTuple

import orjson

from cdc.delivery import Attempt, DeliveryState, DeliveryView, LeasedDelivery, Outcome
from cdc.endpoint import Endpoint, EndpointChange, Order
from cdc.event import Event
from cdc.outbox.base import DeliveryFilter, Stored, StoredEvent
from cdc.outbox.shared import (
    delivery_id,
    delivery_number,
    endpoint_disabled,
    endpoint_exists,
    endpoint_removed,
    event_exists,
    no_delivery,
    no_endpoint,
    not_finished,
    record_busy,
    subscriber_of,
)
from cdc.pattern import check_pattern, matches
from cdc.payload import event_payload
from cdc.position import Position


class _Record(NamedTuple):
    source: str
    name: str


@dataclass(slots=True)
class _Delivery:
    """``lane``: before merges.  ``due``: when it may be leased; of a leased one, when the lease expires."""

    number: int
    endpoint_id: str
    event: Event
    payload: bytes
    lane: _Record
    created_at: datetime
    due: datetime
    state: DeliveryState = DeliveryState.WAITING
    attempts: int = 0
    worker: str | None = None
    finished_at: datetime | None = None
    log: list[Attempt] = field(default_factory=list)

    @property
    def active(self) -> bool:
        return self.state in {DeliveryState.PENDING, DeliveryState.LEASED}

    def view(self) -> DeliveryView:
        last = self.log[-1] if self.log else None
        return DeliveryView(
            id=delivery_id(self.number),
            endpoint_id=self.endpoint_id,
            event_id=self.event.id,
            event_name=self.event.name,
            record=self.event.record,
            source=self.event.source,
            state=self.state,
            attempts=self.attempts,
            due_at=self.due if self.state is DeliveryState.PENDING else None,
            created_at=self.created_at,
            finished_at=self.finished_at,
            last_status=last.status if last else None,
            last_error=last.error if last else "",
        )


class _Lanes:
    """Sets of records that share one order, because one was renamed to the other; merged for good."""

    def __init__(self) -> None:
        self._root: dict[_Record, _Record] = {}

    def of(self, record: _Record) -> _Record:
        while record in self._root:
            record = self._root[record]
        return record

    def merge(self, former: _Record, record: _Record) -> tuple[_Record, _Record]:
        """Let ``record`` follow ``former``: the lane that ends (or the same one) and the one that takes it in."""
        into, lane = self.of(former), self.of(record)
        if into != lane:
            self._root[lane] = into
        return lane, into


class MemoryOutbox:
    """`OutboxStore` in dictionaries and lists."""

    def __init__(self) -> None:
        self._positions: dict[str, Position] = {}
        self._states: dict[str, dict[str, str]] = defaultdict(dict)
        self._events: dict[str, StoredEvent] = {}
        self._endpoints: dict[str, Endpoint] = {}
        self._removed: set[str] = set()
        self._deliveries: list[_Delivery] = []  # number n stands at n - 1
        self._unfinished: dict[str, dict[int, _Delivery]] = defaultdict(dict)  # by endpoint, then number
        self._lanes = _Lanes()
        self._queues: dict[tuple[str, _Record], list[_Delivery]] = defaultdict(list)  # unfinished, by endpoint and lane
        self._changes = 0
        self._changes_seen: int | None = None

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    # -- written by the relay ---------------------------------------------------------------------------------------

    async def position(self, source: str) -> Position | None:
        return self._positions.get(source)

    async def states(self, source: str) -> dict[str, str]:
        return dict(self._states[source])

    async def store(
        self,
        source: str,
        position: Position,
        events: Sequence[Event],
        states: Mapping[str, str | None],
        now: datetime,
    ) -> Stored:
        payloads = [event_payload(event) for event in events]  # the only step that may fail comes first
        stored = Stored(*await self._add(events, payloads, now))
        self._positions[source] = position
        kept = {**self._states[source], **states}
        self._states[source] = {name: value for name, value in kept.items() if value is not None}
        return stored

    async def announce(self, events: Sequence[Event], now: datetime) -> Stored:
        payloads = [event_payload(event) for event in events]
        return Stored(*await self._add(events, payloads, now))

    async def _add(self, events: Sequence[Event], payloads: Sequence[bytes], now: datetime) -> tuple[int, int]:
        self._changes += 1
        new = deliveries = 0
        for event, payload in zip(events, payloads, strict=True):
            if event.id not in self._events:
                new += 1
                wanting = [one.id for one in await self.endpoints() if subscriber_of(one).wants(event)]
                deliveries += len(wanting)
                self._insert(event, payload, wanting, now)
        return new, deliveries

    def _insert(self, event: Event, payload: bytes, endpoint_ids: Iterable[str], now: datetime) -> None:
        self._events[event.id] = StoredEvent(
            len(self._events) + 1, event.id, event.name, event.source, event.record, event.time, orjson.loads(payload)
        )
        if event.renamed_from is not None:
            self._merge(_Record(event.source, event.renamed_from), _Record(event.source, event.record))
        for endpoint_id in endpoint_ids:
            lane = _lane_for(self._endpoints[endpoint_id].order, event)
            self._deliver(endpoint_id, event, payload, lane, now)

    def _deliver(self, endpoint_id: str, event: Event, payload: bytes, lane: _Record, now: datetime) -> _Delivery:
        delivery = _Delivery(len(self._deliveries) + 1, endpoint_id, event, payload, lane, created_at=now, due=now)
        self._deliveries.append(delivery)
        self._enqueue(delivery)
        return delivery

    def _queue(self, delivery: _Delivery) -> list[_Delivery]:
        return self._queues[delivery.endpoint_id, self._lanes.of(delivery.lane)]

    def _enqueue(self, delivery: _Delivery) -> None:
        self._unfinished[delivery.endpoint_id][delivery.number] = delivery
        queue = self._queue(delivery)
        insort(queue, delivery, key=_number)
        if queue[-1] is not delivery:  # an older one, retried
            _settle(queue)
        elif len(queue) == 1:
            delivery.state = DeliveryState.PENDING

    def _merge(self, former: _Record, record: _Record) -> None:
        lane, into = self._lanes.merge(former, record)
        if lane != into:
            for endpoint_id in self._endpoints:
                queue = self._queues[endpoint_id, into]
                queue += self._queues.pop((endpoint_id, lane), [])
                queue.sort(key=_number)
                _settle(queue)

    # -- endpoints --------------------------------------------------------------------------------------------------

    async def add_endpoint(self, endpoint: Endpoint) -> None:
        if endpoint.id in self._endpoints or endpoint.id in self._removed:
            raise endpoint_exists(endpoint.id)
        self._changes += 1
        self._endpoints[endpoint.id] = endpoint

    async def change_endpoint(self, endpoint_id: str, change: EndpointChange) -> Endpoint:
        self._known(endpoint_id)
        self._changes += 1
        before = self._endpoints[endpoint_id]
        changed = self._endpoints[endpoint_id] = change.applied_to(before)
        if changed.order is not before.order:
            self._reorder(endpoint_id)
        return changed

    def _reorder(self, endpoint_id: str) -> None:
        self._drop_queues(endpoint_id)
        for _, delivery in sorted(self._unfinished[endpoint_id].items()):
            delivery.lane = _lane_for(self._endpoints[endpoint_id].order, delivery.event)
            self._queue(delivery).append(delivery)
        for key, queue in self._queues.items():
            if key[0] == endpoint_id:
                _settle(queue)

    def _drop_queues(self, endpoint_id: str) -> None:
        self._queues = defaultdict(list, {key: queue for key, queue in self._queues.items() if key[0] != endpoint_id})

    async def disable_failing(
        self, endpoint_id: str, failing_since: datetime, reason: str, announcement: Event, now: datetime
    ) -> bool:
        endpoint = self._endpoints.get(endpoint_id)
        if endpoint is None or not endpoint.enabled or endpoint.failing_since != failing_since:
            return False
        payload = event_payload(announcement)
        self._endpoints[endpoint_id] = replace(endpoint, enabled=False, disabled_reason=reason)
        await self._add([announcement], [payload], now)
        return True

    async def remove_endpoint(self, endpoint_id: str, now: datetime) -> None:
        self._known(endpoint_id)
        self._changes += 1
        del self._endpoints[endpoint_id]
        self._removed.add(endpoint_id)
        self._drop_queues(endpoint_id)
        for delivery in self._unfinished.pop(endpoint_id, {}).values():
            delivery.state, delivery.worker, delivery.finished_at = DeliveryState.CANCELLED, None, now

    async def endpoint(self, endpoint_id: str) -> Endpoint | None:
        return self._endpoints.get(endpoint_id)

    async def endpoints(self) -> list[Endpoint]:
        return sorted(self._endpoints.values(), key=lambda endpoint: endpoint.created_at)

    async def seal_secrets(self, *, dry_run: bool = False) -> int:  # noqa: ARG002 -- the protocol's; nothing is at rest
        return 0

    async def send_test(
        self, endpoint_id: str, event: Event, worker: str, now: datetime, until: datetime
    ) -> LeasedDelivery:
        self._known(endpoint_id)
        if not self._endpoints[endpoint_id].enabled:
            raise endpoint_disabled(endpoint_id)
        if event.id in self._events:
            raise event_exists(event.id)
        lane = _lane_for(Order.RECORD, event)
        if self._queues.get((endpoint_id, self._lanes.of(lane))):
            raise record_busy(event.record)
        payload = event_payload(event)
        self._insert(event, payload, [], now)
        return self._take(self._deliver(endpoint_id, event, payload, lane, now), worker, until)

    def _known(self, endpoint_id: str) -> None:
        if endpoint_id not in self._endpoints:
            raise no_endpoint(endpoint_id)

    # -- dispatch ---------------------------------------------------------------------------------------------------

    async def become_dispatcher(self) -> bool:
        return True  # nobody else can reach it

    async def lease(
        self, worker: str, now: datetime, until: datetime, limit: int, room: Mapping[str, int] | None = None
    ) -> list[LeasedDelivery]:
        due: list[_Delivery] = []
        for endpoint_id in self._enabled():
            ready = (one for one in self._unfinished[endpoint_id].values() if one.active and one.due <= now)
            due += nsmallest(min(limit, (room or {}).get(endpoint_id, limit)), ready, key=_turn)
        taken = sorted(due, key=_turn)[:limit]
        return [self._take(delivery, worker, until) for delivery in taken]

    def _take(self, delivery: _Delivery, worker: str, until: datetime) -> LeasedDelivery:
        self._changes += 1
        delivery.state, delivery.worker, delivery.due = DeliveryState.LEASED, worker, until
        delivery.attempts += 1
        return _leased(delivery)

    def _enabled(self) -> list[str]:
        return [endpoint.id for endpoint in self._endpoints.values() if endpoint.enabled]

    async def finish(
        self, worker: str, outcomes: Sequence[Outcome], now: datetime, announcements: Sequence[Event] = ()
    ) -> None:
        payloads = [event_payload(event) for event in announcements]
        deliveries = [self._find(outcome.attempt.delivery_id) for outcome in outcomes]
        self._changes += len(outcomes)
        for delivery, outcome in zip(deliveries, outcomes, strict=True):
            delivery.log.append(outcome.attempt)
            if (delivery.worker, delivery.attempts) == (worker, outcome.attempt.number):
                self._conclude(delivery, outcome, now)
        attempted: dict[str, list[Outcome]] = defaultdict(list)
        for delivery, outcome in zip(deliveries, outcomes, strict=True):
            attempted[delivery.endpoint_id].append(outcome)
        for endpoint_id in attempted.keys() & self._endpoints.keys():
            self._note_health(endpoint_id, attempted[endpoint_id])
        await self._add(announcements, payloads, now)

    def _note_health(self, endpoint_id: str, outcomes: Sequence[Outcome]) -> None:
        endpoint = self._endpoints[endpoint_id]
        since = endpoint.failing_since or min((one.attempt.started_at for one in outcomes if one.failed), default=None)
        if any(outcome.state is DeliveryState.DELIVERED for outcome in outcomes):
            since = None
        self._endpoints[endpoint_id] = replace(endpoint, failing_since=since)

    def _conclude(self, delivery: _Delivery, outcome: Outcome, now: datetime) -> None:
        delivery.state, delivery.worker = outcome.state, None
        if outcome.state.final:
            delivery.finished_at = now
            del self._unfinished[delivery.endpoint_id][delivery.number]
            self._queue(delivery).remove(delivery)
        else:
            delivery.due = outcome.due_at or now
        _settle(self._queue(delivery))
        endpoint = self._endpoints[delivery.endpoint_id]
        if outcome.disable_reason and endpoint.enabled:
            self._endpoints[endpoint.id] = replace(endpoint, enabled=False, disabled_reason=outcome.disable_reason)

    async def release(self, worker: str, now: datetime) -> int:
        held = [one for each in self._unfinished.values() for one in each.values() if one.worker == worker]
        self._changes += len(held)
        for delivery in held:
            delivery.state, delivery.worker, delivery.due = DeliveryState.PENDING, None, now
            delivery.attempts -= 1
        for delivery in held:
            _settle(self._queue(delivery))
        return len(held)

    async def next_due(self, now: datetime) -> datetime | None:  # noqa: ARG002 -- the protocol's; a due time is absolute
        enabled = (one for endpoint_id in self._enabled() for one in self._unfinished[endpoint_id].values())
        return min((delivery.due for delivery in enabled if delivery.active), default=None)

    async def oldest_due(self, now: datetime) -> dict[str, datetime]:
        due = {one: [each.due for each in self._unfinished[one].values() if each.active] for one in self._enabled()}
        return {endpoint_id: min(times) for endpoint_id, times in due.items() if times and min(times) <= now}

    def on_write(self, wake: Callable[[], None]) -> None:
        pass  # there is no other process

    async def changed(self) -> bool:
        changed, self._changes_seen = self._changes != self._changes_seen, self._changes
        return changed

    # -- the log ----------------------------------------------------------------------------------------------------

    async def deliveries(self, which: DeliveryFilter, limit: int, before: str | None = None) -> list[DeliveryView]:
        if which.event_pattern is not None:
            check_pattern(which.event_pattern)
        below = len(self._deliveries) + 1 if before is None else delivery_number(before) or 0
        views = (delivery.view() for delivery in reversed(self._deliveries) if delivery.number < below)
        return list(islice((view for view in views if _fits(view, which)), limit))

    async def delivery(self, delivery_id: str) -> DeliveryView | None:
        return next((one.view() for one in self._deliveries if one.number == delivery_number(delivery_id)), None)

    async def attempts(self, delivery_id: str) -> list[Attempt]:
        return [
            attempt
            for delivery in self._deliveries
            if delivery.number == delivery_number(delivery_id)
            for attempt in delivery.log
        ]

    async def retry(self, delivery_id: str, now: datetime) -> None:
        delivery = self._find(delivery_id)
        if not delivery.state.final:
            raise not_finished(delivery_id)
        if delivery.endpoint_id in self._removed:
            raise endpoint_removed(delivery_id)
        self._changes += 1
        delivery.state, delivery.due = DeliveryState.WAITING, now
        delivery.attempts, delivery.finished_at = 0, None
        delivery.lane = _lane_for(self._endpoints[delivery.endpoint_id].order, delivery.event)
        self._enqueue(delivery)

    def _find(self, delivery_id: str) -> _Delivery:
        number = delivery_number(delivery_id)
        if number is None or number > len(self._deliveries):
            raise no_delivery(delivery_id)
        return self._deliveries[number - 1]

    async def counts(self) -> dict[str, dict[DeliveryState, int]]:
        counted = Counter((delivery.endpoint_id, delivery.state) for delivery in self._deliveries)
        return {
            endpoint.id: {state: counted[endpoint.id, state] for state in DeliveryState if counted[endpoint.id, state]}
            for endpoint in await self.endpoints()
        }

    async def events(self, limit: int, after: int | None = None, pattern: str | None = None) -> list[StoredEvent]:
        patterns = ["*" if pattern is None else check_pattern(pattern)]
        fitting = [event for event in self._events.values() if matches(event.name, patterns)]
        if after is None:
            return fitting[max(0, len(fitting) - limit) :]
        return [event for event in fitting if event.sequence > after][:limit]

    async def event(self, event_id: str) -> StoredEvent | None:
        return self._events.get(event_id)


def _lane_for(order: Order, event: Event) -> _Record:
    """No source has an empty name: the lanes of the other orders are nobody's."""
    if order is Order.RECORD:
        return _Record(event.source, event.record)
    return _Record("", event.id if order is Order.NONE else "")


def _settle(queue: list[_Delivery]) -> None:
    """Of the unfinished in a lane the oldest is pending, unless one is leased; the others wait."""
    free = [delivery for delivery in queue if delivery.state is not DeliveryState.LEASED]
    for delivery in free:
        delivery.state = DeliveryState.WAITING
    if free and len(free) == len(queue):
        free[0].state = DeliveryState.PENDING


def _number(delivery: _Delivery) -> int:
    return delivery.number


def _turn(delivery: _Delivery) -> tuple[datetime, int]:
    """Oldest due first."""
    return delivery.due, delivery.number


def _leased(delivery: _Delivery) -> LeasedDelivery:
    return LeasedDelivery(
        id=delivery_id(delivery.number),
        endpoint_id=delivery.endpoint_id,
        event_id=delivery.event.id,
        event_name=delivery.event.name,
        record=delivery.event.record,
        attempt=delivery.attempts,
        lease_until=delivery.due,
        body_event=delivery.payload,
    )


def _fits(view: DeliveryView, which: DeliveryFilter) -> bool:
    return (
        which.endpoint_id in {None, view.endpoint_id}
        and which.event_id in {None, view.event_id}
        and which.record in {None, view.record}
        and which.state in {None, view.state}
        and (which.event_pattern is None or matches(view.event_name, [which.event_pattern]))
    )
