"""Reading the journal on a real PostgreSQL: what is seen, in which order, who may, and when."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cdc.capture.journal.database import JournalRow
from cdc.capture.journal.postgres import BUSY, PostgresJournal
from cdc.capture.postgres_connection import GRACE_SECONDS, PostgresConnection
from cdc.capture.triggers.postgres import PostgresInstaller
from cdc.database.postgres_capture import LOCK_CLASS, LOCK_IDLE
from cdc.model.change import Operation
from cdc.model.column import Capture, ColumnKind
from cdc.model.errors import JournalMissing, SourceError, SourceUnavailable
from support.database import Database
from support.paging import page_of
from support.postgres_capture import CAPTURES, SCHEMA, Shop
from support.waiting import HANG_SECONDS

ALL_TYPES = """
CREATE TYPE mood AS ENUM ('well', 'ill');
CREATE TYPE pair AS (a integer, b text);
CREATE DOMAIN money2 AS numeric(12, 4);
CREATE TABLE kinds (
    id bigint PRIMARY KEY, flag boolean, small smallint, name varchar(20), fixed char(4), d double precision, r real,
    n money2, day date, clock time, stamp timestamp, moment timestamptz, document json, binary_document jsonb,
    bytes bytea, texts text[], stamps timestamp[], two pair, state mood, key uuid, address inet, place point,
    span int4range, matrix integer[]
);
"""
ROW = """
INSERT INTO kinds VALUES (
    9007199254740993, true, -3, 'ñ "q" \\', 'ab', 121, 0.1, 12.5, '2026-02-28', '10:00:00.50',
    '2026-11-24 23:48:00.120',
    '2026-11-24 10:00:00+05', '{"b":  1.50, "a": "\\u0000"}', '{"b": 1.50, "a": null}', '\\x00ff',
    '{a,"b c",NULL,"NULL",""}', '{2026-11-24 10:00:00}', ROW(1, 'x "y'), 'ill',
    'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '10.0.0.1', '(1.5,2)', '[1,5)', '{{1,2},{3,4}}'
)
"""
NORMAL = {
    "id": 9007199254740993,
    "flag": True,
    "small": -3,
    "name": 'ñ "q" \\',
    "fixed": "ab  ",
    "d": 121.0,
    "r": 0.1,
    "n": "12.5000",
    "day": "2026-02-28",
    "clock": "10:00:00.5",
    "stamp": "2026-11-24T23:48:00.12",
    "moment": "2026-11-24T06:00:00",
    "document": '{"b":  1.50, "a": "\\u0000"}',
    "binary_document": '{"a": null, "b": 1.50}',
    "bytes": "AP8=",
    "texts": '{a,"b c",NULL,"NULL",""}',
    "stamps": '{"2026-11-24 10:00:00"}',
    "two": '(1,"x ""y")',
    "state": "ill",
    "key": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
    "address": "10.0.0.1",
    "place": "(1.5,2)",
    "span": "[1,5)",
    "matrix": "{{1,2},{3,4}}",
}


def typed(row: Any) -> list[tuple[str, type, Any]]:
    """A decimal's text is a text to who reads it."""
    return [(name, str if isinstance(value, str) else type(value), value) for name, value in row.items()]


async def read(journal: PostgresJournal) -> list[JournalRow]:
    """Everything, forgotten afterwards."""
    rows = await journal.peek(1000)
    await journal.delete(sorted({row.token for row in rows}))
    return rows


async def test_every_type_in_normal_form(postgres_db: Database) -> None:
    postgres_db.execute(f"ALTER DATABASE {postgres_db.name} SET timezone = 'Europe/Madrid'")
    postgres_db.script(ALL_TYPES)
    captures = [Capture("kinds")]
    installer = PostgresInstaller(postgres_db.info)
    installer.apply(installer.plan_install(captures), lambda _title: None)
    writer = postgres_db.connect(autocommit=True)
    writer.execute("SET timezone = 'Asia/Tokyo'; SET bytea_output = escape")
    writer.execute(ROW)
    journal = PostgresJournal(postgres_db.info, captures)
    await journal.connect()
    (row,) = await journal.peek(10)
    assert row.change.after is not None
    assert typed(row.change.after) == typed(NORMAL)
    assert typed((await journal.all_rows("kinds"))[0]) == typed(NORMAL)
    writer.execute("INSERT INTO kinds (id) VALUES (1)")
    empty = (await journal.peek(10))[1].change.after
    assert empty == {**dict.fromkeys(NORMAL), "id": 1}
    kinds = {column.name: column.kind for column in (await journal.tables())["kinds"].columns}
    assert kinds["n"] is ColumnKind.DECIMAL
    assert kinds["texts"] is ColumnKind.OTHER
    await journal.disconnect()


