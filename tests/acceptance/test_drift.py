"""The ERP's tables are altered while it writes and ``cdc run`` reads: no write fails, no row's last state is missed."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymysql
import pytest

from support.consumer import Consumer, Inbox, receiving
from support.database import Database
from support.waiting import HANG_SECONDS

INSERT = "INSERT INTO clientes (cifnif, codcliente, nombre, riesgomax) VALUES ('', %s, %s, 0)"
UPDATE = "UPDATE clientes SET riesgomax = riesgomax + 1 WHERE codcliente = %s"
RECORDS = 10
ALTERATIONS = {
    "add": "ALTER TABLE clientes ADD COLUMN nuevo varchar(20) DEFAULT 'n'",
    "rename": "ALTER TABLE clientes RENAME COLUMN fax TO telefax",
    "drop": "ALTER TABLE clientes DROP COLUMN web",
    "type": {
        "postgresql": "ALTER TABLE clientes ALTER COLUMN telefono2 TYPE text",
        "mariadb": "ALTER TABLE clientes MODIFY COLUMN telefono2 text",
        "mysql": "ALTER TABLE clientes MODIFY COLUMN telefono2 text",
    },
}
#: The server itself asks to try again: the ERP's transaction met the DDL, whoever watches the table.
TABLE_CHANGED = 1412


@dataclass
class Writer:
    """Writes to all records in turn, a transaction each, until it is told that it is enough; a failing write raises."""

    database: Database
    enough: threading.Event = field(default_factory=threading.Event)
    written: int = 0

    def run(self) -> None:
        connection = self.database.connect()
        cursor = connection.cursor()
        while not self.enough.is_set():
            try:
                cursor.execute(UPDATE, [str(self.written % RECORDS)])
                connection.commit()
            except pymysql.err.OperationalError as error:
                if error.args[0] != TABLE_CHANGED:
                    raise
                connection.rollback()
                continue
            self.written += 1

    async def until_more(self, count: int = 2 * RECORDS) -> None:
        wanted = self.written + count
        async with asyncio.timeout(HANG_SECONDS):
            while self.written < wanted:  # noqa: ASYNC110 - a thread counts, and sets nothing
                await asyncio.sleep(0.01)


async def _with_writes(database: Database, work: Callable[[Writer], Awaitable[None]]) -> None:
    """Do the work while the ERP writes; every write must succeed."""
    writer = Writer(database)
    writing = asyncio.create_task(asyncio.to_thread(writer.run))
    try:
        await writer.until_more()
        await work(writer)
        await writer.until_more()
    finally:
        writer.enough.set()
        await writing


def _statement(database: Database, name: str) -> str:
    found: Any = ALTERATIONS[name]
    return str(found if isinstance(found, str) else found[database.flavour])


def _values(database: Database) -> dict[str, float]:
    return {str(key): value for key, value in database.execute("SELECT codcliente, riesgomax FROM clientes")}


def _latest(inbox: Inbox) -> dict[str, float]:
    """Record → its value in the last event about it."""
    return {event["key"]["codcliente"]: event["data"]["riesgomax"] for event in inbox.events}


async def _prepared(database: Database, folder: Path, more: str = "") -> Consumer:
    consumer = Consumer.configure(folder, database.info, more)
    await consumer.call("install-triggers")
    for number in range(RECORDS):
        database.execute(INSERT, [str(number), f"Cliente {number}"])
    return consumer


async def _checks(consumer: Consumer, *, expect: int) -> list[dict[str, Any]]:
    """What the doctor finds of the source that is not well, besides what MySQL 9 says of each schema with cascades."""
    told = json.loads(await consumer.call("doctor", "--source", "main", "--json", expect=expect))
    source = [check for check in told["checks"] if check["about"] == "source main"]
    found = [check for check in source if check["severity"] != "ok" and "consumer" not in check["check"]]
    return [check for check in found if (check["check"], check["severity"]) != ("foreign keys", "warning")]


async def test_alterations_lose_nothing_and_are_repaired(erp: Database, tmp_path: Path) -> None:
    consumer = await _prepared(erp, tmp_path)
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url, "customer.*,*.read")
        async with consumer.running():

            async def alter(writer: Writer) -> None:
                for name in ALTERATIONS:
                    await asyncio.to_thread(erp.execute, _statement(erp, name))
                    await writer.until_more()

            await _with_writes(erp, alter)
            await inbox.until(lambda inbox: _latest(inbox) == _values(erp))
            # a last change of a row shows every column as it is now
            erp.execute("UPDATE clientes SET nuevo = 'x', telefax = '9', telefono2 = '2' WHERE codcliente = '0'")
            await inbox.until_event(lambda event: event["data"].get("telefax") == "9")
            data = inbox.events[-1]["data"]
            assert (data["nuevo"], data["telefono2"]) == ("x", "2")
            assert "fax" not in data
            assert "web" not in data
            assert await _checks(consumer, expect=0) == []
    _check_order(inbox)


async def test_without_repair_the_doctor_says_what_to_do(erp: Database, tmp_path: Path) -> None:
    consumer = await _prepared(erp, tmp_path, "repair = false")
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url, "customer.*,*.read")
        async with consumer.running():

            async def alter(writer: Writer) -> None:
                await asyncio.to_thread(erp.execute, _statement(erp, "drop"))
                await writer.until_more()

            await _with_writes(erp, alter)
            if erp.flavour == "postgresql":  # triggers there take whole rows, whatever the columns are
                await inbox.until(lambda inbox: _latest(inbox) == _values(erp))
                assert await _checks(consumer, expect=0) == []
                return
            await consumer.logged("gap not repaired")
            await consumer.logged("read again")
            # the triggers of its parents, which journal what cascades do to it, are reported as well
            checks = {check["check"]: check for check in await _checks(consumer, expect=1)}
            check = checks["triggers of clientes"]
            assert "web is gone" in check["detail"]
            assert check["mend"] == "cdc install-triggers"
            await consumer.call("install-triggers")
            await consumer.call("doctor", "--source", "main")
            await _with_writes(erp, Writer.until_more)
            await inbox.until(lambda inbox: _latest(inbox) == _values(erp))


async def test_a_lost_trigger_is_found(erp: Database, tmp_path: Path) -> None:
    """Nothing tells the consumer of changes that no trigger sees: the doctor does."""
    consumer = await _prepared(erp, tmp_path)
    for name in _triggers_of(erp, "clientes"):
        erp.execute(f"DROP TRIGGER {name}" + (" ON clientes" if erp.flavour == "postgresql" else ""))
    (check,) = [check for check in await _checks(consumer, expect=1) if check["severity"] == "wrong"]
    assert "clientes" in check["check"]
    assert check["mend"] == "cdc install-triggers"
    await consumer.call("install-triggers")
    await consumer.call("doctor", "--source", "main")


def _triggers_of(database: Database, table: str) -> list[str]:
    here = "CURRENT_SCHEMA()" if database.flavour == "postgresql" else "DATABASE()"
    there = f"event_object_table = %s AND event_object_schema = {here}"
    rows = database.execute(f"SELECT DISTINCT trigger_name FROM information_schema.triggers WHERE {there}", [table])
    return [str(name) for (name,) in rows]


def _check_order(inbox: Inbox) -> None:
    """Per record, counts never go back; an update's previous count is that of the event before, unless rows were read
    again in between."""
    last: dict[str, float] = {}
    for event in inbox.events:
        key, value = event["key"]["codcliente"], event["data"]["riesgomax"]
        assert value >= last.get(key, 0), event
        last[key] = value


@pytest.mark.parametrize("name", list(ALTERATIONS))
async def test_alterations_while_nobody_reads(mysql_erp: Database, tmp_path: Path, name: str) -> None:
    """The consumer comes back to find changes of before and after the alteration, and gaps between them."""
    consumer = await _prepared(mysql_erp, tmp_path)
    inbox = Inbox()

    async def alter(_writer: Writer) -> None:
        await asyncio.to_thread(mysql_erp.execute, _statement(mysql_erp, name))

    await _with_writes(mysql_erp, alter)
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url, "customer.*,*.read")
        async with consumer.running():
            await inbox.until(lambda inbox: _latest(inbox) == _values(mysql_erp))
    _check_order(inbox)


async def test_what_no_gap_tells_of_is_mended_at_the_start(erp: Database, tmp_path: Path) -> None:
    """An added column, which triggers that name their columns do not see, and a trigger that somebody dropped: its
    table is read again, since nobody knows what was missed."""
    consumer = await _prepared(erp, tmp_path)
    erp.execute(_statement(erp, "add"))
    for name in _triggers_of(erp, "proveedores"):
        erp.execute(f"DROP TRIGGER {name}" + (" ON proveedores" if erp.flavour == "postgresql" else ""))
    erp.execute("INSERT INTO proveedores (cifnif, codproveedor, nombre) VALUES ('', 'MISSED', 'Eva')")
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url)
        async with consumer.running():
            await consumer.logged("triggers repaired")
            missed = ("supplier.read", {"codproveedor": "MISSED"})
            await inbox.until(lambda inbox: missed in [(event["event"], event["key"]) for event in inbox.events])
            assert await _checks(consumer, expect=0) == []
            erp.execute("UPDATE clientes SET nuevo = 'x' WHERE codcliente = '0'")
            await inbox.until_event(lambda event: event["data"].get("nuevo") == "x")
            erp.execute("INSERT INTO proveedores (cifnif, codproveedor, nombre) VALUES ('', 'P', 'Ada')")
            await inbox.until_event(lambda event: event["event"] == "supplier.created")


ENGINES = ("postgres_erp", "mariadb_erp", "mariadb_binlog_erp", "mysql_erp")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
async def test_new_column_that_is_filled_at_once_reaches_receivers(
    engine: str, running: bool, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """As a plugin does that brings a column: the triggers of MariaDB and MySQL, which name their columns, do not see it
    before they are repaired."""
    erp: Database = request.getfixturevalue(engine)
    consumer = await _prepared(erp, tmp_path)
    inbox = Inbox()

    def alter_and_fill() -> None:
        erp.execute(_statement(erp, "add"))
        erp.execute("UPDATE clientes SET nuevo = codcliente")

    def known() -> dict[str, str]:
        return {each["key"]["codcliente"]: each["data"].get("nuevo", "") for each in inbox.events}

    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url, "customer.*,customer.read")
        if not running:
            await asyncio.to_thread(alter_and_fill)
        async with consumer.running():
            if running:
                await inbox.until(lambda _: len(known()) >= RECORDS)
                await asyncio.to_thread(alter_and_fill)
            await inbox.until(lambda _: all(known().get(str(number)) == str(number) for number in range(RECORDS)), 90)


def _swap_stocks(database: Database) -> None:
    """As gh-ost and pt-online-schema-change do it: a copy takes the table's place."""
    if database.flavour == "postgresql":
        database.execute("CREATE TABLE stocks_gho (LIKE stocks INCLUDING ALL)")
        database.execute("INSERT INTO stocks_gho SELECT * FROM stocks")
        database.script("ALTER TABLE stocks RENAME TO stocks_old; ALTER TABLE stocks_gho RENAME TO stocks")
        return
    database.execute("CREATE TABLE stocks_gho LIKE stocks")
    database.execute("INSERT INTO stocks_gho SELECT * FROM stocks")
    database.execute("RENAME TABLE stocks TO stocks_old, stocks_gho TO stocks")


