"""The log: event types, stored events, deliveries, replays, and statistics of attempts."""

from __future__ import annotations

import math
import re
import secrets
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta, tzinfo
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cdc.admin.base import UseCases, page_of
from cdc.admin.endpoint_checks import matches_any, near_events
from cdc.config.rules import label
from cdc.dispatch.replay import ReplayPlan, count
from cdc.model.delivery import (
    Activity,
    Attempt,
    DeliveryFilter,
    DeliveryView,
    EventFilter,
    Replay,
    Replayed,
    ReplayState,
)
from cdc.model.endpoint import is_pull
from cdc.model.errors import UsageError
from cdc.model.event import Label
from cdc.model.quota import Limited
from cdc.outbox.base import StoredEvent
from cdc.outbox.shared import no_delivery, no_endpoint, no_replay, place_text
from cdc.outbox.slices import SearchPage, TimeBudget

if TYPE_CHECKING:
    from cdc.mapping.schema import EventType


__all__ = ["EventType", "Events", "Label"]

#: Events that are expunged in one write.
_BATCH = 100
#: Documents that are kept, each about a megabyte.
_DOCUMENTS = 8


class Events(UseCases):
    def label(self, source: str, event: str) -> Label:
        """The columns by which people know the record of an event."""
        return label(self._config, source, event)

    def meant(self, pattern: str) -> list[str]:
        """Return events and patterns that were probably meant by one that no event fits."""
        kinds = self.event_types()
        names = [kind.name for kind in kinds]
        if matches_any(pattern, names):
            return []
        return near_events(pattern, names, {kind.table: kind.entity for kind in kinds if kind.table})

    def document(self, build: Callable[[Sequence[EventType]], bytes]) -> bytes:
        """Return what ``build`` makes of the types of events; built once, as it takes a tenth of a second."""
        kept, key = self._service.documents, (build, tuple(sorted(self._principal.sources)))
        if key not in kept:
            if len(kept) >= _DOCUMENTS:
                del kept[next(iter(kept))]
            kept[key] = build(self.event_types())
        return kept[key]

    async def newest(self) -> int:
        """Return the place in the log of the newest event; 0 before there is any."""
        newest = await self._store.events(1)
        return newest[-1].sequence if newest else 0

    async def get(self, event_id: str) -> StoredEvent | None:
        found = await self._store.event(event_id)
        return found if found is not None and self._principal.sees(found.source) else None

    async def last(self, limit: int) -> list[StoredEvent]:
        """Return the newest, in the order stored."""
        if not self._principal.sources:
            return await self._store.events(limit)
        which, hurry = self._principal.narrowed(EventFilter()), TimeBudget(lambda: 0.0)
        return (await self._store.search_events(which, limit, hurry, oldest_first=False)).found[::-1]

    async def after(self, sequence: int, limit: int, pattern: str | None) -> list[StoredEvent]:
        """Return those behind this place in the log, in the order stored."""
        if not self._principal.sources:
            return await self._store.events(limit, sequence, pattern)
        which = self._principal.narrowed(EventFilter(event_pattern=pattern))
        return await self._store.find_events(which, limit, sequence)

    async def search(
        self, which: EventFilter, limit: int, place: int | None = None, *, oldest_first: bool
    ) -> SearchPage[StoredEvent]:
        narrowed, budget = self._principal.narrowed(which), TimeBudget(self._clock.monotonic)
        return await self._store.search_events(narrowed, limit, budget, place, oldest_first=oldest_first)

    async def newest_of(self, records: Sequence[str]) -> list[StoredEvent]:
        """Return the newest event of each record."""
        return await self._store.newest_events(records, self._principal.sources or None) if records else []

    async def expunge(self, event_ids: Sequence[str]) -> int:
        """Empty payloads, and what endpoints answered to them, for good, and return how many deliveries that cancelled.
        Raises `UsageError`."""
        cancelled = 0
        for first in range(0, len(event_ids), _BATCH):
            batch = event_ids[first : first + _BATCH]
            cancelled += await self._store.expunge(batch, self._clock.now(), self._note("event.expunge", *batch))
        return cancelled


