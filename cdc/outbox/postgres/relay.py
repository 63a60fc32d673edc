"""The relay's half of the PostgreSQL outbox: events, deliveries, position, states and kept rows in one transaction.

What stores runs under `Lock.FREELY`: ids are given in the order of the commits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Final

from cdc.model.change import BackfillStep, Quarantined
from cdc.model.connection import ConnectionInfo
from cdc.model.endpoint import Order
from cdc.model.errors import OutboxLost
from cdc.model.event import Event
from cdc.model.payload import event_payload
from cdc.model.position import Position
from cdc.model.snapshot_row import SnapshotChange
from cdc.outbox.base import Fence, Stored
from cdc.outbox.postgres import backfills, quarantine
from cdc.outbox.postgres.kept_rows import keep
from cdc.outbox.postgres.lanes import merge_lanes
from cdc.outbox.postgres.rows import storable
from cdc.outbox.postgres.session import Db, Tell
from cdc.outbox.shared import Subscriber, check_fence, lane_for, position_moved

#: Seconds for which filters hold the event loop, and one evaluation more.
_TURN: Final = 0.005
_THERE = "SELECT to_regclass('cdc_outbox.source_position')::text"
_POSITION = "SELECT position FROM cdc_outbox.source_position WHERE source = %(source)s"
_STATES = "SELECT name, value FROM cdc_outbox.source_state WHERE source = %(source)s"
_FORGET = "DELETE FROM cdc_outbox.source_state WHERE source = %(source)s AND name = ANY (%(names)s::text[])"


@dataclass(frozen=True, slots=True)
class Ledger:
    """What there is before storing: the last ids; the ids given that are stored; who may want an event."""

    last_event: int
    last_delivery: int
    known: frozenset[str]
    subscribers: tuple[Subscriber, ...]


async def check_schema(db: Db, info: ConnectionInfo) -> None:
    """Raise `OutboxLost` when the schema or its main table was dropped."""
    if (await db.query(_THERE, {}))[0][0] is None:
        raise OutboxLost(
            f"The schema cdc_outbox in {info.describe()} was dropped while this process used it.",
            "Restore it from a backup: docs/operations.md.",
        )


async def position(db: Db, source: str) -> Position | None:
    rows = await db.query(_POSITION, {"source": source})
    return Position(rows[0][0]) if rows else None


async def states(db: Db, source: str) -> dict[str, str]:
    return dict(await db.query(_STATES, {"source": source}))


async def store(
    db: Db,
    source: str,
    reached: Position,
    events: Sequence[Event],
    payloads: Sequence[bytes],
    *,
    changed_states: Mapping[str, str | None],
    now: datetime,
    kept: SnapshotChange | None = None,
    step: BackfillStep | None = None,
    quarantined: Sequence[Quarantined] = (),
    fence: Fence | None = None,
) -> Stored:
    if kept is not None:
        check_fence(source, await position(db, source), kept, None)
    stored = Stored(0, 0)
    if events:
        ledger = await read_ledger(db, [event.id for event in events])
        new = await insert_events(db, events, payloads, ledger)
        stored = Stored(len(new), await insert_deliveries(db, new, ledger, now))
    expected = None if fence is None else fence.position
    fenced = fence is not None
    if not await db.write("set_position", source=source, position=reached, fenced=fenced, expected=expected):
        raise position_moved(source)
    await _set_states(db, source, changed_states)
    if kept is not None:
        await keep(db, source, kept)
    if step is not None:
        await backfills.advance(db, step, now)
    await quarantine.add(db, source, quarantined, now)
    if stored.deliveries:
        db.tell = Tell.DUE
    return stored


async def announce(db: Db, events: Sequence[Event], payloads: Sequence[bytes], now: datetime) -> Stored:
    """Store events that come from no source."""
    ledger = await read_ledger(db, [event.id for event in events])
    new = await insert_events(db, events, payloads, ledger)
    stored = Stored(len(new), await insert_deliveries(db, new, ledger, now))
    if stored.deliveries:
        db.tell = Tell.DUE
    return stored


async def read_ledger(db: Db, ids: Sequence[str]) -> Ledger:
    ((last_event, last_delivery, known, subscribers),) = await db.rows("store_begin", ids=ids)
    return Ledger(
        last_event,
        last_delivery,
        frozenset(known),
        tuple(
            Subscriber(number, tuple(patterns), tuple(sources), Order(order), condition, endpoint_id)
            for number, patterns, sources, order, condition, endpoint_id in subscribers
        ),
    )


async def insert_events(
    db: Db, events: Sequence[Event], payloads: Sequence[bytes], ledger: Ledger
) -> Mapping[int, Event]:
    """Those that were not stored yet, by their sequences, in order."""
    new: dict[str, tuple[Event, bytes]] = {}
    for event, payload in zip(events, payloads, strict=True):
        if event.id not in ledger.known:
            new.setdefault(event.id, (event, payload))
    if not new:
        return {}
    numbered = dict(enumerate((event for event, _ in new.values()), ledger.last_event + 1))
    await db.write(
        "insert_events",
        sequences=list(numbered),
        ids=list(new),
        names=[event.name for event in numbered.values()],
        sources=[event.source for event in numbered.values()],
        records=[storable(event.record) for event in numbered.values()],
        times=[event.time for event in numbered.values()],
        payloads=[payload for _, payload in new.values()],
    )
    return numbered


async def insert_deliveries(db: Db, events: Mapping[int, Event], ledger: Ledger, now: datetime) -> int:
    """A delivery for each of the subscribers that want an event, lanes merged before; how many."""
    for event in events.values():
        if event.renamed_from is not None:
            await merge_lanes(db, event.source, event.renamed_from, event.record)
    made: list[tuple[int, int, int]] = []
    turn = monotonic()
    for sequence, event in events.items():
        made += [
            (sequence, subscriber.number, lane_for(subscriber.order, event.source, event.record, event.id))
            for subscriber in ledger.subscribers
            if subscriber.wants(event)
        ]
        if monotonic() - turn > _TURN:  # filters may take their time: the event loop has other work
            await asyncio.sleep(0)
            turn = monotonic()
    if made:
        sequences, endpoints, lanes = (list(column) for column in zip(*made, strict=True))
        last = ledger.last_delivery
        await db.write("insert_deliveries", events=sequences, endpoints=endpoints, lanes=lanes, last=last, now=now)
    return len(made)


async def _set_states(db: Db, source: str, changed: Mapping[str, str | None]) -> None:
    kept = {storable(name): storable(value) for name, value in changed.items() if value is not None}
    gone = [storable(name) for name, value in changed.items() if value is None]
    if kept:
        await db.write("set_states", source=source, names=list(kept), values=list(kept.values()))
    if gone:
        await db.query(_FORGET, {"source": source, "names": gone})


def payloads_of(events: Sequence[Event]) -> list[bytes]:
    """Before the transaction: it must not wait for this, nor begin when one cannot be written."""
    return [event_payload(event) for event in events]