async def test_rows_as_the_contract_says(shop: Shop, journal: PostgresJournal) -> None:
    writer = shop.database.connect()
    writer.execute("INSERT INTO users VALUES ('a', 'p', 'k', 1)")
    writer.execute("UPDATE users SET password = 'q', level = 2")
    writer.execute("DELETE FROM users")
    writer.execute("TRUNCATE odd")
    writer.commit()
    rows = await journal.peek(100)
    assert [row.change.operation for row in rows] == [*[*Operation][:3], Operation.TRUNCATE]
    assert [(row.change.before, row.change.after) for row in rows[:2]] == [
        (None, {"nick": "a", "level": 1}),
        ({"nick": "a", "level": 1}, {"nick": "a", "level": 2}),
    ]
    assert (rows[3].change.before, rows[3].change.after) == (None, None)
    assert [row.change.secrets_changed for row in rows[:2]] == [frozenset(), frozenset({"password"})]
    assert len({row.token for row in rows}) == 1
    assert [row.change.ordinal for row in rows] == sorted({row.change.ordinal for row in rows})
    assert all(row.change.time.utcoffset() is not None and not row.gap for row in rows)


async def test_a_transaction_that_commits_late_is_not_skipped(shop: Shop, journal: PostgresJournal) -> None:
    """Not even when everything behind it was read, deleted, and looked for again."""
    late = shop.database.connect()
    late.execute("INSERT INTO customers VALUES ('1', 'late')")
    shop.execute("INSERT INTO customers VALUES ('2', 'early')")
    assert [row.change.after["code"] for row in await read(journal) if row.change.after] == ["2"]
    for _ in range(3):
        await journal.wait(0.01)
        assert await journal.peek(10) == []
    late.commit()
    assert [row.change.after["code"] for row in await read(journal) if row.change.after] == ["1"]


async def test_order_is_that_of_the_latest_trigger(shop: Shop, journal: PostgresJournal) -> None:
    """The later writer of a row has the lower transaction id and began first."""
    first, second = shop.database.connect(), shop.database.connect()
    shop.execute("INSERT INTO customers VALUES ('1', 'a')")
    await read(journal)
    first.execute("INSERT INTO customers VALUES ('2', 'x')")
    second.execute("UPDATE customers SET name = 'b' WHERE code = '1'")
    second.commit()
    first.execute("UPDATE customers SET name = 'c' WHERE code = '1'")
    first.commit()
    tokens = [head.token for head in await journal.heads(10)]
    rows = await journal.transaction_rows(tokens)
    told = [[row.change.after["name"] for row in rows if row.token == token and row.change.after] for token in tokens]
    assert told == [["b"], ["x", "c"]]
    assert int(tokens[0].split(".")[0]) > int(tokens[1].split(".")[0])
    assert [head.rows for head in await journal.heads(1)] == [1]


async def test_one_transaction_piece_by_piece(shop: Shop, journal: PostgresJournal) -> None:
    shop.execute("INSERT INTO odd (id) SELECT generate_series(1, 10)")
    shop.execute("INSERT INTO odd (id) VALUES (11)")
    token = (await journal.heads(1))[0].token
    pieces: list[JournalRow] = []
    ordinal = -1
    while rows := await journal.rows_after(token, ordinal, 4):
        pieces += rows
        ordinal = rows[-1].change.ordinal
    assert [row.change.after["id"] for row in pieces if row.change.after] == [*range(1, 11)]
    assert {row.token for row in pieces} == {token}
    chosen = [pieces[7].change.ordinal, pieces[2].change.ordinal]
    assert await journal.rows_at(token, chosen) == [pieces[2], pieces[7]]