#: Deliveries that are chosen one by one and sent again.
MOST_AT_ONCE: Final = 200
#: Deliveries of an endpoint that are made due in one write.
MOST_HURRIED: Final = 10_000
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

    async def retry_all(self, delivery_ids: Sequence[str]) -> list[tuple[str, UsageError]]:
        """Send up to `MOST_AT_ONCE` deliveries again, in the order of their events, and return those that could not be,
        each with the reason.  Raises `UsageError` for more."""
        if len(delivery_ids) > MOST_AT_ONCE:
            raise UsageError(
                f"{len(delivery_ids)} deliveries are too many at once: at most {MOST_AT_ONCE}.",
                "Start a replay for more.",
            )
        refused = []
        for each in sorted(dict.fromkeys(delivery_ids), key=lambda each: (len(each), each)):
            try:
                await self.retry(each)
            except UsageError as error:
                refused.append((each, error))
        return refused

    async def later(self, endpoint_id: str) -> int:
        """Return how many deliveries of an endpoint wait for their next attempt, counted up to `MOST_HURRIED`; 0 while
        it is disabled, and where programs fetch."""
        found = await self._store.endpoint(endpoint_id)
        if found is None or not self._principal.owns(found.sources) or not found.enabled or is_pull(found.url):
            return 0
        return await self._store.later(endpoint_id, self._clock.now(), MOST_HURRIED)

    async def hurry(self, endpoint_id: str) -> int:
        """Send those that wait for their next attempt now, up to `MOST_HURRIED`, and return how many.  Raises
        `NotFound`."""
        if not await self._owns(endpoint_id) or await self._store.endpoint(endpoint_id) is None:
            raise no_endpoint(endpoint_id)
        note = self._note("endpoint.retry", endpoint_id)
        return await self._store.hurry(endpoint_id, self._clock.now(), MOST_HURRIED, note)

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

    async def start_replay(self, which: DeliveryFilter, rate: float) -> Replay:
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


_TABLE: Final = re.compile(r"\w+")
#: Events that are read to find records; deliveries that a page of its history shows at most.
_EVENTS_READ: Final = 100
_DELIVERIES_READ: Final = 500


class ChangedColumn(NamedTuple):
    column: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class RecordChange:
    """One change of a record, and the events that it made, in the order stored.  ``columns``: what differs from before;
    None where that is not known: nothing was stored before, or it was expunged.  ``deliveries``: by event.
    ``incomplete``: events that may have more of them."""

    events: Sequence[StoredEvent]
    columns: Sequence[ChangedColumn] | None
    deliveries: Mapping[str, Sequence[DeliveryView]]
    incomplete: frozenset[str]


class Records(UseCases):
    async def find(self, text: str, before: int | None = None, *, whole: bool) -> SearchPage[StoredEvent]:
        """Return the newest event of each record that a text means: its key (``facturascli:12``, or with the entity's
        name, ``invoice:12``), else its code or name, ``whole`` or the beginning of it.  A long search ends early:
        `SearchPage.looked`.  Raises `UsageError` where payloads are encrypted, unless it is a key."""
        events, (start, _, key) = Events(self._service, self._principal), text.partition(":")
        asked = [EventFilter(label=text) if whole else EventFilter(text=text)]
        if key and _TABLE.fullmatch(start):
            tables = {kind.entity: kind.table for kind in events.event_types()}
            asked.insert(0, EventFilter(record=f"{tables.get(start) or start}:{key}"))
        for which in asked:
            page = await events.search(which, _EVENTS_READ, before, oldest_first=False)
            if page.found:
                break
        newest: dict[tuple[str, str], StoredEvent] = {}
        for each in page.found:
            newest.setdefault((each.source, each.record), each)
        return replace(page, found=list(newest.values()))

    async def history(
        self, source: str, record: str, limit: int, before: int | None = None
    ) -> SearchPage[RecordChange]:
        """Return the changes of a record, newest first, of at most ``limit`` events.  ``before``: where the page before
        ended."""
        events, which = Events(self._service, self._principal), EventFilter(source=source, record=record)
        page = await events.search(which, limit + 1, before, oldest_first=False)
        shown, older = page.found[:limit], page.found[limit:]
        if not shown:
            return SearchPage([], page.further, page.looked)

        sent = await Deliveries(self._service, self._principal).search(
            DeliveryFilter(source=source, record=record), _DELIVERIES_READ, place_text(shown[0].sequence + 1, 0)
        )
        deliveries: defaultdict[str, list[DeliveryView]] = defaultdict(list)
        for view in sent.found:
            deliveries[view.event_id].append(view)
        ids = [each.id for each in shown]
        last = sent.found[-1].event_id if sent.found else ids[0]  # the older events' deliveries were not read
        incomplete = frozenset(ids[ids.index(last) :] if sent.further is not None and last in ids else ())

        changes, number = [], 0
        while number < len(shown):
            newest, first = shown[number], number
            while number < len(shown) and _of_one_change(newest, shown[number]):
                number += 1
            group, earlier = shown[first:number], page.found[number] if number < len(page.found) else None
            changes.append(RecordChange(group[::-1], _changed(newest, earlier), deliveries, incomplete))
        further = str(shown[-1].sequence) if older else page.further
        return SearchPage(changes, further, None if older else page.looked)


