"""Between the rows of replays and the noun, the same for SQLite and PostgreSQL but for how they keep times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import Any

import orjson

from cdc.model.delivery import DeliveryState
from cdc.model.log_filter import DeliveryFilter
from cdc.model.replay import Replay, ReplayState


def replay_row(replay: Replay, time: Callable[[datetime], Any]) -> dict[str, Any]:
    """Parameters of ``insert_replay.sql``.  ``time``: as the store keeps one."""
    return {
        "id": replay.id,
        "created_at": time(replay.created_at),
        "actor": replay.actor,
        "selection": selection_text(replay.which),
        "rate": replay.rate,
        "total": replay.total,
        "state": replay.state.value,
    }


def replay_from(row: tuple[Any, ...], time: Callable[[Any], datetime]) -> Replay:
    """From the columns of the table, in their order."""

    def optional(value: Any) -> datetime | None:
        return None if value is None else time(value)

    return Replay(
        id=row[0],
        created_at=time(row[1]),
        actor=row[2],
        which=selection_from(row[3]),
        rate=row[4],
        total=row[5],
        state=ReplayState(row[6]),
        deliveries=row[7],
        expunged=row[8],
        after=row[9],
        worker=row[10],
        leased_until=optional(row[11]),
        finished_at=optional(row[12]),
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