async def test_delete_passes_over_what_is_not_there(shop: Shop, journal: PostgresJournal) -> None:
    """The same transaction id with another first row is another transaction."""
    shop.execute("INSERT INTO odd (id) VALUES (1)")
    (row,) = await journal.peek(10)
    await journal.delete(["1.1", f"{row.token}1"])
    assert len(await journal.peek(10)) == 1
    await journal.delete([row.token, row.token, "1.1"])
    assert await journal.peek(10) == []
    await journal.delete([])


async def test_what_an_earlier_connection_read_may_be_another_transaction_by_now(
    shop: Shop, journal: PostgresJournal
) -> None:
    """A server that lost commits in a fail-over gives their ids again; the connections to it are lost with it."""
    shop.execute("INSERT INTO odd (id) VALUES (1)")
    (row,) = await journal.peek(10)
    await journal.disconnect()
    shop.execute("UPDATE cdc.cdc_journal SET lsn = lsn + 1::numeric")
    await journal.connect()
    await journal.delete([row.token])
    (other,) = await journal.peek(10)
    assert other.token != row.token
    await journal.delete([other.token])
    assert await journal.peek(10) == []


@pytest.mark.parametrize("warm", [False, True])
async def test_columns_that_changed_since_the_row_was_written(
    shop: Shop, journal: PostgresJournal, *, warm: bool
) -> None:
    """``warm``: the reader knows the tables as they were before."""
    shop.execute("INSERT INTO invoices (total, units, note) VALUES (1, 5, 'n')")
    if warm:
        await journal.peek(10)
    shop.execute("ALTER TABLE invoices ALTER COLUMN units TYPE double precision")
    shop.execute("ALTER TABLE invoices RENAME COLUMN total TO amount")
    shop.execute("ALTER TABLE invoices DROP COLUMN note")
    shop.execute("ALTER TABLE invoices ADD COLUMN extra double precision DEFAULT 7")
    shop.execute("UPDATE invoices SET amount = 2")
    old, new = [row.change.after for row in await journal.peek(10)]
    assert new is not None
    assert old is not None
    assert old["note"] == "n"
    assert typed({name: new[name] for name in ("units", "amount", "extra")}) == [
        ("units", float, 5.0),
        ("amount", float, 2.0),
        ("extra", float, 7.0),
    ]
    shop.execute("DROP TABLE invoices")
    assert (await journal.peek(10))[1].change.after is not None
    assert "invoices" not in await journal.tables()


async def test_pages_and_look_ups(shop: Shop, journal: PostgresJournal) -> None:
    shop.execute("INSERT INTO customers VALUES ('b', 'x'), ('ñ', 'y'), ('A', 'z'), ('a%', 'x')")
    everything = await journal.all_rows("customers")
    pages: list[Any] = []
    while page := await page_of(journal, "customers", pages[-1] if pages else None, 3):
        pages += page
    assert pages == everything
    assert len(pages) == 4
    assert await journal.rows("customers", "name", ["x", None, "nobody"]) == [
        row for row in everything if row["name"] == "x"
    ]
    assert await journal.rows("customers", "code", ["a" * 50]) == []
    assert await journal.rows("customers", "code", [None]) == []
    shop.execute("INSERT INTO invoices (total, paid) VALUES (121, true), (0.1, false)")
    assert [row["id"] for row in await journal.rows("invoices", "paid", [True])] == [1]
    assert [row["id"] for row in await journal.rows("invoices", "total", [121.0])] == [1]
    shop.execute("INSERT INTO users VALUES ('a', 'PLANTED', 'PLANTED', 1)")
    assert await journal.all_rows("users") == [{"nick": "a", "level": 1}]
    assert (await journal.tables())["users"].key == ("nick",)
    with pytest.raises(SourceError, match="Table nowhere"):
        await journal.all_rows("nowhere")
    with pytest.raises(SourceError, match="no column iban"):
        await journal.rows("users", "iban", ["x"])


# -- one consumer -----------------------------------------------------------------------------------------------------


