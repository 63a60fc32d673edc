"""The queries of dispatch beside leasing and recording, which each dialect does in its own way."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from cdc.model.delivery import LeasedDelivery
from cdc.outbox.database import Database
from cdc.outbox.lanes import settle
from cdc.outbox.shared import delivery_number


async def release(db: Database, worker: str, now: datetime) -> int:
    held = await db.rows("release", worker=worker, now=now)
    await settle(db, {(endpoint, lane) for endpoint, lane in held})
    if held:
        db.due()
    return len(held)


async def bring_forward(db: Database, worker: str, latest: Mapping[str, datetime], now: datetime) -> int:
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
    await settle(db, {(endpoint, lane) for endpoint, lane in held})
    if held:
        db.due()
    return len(held)


async def next_due(db: Database, without: Collection[str]) -> datetime | None:
    due: datetime | None = await db.value("next_due", without=list(without))
    return due


async def oldest_due(db: Database, now: datetime) -> dict[str, datetime]:
    return dict(await db.rows("oldest_due", now=now))
