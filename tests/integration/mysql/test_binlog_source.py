"""The binlog source on real servers: what it reads, from where it goes on, who may read."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

import psutil
import pytest

from cdc.capture.binlog.library import LibraryConnection, LogConnection
from cdc.capture.binlog.schema_history import BinlogPosition
from cdc.capture.binlog.source import BinlogSource
from cdc.capture.journal.mysql import MySQLJournal
from cdc.capture.source import Patterns
from cdc.model.change import Operation, Position, RowChange
from cdc.model.column import Capture
from cdc.model.errors import LogPurged, SourceError, SourceUnavailable
from support.binlog_capture import CONNECTION, QUICK, Reading, binlog_source, images, reading
from support.database import Database, fresh_database
from support.manual_clock import ManualClock
from support.mysql_capture import install
from support.server import Spec
from support.servers import KeeperClient, shared_server
from support.waiting import HANG_SECONDS

SPECS = {"mariadb": Spec("mariadb", binlog=True), "mysql": Spec("mysql")}
TABLE = "CREATE TABLE articulos (id INT PRIMARY KEY, nombre VARCHAR(40), activo TINYINT(1))"
#: Ten thousand rows a unit of ``tens``.
MANY = """INSERT INTO articulos
    SELECT a.n + 10 * b.n + 100 * c.n + 1000 * d.n + 10000 * e.n, REPEAT('x', 40), 1
    FROM digits AS a, digits AS b, digits AS c, digits AS d, digits AS e WHERE e.n < {tens} ORDER BY 1"""


@pytest.fixture(autouse=True, params=[LogConnection, LibraryConnection], ids=["native", "mysql-replication"])
def connection(request: pytest.FixtureRequest) -> Iterator[None]:
    """The same by our own connection and by the package's."""
    before = CONNECTION.set(request.param)
    yield
    CONNECTION.reset(before)


@pytest.fixture(params=SPECS)
def items(request: pytest.FixtureRequest, keeper: KeeperClient) -> Iterator[Database]:
    """A table ``articulos`` on a server with a log."""
    with fresh_database(shared_server(keeper, SPECS[request.param]), erp=False) as database:
        database.execute(TABLE)
        yield database


def add(database: Database, *numbers: int) -> None:
    for number in numbers:
        database.execute("INSERT INTO articulos VALUES (%s, 'x', 1)", [number])


def keys(changes: list[RowChange]) -> list[Any]:
    return [change.key.get("id") for change in changes]


# -- what is read -----------------------------------------------------------------------------------------------------


async def test_changes_come_in_normal_form(items: Database) -> None:
    async with reading(items, "articulos") as log:
        items.execute("INSERT INTO articulos VALUES (1, 'Niño ☂', 1)")
        items.execute("UPDATE articulos SET nombre = NULL, activo = 0 WHERE id = 1")
        items.execute("UPDATE articulos SET nombre = NULL WHERE id = 1")
        items.execute("DELETE FROM articulos")
        changes = await log.drain()
    first: dict[str, Any] = {"id": 1, "nombre": "Niño ☂", "activo": True}
    second: dict[str, Any] = {"id": 1, "nombre": None, "activo": False}
    assert images(changes) == [("create", None, first), ("update", first, second), ("delete", second, None)]
    assert len(set(log.tokens)) == 3


async def test_a_transaction_is_one_and_what_was_rolled_back_is_none(items: Database) -> None:
    async with reading(items, "articulos") as log:
        connection = items.connect()
        cursor = connection.cursor()
        cursor.execute("INSERT INTO articulos VALUES (1, 'a', 1)")
        cursor.execute("SAVEPOINT s")
        cursor.execute("INSERT INTO articulos VALUES (2, 'a', 1)")
        cursor.execute("ROLLBACK TO s")
        cursor.execute("INSERT INTO articulos VALUES (3, 'a', 1)")
        connection.commit()
        cursor.execute("INSERT INTO articulos VALUES (4, 'a', 1)")
        connection.rollback()
        changes = await log.drain()
    assert keys(changes) == [1, 3]
    assert len(log.tokens) == 1