@pytest.mark.parametrize("engine", ENGINES)
async def test_table_swapped_by_rename_is_followed(engine: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    erp: Database = request.getfixturevalue(engine)
    for parent in ("almacenes", "productos", "variantes"):  # which no such tool takes a table with
        erp.execute(f"ALTER TABLE stocks DROP CONSTRAINT ca_stocks_{parent}")
    erp.execute("INSERT INTO stocks (codalmacen, idproducto, referencia, cantidad) VALUES ('ALG', 1, 'R', 1)")
    consumer = Consumer.configure(tmp_path, erp.info)
    await consumer.call("install-triggers")
    ((key,),) = erp.execute("SELECT idstock FROM stocks")
    inbox = Inbox()

    def seen(value: int) -> Callable[[dict[str, Any]], bool]:
        return lambda each: each["key"] == {"idstock": key} and each["data"].get("cantidad") == value

    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url, "stock.*,stock.read")
        async with consumer.running():
            erp.execute("UPDATE stocks SET cantidad = 7001 WHERE idstock = %s", [key])
            await inbox.until_event(seen(7001))
            await asyncio.to_thread(_swap_stocks, erp)
            erp.execute("UPDATE stocks SET cantidad = 7002 WHERE idstock = %s", [key])  # perhaps seen by no trigger
            await inbox.until_event(seen(7002))
            await consumer.logged("triggers repaired")
            erp.execute("UPDATE stocks_old SET cantidad = 7003 WHERE idstock = %s", [key])
            erp.execute("UPDATE stocks SET cantidad = 7004 WHERE idstock = %s", [key])
            await inbox.until_event(seen(7004))
            assert not any(map(seen(7003), inbox.events))
            assert await _checks(consumer, expect=0) == []