async def test_a_standby_takes_over_when_the_consumer_dies(shop: Shop, journal: PostgresJournal) -> None:
    standby = PostgresJournal(shop.database.info, CAPTURES)
    await standby.connect()
    assert not await standby.try_lock(0)
    assert not await standby.try_lock(0.05)
    taking_over = asyncio.create_task(standby.try_lock(600))
    shop.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objid = 1 "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    assert await asyncio.wait_for(taking_over, HANG_SECONDS)
    with pytest.raises(SourceUnavailable):
        await journal.peek(1)
    assert await standby.peek(1) == []
    await standby.disconnect()


async def test_a_server_that_goes_away_while_waiting(shop: Shop, journal: PostgresJournal) -> None:
    await journal.wait(1)
    waiting = asyncio.create_task(journal.wait(600))
    await asyncio.sleep(0)
    shop.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'cdc consumer' AND datname = current_database()"
    )
    with pytest.raises(SourceUnavailable) as caught:
        await _wait_and_look(waiting, journal)
    assert shop.database.info.password not in str(caught.value)


async def _wait_and_look(waiting: asyncio.Task[None], journal: PostgresJournal) -> None:
    await asyncio.wait_for(waiting, HANG_SECONDS)
    await journal.peek(1)


async def test_a_deaf_server_is_given_up(postgres_db: Database) -> None:
    link = PostgresConnection(postgres_db.info)
    await link.connect()
    with pytest.raises(SourceUnavailable):
        await asyncio.wait_for(link.query("SELECT pg_sleep(600)", seconds=0.1 - GRACE_SECONDS), HANG_SECONDS)
    await link.close()
    with pytest.raises(SourceUnavailable, match="Not connected"):
        await link.query("SELECT 1")


async def test_no_journal(shop: Shop, journal: PostgresJournal) -> None:
    shop.execute("UPDATE cdc.cdc_installation SET version = 99")
    other = PostgresJournal(shop.database.info, CAPTURES)
    with pytest.raises(JournalMissing, match="version 99, not 1"):
        await other.connect()
    await other.disconnect()
    shop.execute("UPDATE cdc.cdc_installation SET version = 1")
    shop.installer.apply(shop.installer.plan_uninstall(), lambda _title: None)
    with pytest.raises(JournalMissing):
        await journal.peek(1)
    with pytest.raises(JournalMissing):
        await other.connect()
    await other.disconnect()
    await other.disconnect()


# -- waking -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def notifying(own_server: Any) -> Shop:
    """A server without prepared transactions, as they come out of the box."""
    database: Database = own_server("postgresql", "max_prepared_transactions=0")
    database.script(SCHEMA)
    installer = PostgresInstaller(database.info)
    installer.apply(installer.plan_install(CAPTURES), lambda _title: None)
    return Shop(database, installer)


@pytest.fixture
async def woken(notifying: Shop) -> AsyncIterator[PostgresJournal]:
    """The consumer of that server."""
    journal = PostgresJournal(notifying.database.info, CAPTURES)
    await journal.connect()
    assert await journal.try_lock(0)
    yield journal
    await journal.disconnect()


def asked_to_notify(shop: Shop) -> int:
    """How often the lock is held that makes writers send a NOTIFY."""
    condition = "locktype = 'advisory' AND granted AND classid = %s AND objid = %s AND mode = 'ExclusiveLock'"
    ((count,),) = shop.execute(f"SELECT count(*) FROM pg_locks WHERE {condition}", [LOCK_CLASS, LOCK_IDLE])
    return int(count)


def notified(shop: Shop, listener: Any) -> int:
    """How many notifications of the consumer's channel came since the last call: they arrive in order."""
    shop.execute("NOTIFY test_end")
    for count, notification in enumerate(listener.notifies(timeout=HANG_SECONDS)):
        if notification.channel == "test_end":
            return count
    raise AssertionError("The last notification did not arrive.")


async def rest(shop: Shop, journal: PostgresJournal) -> None:
    """Until the consumer is idle: writers are asked to notify."""
    async with asyncio.timeout(HANG_SECONDS):
        while not asked_to_notify(shop):
            await journal.wait(1)
            assert await journal.peek(10) == []