def _of_one_change(one: StoredEvent, other: StoredEvent) -> bool:
    """Return whether the same change of the row made both events."""
    same = ("transaction", "data", "previous")
    return one is other or (
        not one.expunged and one.time == other.time and all(one.payload.get(k) == other.payload.get(k) for k in same)
    )


def _changed(event: StoredEvent, earlier: StoredEvent | None) -> list[ChangedColumn] | None:
    """Return what the change's event says that it changed; of one that does not, how it differs from the earlier."""
    if event.expunged:
        return None
    data: Mapping[str, Any] = event.payload.get("data") or {}
    before: Mapping[str, Any] | None = event.payload.get("previous")
    if before is None:
        if earlier is None or earlier.expunged:
            return None
        known: Mapping[str, Any] = earlier.payload.get("data") or {}
        before = {name: known[name] for name, value in data.items() if name in known and known[name] != value}
    return [ChangedColumn(name, value, data.get(name)) for name, value in before.items() if not isinstance(value, list)]


#: Endpoints, and sources, that are named where all are summed up.
TOP: Final = 20
#: Attempts from which percentiles are taken.
NEWEST: Final = 1_000


class Period(StrEnum):
    """Slots: 60 minutes, 24 hours, the hours of 7 days, 30 days of four parts."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclass(slots=True)
class Figures:
    """``seconds``: duration of all attempts."""

    delivered: int = 0
    failed: int = 0
    seconds: float = 0.0

    def add(self, counted: Activity) -> None:
        self.delivered += counted.delivered
        self.failed += counted.failed
        self.seconds += counted.seconds

    @property
    def attempts(self) -> int:
        return self.delivered + self.failed

    @property
    def success(self) -> float | None:
        return self.delivered / self.attempts if self.attempts else None

    @property
    def average(self) -> float | None:
        return self.seconds / self.attempts if self.attempts else None


@dataclass(frozen=True, slots=True)
class PeriodFigures:
    """``starts``: of the slots, oldest first.  ``endpoints`` (by id) and ``sources``: at least the `TOP` ones with the
    most attempts; of many, as they were read last."""

    starts: Sequence[datetime]
    slots: Sequence[Figures]
    total: Figures
    endpoints: Mapping[str, Figures]
    sources: Mapping[str, Figures]


def slot_edges(period: Period, now: datetime, zone: tzinfo) -> list[datetime]:
    """Return the edges of the slots, in UTC; the last slot contains ``now``.  Days begin at midnight in ``zone``."""
    if period is Period.HOUR:
        minute = now.replace(second=0, microsecond=0)
        return [minute + timedelta(minutes=number) for number in range(-59, 2)]
    if period is Period.DAY:
        hour = now.replace(minute=0, second=0, microsecond=0)
        return [hour + timedelta(hours=number) for number in range(-23, 2)]
    days, hours = (7, range(24)) if period is Period.WEEK else (30, range(0, 24, 6))
    today = now.astimezone(zone).date()
    times = (
        datetime.combine(today + timedelta(days=number), time(hour), zone).astimezone(UTC)
        for number in range(1 - days, 2)
        for hour in hours
    )
    every = sorted(set(times))  # an hour that the clocks skip is the next one
    past = [edge for edge in every if edge <= now]
    return every[: len(past) + 1]


class Statistics(UseCases):
    async def figures(
        self, period: Period, zone: tzinfo, *, endpoint_id: str | None = None, source: str | None = None
    ) -> PeriodFigures:
        """Return the figures of what the principal sees; of one endpoint or source if it is named."""
        edges = slot_edges(period, self._clock.now(), zone)
        slots = {edge: Figures() for edge, _ in pairwise(edges)}
        total = Figures()
        endpoints: defaultdict[str, Figures] = defaultdict(Figures)
        sources: defaultdict[str, Figures] = defaultdict(Figures)
        owned = await self._owned()
        if endpoint_id is None and source is None and owned is None:
            now, sums = self._clock.now(), self._service.activity_sums
            counted: Sequence[Activity] = await sums.totals(edges, now)
            leaders = await sums.leaders((period, zone), edges[0], edges[-1], now)
            for each in leaders.endpoints:
                endpoints[each.endpoint_id].add(each)
            for each in leaders.sources:
                sources[each.source].add(each)
        else:
            asked = owned if endpoint_id is None else [endpoint_id]
            found = await self._store.activity(edges, None if asked is None else sorted(asked), source)
            counted = [
                each
                for each in found
                if owned is None or (each.endpoint_id in owned and self._principal.sees(each.source))
            ]
            for each in counted:
                endpoints[each.endpoint_id].add(each)
                sources[each.source].add(each)
        for each in counted:
            slots[each.since].add(each)
            total.add(each)
        return PeriodFigures(list(slots), list(slots.values()), total, endpoints, sources)

    async def totals(self, period: Period, zone: tzinfo, endpoint_ids: Sequence[str]) -> dict[str, Figures]:
        """Return the figures of these endpoints of the principal, by id; one without attempts is absent."""
        edges, found = slot_edges(period, self._clock.now(), zone), defaultdict[str, Figures](Figures)
        for each in await self._store.activity([edges[0], edges[-1]], endpoint_ids):
            if self._principal.sees(each.source):
                found[each.endpoint_id].add(each)
        return found

    async def hourly(self, endpoint_ids: Sequence[str]) -> dict[str, list[Figures]]:
        """Return the figures of these endpoints of the principal in each of the last 24 hours, by id."""
        now = self._clock.now()
        edges = slot_edges(Period.DAY, now, UTC)
        found = {each: {edge: Figures() for edge in edges[:-1]} for each in endpoint_ids}
        counted: Sequence[Activity] = []
        if endpoint_ids and self._principal.sources:
            counted = await self._store.activity(edges, endpoint_ids)
        elif endpoint_ids:
            counted = await self._service.activity_sums.hourly(list(found), edges, now)
        for each in counted:
            if not each.source or self._principal.sees(each.source):
                found[each.endpoint_id][each.since].add(each)
        return {endpoint_id: list(slots.values()) for endpoint_id, slots in found.items()}

    async def percentiles(self, endpoint_id: str | None = None) -> Mapping[int, float]:
        """Return the seconds within which 50, 95 and 99 of a hundred of the newest `NEWEST` attempts were answered, of
        all endpoints or one; empty without attempts, and for all endpoints where the principal does not see them."""
        if endpoint_id is None and self._principal.sources:
            return {}
        durations = sorted(await self._store.durations(endpoint_id, NEWEST))
        last = len(durations) - 1
        return {part: durations[math.ceil(last * part / 100)] for part in (50, 95, 99)} if durations else {}

    async def _owned(self) -> frozenset[str] | None:
        """Return the ids of the principal's endpoints; None: it sees all, removed ones too."""
        if not self._principal.sources:
            return None
        return frozenset(each.id for each in await self._store.endpoints() if self._principal.owns(each.sources))
