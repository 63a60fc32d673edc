"""The queries of dispatch beside leasing and recording, which each dialect does in its own way, and the lanes: ordering
keys that keep the deliveries of a record in order at each endpoint.

A lane is a number; within (endpoint, lane) at most one delivery is active, the others wait.  Records get the hash of
their name; a rename merges the lanes of the former and the new name for good, because an event of either name may be
unfinished, or be retried, at any time.  Two records in one lane are ordered more than needed, never less.

Why processes side by side keep the order in PostgreSQL (SQLite's transactions are alone).  Which deliveries of a lane
are active is changed only

* under `Lock.EXCLUSIVE`, which is alone: merging, retrying, releasing, removing an endpoint;
* under `Lock.FINISH`, by the process that leased the one active delivery of the lane and locks its row: no other can
  end it or let the next one go.  Where a lane has several active ones (records renamed while both were being sent), or
  an older one waits, the transaction is begun again under `Lock.EXCLUSIVE`;
* under `Lock.STORE`, one store at a time: new deliveries join the end of their lanes.  One waits where its lane has an
  unfinished delivery, whose row (any of them) the store locks against being finished until it commits.  So whichever
  of a store and the finish of the last delivery before locks the row first, the other one sees what it did: the store a
  lane without unfinished deliveries, or the finish one that waits.

A store waits for a finish only where both have a delivery of the same lane, and a finish for no store: deliveries whose
rows are locked it leaves, and ends them under `Lock.STORE`.  Leasing changes only who has an active delivery.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Final

import orjson

from cdc.model.delivery import DueEndpoints, LeasedDelivery
from cdc.model.endpoint import Order
from cdc.outbox.database import Database
from cdc.outbox.shared import delivery_id, delivery_number, endpoint_moving, ordering_key, record_key

#: (endpoint's number, lane)
EndpointKey = tuple[int, int]
#: No endpoint's number is greater.
_LAST: Final = 2**63 - 1


async def merge_keys(db: Database, source: str, former: str, record: str) -> None:
    """Let ``record`` share the lane of its ``former`` name, with all that is unfinished."""
    await join_keys(db, record_key(source, former), record_key(source, record))


async def join_keys(db: Database, into: int, lane: int) -> None:
    into, lane = await _root(db, into), await _root(db, lane)
    if into == lane:
        return
    await db.write("redirect_lanes", into=into, lane=lane)
    await db.write("alias_lane", into=into, lane=lane)
    moved = await db.rows("move_lane", into=into, lane=lane)
    await rebalance(db, {(endpoint, into) for (endpoint,) in moved})


async def _root(db: Database, lane: int) -> int:
    row = await db.row("lane_root", lane=lane)
    return lane if row is None else int(row[0])


async def reorder(db: Database, endpoint: int, order: Order) -> None:
    """Put the unfinished deliveries of an endpoint into the lanes of its new order.  Raises `UsageError` while some are
    moving to another outbox: they would be sent here, too."""
    rows = await db.rows("unfinished_of_endpoint", endpoint=endpoint)
    if any(held for *_, held in rows):
        raise endpoint_moving()
    lanes = [ordering_key(order, source, record, event_id) for _, source, record, event_id, _ in rows]
    await db.write_each("reorder", {"id": [row[0] for row in rows], "lane": lanes})
    await db.write("demote_endpoint", endpoint=endpoint)
    await db.write("promote_endpoint", endpoint=endpoint)


async def rebalance(db: Database, lanes: Collection[EndpointKey]) -> None:
    """Make the oldest unfinished delivery of each lane the active one, unless one is leased."""
    if lanes:
        await db.write_each("demote", key_columns(lanes))
        await activate(db, lanes)


async def activate(db: Database, lanes: Collection[EndpointKey]) -> None:
    """`rebalance`, where nothing can be pending: after a finished delivery."""
    if lanes:
        await db.write_each("promote", key_columns(lanes))


def key_columns(lanes: Collection[EndpointKey]) -> dict[str, list[int]]:
    return {"endpoint": [each[0] for each in lanes], "lane": [each[1] for each in lanes]}


async def release(db: Database, worker: str, now: datetime) -> int:
    held = await db.rows("release", worker=worker, now=now)
    await rebalance(db, {(endpoint, lane) for endpoint, lane in held})
    if held:
        db.due()
    return len(held)


async def bring_forward(db: Database, worker: str, latest: Mapping[str, datetime], now: datetime) -> int:
    """Endpoints with something due after the first of these times are found first: nearly always none."""
    rows = await db.rows("late_endpoints", earliest=min(latest.values())) if latest else []
    latest = {endpoint: latest[endpoint] for (endpoint,) in rows if endpoint in latest}
    brought = 0
    for endpoint, time in latest.items():
        brought += await db.write("bring_forward", endpoint=endpoint, latest=time, worker=worker, now=now)
    if brought:
        for endpoint, time in latest.items():
            await db.write("bring_forward_waiting", endpoint=endpoint, latest=time, now=now)
        db.due()
    return brought


async def give_back(db: Database, worker: str, deliveries: Sequence[LeasedDelivery], now: datetime) -> int:
    columns: dict[str, Sequence[object]] = {
        "id": [delivery_number(each.id) for each in deliveries],
        "number": [each.attempt for each in deliveries],
    }
    held = await db.rows_each("give_back", columns, worker=worker, now=now)
    await rebalance(db, {(endpoint, lane) for endpoint, lane in held})
    if held:
        db.due()
    return len(held)


async def endpoint_numbers(db: Database) -> dict[str, int]:
    return dict(await db.rows("numbers_of_endpoints"))


async def due_endpoints(
    db: Database,
    now: datetime,
    most: int,
    place: int,
    without: Collection[str] = (),
    runs: Sequence[tuple[int, int]] | None = None,
) -> DueEndpoints:
    return await find_due_endpoints(db, "due_endpoints", now, most, place, without=without, runs=runs)


async def find_due_endpoints(
    db: Database,
    name: str,
    now: datetime,
    most: int,
    place: int,
    *,
    without: Collection[str],
    runs: Sequence[tuple[int, int]] | None,
    **parameters: object,
) -> DueEndpoints:
    """`due_endpoints` by the statement ``name``, which may have more parameters."""
    common = {"now": now, "without": list(without), **parameters}
    whole = [(place, _LAST)] if runs is None else runs
    found = await db.rows(name, runs=orjson.dumps(whole).decode(), most=most, **common)
    if runs is None and place and len(found) < most:
        before = orjson.dumps([(0, place)]).decode()
        found += await db.rows(name, runs=before, most=most - len(found), **common)
    return DueEndpoints([endpoint for _, endpoint in found], found[-1][0] if len(found) == most else 0)


async def next_due(db: Database, now: datetime, without: Collection[str] = ()) -> datetime | None:  # noqa: ARG001 - an outbox that cannot know it says when to ask again
    due: datetime | None = await db.value("next_due", without=list(without))
    return due


async def held(db: Database, worker: str, delivery_ids: Sequence[str]) -> list[LeasedDelivery]:
    numbers = [number for each in delivery_ids if (number := delivery_number(each)) is not None]
    rows = await db.rows("held", worker=worker, ids=numbers)
    found = [LeasedDelivery(delivery_id(number), *rest) for number, *rest in rows]
    return [each._replace(body_event=db.box.contents.open(each.body_event)) for each in found]


async def due_of(db: Database, endpoint_id: str) -> datetime | None:
    row = await db.row("due_of", endpoint=endpoint_id)
    return None if row is None else row[0]


async def oldest_due(db: Database, now: datetime) -> dict[str, datetime]:
    """Endpoint id (enabled ones) → since when its longest due delivery is due; absent when none is."""
    return dict(await db.rows("oldest_due", now=now))
