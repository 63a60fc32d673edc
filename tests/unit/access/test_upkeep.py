"""The audit log does not grow for ever."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from structlog.testing import capture_logs

from cdc.access import base
from cdc.model.errors import OutboxUnavailable
from support.accesses import entry, recorded
from support.manual_clock import ManualClock
from support.memory_outbox import MemoryAccess


class Watched(MemoryAccess):
    """Says when it was asked to forget, and fails when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: asyncio.Queue[int] = asyncio.Queue()
        self.away = False

    async def forget_audit(self, until: datetime, limit: int) -> int:
        removed = -1 if self.away else await super().forget_audit(until, limit)
        self.asked.put_nowait(removed)
        if self.away:
            raise OutboxUnavailable("It does not answer.")
        return removed


async def test_old_entries_go_now_and_every_hour() -> None:
    store, clock, stop = Watched(), ManualClock(), asyncio.Event()
    for number in range(1200):
        await store.append(entry(subject=str(number), at=clock.now() - timedelta(days=400)))
    await store.append(entry(subject="young", at=clock.now() - timedelta(days=365) + timedelta(hours=1)))
    with capture_logs() as logs:
        running = asyncio.create_task(base.keep_tidy(store, clock, stop))
        assert [await store.asked.get() for _ in range(3)] == [500, 500, 200]
        assert [each.entry.subject for each in await recorded(store)] == ["young"]
        store.away = True
        clock.advance(3600)
        assert await store.asked.get() == -1
        store.away = False
        clock.advance(3600)
        assert await store.asked.get() == 1
        stop.set()
        await running
    assert [each["event"] for each in logs] == ["the audit log was not cut"]
    assert await recorded(store) == []
