"""What an outbox cannot hold for its content stops nothing else: the relay puts it into quarantine."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator

import pytest

from cdc.capture.base import NO_BACKFILLS, EventBatch, SourceBackfills
from cdc.mapping.catalogue import load_catalogue
from cdc.mapping.mapper import Mapper
from cdc.model.change import Batch, Operation, Position, RowChange, Transaction
from cdc.model.clock import SystemClock
from cdc.outbox.store import OutboxStore
from cdc.relay import Relay, nobody
from support.dispatching import event
from support.outboxes import at
from support.waiting import HANG_SECONDS


class OneBatchSource:
    """Gives an empty batch, for a position, and another one."""

    name = "main"

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self.acknowledged = asyncio.Event()

    async def open(self, position: Position | None) -> None:
        self._position = position

    async def begin(self) -> Batch | None:
        return Batch((), Position("0")) if self._position is None else None

    async def batches(self, _backfills: SourceBackfills = NO_BACKFILLS) -> AsyncGenerator[Batch]:
        yield self._batch
        await asyncio.Event().wait()

    async def acknowledge(self, position: Position) -> None:
        if position == self._batch.position:
            self.acknowledged.set()

    async def site_url(self) -> str:
        return ""

    async def close(self) -> None: ...

    async def tables(self) -> dict[str, object]:
        return {}

    async def rows(self, *_: object) -> list[object]:
        return []

    all_rows = rows


class QuickClock(SystemClock):
    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        await asyncio.sleep(0)
        return event.is_set()


def created(key: str) -> RowChange:
    row = {"codcliente": key, "nombre": "x"}
    return RowChange(Operation.CREATE, "clientes", {"codcliente": key}, None, row, at(1), 1)


@pytest.mark.parametrize("kind", ["changes", "events"])
async def test_key_that_no_index_holds_stops_nothing(outbox: OutboxStore, kind: str) -> None:
    """PostgreSQL indexes records of 2,704 bytes at most (after compression)."""
    long = secrets.token_hex(5000)
    keys = ["a", long, "b"]
    if kind == "changes":
        batch = Batch(tuple(Transaction(f"t{key[:9]}", (created(key),)) for key in keys), Position("1"))
    else:
        events = tuple(event(number, f"clientes:{key}") for number, key in enumerate(keys))
        batch = EventBatch((), Position("1"), events=events)
    source, stop = OneBatchSource(batch), asyncio.Event()
    relay = Relay(source, Mapper(load_catalogue()), outbox, QuickClock(), nobody)  # type: ignore[arg-type]  # of the Protocol only what is called
    running = asyncio.create_task(relay.run(stop))
    async with asyncio.timeout(HANG_SECONDS):
        await source.acknowledged.wait()
        stop.set()
        await running
    arrived = {each.record for each in await outbox.events(10) if each.record.startswith("clientes:")}
    skipped = await outbox.quarantined(10)
    assert {"clientes:a", "clientes:b"} <= arrived
    assert len(arrived) + len(skipped) == 3
    assert await outbox.position("main") == Position("1")
