"""The consumer beside a working ERP: nobody waits for it, nothing is skipped, one reads at a time."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from cdc.capture.journal.mysql import MySQLJournal
from cdc.capture.mysql_lookup import MySQLLookup
from cdc.capture.pages import PageRequest
from cdc.capture.triggers.mysql import LockTries, MySQLInstaller
from cdc.database.mysql_connection import connect, rows
from cdc.model.column import Capture
from cdc.model.connection import AccountChoice, AccountRole, Tls
from cdc.model.errors import CdcError, JournalMissing, SourceUnavailable
from support.database import Database
from support.grants import PrintedGrants
from support.mysql_capture import brief, drain, install, uninstall
from support.paging import page_of
from support.waiting import HANG_SECONDS

ITEM = """CREATE TABLE item (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(50), secret VARCHAR(50))
ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_520_ci"""
CAPTURE = Capture("item", frozenset({"secret"}))


@asynccontextmanager
async def consumer(database: Database, captures: Any = ()) -> AsyncIterator[MySQLJournal]:
    journal = MySQLJournal(database.info, captures)
    await journal.connect()
    try:
        assert await journal.try_lock(5)
        yield journal
    finally:
        await journal.disconnect()


@pytest.fixture
def items(db: Database) -> Database:
    db.execute(ITEM)
    install(db, CAPTURE)
    return db


def impatient(database: Database) -> Any:
    """A connection of the ERP that fails rather than wait a second for a lock."""
    connection = database.connect()
    connection.cursor().execute("SET SESSION innodb_lock_wait_timeout = 1")
    return connection


async def test_a_transaction_that_commits_late_is_not_skipped(items: Database) -> None:
    late = items.connect()
    late.cursor().execute("INSERT INTO item (name) VALUES ('late')")
    items.execute("INSERT INTO item (name) VALUES ('early')")
    async with consumer(items) as journal:
        first = await journal.peek(10)
        assert brief(first, "name") == [("create", "item", None, ("early",))]
        await journal.delete([first[0].token])
        late.commit()
        await wait(journal)
        second = await journal.peek(10)
        assert brief(second, "name") == [("create", "item", None, ("late",))]
        assert second[0].change.ordinal < first[0].change.ordinal


async def test_the_erp_never_waits_for_a_consumer_that_deletes(items: Database) -> None:
    items.execute("INSERT INTO item (name) VALUES ('a'), ('b'), ('c')")
    deleting = items.connect()
    cursor = deleting.cursor()
    cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
    ids = tuple(row[0] for row in items.execute("SELECT id FROM cdc_journal"))
    cursor.execute("DELETE FROM cdc_journal WHERE id IN %s", (ids,))
    erp = impatient(items)
    erp.cursor().execute("INSERT INTO item (name) VALUES ('d')")
    erp.cursor().execute("UPDATE item SET name = 'z' WHERE name = 'a'")
    erp.cursor().execute("DELETE FROM item WHERE name = 'b'")
    erp.commit()
    deleting.commit()


async def test_the_consumer_works_beside_a_long_transaction(items: Database) -> None:
    long = items.connect()
    long.cursor().execute("SELECT * FROM item")
    long.cursor().executemany("INSERT INTO item (name) VALUES (%s)", [("x",)] * 300)
    items.execute("INSERT INTO item (name) VALUES ('short')")
    async with consumer(items) as journal:
        rows = await journal.peek(10)
        assert brief(rows, "name") == [("create", "item", None, ("short",))]
        await journal.delete([rows[0].token])
        assert await journal.peek(10) == []
        erp = impatient(items)
        erp.cursor().execute("INSERT INTO item (name) VALUES ('more')")
        erp.commit()
        long.commit()
        heads = await journal.heads(10)
        assert sorted(head.rows for head in heads) == [1, 300]


def test_a_bulk_insert_holds_no_auto_increment_lock_on_the_journal(items: Database) -> None:
    """An open statement of one connection, and another that writes meanwhile."""
    items.execute("CREATE TABLE other (id INT PRIMARY KEY, name VARCHAR(50)) ENGINE=InnoDB")
    items.execute("INSERT INTO other VALUES (1, 'a')")
    install(items, CAPTURE, "other")
    bulk, erp = items.connect(), impatient(items)
    items.execute("SELECT GET_LOCK(DATABASE(), 0)")
    done = []

    def import_rows() -> None:
        bulk.cursor().execute(
            "INSERT INTO item (name) SELECT IF(seq = 2, GET_LOCK(DATABASE(), 1000), 'x')"
            " FROM (SELECT 1 AS seq UNION ALL SELECT 2) AS two"
        )
        done.append(True)

    thread = threading.Thread(target=import_rows)
    thread.start()
    while not items.execute(
        "SELECT 1 FROM information_schema.PROCESSLIST WHERE ID = %s AND STATE = 'User lock'", (bulk.thread_id(),)
    ):
        assert thread.is_alive()
    erp.cursor().execute("UPDATE other SET name = 'b'")
    erp.commit()
    assert not done
    items.execute("SELECT RELEASE_LOCK(DATABASE())")
    thread.join()
    bulk.commit()
    assert len(drain(items)) == 3


async def test_reading_by_transaction(items: Database) -> None:
    connection = items.connect()
    for count in (3, 1, 2):
        for number in range(count):
            connection.cursor().execute("INSERT INTO item (name) VALUES (%s)", (f"{count}.{number}",))
        connection.commit()
    async with consumer(items) as journal:
        heads = await journal.heads(10)
        assert [head.rows for head in heads] == [3, 1, 2]
        assert [head.rows for head in await journal.heads(2)] == [3, 1]
        rows = await journal.transaction_rows([heads[0].token, heads[2].token])
        written = [str(row.change.after["name"]) for row in rows if row.change.after]
        assert sorted(written) == ["2.0", "2.1", "3.0", "3.1", "3.2"]
        token = heads[0].token
        first = await journal.rows_after(token, -1, 2)
        assert [row.change.after["name"] for row in first if row.change.after] == ["3.0", "3.1"]
        rest = await journal.rows_after(token, first[-1].change.ordinal, 2)
        assert [row.change.after["name"] for row in rest if row.change.after] == ["3.2"]
        chosen = [first[0].change.ordinal, rest[0].change.ordinal]
        assert [row.change.ordinal for row in await journal.rows_at(token, chosen)] == chosen
        assert await journal.rows_at(heads[1].token, chosen) == []
        await journal.delete([token, "12345"])
        assert [head.rows for head in await journal.heads(10)] == [1, 2]


async def test_a_list_that_the_server_cuts(items: Database) -> None:
    """As a `max_allowed_packet` of a few kilobytes makes it: it is a shorter one.  No page is read beside it, because
    nobody could tell what the page shows that waits in the journal."""
    for _ in range(12):
        items.execute("INSERT INTO item (name) VALUES ('x')")
    async with consumer(items, [CAPTURE]) as journal:
        wanted = PageRequest((await journal.tables())["item"], None, 20)
        whole = await journal.heads(20)
        page = await journal.page(wanted, 20)
        assert len(whole) == 12
        assert page is not None
        assert page.waiting == {head.token for head in whole}
        length = len(",".join(head.token for head in whole))
        for most in range(length - 1, len(f"{whole[0].token},"), -7):
            set_most = partial(rows, sql="SET SESSION group_concat_max_len = %s", parameters=(most,))
            await journal._session.run(set_most)
            heads = await journal.heads(20)
            assert heads == whole[: len(heads)]
            assert 0 < len(heads) < 12
            assert await journal.page(wanted, 20) is None


async def test_a_huge_transaction_is_forgotten_in_parts(items: Database) -> None:
    items.execute("INSERT INTO item (name) VALUES ('x')")
    for _ in range(13):
        items.execute("INSERT INTO item (name) SELECT name FROM item")
    async with consumer(items) as journal:
        heads = await journal.heads(100)
        assert heads[-1].rows == 4096
        await journal.delete([head.token for head in heads])
        assert await journal.peek(1) == []
    assert items.execute("SELECT COUNT(*) FROM cdc_journal") == [(0,)]


async def test_a_standby_takes_over(items: Database) -> None:
    first, second = MySQLJournal(items.info), MySQLJournal(items.info)
    await first.connect()
    await second.connect()
    assert await first.try_lock(0)
    assert not await second.try_lock(0)
    assert not await second.try_lock(0.3)
    waiting = asyncio.create_task(second.try_lock(600))
    await asyncio.sleep(0)
    number = await first._session.run(lambda connection: connection.thread_id())
    items.execute(f"KILL {number}")
    assert await asyncio.wait_for(waiting, HANG_SECONDS)
    with pytest.raises(SourceUnavailable):
        await first.peek(1)
    await first.disconnect()
    await second.disconnect()


async def test_waiting_ends_with_a_change_and_with_disconnect(items: Database) -> None:
    async with consumer(items) as journal:
        started = time.monotonic()
        await journal.wait(0.3)
        assert time.monotonic() - started > 0.2
        waiting = asyncio.create_task(wait(journal))
        await asyncio.to_thread(items.execute, "INSERT INTO item (name) VALUES ('x')")
        await waiting
        await journal.delete([row.token for row in await journal.peek(10)])
        waiting = asyncio.create_task(wait(journal))
        await asyncio.sleep(0)
        await journal.disconnect()
        await waiting_end(waiting)


async def wait(journal: MySQLJournal) -> None:
    """Wait for an event that comes long before the time is over."""
    await asyncio.wait_for(journal.wait(600), HANG_SECONDS)


async def _statements(journal: MySQLJournal) -> int:
    """Return how many statements the consumer's session has sent."""
    found = await journal._session.run(partial(rows, sql="SHOW SESSION STATUS LIKE 'Questions'"))
    return int(found[0][1])


