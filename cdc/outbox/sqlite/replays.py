"""Replays that go on by themselves, in the SQLite outbox."""

from __future__ import annotations

import sqlite3
from datetime import datetime

from cdc.model.replay import Replay, ReplayState
from cdc.outbox.base import Replayed
from cdc.outbox.replay_rows import replay_from, replay_row
from cdc.outbox.shared import no_replay
from cdc.outbox.sqlite.rows import micros, moment
from cdc.sqlfile import load


def add(db: sqlite3.Connection, replay: Replay) -> None:
    db.execute(load("sqlite/insert_replay.sql"), replay_row(replay, micros))


def newest(db: sqlite3.Connection, limit: int, before: str | None) -> list[Replay]:
    rows = db.execute(load("sqlite/replays.sql"), {"limit": limit, "before": before})
    return [replay_from(row, moment) for row in rows]


def find(db: sqlite3.Connection, replay_id: str) -> Replay | None:
    row = db.execute(load("sqlite/find_replay.sql"), {"id": replay_id}).fetchone()
    return None if row is None else replay_from(row, moment)


def lease(db: sqlite3.Connection, worker: str, now: datetime, until: datetime) -> Replay | None:
    given = {"worker": worker, "now": micros(now), "until": micros(until)}
    rows = db.execute(load("sqlite/lease_replay.sql"), given).fetchall()
    return replay_from(rows[0], moment) if rows else None


def advance(
    db: sqlite3.Connection, replay_id: str, worker: str, step: Replayed, *, now: datetime, until: datetime
) -> bool:
    ended = step.after is None
    given = {
        "id": replay_id,
        "worker": worker,
        "deliveries": step.deliveries,
        "expunged": step.expunged,
        "place": step.after,
        "until": micros(until),
        "state": (ReplayState.DONE if ended else ReplayState.RUNNING).value,
        "finished_at": micros(now) if ended else None,
    }
    return bool(db.execute(load("sqlite/advance_replay.sql"), given).rowcount)


def end(db: sqlite3.Connection, replay_id: str, state: ReplayState, error: str, now: datetime) -> Replay:
    given = {"id": replay_id, "state": state.value, "error": error, "now": micros(now)}
    db.execute(load("sqlite/end_replay.sql"), given)
    ended = find(db, replay_id)
    if ended is None:
        raise no_replay(replay_id)
    return ended
