"""Replays that go on by themselves, in the PostgreSQL outbox."""

from __future__ import annotations

from datetime import datetime

from cdc.model.replay import Replay, ReplayState
from cdc.outbox.base import Replayed
from cdc.outbox.postgres.rows import storable
from cdc.outbox.postgres.session import Db
from cdc.outbox.replay_rows import replay_from, replay_row
from cdc.outbox.shared import no_replay


def _same(time: datetime) -> datetime:
    return time


async def add(db: Db, replay: Replay) -> None:
    row = {
        name: storable(value) if isinstance(value, str) else value for name, value in replay_row(replay, _same).items()
    }
    await db.write("insert_replay", **row)


async def newest(db: Db, limit: int, before: str | None) -> list[Replay]:
    wanted = None if before is None else storable(before)
    return [replay_from(row, _same) for row in await db.rows("replays", limit=limit, before=wanted)]


async def find(db: Db, replay_id: str) -> Replay | None:
    rows = await db.rows("find_replay", id=storable(replay_id))
    return replay_from(rows[0], _same) if rows else None


async def lease(db: Db, worker: str, now: datetime, until: datetime) -> Replay | None:
    rows = await db.rows("lease_replay", worker=worker, now=now, until=until)
    return replay_from(rows[0], _same) if rows else None


async def advance(db: Db, replay_id: str, worker: str, step: Replayed, *, now: datetime, until: datetime) -> bool:
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
    return bool(changed)


async def end(db: Db, replay_id: str, state: ReplayState, error: str, now: datetime) -> Replay:
    await db.write("end_replay", id=storable(replay_id), state=state.value, error=storable(error), now=now)
    ended = await find(db, replay_id)
    if ended is None:
        raise no_replay(replay_id)
    return ended
