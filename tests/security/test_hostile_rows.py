"""Rows that nobody foresaw stop neither their source nor anything else of the process, and are told of."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from cdc.capture.journal import mysql, postgres
from cdc.capture.triggers.mysql import MySQLInstaller
from cdc.capture.triggers.postgres import PostgresInstaller
from cdc.model.column import Capture
from support.consumer import Consumer, Inbox, receiving
from support.database import Database
from support.hostile_rows import plant


@pytest.mark.parametrize("fixture", ["postgres_db", "mariadb_db", "mysql_db"])
async def test_hostile_journal_rows_stop_nothing(fixture: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    database: Database = request.getfixturevalue(fixture)
    consumer = Consumer.of_one_table(tmp_path / "cdc", database)
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url, "*,source.gap")
        async with consumer.running():
            database.execute("INSERT INTO contadores VALUES (1, 0, NULL)")
            await inbox.until_count(1)
            await asyncio.to_thread(plant, database, "contadores")
            database.execute("INSERT INTO contadores VALUES (2, 0, 'after')")
            await inbox.until(
                lambda inbox: any(e["event"] == "contadores.created" and e["key"] == {"id": 2} for e in inbox.events),
                seconds=120,
            )
            journal = "cdc.cdc_journal" if database.flavour == "postgresql" else "cdc_journal"
            async with asyncio.timeout(60):
                while database.execute(f"SELECT COUNT(*) FROM {journal}") != [(0,)]:  # noqa: ASYNC110 - it gives no sign
                    await asyncio.sleep(0.1)
            kept = json.loads(await consumer.call("quarantine", "list", "--json"))
            assert kept["counts"] == {"main": len(kept["quarantined"])}
            tables = {each["table"] for each in kept["quarantined"]}
            await inbox.until(
                lambda inbox: tables <= {e["data"].get("table") for e in inbox.events if e["event"] == "source.gap"}
            )


@pytest.mark.parametrize("fixture", ["postgres_db", "mariadb_db", "mysql_db"])
async def test_row_that_memory_lacks_for_is_read_again_and_is_no_gap(
    fixture: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    database: Database = request.getfixturevalue(fixture)
    database.execute("CREATE TABLE contadores (id INT PRIMARY KEY)")
    captures, of_postgres = [Capture("contadores")], database.flavour == "postgresql"
    installer = (PostgresInstaller if of_postgres else MySQLInstaller)(database.info)
    await asyncio.to_thread(installer.apply, installer.plan_install(captures), lambda _: None)
    database.execute("INSERT INTO contadores VALUES (1)")
    journal = (postgres.PostgresJournal if of_postgres else mysql.MySQLJournal)(database.info, captures)
    await journal.connect()

    def short(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(postgres if of_postgres else mysql, "key_in", short)
        with pytest.raises(MemoryError):
            await journal.peek(10)
    (row,) = await journal.peek(10)
    assert (row.gap, row.change.key) == (False, {"id": 1})
    await journal.disconnect()
