"""Sending again from the PostgreSQL outbox: one delivery by hand, or all that fit, step by step.

What to replay is looked for outside of transactions; what was found is looked at again under `Lock.FREELY`, because
dispatch and others go on meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from cdc.model.endpoint import Order
from cdc.model.log_filter import DeliveryFilter
from cdc.outbox import replay
from cdc.outbox.base import Replayed
from cdc.outbox.postgres.lanes import settle
from cdc.outbox.postgres.rows import ACTIVE, event_from
from cdc.outbox.postgres.search import of_deliveries, of_events
from cdc.outbox.postgres.session import Db, Tell
from cdc.outbox.replay import Candidate, ReplayScan
from cdc.outbox.shared import (
    Subscriber,
    delivery_number,
    endpoint_removed,
    event_expunged,
    lane_for,
    no_delivery,
    no_endpoint,
    not_finished,
    place_of,
)

_LAST_DELIVERY: Final = "SELECT COALESCE(max(id), 0) FROM cdc_outbox.delivery"
_LANES_BEHIND: Final = "SELECT DISTINCT endpoint, lane FROM cdc_outbox.delivery WHERE id > %(last)s"


async def retry(db: Db, delivery_id: str, now: datetime) -> None:
    """Under `Lock.FREELY`, as all that writes here."""
    rows = await db.rows("retriable", ids=[delivery_number(delivery_id)])
    if not rows:
        raise no_delivery(delivery_id)
    state, removed, expunged, event_id = rows[0][1], rows[0][5], rows[0][7], rows[0][8]
    if state <= ACTIVE:
        if not await db.rows("hurry", id=delivery_number(delivery_id), now=now):
            raise not_finished(delivery_id)
        db.tell = Tell.DUE
        return
    if removed:
        raise endpoint_removed(delivery_id)
    if expunged:
        raise event_expunged(event_id)
    await _reopen(db, rows, now)


async def find(db: Db, which: DeliveryFilter, limit: int, after: str | None) -> ReplayScan:
    """Reads only."""
    place = place_of(after)
    subscriber = None if which.endpoint_id is None else await _subscriber(db, which.endpoint_id)
    if subscriber is None or which.state is not None:
        return await _finished(db, which, limit, place)
    return await _of_endpoint(db, which, subscriber, limit=limit, after=place[0])


async def _subscriber(db: Db, endpoint_id: str) -> Subscriber:
    rows = await db.rows("subscriber", id=endpoint_id)
    if not rows:
        raise no_endpoint(endpoint_id)
    number, patterns, sources, order, condition, endpoint_id = rows[0]
    return Subscriber(number, tuple(patterns), tuple(sources), Order(order), condition, endpoint_id)


async def _finished(db: Db, which: DeliveryFilter, limit: int, place: tuple[int, int]) -> ReplayScan:
    search = await of_deliveries(db, which)
    search.add("(delivery.event, delivery.id) > (%(place)s, %(behind)s)", place=place[0], behind=place[1])
    rows = await db.query(search.text("replayable"), search.parameters | {"limit": limit})
    return replay.of_deliveries([(sequence, number, expunged) for sequence, number, expunged in rows], limit)


async def _of_endpoint(db: Db, which: DeliveryFilter, subscriber: Subscriber, *, limit: int, after: int) -> ReplayScan:
    """Of one endpoint, also what it wants and never got."""
    search = await of_events(db, which)
    search.add("event.sequence > %(after)s", after=after)
    given = {"subscriber": subscriber.number, "limit": replay.LOOK}
    rows = await db.query(search.text("replayable_events"), search.parameters | given)
    # Filters may take their time: not on the event loop.
    return await asyncio.to_thread(replay.of_endpoint, map(_candidate, rows), subscriber, limit)


def _candidate(row: tuple[Any, ...]) -> Candidate:
    """From ``replayable_events.sql``."""
    sequence, delivery, expunged, state, *columns = row
    event = event_from((sequence, *columns)) if delivery is None else None
    return Candidate(sequence, delivery, delivery is not None and state > ACTIVE, bool(expunged), event)


async def apply(db: Db, found: ReplayScan, now: datetime) -> Replayed:
    rows = await db.rows("retriable", ids=found.reopened)
    done = await _reopen(db, [row for row in rows if row[1] > ACTIVE and not row[5] and not row[7]], now)
    if found.endpoint is not None and found.made:
        done += await _make(db, found.endpoint, found.made, now)
    return Replayed(done, found.expunged, found.after)


async def _reopen(db: Db, rows: Sequence[tuple[Any, ...]], now: datetime) -> int:
    """Finished deliveries as ``retriable.sql`` gives them; how many."""
    if not rows:
        return 0
    lanes = await db.rows(
        "reopen",
        ids=[row[0] for row in rows],
        states=[row[1] for row in rows],
        endpoints=[row[2] for row in rows],
        lanes=[lane_for(Order(row[6]), row[3], row[4], row[8]) for row in rows],
        now=now,
    )
    await settle(db, {(endpoint, lane) for endpoint, lane in lanes})
    db.tell = Tell.DUE
    return len(rows)


async def _make(db: Db, endpoint: int, sequences: Sequence[int], now: datetime) -> int:
    """Deliveries to an endpoint that never got these events; how many."""
    rows = await db.rows("undelivered", endpoint=endpoint, events=sequences)
    if not rows:
        return 0
    ((last,),) = await db.query(_LAST_DELIVERY, {})
    await db.write(
        "insert_deliveries",
        events=[row[0] for row in rows],
        endpoints=[endpoint for _ in rows],
        lanes=[lane_for(Order(order), source, record, event_id) for _, source, record, event_id, order in rows],
        last=last,
        now=now,
    )
    await settle(db, set(await db.query(_LANES_BEHIND, {"last": last})))
    db.tell = Tell.DUE
    return len(rows)
