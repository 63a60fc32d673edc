"""The log of the outbox in memory: listings and counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import orjson

from cdc.model.delivery import TEXT_EVENTS, Attempt, DeliveryFilter, DeliveryState, DeliveryView, EventFilter
from cdc.model.event import check_pattern, matches, searched
from cdc.outbox.base import StoredEvent
from cdc.outbox.shared import cursor_of, delivery_number, place_text, text_in_payload
from cdc.outbox.slices import LogScan, LogSlice, SearchPage, TimeBudget
from support.memory_outbox.tables import Delivery, MemoryTables


class MemoryLog(MemoryTables):
    """The queries of the outbox in memory."""

    async def deliveries(self, which: DeliveryFilter, limit: int, before: str | None = None) -> list[DeliveryView]:
        below = None if before is None else place_in_log(self._find(before))
        found = (
            delivery.view()
            for delivery in reversed(self._found(which))
            if below is None or place_in_log(delivery) < below
        )
        return list(islice(found, limit))

    async def search_deliveries(
        self, which: DeliveryFilter, limit: int, budget: TimeBudget, before: str | None = None
    ) -> SearchPage[DeliveryView]:
        fitting, whole = self._found(which)[::-1], self._whole()
        if before is not None:
            place = cursor_of(before) or place_in_log(self._find(before))
            fitting = [each for each in fitting if place_in_log(each) < place]
            whole = whole.below(*place)
        walk: LogScan[Delivery] = LogScan(whole, limit, budget, at_once=which.event_id is not None)
        for stretch in walk:
            walk.rows += [each for each in fitting if stretch.has(each.sequence)][: walk.missing]
        return walk.page(
            Delivery.view, lambda each: place_text(*place_in_log(each)), lambda sequence: place_text(sequence, 0)
        )

    def _whole(self) -> LogSlice:
        sequences = [each.sequence for each in self._events.values()]
        return LogSlice(sequences[0] - 1, sequences[-1]) if sequences else LogSlice(0, 0)

    def _found(self, which: DeliveryFilter) -> list[Delivery]:
        """Oldest events first."""
        check(which)
        return sorted(
            (each for each in self._deliveries.values() if self._fits_delivery(each, which)), key=place_in_log
        )

    def _fits_event(self, event: StoredEvent, which: EventFilter) -> bool:
        if which.text is None:
            return fits(event, which)
        newest = next(reversed(self._events.values())).sequence
        wanted = searched(which.text)
        if any(wanted and label.startswith(wanted) for label in self._labels.get(event.id, ())):
            return fits(event, replace(which, text=None))
        return event.sequence > newest - TEXT_EVENTS and fits(event, which)

    def _fits_delivery(self, delivery: Delivery, which: DeliveryFilter) -> bool:
        return (
            which.endpoint_id in {None, delivery.endpoint_id}
            and (which.endpoint_ids is None or delivery.endpoint_id in which.endpoint_ids)
            and which.state in {None, delivery.state}
            and self._fits_event(self._events[delivery.event.id], which)
        )

    async def delivery(self, delivery_id: str) -> DeliveryView | None:
        found = self._deliveries.get(delivery_number(delivery_id) or 0)
        return None if found is None else found.view()

    async def attempts(self, delivery_id: str) -> list[Attempt]:
        return (await self.attempts_of([delivery_id])).get(delivery_id, [])

    async def attempts_of(self, delivery_ids: Sequence[str]) -> dict[str, list[Attempt]]:
        found = {each: self._deliveries.get(delivery_number(each) or 0) for each in delivery_ids}
        return {each: list(delivery.log) for each, delivery in found.items() if delivery and delivery.log}

    async def counts(
        self, most: int | None = None, endpoint_ids: Sequence[str] | None = None
    ) -> dict[str, dict[DeliveryState, int]]:
        found: dict[str, Counter[DeliveryState]] = {
            each.id: Counter() for each in sorted(self._endpoints.values(), key=lambda each: each.created_at)
        }
        for delivery in self._deliveries.values():
            if (counted := found.get(delivery.endpoint_id)) is not None and not (
                delivery.state.final and delivery.view().is_test
            ):
                unfinished = sum(number for state, number in counted.items() if not state.final)
                if delivery.state.final or most is None or unfinished < most:
                    counted[delivery.state] += 1
        wanted = found if endpoint_ids is None else endpoint_ids
        return {endpoint_id: dict(counted) for endpoint_id, counted in found.items() if endpoint_id in wanted}

    async def events(self, limit: int, after: int | None = None, pattern: str | None = None) -> list[StoredEvent]:
        patterns = ["*" if pattern is None else check_pattern(pattern)]
        fitting = [event for event in self._events.values() if matches(event.name, patterns)]
        if after is None:
            return fitting[max(0, len(fitting) - limit) :]
        return [event for event in fitting if event.sequence > after][:limit]

    async def event(self, event_id: str) -> StoredEvent | None:
        return self._events.get(event_id)

    async def events_of(self, event_ids: Sequence[str]) -> list[StoredEvent]:
        return [self._events[each] for each in event_ids if each in self._events]

    async def newest_events(self, records: Sequence[str], sources: Sequence[str] | None) -> list[StoredEvent]:
        wanted = [each for each in self._events.values() if sources is None or each.source in sources]
        return list({each.record: each for each in wanted if each.record in records}.values())

    async def find_events(self, which: EventFilter, limit: int, after: int = 0) -> list[StoredEvent]:
        check(which)
        found = (event for event in self._events.values() if event.sequence > after and self._fits_event(event, which))
        return list(islice(found, limit))

    async def search_events(
        self, which: EventFilter, limit: int, budget: TimeBudget, place: int | None = None, *, oldest_first: bool
    ) -> SearchPage[StoredEvent]:
        fitting = await self.find_events(which, len(self._events))
        whole = self._whole() if place is None else self._whole().part_after(place, oldest_first=oldest_first)
        walk: LogScan[StoredEvent] = LogScan(
            whole, limit, budget, oldest_first=oldest_first, at_once=which.event_id is not None
        )
        for stretch in walk:
            within = [event for event in fitting if stretch.has(event.sequence)]
            walk.rows += (within if oldest_first else within[::-1])[: walk.missing]
        return walk.page(lambda event: event, lambda event: str(event.sequence), str)


def check(which: EventFilter) -> None:
    """Raises `UsageError`."""
    if which.event_pattern is not None:
        check_pattern(which.event_pattern)


def fits(event: StoredEvent, which: EventFilter) -> bool:
    return (
        which.event_id in {None, event.id}
        and which.record in {None, event.record}
        and which.source in {None, event.source}
        and (which.sources is None or event.source in which.sources)
        and (which.event_pattern is None or matches(event.name, [which.event_pattern]))
        and (which.since is None or event.time >= which.since)
        and (which.until is None or event.time < which.until)
        and (which.text is None or text_in_payload(which.text) in orjson.dumps(event.payload))
    )


def place_in_log(delivery: Delivery) -> tuple[int, int]:
    return delivery.sequence, delivery.number
