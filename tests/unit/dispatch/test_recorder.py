"""An outcome that the outbox cannot take keeps no other one from being recorded."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from cdc.dispatch.outcome_writer import OutcomeWriter
from cdc.model.clock import SystemClock
from cdc.model.delivery import DeliveryState
from cdc.outbox.sqlite.outbox import SqliteOutbox
from support.outboxes import EVERYTHING, endpoint, event, lease, outcome, store
from support.waiting import HANG_SECONDS


async def test_delivery_that_is_gone_is_left_out_and_the_others_are_recorded(tmp_path: Path) -> None:
    outbox = SqliteOutbox(tmp_path / "cdc.db")
    await outbox.open()
    await outbox.add_endpoint(endpoint())
    await store(outbox, *(event(number) for number in range(5)))
    leased = await lease(outbox)
    with closing(sqlite3.connect(tmp_path / "cdc.db")) as other:  # as an operator's hand, or a damaged file
        other.execute("DELETE FROM delivery WHERE id = (SELECT id FROM delivery ORDER BY id LIMIT 1 OFFSET 2)")
        other.commit()
    recorder = OutcomeWriter(outbox, "w", SystemClock(), lambda: None)
    for each in leased:
        recorder.add([outcome(each)], "ep_a")
    recorder.close()
    async with asyncio.timeout(HANG_SECONDS):
        await recorder.run()
    views = await outbox.deliveries(EVERYTHING, 10)
    assert [view.state for view in views] == [DeliveryState.DELIVERED] * 4
    assert recorder.unrecorded == 0
    await outbox.close()
