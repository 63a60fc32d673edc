"""The content of the outbox in memory, and the order of its deliveries."""

from __future__ import annotations

from bisect import insort
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import orjson

from cdc.model.change import Position, SnapshotRow
from cdc.model.delivery import Attempt, DeliveryState, DeliveryView
from cdc.model.endpoint import Endpoint, Order
from cdc.model.event import Event
from cdc.outbox.base import StoredEvent
from cdc.outbox.shared import delivery_id, delivery_number, no_delivery
from support.memory_outbox.audit import MemoryAudit


class Record(NamedTuple):
    source: str
    name: str


@dataclass(slots=True)
class Delivery:
    """``sequence``: of its event.  ``lane``: before merges.  ``due``: when it may be leased; of a leased one, when the
    lease expires."""

    number: int
    endpoint_id: str
    event: Event
    sequence: int
    payload: bytes
    lane: Record
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
            expunged=not self.payload,
        )


class Lanes:
    """Sets of records that share one order, because one was renamed to the other; merged for good."""

    def __init__(self) -> None:
        self._root: dict[Record, Record] = {}

    def of(self, record: Record) -> Record:
        while record in self._root:
            record = self._root[record]
        return record

    def merge(self, former: Record, record: Record) -> tuple[Record, Record]:
        """Let ``record`` follow ``former``: the lane that ends (or the same one) and the one that takes it in."""
        into, lane = self.of(former), self.of(record)
        if into != lane:
            self._root[lane] = into
        return lane, into


class MemoryTables:
    """Events, endpoints, deliveries, and the unfinished of these in the order in which they go."""

    def __init__(self) -> None:
        super().__init__()
        self.audit = MemoryAudit()
        self._positions: dict[str, Position] = {}
        self._states: dict[str, dict[str, str]] = defaultdict(dict)
        self._kept: dict[tuple[str, str], dict[bytes, SnapshotRow]] = defaultdict(dict)  # by source and table
        self._refusals: dict[str, str] = {}  # by API
        self._sessions: dict[str, str] = {}  # by source
        self._events: dict[str, StoredEvent] = {}  # in the order of their sequences
        self._payloads: dict[str, bytes] = {}  # of each event
        self._labels: dict[str, tuple[str, str]] = {}  # of each event that was not expunged
        self._endpoints: dict[str, Endpoint] = {}
        self._numbers: dict[str, int] = {}  # of all endpoints, removed ones too
        self._removed: dict[str, tuple[str, str]] = {}
        self._deliveries: dict[int, Delivery] = {}  # by their numbers, in order
        self._unfinished: dict[str, dict[int, Delivery]] = defaultdict(dict)  # by endpoint, then number
        self._lanes = Lanes()
        self._queues: dict[tuple[str, Record], list[Delivery]] = defaultdict(list)  # unfinished, by endpoint and lane
        self._changes = 0

    def _insert(self, event: Event, payload: bytes, endpoint_ids: Iterable[str], now: datetime) -> None:
        newest = next(reversed(self._events.values()), None)
        sequence = newest.sequence + 1 if newest else 1
        self._payloads[event.id] = payload
        self._labels[event.id] = event.labels
        self._events[event.id] = StoredEvent(
            sequence, event.id, event.name, event.source, event.record, event.time, orjson.loads(payload)
        )
        if event.renamed_from is not None:
            self._merge(Record(event.source, event.renamed_from), Record(event.source, event.record))
        for endpoint_id in endpoint_ids:
            self._deliver(endpoint_id, event, ordering_key(self._endpoints[endpoint_id].order, event), now)

    def _deliver(self, endpoint_id: str, event: Event, lane: Record, now: datetime) -> Delivery:
        """Add a delivery of a stored event."""
        number = next(reversed(self._deliveries), 0) + 1
        sequence, payload = self._events[event.id].sequence, self._payloads[event.id]
        delivery = Delivery(number, endpoint_id, event, sequence, payload, lane, created_at=now, due=now)
        self._deliveries[number] = delivery
        self._enqueue(delivery)
        return delivery

    def _queue(self, delivery: Delivery) -> list[Delivery]:
        return self._queues[delivery.endpoint_id, self._lanes.of(delivery.lane)]

    def _enqueue(self, delivery: Delivery) -> None:
        self._unfinished[delivery.endpoint_id][delivery.number] = delivery
        queue = self._queue(delivery)
        insort(queue, delivery, key=sequence_of)
        if queue[-1] is not delivery:  # of an older event: retried or replayed
            settle(queue)
        elif len(queue) == 1:
            delivery.state = DeliveryState.PENDING

    def _merge(self, former: Record, record: Record) -> None:
        lane, into = self._lanes.merge(former, record)
        if lane != into:
            for endpoint_id in self._endpoints:
                queue = self._queues[endpoint_id, into]
                queue += self._queues.pop((endpoint_id, lane), [])
                queue.sort(key=sequence_of)
                settle(queue)

    def _find(self, delivery_id: str) -> Delivery:
        delivery = self._deliveries.get(delivery_number(delivery_id) or 0)
        if delivery is None:
            raise no_delivery(delivery_id)
        return delivery


def ordering_key(order: Order, event: Event) -> Record:
    """No source has an empty name: the lanes of the other orders are nobody's."""
    if order is Order.RECORD:
        return Record(event.source, event.record)
    return Record("", event.id if order is Order.NONE else "")


def settle(queue: list[Delivery]) -> None:
    """Make the oldest unfinished delivery of a lane pending, unless one is leased; the others wait."""
    free = [delivery for delivery in queue if delivery.state is not DeliveryState.LEASED]
    for delivery in free:
        delivery.state = DeliveryState.WAITING
    if free and len(free) == len(queue):
        free[0].state = DeliveryState.PENDING


def sequence_of(delivery: Delivery) -> int:
    return delivery.sequence
