"""Reading PostgreSQL's log through a slot: what is seen, in which order, and from where."""

from __future__ import annotations

import asyncio
import gc
import os
from dataclasses import replace
from typing import Any

import psutil
import psycopg
import pytest

from cdc.capture.journal.postgres import PostgresJournal
from cdc.capture.logical.position import LogicalPosition
from cdc.capture.logical.replication import PeekStream, ReplicationStream
from cdc.capture.logical.source import LogicalSource
from cdc.capture.triggers.postgres import PostgresInstaller
from cdc.database.postgres_capture import lsn_text
from cdc.model.change import Operation, RowChange
from cdc.model.column import Capture
from cdc.model.errors import SourceUnavailable
from support.database import Database
from support.logical import EAGER, Reading, install_slot, logical_source, reading
from support.postgres_capture import CAPTURES, SCHEMA
from support.waiting import HANG_SECONDS

ROWS = [Capture("rows")]
WAITING_FOR_LOCK = (
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
ROWS_TABLE = "CREATE TABLE rows (id integer PRIMARY KEY, n integer, note text)"


@pytest.fixture
def shop(postgres_log_db: Database) -> Database:
    """The tables, with a slot."""
    postgres_log_db.script(SCHEMA)
    install_slot(postgres_log_db, CAPTURES)
    return postgres_log_db


@pytest.fixture
def rows(postgres_log_db: Database) -> Database:
    """One table with a slot."""
    postgres_log_db.execute(ROWS_TABLE)
    install_slot(postgres_log_db, ROWS)
    return postgres_log_db


@pytest.fixture(params=["replication", "functions"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to read a slot."""
    if request.param == "functions":

        async def refused(_stream: ReplicationStream) -> None:
            raise SourceUnavailable("A pooler is in between.")

        monkeypatch.setattr(ReplicationStream, "connect", refused)
    return str(request.param)


def _confirmed(database: Database) -> str:
    ((lsn,),) = database.execute(
        "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE database = current_database()"
    )
    return str(lsn)


def _names(change: RowChange) -> tuple[str, Any, Any]:
    return change.operation.value, change.before and dict(change.before), change.after and dict(change.after)


async def test_rows_as_the_contract_says(shop: Database, way: str) -> None:
    writer = shop.connect()
    writer.execute("INSERT INTO users VALUES ('a', 'p', 'k', 1)")
    writer.execute("UPDATE users SET password = 'q', level = 2")
    writer.execute("UPDATE users SET level = 2")
    writer.execute("DELETE FROM users")
    writer.execute("TRUNCATE odd")
    writer.commit()
    async with reading(shop, CAPTURES) as read:
        (transaction,) = await read.drain()
    changes = transaction.changes
    assert [change.operation for change in changes] == [*[*Operation][:3], Operation.TRUNCATE]
    assert [(change.before, change.after) for change in changes[:2]] == [
        (None, {"nick": "a", "level": 1}),
        ({"nick": "a", "level": 1}, {"nick": "a", "level": 2}),
    ]
    assert (changes[3].key, changes[3].before, changes[3].after) == ({}, None, None)
    assert [change.secrets_changed for change in changes[:2]] == [frozenset(), frozenset({"password"})]
    assert [change.ordinal for change in changes] == [0, 1, 3, 4]
    assert len({change.time for change in changes}) == 1


async def test_transactions_in_the_order_of_their_commits(rows: Database, way: str) -> None:
    """Rolled back work and savepoints leave nothing; what was committed before the first start is there."""
    late, early = rows.connect(), rows.connect()
    late.execute("INSERT INTO rows VALUES (1)")
    early.execute("INSERT INTO rows VALUES (2)")
    early.execute("SAVEPOINT s; INSERT INTO rows VALUES (3); ROLLBACK TO s")
    early.commit()
    late.commit()
    late.execute("INSERT INTO rows VALUES (4)")
    late.rollback()
    async with reading(rows, ROWS) as read:
        assert [change.key["id"] for change in await read.changes()] == [2, 1]
        late.execute("INSERT INTO rows VALUES (5)")
        early.execute("INSERT INTO rows VALUES (6)")
        early.commit()
        assert [change.key["id"] for change in await read.changes()] == [6]
        late.commit()
        assert [change.key["id"] for change in await read.changes()] == [5]


async def test_what_the_outbox_has_not_stored_comes_again_with_the_same_ids(rows: Database, way: str) -> None:
    async with reading(rows, ROWS, limits=replace(EAGER, batch=2)) as read:
        await read.drain()
        for number in range(6):
            rows.execute("INSERT INTO rows VALUES (%s)", [number])
        first = await read.take()
        lost = await read.next()  # a crash before it is stored
        await read.reopen()
        again = await read.take()
        assert again.transactions == lost.transactions
        rest = await read.drain()
    seen = [change.key["id"] for each in (*first.transactions, *again.transactions, *rest) for change in each.changes]
    assert seen == list(range(6))


async def test_the_slot_is_confirmed_up_to_what_is_stored_and_no_further(rows: Database, way: str) -> None:
    async with reading(rows, ROWS) as read:
        await read.drain()
        rows.execute("INSERT INTO rows VALUES (1)")
        before = _confirmed(rows)
        while not (await read.next()).transactions:
            pass
        await asyncio.sleep(0.1)  # nothing may happen in it
        assert _confirmed(rows) == before
        read.position = read.seen[-1].position
        await read.source.acknowledge(read.position)
        async with asyncio.timeout(HANG_SECONDS):
            while _confirmed(rows) == before:  # noqa: ASYNC110 - the server says nothing when it has heard
                await asyncio.sleep(0.01)


async def test_commits_of_others_move_the_position(rows: Database, way: str) -> None:
    """Else a busy server would keep its log for a slot of quiet tables."""
    rows.execute("CREATE TABLE other (id integer)")
    async with reading(rows, ROWS) as read:
        await read.drain()
        before = _confirmed(rows)
        rows.execute("INSERT INTO other SELECT generate_series(1, 1000)")
        assert await read.drain() == []
        async with asyncio.timeout(HANG_SECONDS):
            while _confirmed(rows) == before:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)


async def test_a_transaction_that_is_prepared_counts_when_it_is_committed(rows: Database, way: str) -> None:
    writer = rows.connect(autocommit=True)
    gid = rows.name
    async with reading(rows, ROWS) as read:
        writer.execute("BEGIN")
        writer.execute("INSERT INTO rows VALUES (1)")
        writer.execute(f"PREPARE TRANSACTION '{gid}'")
        writer.execute("INSERT INTO rows VALUES (2)")
        assert [change.key["id"] for change in await read.changes()] == [2]
        await read.reopen()
        writer.execute(f"COMMIT PREPARED '{gid}'")
        assert [change.key["id"] for change in await read.changes()] == [1]


async def test_tables_are_truncated_together(shop: Database) -> None:
    async with reading(shop, CAPTURES) as read:
        await read.drain()
        shop.execute("TRUNCATE customers CASCADE")
        changes = await read.changes()
    assert sorted((change.operation, change.table) for change in changes) == [
        (Operation.TRUNCATE, "customers"),
        (Operation.TRUNCATE, "invoices"),
    ]


async def test_cascades_are_seen(shop: Database) -> None:
    async with reading(shop, CAPTURES) as read:
        shop.execute("INSERT INTO customers VALUES ('1', 'a')")
        shop.execute("INSERT INTO invoices (customer) VALUES ('1'), ('1')")
        shop.execute("UPDATE customers SET code = '2'")
        shop.execute("DELETE FROM customers")
        changes = [change for change in await read.changes() if change.table == "invoices"]
    assert [change.operation.value for change in changes] == ["create"] * 2 + ["update"] * 2 + ["delete"] * 2


async def test_partitions_are_their_table(postgres_log_db: Database) -> None:
    postgres_log_db.script(
        "CREATE TABLE rows (id integer, year integer, n integer, PRIMARY KEY (id, year)) PARTITION BY RANGE (year);"
        "CREATE TABLE rows_1 PARTITION OF rows FOR VALUES FROM (2025) TO (2026);"
        "CREATE TABLE rows_2 (n integer, year integer NOT NULL, id integer NOT NULL, PRIMARY KEY (id, year));"
        "ALTER TABLE rows ATTACH PARTITION rows_2 FOR VALUES FROM (2026) TO (2027);"
    )
    install_slot(postgres_log_db, ROWS)
    async with reading(postgres_log_db, ROWS) as read:
        postgres_log_db.execute("INSERT INTO rows VALUES (1, 2025, 1), (2, 2026, 1)")
        postgres_log_db.execute("UPDATE rows SET n = 2")
        postgres_log_db.execute("UPDATE rows SET year = 2026 WHERE id = 1")
        postgres_log_db.execute("TRUNCATE rows")
        changes = await read.changes()
    assert {change.table for change in changes} == {"rows"}
    assert list(changes[1].after or {}) == ["id", "year", "n"]
    assert [change.operation.value for change in changes] == [
        *("create", "create", "update", "update"),
        *("delete", "create"),  # in another partition
        "truncate",
    ]
    assert changes[4].before == {"id": 1, "year": 2025, "n": 2}
    assert changes[5].after == {"id": 1, "year": 2026, "n": 2}
    assert not [gap for batch in read.seen for gap in batch.gaps]


async def test_a_partition_emptied_by_itself_is_a_gap(postgres_log_db: Database) -> None:
    postgres_log_db.script(
        "CREATE TABLE rows (id integer PRIMARY KEY) PARTITION BY RANGE (id);"
        "CREATE TABLE rows_1 PARTITION OF rows FOR VALUES FROM (0) TO (10);"
        "CREATE TABLE rows_2 PARTITION OF rows FOR VALUES FROM (10) TO (20);"
        "INSERT INTO rows VALUES (1), (11)"
    )
    install_slot(postgres_log_db, ROWS)
    async with reading(postgres_log_db, ROWS) as read:
        postgres_log_db.execute("TRUNCATE rows_1")
        changes = await read.changes()
    assert [(change.operation, dict(change.key)) for change in changes] == [(Operation.READ, {"id": 11})]
    assert [gap.operation for batch in read.seen for gap in batch.gaps] == [Operation.TRUNCATE]


#: Rows that come or go with a partition are no changes of rows → the records that are read again.
MOVED: dict[str, tuple[str, set[int]]] = {
    "detached": ("ALTER TABLE rows DETACH PARTITION rows_1", set()),
    "dropped": ("DROP TABLE rows_1", set()),
    "attached": ("ALTER TABLE rows ATTACH PARTITION rows_3 FOR VALUES FROM (20) TO (30)", {1, 11, 12, 21}),
}


@pytest.mark.parametrize("act", MOVED)
async def test_rows_that_come_or_go_with_a_partition(postgres_log_db: Database, act: str) -> None:
    postgres_log_db.script(
        "CREATE TABLE rows (id integer PRIMARY KEY) PARTITION BY RANGE (id);"
        "CREATE TABLE rows_1 PARTITION OF rows FOR VALUES FROM (0) TO (10);"
        "CREATE TABLE rows_2 PARTITION OF rows FOR VALUES FROM (10) TO (20);"
        "CREATE TABLE rows_3 (id integer PRIMARY KEY);"
        "INSERT INTO rows VALUES (1), (11); INSERT INTO rows_3 VALUES (21)"
    )
    install_slot(postgres_log_db, ROWS)
    statement, again = MOVED[act]
    async with reading(postgres_log_db, ROWS) as read:
        postgres_log_db.execute(statement)
        postgres_log_db.execute("INSERT INTO rows VALUES (12)")
        created, *others = await read.changes()
    assert (created.operation, created.key) == (Operation.CREATE, {"id": 12})
    assert {change.operation for change in others} <= {Operation.READ}
    assert {change.key["id"] for change in others} == again


ALTERATIONS = """
INSERT INTO rows VALUES (1, 5, 'a');
ALTER TABLE rows ADD COLUMN more text DEFAULT 'm';
UPDATE rows SET n = 6;
ALTER TABLE rows RENAME COLUMN note TO remark;
UPDATE rows SET n = 7;
ALTER TABLE rows ALTER COLUMN n TYPE numeric(8, 2);
UPDATE rows SET remark = 'b';
ALTER TABLE rows DROP COLUMN more;
ALTER TABLE rows ADD COLUMN flag boolean;
UPDATE rows SET flag = true;
ALTER TABLE rows ALTER COLUMN n TYPE integer;
DELETE FROM rows;
"""
ALTERED = [
    ("create", None, {"id": 1, "n": 5, "note": "a"}),
    ("update", {"id": 1, "n": 5, "note": "a", "more": "m"}, {"id": 1, "n": 6, "note": "a", "more": "m"}),
    ("update", {"id": 1, "n": 6, "remark": "a", "more": "m"}, {"id": 1, "n": 7, "remark": "a", "more": "m"}),
    ("update", {"id": 1, "n": "7.00", "remark": "a", "more": "m"}, {"id": 1, "n": "7.00", "remark": "b", "more": "m"}),
    (
        "update",
        {"id": 1, "n": "7.00", "remark": "b", "flag": None},
        {"id": 1, "n": "7.00", "remark": "b", "flag": True},
    ),
    ("delete", {"id": 1, "n": 7, "remark": "b", "flag": True}, None),
]


@pytest.mark.parametrize("live", [True, False])
async def test_tables_altered_within_the_stretch_that_is_read(rows: Database, way: str, live: bool) -> None:
    """Each row with the names and types that its table had then, whether we were there or not."""
    async with reading(rows, ROWS) as read:
        changes = []
        for statement in ALTERATIONS.strip().split("\n"):
            rows.execute(statement)
            changes += await read.changes() if live else []
        changes += await read.changes()
    assert [_names(change) for change in changes] == ALTERED
    assert not [gap for batch in read.seen for gap in batch.gaps]


async def test_all_in_one_transaction(rows: Database) -> None:
    """DDL and rows of one transaction; the rewrite of the table by ALTER TYPE is no change of its rows."""
    writer = rows.connect()
    for statement in ALTERATIONS.strip().split("\n"):
        writer.execute(statement)
    writer.commit()
    async with reading(rows, ROWS) as read:
        (transaction,) = await read.drain()
    assert [_names(change) for change in transaction.changes] == ALTERED


async def test_a_table_that_is_gone_and_one_that_is_made_again(rows: Database) -> None:
    rows.execute("INSERT INTO rows VALUES (1, 1, 'old')")
    rows.execute("DROP TABLE rows")
    async with reading(rows, ROWS) as read:
        await read.drain()
        (gap,) = [gap for batch in read.seen for gap in batch.gaps]
        assert (gap.table, gap.operation) == ("rows", Operation.CREATE)  # the key of a table that is gone is not known
        rows.execute(ROWS_TABLE)
        install_slot(rows, ROWS)
        rows.execute("INSERT INTO rows VALUES (2, 2, 'new')")
        (change,) = await read.changes()
    assert change.after == {"id": 2, "n": 2, "note": "new"}


async def test_a_renamed_key_is_known_to_whoever_saw_it_before(rows: Database) -> None:
    async with reading(rows, ROWS) as read:
        rows.execute("INSERT INTO rows VALUES (1, 1, 'a')")
        await read.drain()
        rows.execute("UPDATE rows SET n = 2")
        rows.execute("ALTER TABLE rows RENAME COLUMN id TO number")
        rows.execute("UPDATE rows SET n = 3")
        keys = [dict(change.key) for change in await read.changes()]
    assert keys == [{"id": 1}, {"number": 1}]


async def test_a_key_that_was_renamed_behind_the_rows_leaves_a_gap_and_the_table_is_read_again(rows: Database) -> None:
    rows.execute("INSERT INTO rows VALUES (1, 1, 'a'), (2, 1, 'b')")
    rows.execute("ALTER TABLE rows RENAME COLUMN id TO number")
    rows.execute("UPDATE rows SET n = 3 WHERE number = 1")
    async with reading(rows, ROWS) as read:
        changes = await read.changes()
    assert [gap.table for batch in read.seen for gap in batch.gaps] == ["rows"]
    assert [(change.operation, dict(change.key)) for change in changes] == [
        (Operation.UPDATE, {"number": 1}),
        (Operation.READ, {"number": 1}),
        (Operation.READ, {"number": 2}),
    ]


async def test_a_huge_transaction_in_bounded_memory(rows: Database, way: str) -> None:
    rows.execute(
        "INSERT INTO rows SELECT n, n, repeat('x', 300) FROM generate_series(1, 60000) AS n; UPDATE rows SET n = n + 1"
    )
    process = psutil.Process(os.getpid())
    # Python looks for garbage as often as in a process of its own, not as seldom as among the tests' objects
    gc.freeze()
    gc.collect()
    records = 0
    async with reading(rows, ROWS) as read:
        before = most = process.memory_info().rss
        async with asyncio.timeout(120):
            while records < 60_000:
                batch = await read.take()
                read.seen.clear()
                for transaction in batch.transactions:
                    keys = [change.key["id"] for change in transaction.changes]
                    assert len(keys) == 2 * len(set(keys)), "both changes of a record are in the same part"
                    records += len(set(keys))
                most = max(most, process.memory_info().rss)
    assert records == 60_000
    assert most - before < 100 << 20


async def test_a_huge_transaction_goes_on_behind_the_records_that_are_stored(rows: Database, way: str) -> None:
    """A crash before each part is stored: what comes again is the same, and what is stored does not come again."""
    rows.execute("INSERT INTO rows SELECT n, n, 'x' FROM generate_series(1, 100) AS n; UPDATE rows SET n = n + 1")
    rows.execute("INSERT INTO rows VALUES (0)")
    stored: list[tuple[str, int]] = []
    async with reading(rows, ROWS, limits=replace(EAGER, batch=20, huge=50)) as read:
        while not stored or stored[-1][1] != 0 or len(stored) < 201:
            lost = await read.next()
            await read.reopen()
            again = await read.take()
            assert [each.token for each in again.transactions] == [each.token for each in lost.transactions]
            assert again.transactions == lost.transactions
            stored += [(each.token, change.ordinal) for each in again.transactions for change in each.changes]
    assert len(stored) == len(set(stored)) == 201
    assert LogicalPosition.load(again.position).huge is None


async def test_journal_and_log_exclude_each_other(rows: Database) -> None:
    installer = PostgresInstaller(rows.info)
    installer.apply(installer.plan_install(ROWS), lambda _title: None)
    journal = PostgresJournal(rows.info, ROWS)
    await journal.connect()
    assert await journal.try_lock(0)
    source = logical_source(rows, ROWS)
    opening = asyncio.create_task(source.open(None))
    await _seen(rows, WAITING_FOR_LOCK)
    await journal.disconnect()
    await opening
    await journal.connect()
    assert not await journal.try_lock(0)
    await journal.disconnect()
    await source.close()


async def test_standby_takes_over_although_the_slot_has_moved_past_its_position(rows: Database) -> None:
    """A standby is given its position before it waits; the consumer before it reads on and moves the slot."""
    standby = logical_source(rows, ROWS)
    async with reading(rows, ROWS) as first:
        await first.drain()
        opening = asyncio.create_task(standby.open(first.position))
        await _seen(rows, WAITING_FOR_LOCK)
        rows.execute("INSERT INTO rows VALUES (1)")
        await first.drain()
        assert first.position is not None
        stored = lsn_text(LogicalPosition.load(first.position).lsn)
        await _seen(
            rows,
            "SELECT count(*) FROM pg_replication_slots"
            f" WHERE database = current_database() AND confirmed_flush_lsn >= '{stored}'",
        )
    await opening
    second = Reading(rows, standby, first.position)
    await second.reopen()  # as the relay does, at the position that the outbox holds by now
    rows.execute("INSERT INTO rows VALUES (2)")
    assert [change.key for change in await second.changes()] == [{"id": 2}]
    await standby.close()


async def _seen(database: Database, count: str) -> None:
    async with asyncio.timeout(HANG_SECONDS):
        while database.execute(count) == [(0,)]:  # noqa: ASYNC110 - the server gives no sign
            await asyncio.sleep(0.01)


async def test_functions_are_used_where_no_replication_connection_is_granted(rows: Database, way: str) -> None:
    async with reading(rows, ROWS) as read:
        expected = PeekStream if way == "functions" else ReplicationStream
        assert type(read.source._stream) is expected


async def test_a_source_that_was_never_opened_can_be_closed(rows: Database) -> None:
    async with reading(rows, ROWS) as read:
        source: LogicalSource = read.source
        await source.close()
        await source.close()


#: What hides changes from triggers, or could: the log has them all.
SWITCHES = {
    "role": "SET session_replication_role = replica; {}; RESET session_replication_role",
    "triggers": "BEGIN; ALTER TABLE rows DISABLE TRIGGER ALL; {}; ALTER TABLE rows ENABLE TRIGGER ALL; COMMIT",
    "origin": (
        "SELECT pg_replication_origin_create('other'); SELECT pg_replication_origin_session_setup('other'); {};"
        "SELECT pg_replication_origin_session_reset(); SELECT pg_replication_origin_drop('other')"
    ),
    "asynchronous": "SET synchronous_commit = off; {}; RESET synchronous_commit; SELECT pg_switch_wal()",
    "rewritten": "{}; VACUUM FULL rows; CLUSTER rows USING rows_pkey; REINDEX TABLE rows",
}


@pytest.mark.parametrize("switch", SWITCHES)
async def test_session_that_switches_triggers_off_is_seen(rows: Database, switch: str) -> None:
    async with reading(rows, ROWS) as read:
        rows.execute("INSERT INTO rows VALUES (1, 1), (2, 2)")
        await read.drain()
        changes = "INSERT INTO rows VALUES (3, 3); UPDATE rows SET n = 9 WHERE id = 1; DELETE FROM rows WHERE id = 2"
        for statement in SWITCHES[switch].format(changes).split(";"):
            rows.execute(statement)
        seen = [(change.operation.value, change.key["id"]) for change in await read.changes()]
        assert seen == [("create", 3), ("update", 1), ("delete", 2)]


async def test_table_cannot_be_taken_out_of_the_log(rows: Database) -> None:
    async with reading(rows, ROWS) as read:
        await read.drain()
        with pytest.raises(psycopg.Error, match='cannot change table "rows" to unlogged'):
            rows.execute("ALTER TABLE rows SET UNLOGGED")
        rows.execute("INSERT INTO rows VALUES (1, 1)")
        assert [change.key["id"] for change in await read.changes()] == [1]
