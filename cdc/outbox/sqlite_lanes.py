"""Lanes: what keeps the deliveries of a record in order at each endpoint.

A lane is a number; within (endpoint, lane) at most one delivery is active, the others wait.  Records get the hash of
their name; a rename merges the lanes of the former and the new name for good, because an event of either name may be
unfinished, or be retried, at any time.  Two records in one lane are ordered more than needed, never less.
"""

from __future__ import annotations

import sqlite3

from cdc.outbox.shared import lane_of
from cdc.sqlfile import load


def current_lane(db: sqlite3.Connection, source: str, record: str) -> int:
    """The lane of a record, merges followed."""
    lane = lane_of(source, record)
    row = db.execute(load("sqlite/lane_root.sql"), (lane,)).fetchone()
    return lane if row is None else int(row[0])


def merge_lanes(db: sqlite3.Connection, source: str, former: str, record: str) -> None:
    """Let ``record`` share the lane of its ``former`` name, with all that is unfinished."""
    into, lane = current_lane(db, source, former), current_lane(db, source, record)
    if into == lane:
        return
    db.execute(load("sqlite/redirect_lanes.sql"), {"into": into, "lane": lane})
    db.execute(load("sqlite/alias_lane.sql"), {"into": into, "lane": lane})
    for (endpoint,) in db.execute("SELECT number FROM endpoint WHERE removed_at IS NULL").fetchall():
        if db.execute(load("sqlite/move_lane.sql"), {"into": into, "lane": lane, "endpoint": endpoint}).rowcount:
            settle(db, endpoint, into)


def settle(db: sqlite3.Connection, endpoint: int, lane: int) -> None:
    """Make the oldest unfinished delivery of the lane the active one, unless one is leased."""
    db.execute(load("sqlite/demote.sql"), {"endpoint": endpoint, "lane": lane})
    promote(db, endpoint, lane)


def promote(db: sqlite3.Connection, endpoint: int, lane: int) -> None:
    """`settle`, where nothing can be pending: behind a finished delivery."""
    db.execute(load("sqlite/promote.sql"), {"endpoint": endpoint, "lane": lane})