async def test_secret_columns_stay_in_the_database(items: Database) -> None:
    capture = Capture("articulos", frozenset({"nombre"}))
    async with reading(items, capture) as log:
        items.execute("INSERT INTO articulos VALUES (1, 'hidden', 1)")
        items.execute("UPDATE articulos SET nombre = 'hidden too'")
        create, update = await log.drain()
        assert await log.source.rows("articulos", "id", [1]) == [{"id": 1, "activo": True}]
    assert create.after == update.after == {"id": 1, "activo": True}
    assert update.secrets_changed == {"nombre"}
    assert "hidden" not in f"{log.changes}{log.position}"


async def test_truncate_is_a_change(items: Database) -> None:
    async with reading(items, "articulos") as log:
        add(items, 1)
        items.execute("TRUNCATE TABLE articulos")
        add(items, 2)
        changes = await log.drain()
    assert [change.operation for change in changes] == [Operation.CREATE, Operation.TRUNCATE, Operation.CREATE]
    assert len(set(log.tokens)) == 3


async def test_other_tables_and_databases_move_the_position_only(items: Database) -> None:
    items.execute("CREATE TABLE otra (id INT PRIMARY KEY)")
    with fresh_database(items.server, erp=False) as other:
        other.execute(TABLE)
        async with reading(items, "articulos") as log:
            before = log.position
            items.execute("INSERT INTO otra VALUES (1)")
            add(other, 1)
            assert await log.drain() == []
            assert log.position != before
    assert log.gaps == []


async def test_a_statement_in_place_of_rows_is_a_gap_that_is_read_again(items: Database) -> None:
    add(items, 1)
    async with reading(items, "articulos") as log:
        connection = items.connect(autocommit=True)
        cursor = connection.cursor()
        cursor.execute("SET SESSION binlog_format = 'STATEMENT'")
        cursor.execute("UPDATE articulos SET nombre = 'statement'")
        changes = await log.drain()
    assert [gap.table for gap in log.gaps] == ["articulos"]
    assert images(changes) == [("read", None, {"id": 1, "nombre": "statement", "activo": True})]


async def test_session_that_logs_parts_of_rows_has_its_table_read_again(items: Database) -> None:
    """The rest of its transactions, and what comes after, arrives as ever."""
    items.execute("CREATE TABLE notas (id INT PRIMARY KEY, texto TEXT, datos JSON, veces INT DEFAULT 0)")
    causes = ["binlog_row_image = 'MINIMAL'", "binlog_row_image = 'NOBLOB'"]
    causes += ["binlog_row_value_options = 'PARTIAL_JSON'"] if items.flavour == "mysql" else []
    async with reading(items, "articulos", "notas") as log:
        for number, cause in enumerate(causes):
            items.execute("DELETE FROM notas")
            items.execute(
                "INSERT INTO notas VALUES (1, 'x', '{\"a\": 1, \"b\": \"long enough\"}', 0), (2, 'y', '{}', 0)"
            )
            await log.drain()
            log.gaps.clear()
            session = items.connect().cursor()
            session.execute(f"SET SESSION {cause}")
            session.execute("INSERT INTO articulos VALUES (%s, 'x', 1)", [number])
            session.execute("UPDATE notas SET veces = 1, datos = JSON_SET(datos, '$.a', 2) WHERE id = 1")
            session.execute("DELETE FROM notas WHERE id = 2")
            session.execute("INSERT INTO notas (id) VALUES (3)")
            session.execute("COMMIT")
            items.execute("UPDATE notas SET texto = 'z' WHERE id = 1")
            changes = await log.drain()
            (gap,) = log.gaps
            assert gap.table == "notas"
            assert cause.partition(" ")[0] in gap.reason
            assert ("articulos", Operation.CREATE, number) in [(c.table, c.operation, c.key["id"]) for c in changes]
            last = {c.key["id"]: (c.operation, c.after) for c in changes if c.table == "notas"}
            for key, texto, veces in ((1, "z", 1), (3, None, 0)):
                operation, row = last[key]
                assert operation is Operation.READ
                assert row is not None
                assert (row["texto"], row["veces"]) == (texto, veces)
        add(items, 100)
        assert keys(await log.drain()) == [100]