async def test_waiting_sends_few_statements(items: Database) -> None:
    """Two for each quarter of a second; more only while a transaction is open that has written."""
    items.execute("INSERT INTO item (name) VALUES ('a')")
    writing = items.connect()
    async with consumer(items) as journal:
        await journal.delete([(await journal.peek(10))[0].token])
        journal._reader.read_at = -math.inf  # as long ago as that
        counts = [await _statements(journal)]
        for statement in ("SELECT 1", "INSERT INTO item (name) VALUES ('b')"):
            writing.cursor().execute(statement)
            await journal.wait(1)
            counts.append(await _statements(journal))
        writing.commit()
        await wait(journal)
        assert brief(await journal.peek(10), "name") == [("create", "item", None, ("b",))]
    quiet, open_ = counts[1] - counts[0], counts[2] - counts[1]
    assert quiet <= 2 * 4 + 1
    assert open_ <= (2 + 10) * 4 + 1


async def waiting_end(waiting: asyncio.Task[None]) -> None:
    try:
        await waiting
    except SourceUnavailable:
        assert waiting.done()


@pytest.mark.parametrize("waiting", [1, 2, 10, 100, 3000])
async def test_deletion_never_waits_for_open_transaction(items: Database, waiting: int) -> None:
    """A part of what can be seen, then the rest: the server chooses its plan by the sizes of both."""
    writing, holding = items.connect(), items.connect()
    insert = "INSERT INTO item (name) VALUES ('x')"
    for number in range(waiting):
        if number == waiting // 2:
            holding.cursor().execute(insert)
        writing.cursor().execute(insert)
        if number % 10 == 0 or number == waiting - 1:
            writing.commit()
    async with consumer(items) as journal:
        await journal._session.run(partial(rows, sql="SET SESSION innodb_lock_wait_timeout = 1"))
        for part in (0.1, 0.9, 1):
            heads = await journal.heads(10_000)
            await journal.delete([head.token for head in heads[: math.ceil(len(heads) * part)]])
        assert await journal.peek(1) == []
        holding.commit()
        assert len(await journal.peek(10)) == 1


