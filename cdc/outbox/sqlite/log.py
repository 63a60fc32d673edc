"""The log of the SQLite outbox: listings and counts; all of it reads."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from cdc.model.delivery import Attempt, DeliveryState, DeliveryView
from cdc.model.log_filter import DeliveryFilter, EventFilter
from cdc.outbox.base import StoredEvent
from cdc.outbox.shared import cursor_of, delivery_number, no_delivery, place_text
from cdc.outbox.slices import LogScan, LogSlice, SearchPage, TimeBudget
from cdc.outbox.sqlite.rows import ACTIVE, LEASED_AMONG_ACTIVE, attempt_from, event_from, state_of, view_from
from cdc.outbox.sqlite.search import SqliteSearch, of_deliveries, of_events, rows_of, span
from cdc.sqlfile import load


def deliveries(db: sqlite3.Connection, which: DeliveryFilter, limit: int, before: str | None) -> list[DeliveryView]:
    searches = of_deliveries(db, which, newest_first=True)
    if before is not None:
        place = _place_of(db, before)
        searches = [search.before(*place) for search in searches]
    rows = rows_of(db, "deliveries", searches, lambda row: (row[15], row[0]), limit=limit, reverse=True)
    return [view_from(row) for row in rows]


def search_deliveries(
    db: sqlite3.Connection, which: DeliveryFilter, limit: int, budget: TimeBudget, before: str | None
) -> SearchPage[DeliveryView]:
    searches = of_deliveries(db, which, walked=True)
    few = all(search.few for search in searches)
    whole = _whole(db) if few else span(db, which, _whole(db))
    if before is not None:
        sequence, number = cursor_of(before) or _place_of(db, before)
        searches = [search.before(sequence, number) for search in searches]
        whole = whole.below(sequence, number)
    walk: LogScan[tuple[Any, ...]] = LogScan(whole, limit, budget, at_once=few)
    for stretch in walk:
        within = [search.within(stretch) for search in searches]
        walk.rows += rows_of(db, "deliveries", within, lambda row: (row[15], row[0]), limit=walk.wanted, reverse=True)
    return walk.page(view_from, lambda row: place_text(row[15], row[0]), lambda sequence: place_text(sequence, 0))


def _whole(db: sqlite3.Connection) -> LogSlice:
    oldest, newest = db.execute(load("sqlite/log_ends.sql")).fetchone()
    return LogSlice(oldest - 1, newest)


def _place_of(db: sqlite3.Connection, delivery_id: str) -> tuple[int, int]:
    """Sequence of its event, and its number."""
    query = "SELECT event, id FROM delivery WHERE id = ?"
    row = db.execute(query, (delivery_number(delivery_id),)).fetchone()
    if row is None:
        raise no_delivery(delivery_id)
    return int(row[0]), int(row[1])


def delivery(db: sqlite3.Connection, delivery_id: str) -> DeliveryView | None:
    one = SqliteSearch("delivery", ("delivery.id = :id",), {"id": delivery_number(delivery_id), "limit": 1})
    row = db.execute(one.text("deliveries"), one.parameters).fetchone()
    return None if row is None else view_from(row)


def attempts(db: sqlite3.Connection, delivery_id: str) -> list[Attempt]:
    return [attempt_from(row) for row in db.execute(load("sqlite/attempts.sql"), (delivery_number(delivery_id),))]


def attempts_of(db: sqlite3.Connection, delivery_ids: Sequence[str]) -> dict[str, list[Attempt]]:
    numbers = json.dumps([delivery_number(each) for each in delivery_ids])
    found: dict[str, list[Attempt]] = defaultdict(list)
    for row in db.execute(load("sqlite/attempts_of.sql"), (numbers,)):
        attempt = attempt_from(row)
        found[attempt.delivery_id].append(attempt)
    return dict(found)


def counts(db: sqlite3.Connection) -> dict[str, dict[DeliveryState, int]]:
    rows: dict[str, dict[int, int]] = defaultdict(dict)
    for endpoint_id, row_state, number in db.execute(load("sqlite/counts.sql")):
        of_endpoint = rows[endpoint_id]
        if row_state is not None:  # None: an endpoint without deliveries
            of_endpoint[row_state] = number
    return {endpoint_id: _by_state(of_endpoint) for endpoint_id, of_endpoint in rows.items()}


def _by_state(of_endpoint: dict[int, int]) -> dict[DeliveryState, int]:
    leased = of_endpoint.pop(LEASED_AMONG_ACTIVE, 0)
    if leased:
        of_endpoint[ACTIVE] -= leased
    found = {state_of(row_state, leased=False): number for row_state, number in of_endpoint.items() if number}
    return found | {DeliveryState.LEASED: leased} if leased else found


def events(db: sqlite3.Connection, limit: int, after: int | None, pattern: str | None) -> list[StoredEvent]:
    if pattern is not None:
        which = EventFilter(event_pattern=pattern)
        return _newest(db, which, limit) if after is None else find_events(db, which, limit, after)
    if after is None:
        rows = db.execute(load("sqlite/events_newest.sql"), {"limit": limit})
    else:
        rows = db.execute(load("sqlite/events_after.sql"), {"limit": limit, "after": after})
    return [event_from(row) for row in rows]


def _newest(db: sqlite3.Connection, which: EventFilter, limit: int) -> list[StoredEvent]:
    rows = rows_of(db, "find_newest", of_events(db, which), lambda row: row[0], limit=limit, reverse=True)
    return [event_from(row) for row in reversed(rows)]


def event(db: sqlite3.Connection, event_id: str) -> StoredEvent | None:
    row = db.execute(load("sqlite/event.sql"), (event_id,)).fetchone()
    return None if row is None else event_from(row)


def find_events(db: sqlite3.Connection, which: EventFilter, limit: int, after: int) -> list[StoredEvent]:
    searches = [search.narrowed("$sequence > :after", after=after) for search in of_events(db, which)]
    return [event_from(row) for row in rows_of(db, "find_events", searches, lambda row: row[0], limit=limit)]


def search_events(
    db: sqlite3.Connection, which: EventFilter, limit: int, budget: TimeBudget, place: int | None, *, oldest_first: bool
) -> SearchPage[StoredEvent]:
    searches = of_events(db, which, walked=True)
    few = all(search.few for search in searches)
    whole = _whole(db) if few else span(db, which, _whole(db))
    if place is not None:
        whole = whole.behind(place, oldest_first=oldest_first)
    walk: LogScan[tuple[Any, ...]] = LogScan(whole, limit, budget, oldest_first=oldest_first, at_once=few)
    name = "find_events" if oldest_first else "find_newest"
    for stretch in walk:
        within = [search.within(stretch) for search in searches]
        walk.rows += rows_of(db, name, within, lambda row: row[0], limit=walk.wanted, reverse=not oldest_first)
    return walk.page(event_from, lambda row: str(row[0]), str)