async def test_a_table_that_is_made_while_reading_is_captured(items: Database) -> None:
    async with reading(items, "articulos", "nueva") as log:
        items.execute("CREATE TABLE nueva (id INT PRIMARY KEY, x INT)")
        items.execute("INSERT INTO nueva VALUES (1, 2)")
        assert images(await log.drain()) == [("create", None, {"id": 1, "x": 2})]
        items.execute("DROP TABLE nueva")
        items.execute("CREATE TABLE nueva (y INT, id INT PRIMARY KEY)")
        items.execute("INSERT INTO nueva VALUES (3, 4)")
        assert images(await log.drain()) == [("truncate", None, None), ("create", None, {"y": 3, "id": 4})]
        items.execute("DROP TABLE nueva")
        items.execute("CREATE TABLE nueva (id INT PRIMARY KEY) SELECT 7 AS id, 8 AS z")
        changes = await log.drain()
    assert images(changes) == [("truncate", None, None), ("create", None, {"id": 7, "z": 8})]


async def test_rows_read_before_their_table_is_noticed_are_created_once(items: Database) -> None:
    """The log shows rows of a table that the rules name as soon as it exists; its name is read every five seconds."""

    def matching(names: Collection[str]) -> list[Capture]:
        return [Capture(name) for name in ("articulos", "nueva") if name in names]

    async def extend(_new: Sequence[Capture]) -> Sequence[str]:
        return ()

    clock = ManualClock()
    patterns = Patterns(matching, extend, ("articulos", "nueva"))
    captures = (Capture("articulos"), Capture("nueva"))
    source = BinlogSource(
        "main", items.info, captures, limits=QUICK, patterns=patterns, clock=clock, connection=CONNECTION.get()
    )
    try:
        await source.open(None)
        log = Reading(items, source, None)
        await log.drain()
        items.execute("CREATE TABLE nueva (id INT PRIMARY KEY)")
        items.execute("INSERT INTO nueva VALUES (1)")
        assert images(await log.drain()) == [("create", None, {"id": 1})]
        clock.advance(5)
        await log.next()
        assert images(await log.drain()) == [("read", None, {"id": 1})]
    finally:
        await source.close()


# -- from where it goes on --------------------------------------------------------------------------------------------


async def test_reading_goes_on_behind_the_position(items: Database) -> None:
    async with reading(items, "articulos") as log:
        add(items, 1, 2)
        await log.drain()
        add(items, 3)
    async with reading(items, "articulos", position=log.position) as again:
        add(items, 4)
        assert keys(await again.drain()) == [3, 4]
    async with reading(items, "articulos", position=again.position) as last:
        assert await last.drain() == []


async def test_the_same_change_has_the_same_token_whenever_it_is_read(items: Database) -> None:
    async with reading(items, "articulos") as log:
        start = log.position
        add(items, 1, 2)
        items.execute("UPDATE articulos SET nombre = 'y'")
        changes = await log.drain()
    async with reading(items, "articulos", position=start) as again:
        assert await again.drain() == changes
    assert again.tokens == log.tokens


async def test_the_first_position_is_stored_before_anything_is_read(items: Database) -> None:
    source = binlog_source(items, "articulos")
    await source.open(None)
    add(items, 1)
    try:
        batch = await anext(source.batches())
    finally:
        await source.close()
    assert batch.transactions == ()
    async with reading(items, "articulos", position=batch.position) as log:
        assert keys(await log.drain()) == [1]


