"""Lanes in the PostgreSQL outbox (what they are: `cdc.outbox.sqlite_lanes`).

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

from cdc.outbox.postgres_session import Db
from cdc.outbox.shared import lane_of

#: (endpoint's number, lane)
Lane = tuple[int, int]


async def current_lane(db: Db, source: str, record: str) -> int:
    """The lane of a record, merges followed."""
    lane = lane_of(source, record)
    rows = await db.rows("lane_root", lane=lane)
    return int(rows[0][0]) if rows else lane


async def merge_lanes(db: Db, source: str, former: str, record: str) -> None:
    """Let ``record`` share the lane of its ``former`` name, with all that is unfinished.  Under `Lock.FREELY`."""
    into, lane = await current_lane(db, source, former), await current_lane(db, source, record)
    if into == lane:
        return
    await db.write("redirect_lanes", into=into, lane=lane)
    await db.write("alias_lane", into=into, lane=lane)
    moved = await db.rows("move_lane", into=into, lane=lane)
    await settle(db, {(endpoint, into) for (endpoint,) in moved})


async def settle(db: Db, lanes: Collection[Lane]) -> None:
    """Make the oldest unfinished delivery of each lane the active one, unless one is leased.  Under `Lock.FREELY`."""
    if lanes:
        await db.write("demote", endpoints=[each[0] for each in lanes], lanes=[each[1] for each in lanes])
        await promote(db, lanes)


async def promote(db: Db, lanes: Collection[Lane]) -> None:
    """`settle`, where nothing can be pending: behind a finished delivery."""
    if lanes:
        await db.write("promote", endpoints=[each[0] for each in lanes], lanes=[each[1] for each in lanes])