async def test_waiting_never_waits_for_open_transaction(items: Database) -> None:
    items.connect().cursor().execute("INSERT INTO item (name) VALUES ('open')")
    async with consumer(items) as journal:
        await journal._session.run(partial(rows, sql="SET SESSION innodb_lock_wait_timeout = 1"))
        look = partial(journal._look, seconds=0.2)
        assert not await journal._session.run(look)
        items.execute("INSERT INTO item (name) VALUES ('committed')")
        assert await journal._session.run(look)


async def test_history_is_removed_after_open_transaction_has_ended(mariadb_db: Database) -> None:
    mariadb_db.execute(ITEM)
    install(mariadb_db, CAPTURE)
    mariadb_db.execute("INSERT INTO item (name) VALUES ('x')")
    holding = mariadb_db.connect()
    holding.cursor().execute("INSERT INTO item (name) VALUES ('open')")
    history = "SELECT COUNT(*) FROM cdc_journal FOR SYSTEM_TIME ALL WHERE txn_end < 18446744073709551615"
    async with consumer(mariadb_db) as journal:
        await journal.delete([head.token for head in await journal.heads(10)])
        await journal.wait(0.3)
        assert mariadb_db.execute(history) == [(1,)]
        holding.rollback()
        async with asyncio.timeout(HANG_SECONDS):
            while mariadb_db.execute(history) != [(0,)]:
                await journal.wait(0.3)