JOURNAL_GONE = {
    "the journal": ("TABLE cdc_journal", "TABLE cdc.cdc_journal"),
    "all of it": (
        "TABLE cdc_journal, cdc_shape, cdc_installation",
        "TABLE cdc.cdc_journal, cdc.cdc_capture, cdc.cdc_installation",
    ),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("loss", JOURNAL_GONE)
async def test_running_consumer_creates_a_lost_journal_again(
    engine: str, loss: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    erp: Database = request.getfixturevalue(engine)
    consumer = await _prepared(erp, tmp_path)
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url, "customer.*,customer.read")
        async with consumer.running():
            await inbox.until(lambda inbox: len(_latest(inbox)) == RECORDS)
            erp.drop(JOURNAL_GONE[loss][erp.flavour == "postgresql"])
            if erp.flavour == "postgresql":
                erp.execute(UPDATE, ["1"])  # does not fail
            await consumer.logged("gap")
            erp.execute(UPDATE, ["2"])
            await inbox.until(lambda inbox: _latest(inbox) == _values(erp))
            assert await _checks(consumer, expect=0) == []


@pytest.mark.parametrize("engine", ENGINES)
async def test_lost_journal_is_reported_and_uninstalled(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    erp: Database = request.getfixturevalue(engine)
    consumer = await _prepared(erp, tmp_path, "repair = false")
    erp.drop(JOURNAL_GONE["the journal"][erp.flavour == "postgresql"])
    (check,) = [each for each in await _checks(consumer, expect=1) if each["check"] == "journal"]
    assert "have triggers that write to it" in check["detail"]
    assert check["mend"] == "cdc install-triggers"
    await consumer.call("uninstall-triggers")
    erp.execute(UPDATE, ["1"])
