"""Changes that were read from PostgreSQL's log are deleted from the journal."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from cdc.capture.logical.source import LogicalBridge
from cdc.model.change import Transaction
from support.consumer import Consumer
from support.database import Database
from support.waiting import HANG_SECONDS

IN_LOG_ONLY = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
LOOKING = (
    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'cdc consumer'"
    " AND query LIKE '%pg_visible_in_snapshot%'"
)


async def test_a_commit_that_is_in_the_log_before_it_has_ended(own_server: Any, tmp_path: Path) -> None:
    """Its number is behind all that a snapshot counts, for the one before is open.  The moment is made long by a
    synchronous standby that is away: the commit waits for it, and the log, which is read without it, has the commit
    already."""
    database: Database = own_server("postgresql", "synchronous_standby_names=away", "synchronous_commit=local")
    Consumer.of_one_table(tmp_path, database)
    bridge = LogicalBridge(database.info, _nothing)
    open_one, writer = database.connect(), database.connect()
    before, xid = (_begun(connection) for connection in (open_one, writer))
    assert xid == before + 1
    writer.execute("SET LOCAL synchronous_commit = on")
    writer.execute("INSERT INTO contadores VALUES (1, 0, NULL)")
    commit = asyncio.create_task(asyncio.to_thread(writer.commit))
    await _until_one(database, IN_LOG_ONLY)
    forgetting = asyncio.create_task(bridge.forget([Transaction(f"{xid}.0", ())]))
    await _until_one(database, LOOKING)
    assert database.execute("SELECT count(*) FROM cdc.cdc_journal") == [(0,)]
    database.execute("SELECT pg_cancel_backend(%s)", [writer.info.backend_pid])  # it waits no longer, and has committed
    async with asyncio.timeout(HANG_SECONDS):
        await commit
        await forgetting
    await bridge.close()
    assert database.execute("SELECT count(*) FROM contadores") == [(1,)]
    assert database.execute("SELECT count(*) FROM cdc.cdc_journal") == [(0,)]


def _begun(connection: Any) -> int:
    """Return the number of the transaction that begins."""
    return int(connection.execute("SELECT pg_current_xact_id()::text").fetchone()[0])


async def _nothing() -> None:
    """Return: all triggers are in place."""


async def _until_one(database: Database, count: str) -> None:
    async with asyncio.timeout(HANG_SECONDS):
        while database.execute(count) != [(1,)]:  # noqa: ASYNC110 - the server gives no sign
            await asyncio.sleep(0.01)