async def test_a_waiting_consumer_blocks_no_ddl(items: Database) -> None:
    async with consumer(items) as journal:
        await journal.all_rows("item")
        waiting = asyncio.create_task(journal.wait(600))
        connection = items.connect()

        def change() -> None:
            cursor = connection.cursor()
            cursor.execute("SET SESSION lock_wait_timeout = 1")
            cursor.execute("ALTER TABLE item ADD COLUMN more INT")

        await asyncio.to_thread(change)
        assert not waiting.done()
        items.execute("INSERT INTO item (name) VALUES ('x')")
        await asyncio.wait_for(waiting, HANG_SECONDS)
        assert [column.name for column in (await journal.tables())["item"].columns] == ["id", "name", "more"]


async def test_lookups_compare_exactly_and_leave_secrets(items: Database) -> None:
    items.execute("INSERT INTO item (name, secret) VALUES ('a', 's'), ('A', 's'), ('b', 's'), (NULL, 's')")
    async with consumer(items) as journal:
        assert await journal.rows("item", "name", ["a", "zz"]) == [{"id": 1, "name": "a"}]
        assert [row["id"] for row in await journal.rows("item", "id", [3, 1])] == [1, 3]
        assert await journal.rows("item", "id", []) == []
        assert len(await journal.all_rows("item")) == 4
        first = await page_of(journal, "item", None, 3)
        assert [row["id"] for row in first] == [1, 2, 3]
        assert [row["id"] for row in await page_of(journal, "item", first[-1], 3)] == [4]


async def test_paging_over_a_key_of_several_columns(db: Database) -> None:
    db.execute("CREATE TABLE pair (a INT, b VARCHAR(10), PRIMARY KEY (a, b)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4")
    install(db, "pair")
    db.execute("INSERT INTO pair VALUES (1, 'x'), (1, 'y'), (2, 'a'), (2, 'z'), (3, '100%%')")
    async with consumer(db) as journal:
        seen, after = [], None
        while rows := await page_of(journal, "pair", after, 2):
            seen += [(row["a"], row["b"]) for row in rows]
            after = rows[-1]
        assert seen == [(1, "x"), (1, "y"), (2, "a"), (2, "z"), (3, "100%%")]


@pytest.mark.parametrize("key", ["id", "part, id"])
def test_a_search_by_pages_reads_each_row_twice_and_sends_those_that_meet(db: Database, key: str) -> None:
    """Also where the server has an index for the condition, and where none is found for many pages."""
    db.execute(f"CREATE TABLE bill (part VARCHAR(9), id INT, due DATE, KEY (due), PRIMARY KEY ({key})) ENGINE=InnoDB")
    db.execute("INSERT INTO bill VALUES (%s, %s, '2026-01-01')", ["100%%", 0])
    for _ in range(11):
        db.execute("INSERT INTO bill SELECT part, id + (SELECT COUNT(*) FROM bill AS b), due FROM bill")
    db.execute("UPDATE bill SET part = 'b%%' WHERE id %% 2 = 1", [])
    db.execute("UPDATE bill SET due = '2026-02-01' WHERE id IN (0, 99, 100, 1400, 2047)")
    lookup, connection = MySQLLookup({}), connect(db.info)
    try:
        table, found, pages, after = lookup.tables(connection)["bill"].as_table, [], 0, None
        before = reads(connection)
        while True:
            wanted = PageRequest(table, after, 100, "t.due >= '2026-02-01' OR t.due IS NULL")
            page, _ = lookup.page(connection, wanted, lambda: None)
            found += [row["id"] for row in page.rows]
            pages += 1
            if page.looked < 100:
                break
            assert page.last is not None
            after = {column: page.last[column] for column in table.key}
        assert sorted(found) == [0, 99, 100, 1400, 2047]
        assert pages == math.ceil(2048 / 100)
        assert reads(connection) - before < 2.5 * 2048
    finally:
        connection.close()


