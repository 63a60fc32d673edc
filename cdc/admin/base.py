"""The stores and settings that the use cases share; writes to the outbox, for requests that wait for one.

Sums of all attempts are remembered: the overview reads what was counted since it was shown last, not a row an endpoint.
Attempts count for the minute in which they are recorded, so a period that has ended is read once.  Which endpoints and
sources have the most attempts has to be read from all of them: where they are many, only every `REREAD`.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Hashable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Final, TypeVar

from cdc.admin.principal import Principal
from cdc.config import Config, SourceConfig
from cdc.config.rules import event_types
from cdc.model.audit import AuditEntry, Note
from cdc.model.backfill import Backfill
from cdc.model.clock import Clock
from cdc.model.delivery import Activity, ActivityLeaders, Replay
from cdc.model.errors import OutboxError
from cdc.model.finding import DescribedTable, Finding
from cdc.model.quota import InUse, Limited, Quota, quotas
from cdc.outbox.store import OutboxStore

#: Endpoints, or sources, that are many.
MANY: Final = 500
REREAD: Final = timedelta(minutes=5)
#: Until so long after a minute attempts may be recorded for it, by a process whose clock is slow.
SETTLED: Final = timedelta(minutes=2)
#: Remembered periods; the hours of a month, and the minutes of two days.
MOST: Final = 4_000
_HOUR: Final = timedelta(hours=1)
_MINUTE: Final = timedelta(minutes=1)

Span = tuple[datetime, datetime]


class ActivitySums:
    def __init__(self, store: OutboxStore) -> None:
        self._store = store
        self._totals: dict[Span, Activity | None] = {}
        self._leaders: dict[Hashable, tuple[datetime, ActivityLeaders]] = {}
        self._hours: dict[tuple[str, datetime], Activity] = {}

    async def totals(self, edges: Sequence[datetime], now: datetime) -> list[Activity]:
        """Return all attempts of each hour or minute in the slots from one edge to the next, where there are any;
        ``since`` is the beginning of the slot."""
        ended = now - SETTLED
        spans = [(slot[0], span) for slot in pairwise(edges) for span in _spans(*slot, ended)]
        found = {span: self._totals[span] for _, span in spans if span in self._totals}
        unknown = [span for _, span in spans if span not in found]
        read = {each.since: each for each in await self._store.activity_totals(unknown)}
        found |= {span: read.get(span[0]) for span in unknown}
        if len(self._totals) > MOST:
            self._totals.clear()
        self._totals |= {span: found[span] for span in unknown if _whole(span) and span[1] <= ended}
        sums = ((start, found[span]) for start, span in spans)
        return [each._replace(since=start) for start, each in sums if each is not None]

    async def hourly(self, endpoint_ids: Sequence[str], edges: Sequence[datetime], now: datetime) -> list[Activity]:
        """Return the attempts of endpoints in each hour from one edge to the next, of all sources together."""
        known, missing = self._hours, defaultdict[int, list[str]](list)
        for each in endpoint_ids:
            unknown = (place for place, hour in enumerate(edges[:-1]) if (each, hour) not in known)
            missing[next(unknown, len(edges) - 1)].append(each)
        found = {
            (each, hour): known[each, hour] for first, ids in missing.items() for each in ids for hour in edges[:first]
        }
        for first, ids in missing.items():
            read = {(each, hour): Activity(hour, each, "", 0, 0, 0.0) for each in ids for hour in edges[first:-1]}
            for one in await self._store.activity(edges[first:], ids):
                sums = read[one.endpoint_id, one.since]
                read[one.endpoint_id, one.since] = sums._replace(
                    delivered=sums.delivered + one.delivered,
                    failed=sums.failed + one.failed,
                    seconds=sums.seconds + one.seconds,
                )
            found |= read
        if len(known) > 2 * MOST:
            known.clear()
        ended = now - SETTLED - _HOUR
        known |= {key: sums for key, sums in found.items() if sums.since <= ended}
        return list(found.values())

    async def leaders(self, key: Hashable, since: datetime, before: datetime, now: datetime) -> ActivityLeaders:
        """Return at least the endpoints and sources with the most attempts.  ``key``: of the times, which move on."""
        read_at, leaders = self._leaders.get(key, (None, None))
        if leaders is None or read_at is None or not read_at <= now < read_at + REREAD:
            leaders = await self._store.activity_leaders(since, before, MANY + 1)
            self._leaders.pop(key, None)
            if max(len(leaders.endpoints), len(leaders.sources)) > MANY:
                self._leaders[key] = now, leaders
        return leaders


def _spans(start: datetime, end: datetime, ended: datetime) -> Iterator[Span]:
    """Yield the hours of a slot that have ended, of one that has not ended its minutes, and the rest."""
    for length in (_HOUR, _MINUTE) if end > ended else (_HOUR,):
        while (following := _floor(start, length) + length) <= min(end, ended):
            yield start, following
            start = following
    if start < end:
        yield start, end


def _whole(span: Span) -> bool:
    """Return whether it is an hour or a minute: others change when their attempts become known by the hour only."""
    return span[1] - span[0] in (_HOUR, _MINUTE) and span[0] == _floor(span[0], span[1] - span[0])


def _floor(moment: datetime, length: timedelta) -> datetime:
    return moment.replace(second=0, microsecond=0, minute=moment.minute if length == _MINUTE else 0)


#: How often the outbox is asked whether anybody wrote, while requests wait (seconds).
LOOK_EVERY: Final = 0.25


class Writes:
    """Announces writes, by any process, to all requests that wait: one question to the outbox for all of them, and
    none while nobody waits.  ``next``: is set with the next write."""

    def __init__(self, store: OutboxStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._watchers = 0
        self._task: asyncio.Task[None] | None = None
        self.next = asyncio.Event()

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Announce writes while this lasts, and one soon after it begins, whether or not there is any."""
        self._watchers += 1
        if self._task is None:
            self._task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            self._watchers -= 1
            if not self._watchers:
                self._task.cancel()
                self._task = None

    async def _watch(self) -> None:
        seen, never = object(), asyncio.Event()
        while True:
            try:
                version = await self._store.version()
            except OutboxError:
                version = object()  # the requests that wait meet the error themselves
            if version != seen:
                seen, announced, self.next = version, self.next, asyncio.Event()
                announced.set()
            await self._clock.wait(never, LOOK_EVERY)


