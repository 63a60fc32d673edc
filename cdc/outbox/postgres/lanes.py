"""Lanes in the PostgreSQL outbox (what they are: `cdc.outbox.sqlite.lanes`).

Why processes side by side keep the order.  Which deliveries of a lane are active is changed only

* under `Lock.FREELY`, which is alone: storing, merging, retrying, releasing, removing an endpoint;
* under `Lock.IN_TURN`, by whoever leased the one active delivery of the lane and holds its row: nobody else can end it
  or let the next one go.  Where a lane has several active ones (records renamed while both were being sent), or an
  older one waits, the transaction is begun again under `Lock.FREELY`.

Leasing changes only who has an active delivery.  A row that is being leased this moment is waited for, and is then seen
as leased.
"""

from __future__ import annotations

from collections.abc import Collection

from cdc.model.endpoint import Order
from cdc.outbox.postgres.session import Db
from cdc.outbox.shared import lane_for, lane_of

#: (endpoint's number, lane)
Lane = tuple[int, int]


async def current_lane(db: Db, order: Order, source: str, record: str, event_id: str) -> int:
    """The lane of an event at an endpoint with this order, merges followed."""
    return await _root(db, lane_for(order, source, record, event_id))


async def _root(db: Db, lane: int) -> int:
    rows = await db.rows("lane_root", lane=lane)
    return int(rows[0][0]) if rows else lane


async def merge_lanes(db: Db, source: str, former: str, record: str) -> None:
    """Let ``record`` share the lane of its ``former`` name, with all that is unfinished.  Under `Lock.FREELY`."""
    into, lane = await _root(db, lane_of(source, former)), await _root(db, lane_of(source, record))
    if into == lane:
        return
    await db.write("redirect_lanes", into=into, lane=lane)
    await db.write("alias_lane", into=into, lane=lane)
    moved = await db.rows("move_lane", into=into, lane=lane)
    await settle(db, {(endpoint, into) for (endpoint,) in moved})


async def reorder(db: Db, endpoint: int, order: Order) -> None:
    """Put the unfinished deliveries of an endpoint into the lanes of its new order.  Under `Lock.FREELY`."""
    rows = await db.rows("unfinished_of_endpoint", endpoint=endpoint)
    lanes = [lane_for(order, source, record, event_id) for _, source, record, event_id in rows]
    await db.write("reorder", ids=[row[0] for row in rows], lanes=lanes)
    await db.write("demote_endpoint", endpoint=endpoint)
    await db.write("promote_endpoint", endpoint=endpoint)


async def settle(db: Db, lanes: Collection[Lane]) -> None:
    """Make the oldest unfinished delivery of each lane the active one, unless one is leased.  Under `Lock.FREELY`."""
    if lanes:
        await db.write("demote", endpoints=[each[0] for each in lanes], lanes=[each[1] for each in lanes])
        await promote(db, lanes)


async def promote(db: Db, lanes: Collection[Lane]) -> None:
    """`settle`, where nothing can be pending: behind a finished delivery."""
    if lanes:
        await db.write("promote", endpoints=[each[0] for each in lanes], lanes=[each[1] for each in lanes])