def reads(connection: Any) -> int:
    return sum(int(value) for _, value in rows(connection, "SHOW SESSION STATUS LIKE 'Handler_read_%%'", ()))


async def test_without_a_journal(db: Database) -> None:
    with pytest.raises(JournalMissing):
        await MySQLJournal(db.info).connect()
    db.execute(ITEM)
    install(db, CAPTURE)
    async with consumer(db) as journal:
        uninstall(db)
        with pytest.raises(JournalMissing):
            await journal.peek(1)


async def test_refused_and_unreachable(items: Database) -> None:
    for info in (items.info.as_user("nobody", "wr0ng"), replace(items.info, port=1)):
        journal = MySQLJournal(info)
        with pytest.raises(CdcError) as caught:
            await journal.connect()
        assert "wr0ng" not in str(caught.value)
        await journal.disconnect()


async def test_sockets_and_tls(items: Database) -> None:
    (path,) = items.execute("SELECT @@socket")[0]
    journal = MySQLJournal(replace(items.info, socket=path, host="unused"))
    await journal.connect()
    await journal.disconnect()
    (mode,) = [row[1] for row in items.execute("SHOW VARIABLES LIKE 'have_ssl'")] or ["YES"]
    if mode == "YES":
        journal = MySQLJournal(replace(items.info, tls=Tls("require")))
        await journal.connect()
        await journal.disconnect()
    journal = MySQLJournal(replace(items.info, tls=Tls("disable")))
    await journal.connect()
    await journal.disconnect()


async def test_the_printed_grants_are_enough_and_no_more(db: Database) -> None:
    db.execute(ITEM)
    db.execute(
        "CREATE TABLE child (id INT PRIMARY KEY, item INT, FOREIGN KEY (item) REFERENCES item (id) ON DELETE CASCADE)"
    )
    captures = [CAPTURE, Capture("child")]
    owner = MySQLInstaller(db.info)
    printed = PrintedGrants.read(owner.grants(captures, AccountChoice(db.name)))
    db.script(printed.before)
    made = MySQLInstaller(printed.account(db.info, AccountRole.INSTALLER), LockTries(1, 1))
    made.apply(made.plan_install(captures), lambda _: None)
    assert made.plan_install(captures).steps == ()
    db.script(printed.after)
    db.execute("INSERT INTO item (name, secret) VALUES ('a', 's')")
    db.execute("INSERT INTO child VALUES (1, 1)")
    db.execute("DELETE FROM item")
    journal = MySQLJournal(printed.account(db.info, AccountRole.CONSUMER), captures)
    await journal.connect()
    assert await journal.try_lock(1)
    await journal.wait(0.1)
    assert [(row.change.operation.value, row.change.table, row.gap) for row in await journal.peek(10)] == [
        ("create", "item", False),
        ("create", "child", False),
        ("delete", "child", False),
        ("delete", "item", False),
    ]
    await journal.delete([head.token for head in await journal.heads(10)])
    assert await page_of(journal, "item", None, 10) == []
    tables = await journal.tables()
    assert tables["item"].key == ("id",)
    assert [column.name for column in tables["item"].columns] == ["id", "name"]
    await journal.disconnect()
    reader = db.connect(*next(reversed(printed.passwords.items())), autocommit=True).cursor()
    for forbidden in ("SELECT secret FROM item", "DELETE FROM item", "UPDATE cdc_journal SET gap = 1"):
        with pytest.raises(Exception, match="denied"):
            reader.execute(forbidden)
    made.apply(made.plan_uninstall(), lambda _: None)
    assert db.execute("SHOW TABLES LIKE 'cdc%'") == []