async def test_waking_by_notify_without_a_race(notifying: Shop, woken: PostgresJournal) -> None:
    journal = woken
    listener = notifying.database.connect(autocommit=True)
    listener.execute("LISTEN cdc; LISTEN test_end")

    # busy: nobody pays for a NOTIFY, and a writer that sent none keeps the consumer from going idle
    open_writer = notifying.database.connect()
    open_writer.execute("INSERT INTO customers VALUES ('1', 'a')")
    async with asyncio.timeout(HANG_SECONDS):
        for _ in range(5):
            await journal.wait(600)
            assert await journal.peek(10) == []
    open_writer.commit()
    assert len(await read(journal)) == 1
    assert notified(notifying, listener) == 0

    # idle: the wait ends with the commit
    for number in range(3):
        await rest(notifying, journal)
        waiting = asyncio.create_task(journal.wait(600))
        await asyncio.sleep(0)
        notifying.execute("UPDATE customers SET name = %s", [f"name {number}"])
        await asyncio.wait_for(waiting, HANG_SECONDS)
        assert len(await read(journal)) == 1
    assert notified(notifying, listener) == 3

    # a NOTIFY that arrives with the answer of another statement is not lost
    await rest(notifying, journal)
    notifying.execute("UPDATE customers SET name = 'last'")
    await journal.peek(10)
    await asyncio.wait_for(journal.wait(600), HANG_SECONDS)

    # busy again: quiet again
    assert len(await read(journal)) == 1
    assert notified(notifying, listener) == 1
    notifying.execute("UPDATE customers SET name = 'quiet'")
    assert notified(notifying, listener) == 0


async def test_a_look_that_a_notification_woke_asks_for_no_more(notifying: Shop, woken: PostgresJournal) -> None:
    await rest(notifying, woken)
    waiting = asyncio.create_task(woken.wait(600))
    await asyncio.sleep(0)
    notifying.execute("INSERT INTO customers VALUES ('1', 'a')")
    await asyncio.wait_for(waiting, HANG_SECONDS)
    (row,) = await woken.peek(10)
    assert asked_to_notify(notifying) == 0
    await woken.delete([row.token])


async def test_behind_a_row_it_looks_by_itself_for_a_moment(notifying: Shop, woken: PostgresJournal) -> None:
    await rest(notifying, woken)
    await woken.delete([])
    deleted = time.monotonic()
    notifying.execute("INSERT INTO customers VALUES ('1', 'a')")
    await woken.wait(600)
    (row,) = await woken.peek(10)  # nobody was notified
    await woken.delete([row.token])
    await rest(notifying, woken)
    assert time.monotonic() - deleted >= BUSY


async def test_a_notification_without_rows(notifying: Shop, woken: PostgresJournal) -> None:
    for number in range(3):
        await rest(notifying, woken)
        assert asked_to_notify(notifying) == 1
        notifying.execute("NOTIFY cdc")
        await asyncio.wait_for(woken.wait(600), HANG_SECONDS)
        assert await woken.peek(10) == []
        assert asked_to_notify(notifying) == 0
        notifying.execute("INSERT INTO customers VALUES (%s, 'a')", [str(number)])
        assert len(await read(woken)) == 1


async def test_waiting_without_notify_is_short(shop: Shop, journal: PostgresJournal) -> None:
    """The shared servers prepare transactions: no trigger sends a NOTIFY, so the consumer looks often."""
    if shop.execute("SHOW max_prepared_transactions") == [("0",)]:
        pytest.skip("this server notifies")
    async with asyncio.timeout(HANG_SECONDS):
        for _ in range(10):
            await journal.wait(600)


def test_a_transaction_notifies_once(notifying: Shop) -> None:
    notifying.execute("SELECT pg_advisory_lock(%s, 2)", [0x63646300])
    writer = notifying.database.connect(autocommit=True)
    writer.execute("LISTEN cdc; LISTEN test_end")
    writer.execute("INSERT INTO customers VALUES ('1', 'a'), ('2', 'b')")
    assert notified(notifying, writer) == 1
