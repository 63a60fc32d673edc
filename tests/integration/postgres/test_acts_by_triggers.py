"""Acts of an ERP or its administrator on a table that triggers capture: journaled, or documented in docs/sources.md as
not seen; and privileges that are withdrawn while the journal or the log is read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import timedelta

import pytest

from cdc.capture.base import JournalLimits
from cdc.capture.journal.postgres import PostgresJournal
from cdc.capture.journal.source import JournalSource
from cdc.capture.triggers.postgres import PostgresInstaller
from cdc.model.change import Operation
from cdc.model.column import Capture
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import SourceError
from cdc.model.finding import Repaired
from support.database import Database
from support.logical import Reading, install_slot, logical_source, released
from support.waiting import HANG_SECONDS

CAPTURES = [Capture("sales")]
SCHEMA = """
CREATE TABLE sales (id integer PRIMARY KEY, n integer) PARTITION BY RANGE (id);
CREATE TABLE sales_1 PARTITION OF sales FOR VALUES FROM (0) TO (10);
CREATE TABLE sales_2 PARTITION OF sales FOR VALUES FROM (10) TO (20);
CREATE TABLE sales_3 (id integer PRIMARY KEY, n integer);
INSERT INTO sales VALUES (1, 1), (11, 1);
INSERT INTO sales_3 VALUES (21, 1);
"""
INSERT = "INSERT INTO sales VALUES (3, 3)"
#: After these a partition's rows came or went without a change of a row: the table is read again.
READ_AGAIN = {"partitions detached and attached", "partition dropped"}
#: Statements, a transaction each; of all that they do only the insert above is journaled, and the gap of `READ_AGAIN`.
ACTS = {
    "partitions detached and attached": (
        "ALTER TABLE sales DETACH PARTITION sales_1",
        "ALTER TABLE sales ATTACH PARTITION sales_3 FOR VALUES FROM (20) TO (30)",
        "ALTER TABLE sales ATTACH PARTITION sales_1 FOR VALUES FROM (0) TO (10)",
        INSERT,
    ),
    "partition truncated": ("TRUNCATE sales_1", INSERT),
    "partition dropped": ("DROP TABLE sales_2", INSERT),
    "role without triggers": (
        f"SET session_replication_role = replica; {INSERT.replace('3', '4')}",
        "RESET ALL",
        INSERT,
    ),
    "journal emptied": ("UPDATE sales SET n = 2", "DELETE FROM cdc.cdc_journal", INSERT),
    "prepared": (
        f"BEGIN; {INSERT.replace('3', '4')}; PREPARE TRANSACTION '{{0}}'",
        "ROLLBACK PREPARED '{0}'",
        f"BEGIN; {INSERT}; PREPARE TRANSACTION '{{0}}'",
        "COMMIT PREPARED '{0}'",
    ),
}


@pytest.mark.parametrize("act", ACTS)
def test_act_on_a_captured_table(postgres_db: Database, act: str) -> None:
    postgres_db.script(SCHEMA)
    there = PostgresInstaller(postgres_db.info)
    there.apply(there.plan_install(CAPTURES), lambda _: None)
    session = postgres_db.connect(autocommit=True)
    for statement in ACTS[act]:
        session.execute(statement.format(postgres_db.name))
    there.repair()
    assert postgres_db.execute("SELECT table_name, operation::text, after::json->>'id' FROM cdc.cdc_journal") == [
        ("sales", "I", "3"),
        *([("sales", "G", None)] if act in READ_AGAIN else []),
    ]


async def test_rows_of_before_a_key_was_renamed_are_read_again(postgres_db: Database) -> None:
    postgres_db.execute("CREATE TABLE sales (id integer PRIMARY KEY, n integer)")
    there = PostgresInstaller(postgres_db.info)
    there.apply(there.plan_install(CAPTURES), lambda _: None)

    async def repair(tables: Sequence[str]) -> Repaired:
        return await asyncio.to_thread(there.repair, tables)

    limits = JournalLimits(idle=0.1, reread_pause=timedelta(0))
    source = JournalSource("main", PostgresJournal(postgres_db.info, CAPTURES), repair, limits)
    await source.open(None)
    try:
        for statement in (
            "INSERT INTO sales VALUES (1, 5), (2, 7)",
            "ALTER TABLE sales RENAME COLUMN id TO number",
            "UPDATE sales SET n = 6 WHERE number = 1",
        ):
            postgres_db.execute(statement)
        gaps, seen, batches = set(), [], source.batches()
        async with asyncio.timeout(HANG_SECONDS):
            while (Operation.READ, {"number": 2}) not in seen:
                batch = await anext(batches)
                await source.acknowledge(batch.position)
                gaps |= {gap.table for gap in batch.gaps}
                seen += [(each.operation, each.key) for one in batch.transactions for each in one.changes]
    finally:
        await source.close()
    assert gaps == {"sales"}
    assert seen[0] == (Operation.UPDATE, {"number": 1})


@pytest.fixture
def consumer(postgres_log_db: Database) -> Iterator[ConnectionInfo]:
    name = f"{postgres_log_db.name}_consumer"
    postgres_log_db.execute("CREATE TABLE sales (id integer PRIMARY KEY, n integer)")
    postgres_log_db.execute(f"CREATE ROLE {name} LOGIN REPLICATION PASSWORD 'x'; GRANT SELECT ON sales TO {name}")
    try:
        yield postgres_log_db.info.as_user(name, "x")
    finally:
        postgres_log_db.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


async def test_privilege_withdrawn_by_triggers(postgres_log_db: Database, consumer: ConnectionInfo) -> None:
    there = PostgresInstaller(postgres_log_db.info)
    there.apply(there.plan_install(CAPTURES), lambda _: None)
    grant = f"SELECT, DELETE ON cdc.cdc_journal {{}} {consumer.user}"
    postgres_log_db.execute(f"GRANT USAGE ON SCHEMA cdc TO {consumer.user}; GRANT {grant.format('TO')}")
    postgres_log_db.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA cdc TO {consumer.user}")
    journal = PostgresJournal(consumer, CAPTURES)
    await journal.connect()
    try:
        postgres_log_db.execute("INSERT INTO sales VALUES (1)")
        (row,) = await journal.peek(10)
        await journal.delete([row.token])
        postgres_log_db.execute(f"REVOKE {grant.format('FROM')}")
        postgres_log_db.execute("INSERT INTO sales VALUES (2)")
        with pytest.raises(SourceError, match="permission denied for table cdc_journal"):
            await journal.peek(10)
        postgres_log_db.execute(f"GRANT {grant.format('TO')}")
        assert [each.change.key for each in await journal.peek(10)] == [{"id": 2}]
    finally:
        await journal.disconnect()


async def test_privilege_withdrawn_by_logical_decoding(postgres_log_db: Database, consumer: ConnectionInfo) -> None:
    install_slot(postgres_log_db, CAPTURES)
    reading = Reading(postgres_log_db, logical_source(postgres_log_db, CAPTURES, info=consumer))
    await reading.open()
    try:
        postgres_log_db.execute("INSERT INTO sales VALUES (1)")
        assert [each.key for each in await reading.changes()] == [{"id": 1}]
        await reading.source.close()
        await released(postgres_log_db)
        postgres_log_db.execute(f"ALTER ROLE {consumer.user} NOREPLICATION")
        postgres_log_db.execute("INSERT INTO sales VALUES (2)")
        await reading.open()  # falls back to SQL functions
        with pytest.raises(SourceError, match=r"(?i)replication"):
            await reading.changes()
        await reading.source.close()
        postgres_log_db.execute(f"ALTER ROLE {consumer.user} REPLICATION")
        await reading.open()
        assert [each.key for each in await reading.changes()] == [{"id": 2}]
    finally:
        await reading.source.close()