async def test_a_table_that_is_captured_later_is_read_from_the_position_on(items: Database) -> None:
    items.execute("CREATE TABLE otra (id INT PRIMARY KEY)")
    async with reading(items, "articulos") as log:
        pass
    items.execute("INSERT INTO otra VALUES (1)")
    async with reading(items, "articulos", "otra", position=log.position) as again:
        add(items, 2)
        changes = await again.drain()
    assert [(change.table, change.key) for change in changes] == [("otra", {"id": 1}), ("articulos", {"id": 2})]
    async with reading(items, "otra", position=again.position) as fewer:
        add(items, 3)
        items.execute("INSERT INTO otra VALUES (4)")
        assert keys(await fewer.drain()) == [4]


async def test_a_position_of_another_source_is_refused(items: Database) -> None:
    source = binlog_source(items, "articulos")
    for wrong in ('{"done":[],"huge":null,"rereads":[]}', "text", "[]", '{"log":["a",1,""]}'):
        with pytest.raises(SourceError, match="was not written by a binlog source"):
            await source.open(Position(wrong))
        await source.close()


# -- huge transactions ------------------------------------------------------------------------------------------------


@pytest.fixture
def many(items: Database) -> Database:
    items.execute("CREATE TABLE digits (n INT PRIMARY KEY)")
    items.execute("INSERT INTO digits VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)")
    return items


async def test_a_huge_transaction_comes_in_parts_in_bounded_memory(many: Database) -> None:
    process = psutil.Process()
    # Python looks for garbage as often as in a process of its own, not as seldom as among the tests' objects
    gc.freeze()
    gc.collect()
    async with reading(many, "articulos") as log:
        many.execute(MANY.format(tens=10))
        before, most, seen, tokens = process.memory_info().rss, 0, 0, set()
        while seen < 100_000:
            batch = await log.next()
            for transaction in batch.transactions:
                assert [change.key["id"] for change in transaction.changes] == list(
                    range(seen, seen + len(transaction.changes))
                )
                seen += len(transaction.changes)
                tokens.add(transaction.token)
            log.changes.clear()
            most = max(most, process.memory_info().rss - before)
    assert len(tokens) == 1
    assert most < 60 << 20


async def test_a_huge_transaction_goes_on_where_it_was_stored(many: Database) -> None:
    limits = replace(QUICK, batch=100, huge=150)
    async with reading(many, "articulos", limits=limits) as log:
        many.execute(MANY.format(tens=1))
        while len(log.changes) < 400:
            await log.next()
        stored = keys(log.changes)
        assert stored == list(range(400))
        assert log.position is not None
        assert BinlogPosition.load(log.position).huge is not None
    async with reading(many, "articulos", position=log.position, limits=limits) as again:
        add(many, 50_000)
        assert keys(await again.drain()) == [*range(400, 10_000), 50_000]
    assert again.tokens[0] == log.tokens[0]


# -- who may read -----------------------------------------------------------------------------------------------------


async def test_a_standby_takes_over(items: Database) -> None:
    second = binlog_source(items, "articulos")
    async with reading(items, "articulos") as first:
        await first.drain()
        waiting = asyncio.create_task(second.open(first.position))
        await asyncio.sleep(0.5)
        assert not waiting.done()
        add(items, 1)
    async with asyncio.timeout(HANG_SECONDS):
        await waiting
    taken = Reading(items, second, first.position)
    try:
        assert keys(await taken.drain()) == [1]
    finally:
        await second.close()


async def test_who_lost_the_lock_reads_no_further(items: Database) -> None:
    async with reading(items, "articulos") as log:
        number = await log.source._database.session.run(lambda connection: connection.thread_id())
        items.execute(f"KILL {number}")
        with pytest.raises(SourceUnavailable):
            await _forever(log)


async def _forever(log: Reading) -> None:
    while True:
        await log.next()


async def test_journal_and_log_are_not_read_at_the_same_time(items: Database) -> None:
    install(items, "articulos")
    journal = MySQLJournal(items.info)
    await journal.connect()
    try:
        async with reading(items, "articulos"):
            assert not await journal.try_lock(0)
        assert await journal.try_lock(HANG_SECONDS)
    finally:
        await journal.disconnect()