if TYPE_CHECKING:
    from cdc.admin.process import RunningProcess
    from cdc.mapping.schema import EventType

#: Asks the database of a source, and may block.
ExistingTables = Callable[[SourceConfig], Collection[str]]
Work = TypeVar("Work", Replay, Backfill)
#: Replays, or backfills, looked at together, to find those of a page.
_TOGETHER = 200


@dataclass
class Service:
    """``existing_tables``: of a source's database.  ``examine``: the doctor's findings of a source.
    ``table_obstacle``: why its database does not capture a table, as a phrase; empty: it does.  ``describe_tables``:
    all tables of its database, captured or not, and why.  ``adopt``: accepts the outbox for a source, and stores the
    entries with that.  ``process``: the one that captures and sends, where it is this one.
    ``replay_asked``: called when there is a new replay to continue."""

    config: Config
    store: OutboxStore
    clock: Clock
    existing_tables: ExistingTables
    examine: Callable[[SourceConfig], Awaitable[Sequence[Finding]]]
    table_obstacle: Callable[[SourceConfig, str], Awaitable[str]]
    adopt: Callable[[SourceConfig, OutboxStore, Note], Awaitable[list[str]]]
    describe_tables: Callable[[SourceConfig], Awaitable[Sequence[DescribedTable]]]
    process: RunningProcess | None = None
    replay_asked: Callable[[], None] = lambda: None
    previewing: asyncio.Lock = field(default_factory=asyncio.Lock)

    #: Name of a consumer, and sources of the principal → id of its endpoint: so it is found without all endpoints.
    consumer_ids: dict[tuple[str, tuple[str, ...]], str] = field(default_factory=dict)

    #: Tables by source, and when its database was asked (monotonic).
    tables: dict[str, tuple[float, Sequence[DescribedTable]]] = field(default_factory=dict)
    describing: asyncio.Lock = field(default_factory=asyncio.Lock)

    #: Documents of the event types, by the function that builds them and the sources of the principal.
    documents: dict[tuple[Callable[[Sequence[EventType]], bytes], tuple[str, ...]], bytes] = field(default_factory=dict)

    @cached_property
    def in_use(self) -> InUse:
        return InUse(self.config.limits)

    @cached_property
    def activity_sums(self) -> ActivitySums:
        return ActivitySums(self.store)

    @cached_property
    def writes(self) -> Writes:
        return Writes(self.store, self.clock)

    @cached_property
    def event_types(self) -> Sequence[EventType]:
        """Every event of every source, and the operational ones, by name."""
        return event_types(self.config)


class UseCases:
    """The use cases about one subject, for one principal."""

    def __init__(self, service: Service, principal: Principal) -> None:
        self._service = service
        self._principal = principal
        self._config = service.config
        self._store = service.store
        self._clock = service.clock

    def event_types(self) -> Sequence[EventType]:
        """Return the types of events by name; a principal of some sources sees no operational ones."""
        sources = self._principal.sources
        return event_types(self._config, sorted(sources)) if sources else self._service.event_types

    def _note(self, action: str, *subjects: str, within: Sequence[Quota] = ()) -> Note:
        """Return the audit log's entries of what is done to each of these, to be stored with the change.  ``within``:
        limits that it must respect."""
        now, actor = self._clock.now(), self._principal.name
        return [AuditEntry(now, actor, action, subject, within=within) for subject in subjects]

    def _quotas(self, kind: Limited, sources: Sequence[str]) -> list[Quota]:
        """Return the limits of one more of this kind."""
        return quotas(self._config.limits, kind, sources, self._principal.name)


async def page_of(
    read: Callable[[int, str | None], Awaitable[list[Work]]],
    owned: Callable[[Work], Awaitable[bool]],
    limit: int,
    before: str | None,
) -> list[Work]:
    """Return up to ``limit`` of those that are ``owned``."""
    found: list[Work] = []
    while len(found) < limit:
        page = await read(_TOGETHER, before)
        found += [each for each in page if await owned(each)]
        if len(page) < _TOGETHER:
            break
        before = page[-1].id
    return found[:limit]
