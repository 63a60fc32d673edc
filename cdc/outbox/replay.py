"""Sending again: one delivery by hand, or all that fit, step by step.

What to replay is looked for outside of transactions; what was found is looked at again in the transaction that makes it
due, because dispatch and others continue.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from cdc.model.delivery import DeliveryFilter
from cdc.model.endpoint import Order
from cdc.model.replay import Replayed
from cdc.outbox.base import StoredEvent
from cdc.outbox.database import Database, Row
from cdc.outbox.dispatch import settle
from cdc.outbox.endpoints import subscriber as subscriber_of_id
from cdc.outbox.rows import ACTIVE, event_from
from cdc.outbox.shared import (
    Subscriber,
    delivery_number,
    endpoint_removed,
    event_expunged,
    lane_for,
    no_delivery,
    not_finished,
    place_of,
    place_text,
    wanted_still,
)

#: Events of one endpoint that a step looks at, at most.
LOOK: Final = 500


class ReplayScan(NamedTuple):
    """``reopened``: deliveries.  ``made``: sequences of events that get a delivery to ``endpoint`` (a number)."""

    reopened: Sequence[int] = ()
    made: Sequence[int] = ()
    endpoint: int | None = None
    expunged: int = 0
    after: str | None = None

    def planned(self) -> Replayed:
        return Replayed(len(self.reopened) + len(self.made), self.expunged, self.after)


class Candidate(NamedTuple):
    """An event at one endpoint.  ``delivery``: its number, None when the endpoint never got it; ``event`` is there
    then, and only then."""

    sequence: int
    delivery: int | None
    finished: bool
    expunged: bool
    event: StoredEvent | None


def of_deliveries(rows: Sequence[tuple[int, int, bool]], limit: int) -> ReplayScan:
    """``rows``: sequence, finished delivery, whether it is expunged; in order, up to ``limit``."""
    kept = [number for _, number, expunged in rows if not expunged]
    behind = place_text(*rows[-1][:2]) if len(rows) == limit else None
    return ReplayScan(kept, expunged=len(rows) - len(kept), after=behind)


def of_endpoint(candidates: Iterable[Candidate], subscriber: Subscriber, limit: int) -> ReplayScan:
    """``candidates``: the next `LOOK` events in order, fewer when there are no more."""
    reopened: list[int] = []
    made: list[int] = []
    looked = expunged = last = 0
    for each in candidates:
        if len(reopened) + len(made) == limit:
            return ReplayScan(reopened, made, subscriber.number, expunged, place_text(last, 0))
        looked, last = looked + 1, each.sequence
        if not _wanted(each, subscriber):
            continue
        if each.expunged:
            expunged += 1
        elif each.delivery is None:
            made.append(each.sequence)
        else:
            reopened.append(each.delivery)
    return ReplayScan(reopened, made, subscriber.number, expunged, place_text(last, 0) if looked == LOOK else None)


def _wanted(candidate: Candidate, subscriber: Subscriber) -> bool:
    if candidate.event is None:
        return candidate.finished
    return wanted_still(subscriber, candidate.event)


async def retry(db: Database, delivery_id: str, now: datetime) -> None:
    number = delivery_number(delivery_id)
    row = await db.row("retriable", ids=[number])
    if row is None:
        raise no_delivery(delivery_id)
    state, removed, expunged, event_id = row[1], row[5], row[7], row[8]
    if state <= ACTIVE:
        if not await db.write("hurry", id=number, now=now):
            raise not_finished(delivery_id)
        db.due()
        return
    if removed:
        raise endpoint_removed(delivery_id)
    if expunged:
        raise event_expunged(event_id)
    await _reopen(db, [row], now)


async def find(db: Database, which: DeliveryFilter, limit: int, after: str | None) -> ReplayScan:
    """Reads only."""
    place = place_of(after)
    subscriber = None if which.endpoint_id is None else await subscriber_of_id(db, which.endpoint_id)
    if subscriber is None or which.state is not None:
        search = await db.find_deliveries(which)
        rows = await search.after(*place).rows("replayable", limit)
        return of_deliveries([(sequence, number, bool(expunged)) for sequence, number, expunged in rows], limit)
    events = await db.find_events(which)
    rows = await events.behind(place[0]).rows("replayable_events", LOOK, subscriber=subscriber.number)
    return await db.aside(of_endpoint, map(_candidate, rows), subscriber, limit)  # filters may take their time


def _candidate(row: Row) -> Candidate:
    """Return the candidate of a row of ``replayable_events``: also an event that an endpoint wants and never got."""
    sequence, delivery, expunged, state, *columns = row
    event = event_from((sequence, *columns)) if delivery is None else None
    return Candidate(sequence, delivery, delivery is not None and state > ACTIVE, bool(expunged), event)


async def apply(db: Database, found: ReplayScan, now: datetime) -> Replayed:
    rows = await db.rows("retriable", ids=found.reopened)
    done = await _reopen(db, [row for row in rows if row[1] > ACTIVE and not row[5] and not row[7]], now)
    if found.endpoint is not None and found.made:
        done += await _make(db, found.endpoint, found.made, now)
    return Replayed(done, found.expunged, found.after)


async def _reopen(db: Database, rows: Sequence[Row], now: datetime) -> int:
    """Finished deliveries as ``retriable`` gives them; how many."""
    if not rows:
        return 0
    columns = {
        "id": [row[0] for row in rows],
        "state": [row[1] for row in rows],
        "endpoint": [row[2] for row in rows],
        "lane": [lane_for(Order(row[6]), row[3], row[4], row[8]) for row in rows],
    }
    lanes = await db.rows_each("reopen", columns, now=now)
    await settle(db, {(endpoint, lane) for endpoint, lane in lanes})
    db.due()
    return len(rows)


async def _make(db: Database, endpoint: int, sequences: Sequence[int], now: datetime) -> int:
    """Deliveries to an endpoint that never got these events; how many."""
    rows = await db.rows("undelivered", endpoint=endpoint, events=sequences)
    if not rows:
        return 0
    last = await db.value("last_delivery")
    columns = {
        "event": [row[0] for row in rows],
        "endpoint": [endpoint for _ in rows],
        "lane": [lane_for(Order(order), source, record, event_id) for _, source, record, event_id, order in rows],
    }
    await db.write_each("insert_delivery", columns, last=last, now=now)
    await settle(db, {(number, lane) for number, lane in await db.rows("lanes_behind", last=last)})
    db.due()
    return len(rows)
