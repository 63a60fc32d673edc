"""The log of the PostgreSQL outbox: listings and counts; all of it reads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from cdc.model.delivery import Attempt, DeliveryState, DeliveryView
from cdc.model.log_filter import DeliveryFilter, EventFilter
from cdc.outbox.base import StoredEvent
from cdc.outbox.postgres.rows import ACTIVE, STATES, attempt_from, event_from, view_from
from cdc.outbox.postgres.search import PostgresSearch, of_deliveries, of_events, span
from cdc.outbox.postgres.session import Db
from cdc.outbox.shared import cursor_of, delivery_number, no_delivery, place_text
from cdc.outbox.slices import LogScan, LogSlice, SearchPage, TimeBudget

#: the state with which ``counts.sql`` reports the leased among the active
_LEASED_AMONG_ACTIVE: Final = 5
_BELOW: Final = "(delivery.event, delivery.id) < (%(place)s, %(behind)s)"
_PLACE: Final = "SELECT event, id FROM cdc_outbox.delivery WHERE id = %(id)s"


async def deliveries(db: Db, which: DeliveryFilter, limit: int, before: str | None) -> list[DeliveryView]:
    search = await of_deliveries(db, which)
    if before is not None:
        sequence, number = await _place_of(db, before)
        # whichever of the two tables it begins with, and goes along, it begins at the place
        search.add("delivery.event <= %(place)s AND event.sequence <= %(place)s")
        search.add(_BELOW, place=sequence, behind=number)
    return [view_from(row) for row in await db.query(search.text("deliveries"), search.parameters | {"limit": limit})]


async def search_deliveries(
    db: Db, which: DeliveryFilter, limit: int, budget: TimeBudget, before: str | None
) -> SearchPage[DeliveryView]:
    search = await of_deliveries(db, which)
    whole = await (_whole(db) if search.few else _span(db, which))
    sequence, number = 0, 0
    if before is not None:
        sequence, number = cursor_of(before) or await _place_of(db, before)
        whole = whole.below(sequence, number)
    walk: LogScan[tuple[Any, ...]] = LogScan(whole, limit, budget, at_once=search.few)
    for stretch in walk:
        within = search.within(stretch, "delivery.event", "event.sequence")
        if stretch.has(sequence):  # only there: the planner would take it for another bound that narrows the others too
            within = within.narrowed(_BELOW, place=sequence, behind=number)
        walk.rows += await db.planned(within.text("deliveries"), within.parameters | {"limit": walk.wanted})
    return walk.page(view_from, lambda row: place_text(row[15], row[0]), lambda edge: place_text(edge, 0))


async def _span(db: Db, which: EventFilter) -> LogSlice:
    return await span(db, which, await _whole(db))


async def _whole(db: Db) -> LogSlice:
    ((oldest, newest),) = await db.rows("log_ends")
    return LogSlice(oldest - 1, newest)


async def _place_of(db: Db, delivery_id: str) -> tuple[int, int]:
    """Sequence of its event, and its number."""
    rows = await db.query(_PLACE, {"id": delivery_number(delivery_id)})
    if not rows:
        raise no_delivery(delivery_id)
    return rows[0][0], rows[0][1]


async def delivery(db: Db, delivery_id: str) -> DeliveryView | None:
    one = PostgresSearch()
    one.add("delivery.id = %(id)s", id=delivery_number(delivery_id), limit=1)
    rows = await db.query(one.text("deliveries"), one.parameters)
    return view_from(rows[0]) if rows else None


async def attempts(db: Db, delivery_id: str) -> list[Attempt]:
    return [attempt_from(row) for row in await db.rows("attempts", id=delivery_number(delivery_id))]


async def attempts_of(db: Db, delivery_ids: Sequence[str]) -> dict[str, list[Attempt]]:
    found: dict[str, list[Attempt]] = defaultdict(list)
    for row in await db.rows("attempts_of", ids=[delivery_number(each) for each in delivery_ids]):
        attempt = attempt_from(row)
        found[attempt.delivery_id].append(attempt)
    return dict(found)


async def counts(db: Db) -> dict[str, dict[DeliveryState, int]]:
    rows: dict[str, dict[int, int]] = defaultdict(dict)
    for endpoint_id, row_state, number in await db.rows("counts"):
        rows[endpoint_id][row_state] = number
    return {endpoint_id: _by_state(of_endpoint) for endpoint_id, of_endpoint in rows.items()}


def _by_state(of_endpoint: dict[int, int]) -> dict[DeliveryState, int]:
    leased = of_endpoint.pop(_LEASED_AMONG_ACTIVE)
    if leased:
        of_endpoint[ACTIVE] -= leased
    found = {STATES[row_state]: number for row_state, number in of_endpoint.items() if number}
    return found | {DeliveryState.LEASED: leased} if leased else found


async def events(db: Db, limit: int, after: int | None, pattern: str | None) -> list[StoredEvent]:
    if pattern is not None:
        which = EventFilter(event_pattern=pattern)
        return await (_newest(db, which, limit) if after is None else find_events(db, which, limit, after))
    if after is None:
        rows = await db.rows("events_newest", limit=limit)
    else:
        rows = await db.rows("events_after", limit=limit, after=after)
    return [event_from(row) for row in rows]


async def _newest(db: Db, which: EventFilter, limit: int) -> list[StoredEvent]:
    search = await of_events(db, which)
    rows = await db.query(search.text("find_newest"), search.parameters | {"limit": limit})
    return [event_from(row) for row in reversed(rows)]


async def event(db: Db, event_id: str) -> StoredEvent | None:
    rows = await db.rows("event", id=event_id)
    return event_from(rows[0]) if rows else None


async def find_events(db: Db, which: EventFilter, limit: int, after: int) -> list[StoredEvent]:
    search = await of_events(db, which)
    search.add("event.sequence > %(after)s", after=after)
    return [event_from(row) for row in await db.query(search.text("find_events"), search.parameters | {"limit": limit})]


async def search_events(
    db: Db, which: EventFilter, limit: int, budget: TimeBudget, place: int | None, *, oldest_first: bool
) -> SearchPage[StoredEvent]:
    search = await of_events(db, which)
    whole = await (_whole(db) if search.few else _span(db, which))
    if place is not None:
        whole = whole.behind(place, oldest_first=oldest_first)
    walk: LogScan[tuple[Any, ...]] = LogScan(whole, limit, budget, oldest_first=oldest_first, at_once=search.few)
    name = "find_events" if oldest_first else "find_newest"
    for stretch in walk:
        within = search.within(stretch, "event.sequence")
        walk.rows += await db.planned(within.text(name), within.parameters | {"limit": walk.wanted})
    return walk.page(event_from, lambda row: str(row[0]), str)
