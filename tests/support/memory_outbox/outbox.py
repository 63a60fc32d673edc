"""The outbox in memory: the twin of the durable ones, for tests.  Nothing survives the process."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from heapq import nsmallest
from itertools import takewhile
from pathlib import Path

from cdc.model.audit import Note
from cdc.model.backfill import Backfill
from cdc.model.change import BackfillStep, Position, Quarantined, SnapshotChange, SnapshotRow
from cdc.model.delivery import DeliveryState, DueEndpoints, LeasedDelivery, Outcome, counted
from cdc.model.endpoint import Endpoint, EndpointChange, EndpointFilter, EndpointState, Order, public_url
from cdc.model.event import Event, event_payload
from cdc.model.quota import Usage
from cdc.model.worker import WorkerStore
from cdc.outbox.base import Fence, HandOver, LimitStore, Replication, Stored
from cdc.outbox.shared import (
    SubscriberIndex,
    check_fence,
    delivery_id,
    endpoint_disabled,
    endpoint_exists,
    event_exists,
    no_endpoint,
    record_busy,
    subscriber_of,
)
from cdc.outbox.slices import LogScan, LogSlice, SearchPage, TimeBudget
from support.memory_outbox.activity import MemoryActivity
from support.memory_outbox.backfills import MemoryBackfills
from support.memory_outbox.quarantine import MemoryQuarantine
from support.memory_outbox.replays import MemoryReplays
from support.memory_outbox.tables import Delivery, ordering_key, sequence_of, settle
from support.memory_outbox.upkeep import MemoryUpkeep


class MemoryOutbox(MemoryUpkeep, MemoryReplays, MemoryBackfills, MemoryQuarantine, MemoryActivity):
    """`OutboxStore` in dictionaries and lists."""

    workers: WorkerStore | None = None
    limits: LimitStore | None = None

    def __init__(self) -> None:
        super().__init__()
        self._numbers: dict[str, int] = {}  # of endpoints, in the order in which they were seen
        self._changes_seen: int | None = None

    async def add_backfill(self, backfill: Backfill, note: Note = (), *, rereads: str = "") -> None:
        await super().add_backfill(backfill, note)
        self.note_reread(rereads, backfill.id)

    async def exists(self) -> bool:
        return True

    async def usage(self, now: datetime) -> list[Usage]:
        """Return nothing: only databases enforce limits."""
        return []

    async def check(self) -> None:
        pass

    async def save(self, now: datetime) -> Path | None:
        return None

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
        *,
        kept: SnapshotChange | None = None,
        step: BackfillStep | None = None,
        quarantined: Sequence[Quarantined] = (),
        fence: Fence | None = None,
        note: Note = (),
        hand_over: HandOver | None = None,
    ) -> Stored:
        payloads = [event_payload(event) for event in events]  # the steps that may fail come first
        check_fence(source, self._positions.get(source), kept, fence)
        last = next(reversed(self._deliveries), 0)
        stored = Stored(*await self._add(events, payloads, now))
        if hand_over is not None:
            stored = replace(stored, leased=tuple(self._lease_new(last, now, hand_over)))
        self._positions[source] = position
        merged = {**self._states[source], **states}
        self._states[source] = {name: value for name, value in merged.items() if value is not None}
        if kept is not None:
            self._keep(source, kept)
        if step is not None:
            self._advance(step, now)
        self._quarantine_all(source, quarantined, now)
        self.audit.note(note)
        return stored

    def _lease_new(self, last: int, now: datetime, hand_over: HandOver) -> list[LeasedDelivery]:
        new = list(takewhile(lambda one: one.number > last, reversed(self._deliveries.values())))
        first = {one.endpoint_id: one for one in new}
        return [
            self._take(one, hand_over.worker, hand_over.until)
            for one in list(reversed(first.values()))[: hand_over.most]
            if one.active and one.endpoint_id in self._enabled() and one.endpoint_id not in hand_over.full
            if not any(other.active and other.due < now for other in self._unfinished[one.endpoint_id].values())
        ]

    def _keep(self, source: str, change: SnapshotChange) -> None:
        rows = self._kept[source, change.table]
        if change.reset:
            rows.clear()
        for key in change.gone:
            rows.pop(key, None)
        rows.update({row.key: row for row in change.written})

    async def become_reader(self, source: str) -> bool:
        return True  # nobody else can reach it

    async def stop_reading(self, source: str) -> None:
        pass

    async def snapshot_digests(
        self, source: str, table: str, limit: int, after: bytes | None = None, until: bytes | None = None
    ) -> list[tuple[bytes, bytes]]:
        rows = self._kept[source, table]
        wanted = (key for key in rows if (after is None or key > after) and (until is None or key <= until))
        return [(key, rows[key].digest) for key in nsmallest(limit, wanted)]

    async def snapshot_rows(self, source: str, table: str, keys: Sequence[bytes]) -> dict[bytes, SnapshotRow]:
        rows = self._kept[source, table]
        return {key: rows[key] for key in keys if key in rows}

    async def refusals(self, api: str) -> str:
        return self._refusals.get(api, "")

    async def change_refusals(self, api: str, change: Callable[[str], str]) -> None:
        self._refusals[api] = change(self._refusals.get(api, ""))

    async def reading_session(self, source: str) -> str:
        return self._sessions.get(source, "")

    async def note_reading_session(self, source: str, session: str) -> None:
        self._sessions[source] = session

    async def announce(self, events: Sequence[Event], now: datetime) -> Stored:
        payloads = [event_payload(event) for event in events]
        return Stored(*await self._add(events, payloads, now))

    async def _add(self, events: Sequence[Event], payloads: Sequence[bytes], now: datetime) -> tuple[int, int]:
        self._changes += 1
        new = deliveries = 0
        for event, payload in zip(events, payloads, strict=True):
            if event.id not in self._events:
                new += 1
                index = SubscriberIndex([subscriber_of(one) for one in await self.endpoints()])
                wanting = [one.id for one in index.of(event) if one.holds(event)]
                deliveries += len(wanting)
                self._insert(event, payload, wanting, now)
        return new, deliveries

    # -- endpoints --------------------------------------------------------------------------------------------------

    async def add_endpoint(self, endpoint: Endpoint, note: Note = ()) -> None:
        if endpoint.id in self._endpoints or endpoint.id in self._removed:
            raise endpoint_exists(endpoint.id)
        self._changes += 1
        self._endpoints[endpoint.id] = endpoint
        self._numbers[endpoint.id] = len(self._numbers) + 1
        self.audit.note(note)

    async def change_endpoint(self, endpoint_id: str, change: EndpointChange, note: Note = ()) -> Endpoint:
        self._known(endpoint_id)
        self._changes += 1
        before = self._endpoints[endpoint_id]
        changed = self._endpoints[endpoint_id] = change.applied_to(before)
        if changed.order is not before.order:
            self._reorder(endpoint_id)
        self.audit.note(note)
        return changed

    def _reorder(self, endpoint_id: str) -> None:
        self._drop_queues(endpoint_id)
        for delivery in sorted(self._unfinished[endpoint_id].values(), key=sequence_of):
            delivery.lane = ordering_key(self._endpoints[endpoint_id].order, delivery.event)
            self._queue(delivery).append(delivery)
        for key, queue in self._queues.items():
            if key[0] == endpoint_id:
                settle(queue)

    def _drop_queues(self, endpoint_id: str) -> None:
        self._queues = defaultdict(list, {key: queue for key, queue in self._queues.items() if key[0] != endpoint_id})

    async def disable_failing(
        self, endpoint_id: str, failing_since: datetime, reason: str, announcement: Event, now: datetime
    ) -> bool:
        endpoint = self._endpoints.get(endpoint_id)
        if endpoint is None or endpoint.failing_since != failing_since:
            return False
        return await self._disable(endpoint, reason, announcement, now)

    async def disable_filtered(
        self, endpoint_id: str, condition: str, reason: str, announcement: Event, now: datetime
    ) -> bool:
        endpoint = self._endpoints.get(endpoint_id)
        if endpoint is None or endpoint.condition != condition:
            return False
        return await self._disable(endpoint, reason, announcement, now)

    async def note_filter(self, endpoint_id: str, condition: str, problem: str) -> None:
        endpoint = self._endpoints.get(endpoint_id)
        if endpoint is not None and endpoint.condition == condition:
            self._endpoints[endpoint_id] = replace(endpoint, filter_problem=problem)

    async def _disable(self, endpoint: Endpoint, reason: str, announcement: Event, now: datetime) -> bool:
        if not endpoint.enabled:
            return False
        payload = event_payload(announcement)
        self._endpoints[endpoint.id] = replace(endpoint, enabled=False, disabled_reason=reason)
        await self._add([announcement], [payload], now)
        return True

    async def removed_endpoints(self, endpoint_ids: Sequence[str]) -> dict[str, tuple[str, str]]:
        return {each: self._removed[each] for each in endpoint_ids if each in self._removed}

    async def remove_endpoint(self, endpoint_id: str, now: datetime, note: Note = ()) -> None:
        self._known(endpoint_id)
        self._changes += 1
        removed = self._endpoints.pop(endpoint_id)
        self._removed[endpoint_id] = (removed.description, public_url(removed.url))
        self.audit.note(note)
        self._drop_queues(endpoint_id)
        for delivery in self._unfinished.pop(endpoint_id, {}).values():
            delivery.state, delivery.worker, delivery.finished_at = DeliveryState.CANCELLED, None, now

    async def endpoint(self, endpoint_id: str) -> Endpoint | None:
        return self._endpoints.get(endpoint_id)

    async def endpoints_version(self) -> int:
        return hash(tuple(replace(each, failing_since=None) for each in self._endpoints.values()))

    async def endpoints(self) -> list[Endpoint]:
        return sorted(self._endpoints.values(), key=lambda endpoint: endpoint.created_at)

    async def endpoints_of(self, endpoint_ids: Sequence[str]) -> list[Endpoint]:
        return [each for each in self._endpoints.values() if each.id in endpoint_ids]

    async def search_endpoints(
        self,
        which: EndpointFilter,
        limit: int,
        budget: TimeBudget,
        after: int = 0,
        *,
        fits: Callable[[Endpoint], bool] = lambda _: True,
    ) -> SearchPage[Endpoint]:
        for each in self._endpoints:
            self._numbers.setdefault(each, len(self._numbers) + 1)
        numbered = [(self._numbers[each.id], each) for each in self._endpoints.values()]
        whole = LogSlice(after, len(self._numbers))
        walk: LogScan[tuple[int, Endpoint]] = LogScan(whole, limit, budget, oldest_first=True)
        for part in walk:
            fitting = [row for row in numbered if part.has(row[0]) and self._may_fit(row[1], which) and fits(row[1])]
            walk.rows += fitting[: walk.missing]
        return walk.page(lambda row: row[1], lambda row: str(row[0]), str)

    def _may_fit(self, endpoint: Endpoint, which: EndpointFilter) -> bool:
        states = {EndpointState.DISABLED}
        if endpoint.enabled:
            states = {EndpointState.FAILING if endpoint.failing_since else EndpointState.ENABLED}
        if any(d.endpoint_id == endpoint.id and d.state is DeliveryState.DEAD for d in self._deliveries.values()):
            states.add(EndpointState.DEAD)
        words = f"{endpoint.id}\n{endpoint.description}\n{public_url(endpoint.url)}".lower()
        theirs = not which.sources or (bool(endpoint.sources) and set(which.sources).issuperset(endpoint.sources))
        gets = not which.source or not endpoint.sources or which.source in endpoint.sources
        return which.text.lower() in words and (which.state is None or which.state in states) and theirs and gets

    async def seal_secrets(self, *, dry_run: bool = False) -> int:
        return 0

    async def send_test(
        self, endpoint_id: str, event: Event, worker: str, now: datetime, until: datetime, *, note: Note = ()
    ) -> LeasedDelivery:
        self._known(endpoint_id)
        if not self._endpoints[endpoint_id].enabled:
            raise endpoint_disabled(endpoint_id)
        if event.id in self._events:
            raise event_exists(event.id)
        lane = ordering_key(Order.RECORD, event)
        if self._queues.get((endpoint_id, self._lanes.of(lane))):
            raise record_busy(event.record)
        payload = event_payload(event)
        self._insert(event, payload, [], now)
        self.audit.note(note)
        return self._take(self._deliver(endpoint_id, event, lane, now), worker, until)

    def _known(self, endpoint_id: str) -> None:
        if endpoint_id not in self._endpoints:
            raise no_endpoint(endpoint_id)

    # -- dispatch ---------------------------------------------------------------------------------------------------

    async def become_dispatcher(self) -> bool:
        return True  # nobody else can reach it

    async def lease(
        self,
        worker: str,
        now: datetime,
        until: datetime,
        limit: int,
        room: Mapping[str, int] | None = None,
        *,
        only: bool = False,
    ) -> list[LeasedDelivery]:
        rooms = room or {}
        turns = {endpoint_id: turn for turn, endpoint_id in enumerate(rooms)}
        due: list[tuple[int, int, Delivery]] = []
        for endpoint_id in self._enabled():
            if endpoint_id in rooms or not only:
                ready = (one for one in self._unfinished[endpoint_id].values() if one.active and one.due <= now)
                oldest = nsmallest(min(limit, rooms.get(endpoint_id, limit)), ready, key=_turn)
                due += [(rank, turns.get(endpoint_id, -1), each) for rank, each in enumerate(oldest)]
        due.sort(key=lambda each: (*each[:2], _turn(each[2])))
        taken = sorted((each for _, _, each in due[:limit]), key=_turn)
        return [self._take(delivery, worker, until) for delivery in taken]

    async def lease_of(
        self, endpoint_id: str, worker: str, now: datetime, until: datetime, limit: int
    ) -> list[LeasedDelivery]:
        return await self.lease(worker, now, until, limit, dict.fromkeys(self._endpoints, 0) | {endpoint_id: limit})

    async def held(self, worker: str, delivery_ids: Sequence[str]) -> list[LeasedDelivery]:
        held = [each for one in self._unfinished.values() for each in one.values() if each.worker == worker]
        return [_leased(each) for each in held if delivery_id(each.number) in delivery_ids]

    async def due_of(self, endpoint_id: str) -> datetime | None:
        enabled = self._unfinished[endpoint_id].values() if endpoint_id in self._enabled() else ()
        return min((each.due for each in enabled if each.active), default=None)

    async def endpoint_numbers(self) -> dict[str, int]:
        return {name: number for name, number in self._numbers.items() if name in self._endpoints}

    async def due_endpoints(
        self,
        now: datetime,
        most: int,
        place: int,
        without: Collection[str] = (),
        runs: Sequence[tuple[int, int]] | None = None,
    ) -> DueEndpoints:
        due = [
            (number <= place, number, endpoint_id)
            for endpoint_id, number in self._numbers.items()
            if endpoint_id in self._enabled() and endpoint_id not in without
            if runs is None or any(after < number <= upto for after, upto in runs)
            if any(each.active and each.due <= now for each in self._unfinished[endpoint_id].values())
        ]
        found = sorted(due)[:most]
        return DueEndpoints([each for _, _, each in found], found[-1][1] if len(found) == most else 0)

    def _take(self, delivery: Delivery, worker: str, until: datetime) -> LeasedDelivery:
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
            delivery.log.append(outcome.attempt if delivery.payload else outcome.attempt._replace(answer=""))
            if (delivery.worker, delivery.attempts) == (worker, outcome.attempt.number):
                self._conclude(delivery, outcome, now)
        for each in counted(outcomes, now):
            self._count(each)
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

    def _conclude(self, delivery: Delivery, outcome: Outcome, now: datetime) -> None:
        delivery.state, delivery.worker = outcome.state, None
        if outcome.state.final:
            delivery.finished_at = now
            del self._unfinished[delivery.endpoint_id][delivery.number]
            self._queue(delivery).remove(delivery)
        else:
            delivery.due = outcome.due_at or now
        settle(self._queue(delivery))
        endpoint = self._endpoints[delivery.endpoint_id]
        if outcome.disable_reason and endpoint.enabled:
            self._endpoints[endpoint.id] = replace(endpoint, enabled=False, disabled_reason=outcome.disable_reason)

    async def release(self, worker: str, now: datetime) -> int:
        held = [one for each in self._unfinished.values() for one in each.values() if one.worker == worker]
        self._let_go(held, now)
        return len(held)

    def _let_go(self, held: Sequence[Delivery], now: datetime) -> None:
        self._changes += len(held)
        for delivery in held:
            delivery.state, delivery.worker, delivery.due = DeliveryState.PENDING, None, now
            delivery.attempts -= 1
        for delivery in held:
            settle(self._queue(delivery))

    async def bring_forward(self, worker: str, latest: Mapping[str, datetime], now: datetime) -> int:
        late = [
            one
            for endpoint_id, time in latest.items()
            for one in self._unfinished[endpoint_id].values()
            if one.active and one.due > time and one.worker != worker
        ]
        self._changes += len(late)
        for delivery in late:
            delivery.due = now
        for endpoint_id in {each.endpoint_id for each in late}:
            for one in self._unfinished[endpoint_id].values():
                if not one.active:
                    one.due = now if one.due > latest[endpoint_id] else one.due
        return len(late)

    async def give_back(self, worker: str, deliveries: Sequence[LeasedDelivery], now: datetime) -> int:
        held = [self._find(each.id) for each in deliveries]
        mine = [
            one
            for one, lease in zip(held, deliveries, strict=True)
            if (one.worker, one.attempts) == (worker, lease.attempt)
        ]
        self._let_go(mine, now)
        return len(mine)

    async def next_due(
        self,
        now: datetime,
        without: Collection[str] = (),
    ) -> datetime | None:
        wanted = [endpoint_id for endpoint_id in self._enabled() if endpoint_id not in without]
        enabled = (one for endpoint_id in wanted for one in self._unfinished[endpoint_id].values())
        return min((delivery.due for delivery in enabled if delivery.active), default=None)

    async def replication(self) -> Replication:
        return Replication.NONE

    async def oldest_due(self, now: datetime) -> dict[str, datetime]:
        due = {one: [each.due for each in self._unfinished[one].values() if each.active] for one in self._enabled()}
        return {endpoint_id: min(times) for endpoint_id, times in due.items() if times and min(times) <= now}

    async def unfinished(self, endpoint_id: str | None, limit: int) -> int:
        of = self._unfinished if endpoint_id is None else {endpoint_id: self._unfinished.get(endpoint_id, {})}
        return min(limit, sum(map(len, of.values())))

    def on_write(self, wake: Callable[[], None]) -> None:
        pass  # there is no other process

    async def changed(self) -> bool:
        changed, self._changes_seen = self._changes != self._changes_seen, self._changes
        return changed

    async def version(self) -> object:
        return self._changes


def _turn(delivery: Delivery) -> tuple[datetime, int]:
    """Oldest due first."""
    return delivery.due, delivery.number


def _leased(delivery: Delivery) -> LeasedDelivery:
    return LeasedDelivery(
        id=delivery_id(delivery.number),
        endpoint_id=delivery.endpoint_id,
        event_id=delivery.event.id,
        event_name=delivery.event.name,
        record=delivery.event.record,
        attempt=delivery.attempts,
        lease_until=delivery.due,
        body_event=delivery.payload,
        source=delivery.event.source,
    )
