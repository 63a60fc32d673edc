"""Rows that are looked up in PostgreSQL: one message each, values as they are, nothing left in the session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cdc.capture import postgres_lookup
from cdc.capture.postgres_lookup import PostgresLookup
from cdc.model.change import Row, Value
from cdc.model.column import Capture
from cdc.model.errors import SourceError, SourceUnavailable
from support.database import Database

VALUES = [
    "a",
    "",
    "O'Brien",
    "'; DROP TABLE item; --",
    "\\",
    "\\'; DROP TABLE item; --",
    "%s %(limit)s",
    '{"a,b"}',
    "é☃",
    "$1",
]


@asynccontextmanager
async def reading(database: Database) -> AsyncIterator[PostgresLookup]:
    database.execute(
        'CREATE TABLE item (id integer PRIMARY KEY, name text); CREATE TABLE "o%dd" (id integer PRIMARY KEY)'
    )
    lookup = PostgresLookup(database.info, [Capture("item"), Capture("o%dd")])
    await lookup.connect()
    try:
        await lookup.use_schema("public")
        yield lookup
    finally:
        await lookup.disconnect()


async def _counted(lookup: PostgresLookup, folder: Path, *which: Value) -> tuple[list[Row], int]:
    """Return rows of `item` and the number of round trips, as libpq's trace of the wire shows them."""
    server = lookup.link._open().pgconn
    with (folder / "trace").open("w+") as file:
        server.trace(file.fileno())
        rows = await lookup.rows("item", "id", which)
        server.untrace()
        file.seek(0)
        return rows, file.read().count("ReadyForQuery")


async def test_repeated_lookup_is_one_round_trip(postgres_db: Database, tmp_path: Path) -> None:
    async with reading(postgres_db) as lookup:
        postgres_db.execute("INSERT INTO item VALUES (1, 'a'), (2, 'b')")
        for _ in range(10):
            await lookup.link.query(
                "SELECT 1"
            )  # psycopg prepares it; when it sees a ROLLBACK, it drops all that is prepared
        first = await _counted(lookup, tmp_path, 1)
        assert first == ([{"id": 1, "name": "a"}], 4)
        assert await _counted(lookup, tmp_path, 2, 3) == ([{"id": 2, "name": "b"}], 1)
        assert await _counted(lookup, tmp_path, 3) == ([], 1)
        postgres_db.execute("ALTER TABLE item ADD COLUMN more integer DEFAULT 5")
        rows, trips = await _counted(lookup, tmp_path, 1)
        assert rows == [{"id": 1, "name": "a", "more": 5}]
        assert trips > 4
        assert await _counted(lookup, tmp_path, 1) == (rows, 1)
        with pytest.raises(SourceError, match="22P02"):
            await lookup.rows("item", "id", ["no number"])
        assert await _counted(lookup, tmp_path, 1) == (rows, 1)


async def test_check_before_a_lookup_reads_no_entries_of_other_tables(postgres_db: Database) -> None:
    async with reading(postgres_db) as lookup:
        layout = lookup.catalogue.layout("item")
        check = f"EXECUTE cdc_check ({layout.oid}, 'public.item', '{layout.version}')"
        for _ in range(10):  # from the sixth on, the plan is one for all values
            assert await lookup.link.query(check) == [(1,)]
        plan = "\n".join(line for (line,) in await lookup.link.query(f"EXPLAIN {check}"))
        assert "pg_index" in plan
        assert "Seq Scan" not in plan


async def test_lookups_survive_cancellation_and_report_the_end_of_their_session(postgres_db: Database) -> None:
    async with reading(postgres_db) as lookup:
        postgres_db.execute("INSERT INTO item VALUES (1, 'a')")
        rows = await lookup.rows("item", "id", [1])
        with postgres_db.connect() as session:
            session.execute("LOCK TABLE item")
            looking = asyncio.ensure_future(lookup.rows("item", "id", [1]))
            waiting = "SELECT 1 FROM pg_locks WHERE relation = 'item'::regclass AND NOT granted"
            while not await asyncio.to_thread(postgres_db.execute, waiting):
                pass
            looking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await looking
        assert await lookup.rows("item", "id", [1]) == rows == [{"id": 1, "name": "a"}]
        postgres_db.execute(f"SELECT pg_terminate_backend({lookup.link._open().info.backend_pid})")
        with pytest.raises(SourceUnavailable):
            await lookup.rows("item", "id", [1])


@pytest.mark.parametrize("strings", ["on", "off"])
async def test_looked_up_values_are_only_values(postgres_db: Database, strings: str) -> None:
    postgres_db.execute(f"ALTER DATABASE {postgres_db.name} SET standard_conforming_strings = {strings}")
    async with reading(postgres_db) as lookup:
        for number, value in enumerate(VALUES):
            postgres_db.execute("INSERT INTO item VALUES (%s, %s)", [number, value])
        for number, value in enumerate(VALUES):
            assert await lookup.rows("item", "name", [value, "other"]) == [{"id": number, "name": value}]
        with pytest.raises(SourceError):
            await lookup.rows("item", "name", ["a\0b"])


async def test_session_prepares_few_lookups(postgres_db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_lookup, "_PREPARED", 2)
    async with reading(postgres_db) as lookup:
        postgres_db.execute("""INSERT INTO item VALUES (1, 'a'); INSERT INTO "o%dd" VALUES (1)""")
        item = [{"id": 1, "name": "a"}]
        for _ in range(3):
            assert await lookup.rows("item", "id", [1]) == await lookup.rows("item", "name", ["a"]) == item
            assert await lookup.all_rows("o%dd") == [{"id": 1}]
        names = await lookup.link.query("SELECT name FROM pg_prepared_statements WHERE name LIKE 'cdc_read_%%'")
        assert len(names) == 2
