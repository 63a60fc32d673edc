"""The log of an outbox: the rows of events, deliveries and attempts and their classes, listings and counts; all of it
reads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import orjson

from cdc.model.delivery import (
    Activity,
    ActivityLeaders,
    Attempt,
    DeliveryFilter,
    DeliveryState,
    DeliveryView,
    EventFilter,
)
from cdc.model.endpoint import public_url
from cdc.outbox.base import StoredEvent
from cdc.outbox.database import Database, Row
from cdc.outbox.secret_box import Contents
from cdc.outbox.shared import cursor_of, delivery_id, delivery_number, no_delivery, place_text
from cdc.outbox.slices import LogScan, LogSlice, SearchPage, TimeBudget

#: `delivery.state` of rows; pending and leased share 1 and differ by `delivery.worker`
WAITING, ACTIVE, DELIVERED, DEAD, CANCELLED = range(5)
ROW_STATE: Final = {
    DeliveryState.WAITING: WAITING,
    DeliveryState.PENDING: ACTIVE,
    DeliveryState.LEASED: ACTIVE,
    DeliveryState.DELIVERED: DELIVERED,
    DeliveryState.DEAD: DEAD,
    DeliveryState.CANCELLED: CANCELLED,
}
STATES: Final = (
    DeliveryState.WAITING,
    DeliveryState.PENDING,
    DeliveryState.DELIVERED,
    DeliveryState.DEAD,
    DeliveryState.CANCELLED,
)


def view_from(row: Row) -> DeliveryView:
    """Return the delivery of a row of ``deliveries``."""
    number, endpoint_id, event_id, name, record, source, row_state, leased, attempts, due, created, finished = row[:12]
    state = DeliveryState.LEASED if leased else STATES[row_state]
    return DeliveryView(
        id=delivery_id(number),
        endpoint_id=endpoint_id,
        event_id=event_id,
        event_name=name,
        record=record,
        source=source,
        state=state,
        attempts=attempts,
        due_at=due if state is DeliveryState.PENDING else None,
        created_at=created,
        finished_at=finished,
        last_status=row[12],
        last_error=row[13] or "",
        expunged=bool(row[14]),
    )


def attempt_from(row: Row, contents: Contents) -> Attempt:
    """Return the attempt of a row of ``attempts``."""
    made = Attempt(delivery_id(row[0]), *row[1:])
    return made._replace(url=public_url(made.url), answer=contents.open_text(made.answer))


def event_from(row: Row, contents: Contents) -> StoredEvent:
    """Return the event of a row of ``event``, ``events_…`` and ``find_…``."""
    sequence, event_id, name, source, record, time, payload = row
    parsed = orjson.loads(contents.open(payload)) if payload else {}  # emptied when it was expunged
    return StoredEvent(sequence, event_id, name, source, record, time, parsed)


#: the state with which ``counts`` reports the leased among the active
_LEASED_AMONG_ACTIVE: Final = 5
_ALL: Final = 2**62


async def deliveries(db: Database, which: DeliveryFilter, limit: int, before: str | None = None) -> list[DeliveryView]:
    """Return deliveries of the newest events first, of one event the newest delivery first.  ``before``: the last
    id of the page before; raises `UsageError` when there is no such delivery (any more)."""
    search = await db.find_deliveries(which, newest_first=True)
    if before is not None:
        search = search.before(*await _place_of(db, before))
    return [view_from(row) for row in await search.rows("deliveries", limit)]


async def search_deliveries(
    db: Database, which: DeliveryFilter, limit: int, budget: TimeBudget, before: str | None = None
) -> SearchPage[DeliveryView]:
    """Search `deliveries` within ``budget``: return a page that may be short, and where to continue.  ``before``:
    `SearchPage.further` of the page before, or the id of a delivery.  Raises `UsageError` when there is no such
    delivery (any more)."""
    search = await db.find_deliveries(which, walked=True)
    whole = await _whole(db) if search.few else await db.span(which, await _whole(db))
    if before is not None:
        sequence, number = cursor_of(before) or await _place_of(db, before)
        search = search.before(sequence, number)
        whole = whole.below(sequence, number)
    walk: LogScan[Row] = LogScan(whole, limit, budget, at_once=search.few)
    for part in walk:
        walk.rows += await search.within(part).rows("deliveries", walk.missing)
    return walk.page(view_from, lambda row: place_text(row[15], row[0]), lambda sequence: place_text(sequence, 0))


async def _whole(db: Database) -> LogSlice:
    ((oldest, newest),) = await db.rows("log_ends")
    return LogSlice(oldest - 1, newest)


async def _place_of(db: Database, delivery_id: str) -> tuple[int, int]:
    """Sequence of its event, and its number."""
    row = await db.row("place", id=delivery_number(delivery_id))
    if row is None:
        raise no_delivery(delivery_id)
    return int(row[0]), int(row[1])


async def delivery(db: Database, delivery_id: str) -> DeliveryView | None:
    rows = await db.one_delivery(delivery_number(delivery_id)).rows("deliveries", 1)
    return view_from(rows[0]) if rows else None


async def attempts(db: Database, delivery_id: str) -> list[Attempt]:
    return [attempt_from(row, db.box.contents) for row in await db.rows("attempts", id=delivery_number(delivery_id))]


async def attempts_of(db: Database, delivery_ids: Sequence[str]) -> dict[str, list[Attempt]]:
    """`attempts` of many deliveries, by their ids; one that has none is absent."""
    found: dict[str, list[Attempt]] = defaultdict(list)
    for row in await db.rows("attempts_of", ids=[delivery_number(each) for each in delivery_ids]):
        attempt = attempt_from(row, db.box.contents)
        found[attempt.delivery_id].append(attempt)
    return dict(found)


async def last_failures(db: Database, endpoint_ids: Sequence[str]) -> dict[str, Attempt]:
    """Return an attempt of each of these endpoints that shows why it fails: the last one of a delivery that waits for
    its next attempt, or that is dead; an endpoint without one is absent."""
    rows = await db.rows("last_failures", ids=list(endpoint_ids))
    return {row[0]: attempt_from(row[1:], db.box.contents) for row in rows}


async def durations(db: Database, endpoint_id: str | None, limit: int) -> list[float]:
    """Return how many seconds the newest ``limit`` attempts took; of an endpoint, those of so many deliveries."""
    if endpoint_id is None:
        return [row[0] for row in await db.rows("durations", limit=limit)]
    return [row[0] for row in await db.rows("durations_of", endpoint=endpoint_id, limit=limit)]


async def counts(
    db: Database, most: int | None = None, endpoint_ids: Sequence[str] | None = None
) -> dict[str, dict[DeliveryState, int]]:
    """Endpoint id (of those not removed) → how many deliveries by state; a state that has none is absent, and
    finished tests are left out.  ``most``: about so many unfinished ones of each endpoint are counted; None:
    all.  ``endpoint_ids``: of these endpoints only; None: of all."""
    rows: dict[str, dict[int, int]] = defaultdict(dict)
    given = {"most": _ALL if most is None else most, "ids": None if endpoint_ids is None else list(endpoint_ids)}
    for endpoint_id, row_state, number in await db.rows("counts", **given):
        of_endpoint = rows[endpoint_id]
        if row_state is not None:  # None: an endpoint without deliveries
            of_endpoint[row_state] = number
    for endpoint_id, row_state, number in await db.rows("finished_tests"):
        if endpoint_ids is not None and endpoint_id not in endpoint_ids:
            continue
        of_endpoint = rows[endpoint_id]
        of_endpoint[row_state] = max(of_endpoint.get(row_state, 0) - number, 0)  # one may have ended between both reads
    found: dict[str, dict[DeliveryState, int]] = {}
    for endpoint_id, of_endpoint in rows.items():
        leased = of_endpoint.pop(_LEASED_AMONG_ACTIVE, 0)
        if leased:
            of_endpoint[ACTIVE] = max(of_endpoint.get(ACTIVE, 0) - leased, 0)  # not all of these were counted
        by_state = {STATES[row_state]: number for row_state, number in of_endpoint.items() if number}
        found[endpoint_id] = by_state | {DeliveryState.LEASED: leased} if leased else by_state
    return found


async def unfinished(db: Database, endpoint_id: str | None, limit: int) -> int:
    """Return how many deliveries of an endpoint, or of all, are not finished, counted up to ``limit``."""
    if endpoint_id is None:
        return int(await db.value("all_unfinished", limit=limit))
    return int(await db.value("unfinished", endpoint=endpoint_id, limit=limit))


async def events(db: Database, limit: int, after: int | None = None, pattern: str | None = None) -> list[StoredEvent]:
    """Events in the order stored: those behind sequence ``after``, or the newest ``limit`` when it is None."""
    which = EventFilter(event_pattern=pattern)
    if pattern is not None and after is not None:
        return await find_events(db, which, limit, after)
    if pattern is not None:
        rows = (await (await db.find_events(which)).rows("find_newest", limit))[::-1]
    elif after is None:
        rows = await db.rows("events_newest", limit=limit)
    else:
        rows = await db.rows("events_after", limit=limit, after=after)
    return [event_from(row, db.box.contents) for row in rows]


async def event(db: Database, event_id: str) -> StoredEvent | None:
    row = await db.row("event", id=event_id)
    return None if row is None else event_from(row, db.box.contents)


async def events_of(db: Database, event_ids: Sequence[str]) -> list[StoredEvent]:
    """The events with these ids, in no certain order; ids that are none are left out."""
    return [event_from(row, db.box.contents) for row in await db.rows("events_of", ids=list(event_ids))]


async def newest_events(db: Database, records: Sequence[str], sources: Sequence[str] | None) -> list[StoredEvent]:
    """The newest event of each of these records, of these sources if any are named, in no certain order."""
    given = {"record": list(records)}
    rows = await db.rows_each("newest_event", given, sources=None if sources is None else list(sources))
    return [event_from(row, db.box.contents) for row in rows]


async def find_events(db: Database, which: EventFilter, limit: int, after: int = 0) -> list[StoredEvent]:
    """Events in the order stored, behind sequence ``after``."""
    search = await db.find_events(which)
    return [event_from(row, db.box.contents) for row in await search.after_event(after).rows("find_events", limit)]


async def search_events(
    db: Database, which: EventFilter, limit: int, budget: TimeBudget, place: int | None = None, *, oldest_first: bool
) -> SearchPage[StoredEvent]:
    """Events, oldest or newest first, no longer than ``budget`` has it: a page that may be short, and where to go
    on.  ``place``: behind which sequence, in that order; `SearchPage.further` of the page before is its text."""
    search = await db.find_events(which, walked=True)
    whole = await _whole(db) if search.few else await db.span(which, await _whole(db))
    if place is not None:
        whole = whole.part_after(place, oldest_first=oldest_first)
    walk: LogScan[Row] = LogScan(whole, limit, budget, oldest_first=oldest_first, at_once=search.few)
    name = "find_events" if oldest_first else "find_newest"
    for part in walk:
        walk.rows += await search.within(part).rows(name, walk.missing)
    return walk.page(lambda row: event_from(row, db.box.contents), lambda row: str(row[0]), str)


async def activity(
    db: Database, edges: Sequence[datetime], endpoint_ids: Sequence[str] | None = None, source: str | None = None
) -> list[Activity]:
    """Return the attempts of each period from one edge to the next, by endpoint and source, where there are any.
    Periods that ended more than two hours ago are known by the hour only.  ``endpoint_ids``: as in `counts`.
    ``source``: of this one only."""
    columns = {"period_start": list(edges[:-1]), "period_end": list(edges[1:])}
    if source is not None:
        found = [Activity(*row) for row in await db.rows_each("activity_source", columns, source=source)]
        return found if endpoint_ids is None else [each for each in found if each.endpoint_id in set(endpoint_ids)]
    if endpoint_ids is None:
        return [Activity(*row) for row in await db.rows_each("activity", columns)]
    return [Activity(*row) for row in await db.rows_each("activity_of", columns, ids=list(endpoint_ids))]


async def activity_totals(db: Database, periods: Sequence[tuple[datetime, datetime]]) -> list[Activity]:
    """Return all attempts of each period, from its beginning until before its end, where there are any."""
    columns = {"period_start": [start for start, _ in periods], "period_end": [end for _, end in periods]}
    return [Activity(*row) for row in await db.rows_each("activity_slots", columns)]


async def activity_leaders(db: Database, since: datetime, before: datetime, most: int) -> ActivityLeaders:
    """Return the attempts of the ``most`` endpoints and sources that have the most of them."""
    given = {"since": since, "before": before, "limit": most}
    return ActivityLeaders(
        [Activity(since, each, "", *rest) for each, *rest in await db.rows("activity_endpoints", **given)],
        [Activity(since, "", each, *rest) for each, *rest in await db.rows("activity_sources", **given)],
    )
