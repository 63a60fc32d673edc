"""Lanes: what keeps the deliveries of a record in order at each endpoint.

A lane is a number; within (endpoint, lane) at most one delivery is active, the others wait.  Records get the hash of
their name; a rename merges the lanes of the former and the new name for good, because an event of either name may be
unfinished, or be retried, at any time.  Two records in one lane are ordered more than needed, never less.
"""

from __future__ import annotations

import sqlite3

from cdc.model.endpoint import Order
from cdc.outbox.shared import lane_for, lane_of
from cdc.sqlfile import load


def current_lane(db: sqlite3.Connection, order: Order, source: str, record: str, event_id: str) -> int:
    """The lane of an event at an endpoint with this order, merges followed."""
    return _root(db, lane_for(order, source, record, event_id))


def _root(db: sqlite3.Connection, lane: int) -> int:
    row = db.execute(load("sqlite/lane_root.sql"), (lane,)).fetchone()
    return lane if row is None else int(row[0])


def merge_lanes(db: sqlite3.Connection, source: str, former: str, record: str) -> None:
    """Let ``record`` share the lane of its ``former`` name, with all that is unfinished."""
    into, lane = _root(db, lane_of(source, former)), _root(db, lane_of(source, record))
    if into == lane:
        return
    db.execute(load("sqlite/redirect_lanes.sql"), {"into": into, "lane": lane})
    db.execute(load("sqlite/alias_lane.sql"), {"into": into, "lane": lane})
    for (endpoint,) in db.execute("SELECT number FROM endpoint WHERE removed_at IS NULL").fetchall():
        if db.execute(load("sqlite/move_lane.sql"), {"into": into, "lane": lane, "endpoint": endpoint}).rowcount:
            settle(db, endpoint, into)


def reorder(db: sqlite3.Connection, endpoint: int, order: Order) -> None:
    """Put the unfinished deliveries of an endpoint into the lanes of its new order."""
    rows = db.execute(load("sqlite/unfinished_of_endpoint.sql"), (endpoint,)).fetchall()
    moved = [(current_lane(db, order, source, record, event_id), number) for number, source, record, event_id in rows]
    db.executemany("UPDATE delivery SET lane = ? WHERE id = ?", moved)
    db.execute(load("sqlite/demote_endpoint.sql"), {"endpoint": endpoint})
    db.execute(load("sqlite/promote_endpoint.sql"), {"endpoint": endpoint})


def settle(db: sqlite3.Connection, endpoint: int, lane: int) -> None:
    """Make the oldest unfinished delivery of the lane the active one, unless one is leased."""
    db.execute(load("sqlite/demote.sql"), {"endpoint": endpoint, "lane": lane})
    db.execute(load("sqlite/promote.sql"), {"endpoint": endpoint, "lane": lane})
