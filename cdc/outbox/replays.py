"""Replays that continue by themselves."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

import orjson

from cdc.model.delivery import DeliveryFilter, DeliveryState
from cdc.model.replay import Replay, Replayed, ReplayState
from cdc.outbox.database import Database, Row
from cdc.outbox.shared import no_replay


async def add(db: Database, replay: Replay) -> None:
    await db.write(
        "insert_replay",
        id=replay.id,
        created_at=replay.created_at,
        actor=replay.actor,
        selection=selection_text(replay.which),
        rate=replay.rate,
        total=replay.total,
        state=replay.state.value,
    )


async def newest(db: Database, limit: int, before: str | None) -> list[Replay]:
    return [_from(row) for row in await db.rows("replays", limit=limit, before=before)]


async def find(db: Database, replay_id: str) -> Replay | None:
    row = await db.row("find_replay", id=replay_id)
    return None if row is None else _from(row)


async def lease(db: Database, worker: str, now: datetime, until: datetime) -> Replay | None:
    row = await db.row("lease_replay", worker=worker, now=now, until=until)
    return None if row is None else _from(row)


async def advance(db: Database, replay_id: str, worker: str, step: Replayed, *, now: datetime, until: datetime) -> bool:
    ended = step.after is None
    changed = await db.write(
        "advance_replay",
        id=replay_id,
        worker=worker,
        deliveries=step.deliveries,
        expunged=step.expunged,
        place=step.after,
        until=until,
        state=(ReplayState.DONE if ended else ReplayState.RUNNING).value,
        finished_at=now if ended else None,
    )
    return changed > 0


async def end(db: Database, replay_id: str, state: ReplayState, error: str, now: datetime) -> Replay:
    await db.write("end_replay", id=replay_id, state=state.value, error=error, now=now)
    ended = await find(db, replay_id)
    if ended is None:
        raise no_replay(replay_id)
    return ended


def _from(row: Row) -> Replay:
    """Return the replay of the table's columns, in their order."""
    return Replay(
        id=row[0],
        created_at=row[1],
        actor=row[2],
        which=selection_from(row[3]),
        rate=row[4],
        total=row[5],
        state=ReplayState(row[6]),
        deliveries=row[7],
        expunged=row[8],
        after=row[9],
        worker=row[10],
        leased_until=row[11],
        finished_at=row[12],
        error=row[13],
    )


def selection_text(which: DeliveryFilter) -> str:
    """JSON of the fields that narrow."""
    return orjson.dumps({name: value for name, value in asdict(which).items() if value is not None}).decode()


def selection_from(text: str) -> DeliveryFilter:
    found: dict[str, Any] = orjson.loads(text)
    for name in ("since", "until"):
        if name in found:
            found[name] = datetime.fromisoformat(found[name])
    for name in ("sources", "endpoint_ids"):
        if name in found:
            found[name] = tuple(found[name])
    if "state" in found:
        found["state"] = DeliveryState(found["state"])
    return DeliveryFilter(**found)
