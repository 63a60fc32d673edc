"""A standby, to which nobody writes: neither triggers nor log are read there, and the sentence says why."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from cdc.capture.journal.postgres import PostgresJournal
from cdc.capture.triggers.postgres import PostgresInstaller
from cdc.model.column import Capture
from cdc.model.errors import InstallError, SourceError
from cdc.model.finding import Severity
from support.database import Database
from support.waiting import HANG_SECONDS


async def test_standby_is_refused_by_name_and_read_once_it_is_promoted(own_server: Callable[[str], Database]) -> None:
    primary = own_server("postgresql")
    primary.execute("CREATE TABLE item (id integer PRIMARY KEY)")
    there = PostgresInstaller(primary.info)
    there.apply(there.plan_install([Capture("item")]), lambda _: None)
    standby = Database(primary.server.standby(), primary.name)
    journal = PostgresJournal(standby.info, [Capture("item")])
    with pytest.raises(SourceError, match="standby"):
        await journal.connect()
    await journal.disconnect()
    primary.execute("INSERT INTO item VALUES (1)")
    there = PostgresInstaller(standby.info)
    with pytest.raises(InstallError, match="standby"):
        there.plan_install([Capture("item")])
    (found,) = [each for each in there.findings([Capture("item")]) if each.check == "server"]
    assert (found.severity, found.fix) == (Severity.WRONG, "connect to the primary server")
    ((written,),) = primary.execute("SELECT pg_current_wal_lsn()::text")
    async with asyncio.timeout(HANG_SECONDS):
        while standby.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", [written]) != [(True,)]:  # noqa: ASYNC110 - the server gives no sign
            await asyncio.sleep(0.01)
    assert standby.execute("SELECT pg_promote()") == [(True,)]
    standby.execute("INSERT INTO item VALUES (2)")
    await journal.connect()
    assert [row.change.key["id"] for row in await journal.peek(10)] == [1, 2]
    await journal.disconnect()
    standby.close()
