"""Statements of ours that meet another session's lock: tried again, for the source has done nothing wrong."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from cdc.capture.mysql_session import MySQLSession
from cdc.database.mysql_connection import rows
from cdc.model.errors import SourceUnavailable
from support.database import Database

TABLE = "CREATE TABLE items (id INT PRIMARY KEY, value INT NOT NULL)"
UPDATE = "UPDATE items SET value = 1 WHERE id = %s"


@pytest.mark.parametrize("deadlock", [True, False], ids=["deadlock", "timeout"])
async def test_a_lock_conflict_makes_the_source_unavailable(db: Database, deadlock: bool) -> None:
    other = db.connect()
    cursor = other.cursor()
    cursor.execute(TABLE)
    cursor.execute("INSERT INTO items VALUES (1, 0), (2, 0), (3, 0), (4, 0), (5, 0)")
    other.commit()
    session = MySQLSession(db.info)
    await session.connect(partial(rows, sql=f"SET SESSION innodb_lock_wait_timeout = {60 if deadlock else 1}"))
    try:
        await session.run(partial(rows, sql="BEGIN"))
        await session.run(partial(rows, sql=UPDATE, parameters=(1,)))
        cursor.execute("UPDATE items SET value = 1 WHERE id > 1")  # the larger transaction wins
        blocked = asyncio.create_task(session.run(partial(rows, sql=UPDATE, parameters=(2,))))
        if deadlock:
            await asyncio.to_thread(cursor.execute, UPDATE, (1,))
        with pytest.raises(SourceUnavailable, match=rf"locks what is needed.*error {1213 if deadlock else 1205}"):
            await blocked
    finally:
        await session.disconnect()
        other.close()