async def test_closing_ends_a_wait_at_once(items: Database) -> None:
    async with reading(items, "articulos", limits=replace(QUICK, idle=600, progress=600)) as log:
        waiting = asyncio.create_task(_forever(log))
        await asyncio.sleep(0.2)
        waiting.cancel()
        async with asyncio.timeout(HANG_SECONDS):
            await log.source.close()
        await asyncio.gather(waiting, return_exceptions=True)


async def test_a_table_without_a_primary_key_is_refused(items: Database) -> None:
    items.execute("CREATE TABLE sin_clave (x INT)")
    with pytest.raises(SourceError, match="no primary key: sin_clave"):
        async with reading(items, "articulos", "sin_clave"):
            pass


# -- a log that is gone -----------------------------------------------------------------------------------------------


def purge(database: Database) -> None:
    """The log ends and begins anew."""
    database.execute("FLUSH BINARY LOGS")
    statement = "SHOW MASTER STATUS" if database.flavour == "mariadb" else "SHOW BINARY LOG STATUS"
    file = database.execute(statement)[0][0]
    for _ in range(100):  # a file is in use until the server notices that its reader is gone
        database.execute("PURGE BINARY LOGS TO %s", [file])
        if len(database.execute("SHOW BINARY LOGS")) == 1:
            return
        threading.Event().wait(0.1)
    pytest.fail("The log was not purged.")


@pytest.mark.parametrize(
    ("flavour", "options"),
    [("mariadb", ()), ("mysql", ()), ("mysql", ("--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"))],
)
async def test_a_purged_log_stops_the_consumer_or_is_read_around(
    flavour: str, options: tuple[str, ...], own_server: Any
) -> None:
    database: Database = own_server(flavour, *options, binlog=True)
    database.execute(TABLE)
    add(database, 1)
    async with reading(database, "articulos") as log:
        add(database, 2)
        await log.drain()
    database.execute("DELETE FROM articulos WHERE id = 1")
    add(database, 3)
    purge(database)
    add(database, 4)
    async with reading(database, "articulos", position=log.position) as stopped:
        with pytest.raises(LogPurged, match="on_purged"):
            await stopped.next()
    async with reading(database, "articulos", position=log.position, reread_purged=True) as again:
        add(database, 5)
        changes = await again.drain()
        assert [gap.table for gap in again.gaps] == ["articulos"]
        assert [key for change in changes if change.operation is Operation.READ for key in change.key.values()] == [
            *(2, 3, 4, 5)
        ]
        add(database, 6)
        assert keys(await again.drain()) == [6]


@pytest.mark.parametrize("flavour", SPECS)
async def test_a_log_that_was_reset_is_not_taken_for_the_one_that_was_read(flavour: str, own_server: Any) -> None:
    database: Database = own_server(flavour, binlog=True)
    database.execute(TABLE)
    async with reading(database, "articulos") as log:
        add(database, 1, 2)
        await log.drain()
    database.execute("RESET MASTER" if flavour == "mariadb" else "RESET BINARY LOGS AND GTIDS")
    add(database, 3)
    async with reading(database, "articulos", position=log.position) as again:
        with pytest.raises(LogPurged, match="reset"):
            await again.next()


async def test_a_server_without_a_log_is_refused(mariadb_db: Database) -> None:
    mariadb_db.execute(TABLE)
    with pytest.raises(SourceError, match="writes no binary log"):
        async with reading(mariadb_db, "articulos"):
            pass


async def test_settings_that_leave_changes_out_are_refused(own_server: Any) -> None:
    database: Database = own_server("mysql", "--binlog-row-image=MINIMAL")
    database.execute(TABLE)
    with pytest.raises(SourceError, match=r"SET GLOBAL binlog_row_image = 'FULL'"):
        async with reading(database, "articulos"):
            pass
