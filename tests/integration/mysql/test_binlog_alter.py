"""Tables are altered while their log is read, or before it is: every value under its own name, or a gap; no guess."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pymysql
import pytest

from cdc.model.change import Operation
from cdc.model.errors import SourceError
from support.binlog_capture import images, reading
from support.database import Database, fresh_database
from support.server import Spec
from support.servers import KeeperClient, shared_server
from support.waiting import HANG_SECONDS

FULL = ("--binlog-row-metadata=FULL",)
SPECS = {
    "mariadb": Spec("mariadb", binlog=True),
    "mariadb, names in the log": Spec("mariadb", binlog=True, options=FULL),
    "mysql": Spec("mysql"),
    "mysql, names in the log": Spec("mysql", options=FULL),
}
TABLE = "CREATE TABLE articulos (id INT PRIMARY KEY, nombre VARCHAR(40), activo TINYINT(1), n INT UNSIGNED)"
Row = dict[str, Any]
FIRST: Row = {"id": 1, "nombre": "a", "activo": True, "n": 4_000_000_000}

#: What is done to the table → a row that is inserted then.
ALTERATIONS: dict[str, tuple[str, Row]] = {
    "add": ("ADD COLUMN nuevo BOOLEAN", {"id": 2, "nombre": "b", "activo": False, "n": 1, "nuevo": True}),
    "add in front": ("ADD COLUMN nuevo INT FIRST", {"nuevo": 5, "id": 2, "nombre": "b", "activo": False, "n": 1}),
    "drop": ("DROP COLUMN nombre", {"id": 2, "activo": False, "n": 1}),
    "rename": ("RENAME COLUMN nombre TO titulo", {"id": 2, "titulo": "b", "activo": False, "n": 1}),
    "retype": ("MODIFY n BIGINT", {"id": 2, "nombre": "b", "activo": False, "n": -5}),
    "no boolean any more": ("MODIFY activo TINYINT", {"id": 2, "nombre": "b", "activo": 1, "n": 1}),
    "signed": ("MODIFY n INT", {"id": 2, "nombre": "b", "activo": False, "n": -5}),
    "reorder": ("MODIFY activo TINYINT(1) FIRST", {"activo": False, "id": 2, "nombre": "b", "n": 1}),
    "rename the key": ("CHANGE id codigo INT", {"codigo": 2, "nombre": "b", "activo": False, "n": 1}),
    "another key": ("DROP PRIMARY KEY, ADD PRIMARY KEY (id, n)", {"id": 2, "nombre": "b", "activo": False, "n": 1}),
}


@pytest.fixture(params=SPECS)
def items(request: pytest.FixtureRequest, keeper: KeeperClient) -> Iterator[Database]:
    with fresh_database(shared_server(keeper, SPECS[request.param]), erp=False) as database:
        database.execute(TABLE)
        yield database


def insert(database: Database, row: Row) -> None:
    names = ", ".join(row)
    marks = ", ".join(["%s"] * len(row))
    database.execute(f"INSERT INTO articulos ({names}) VALUES ({marks})", list(row.values()))


def names_in_log(database: Database) -> bool:
    return database.execute("SELECT @@binlog_row_metadata") == [("FULL",)]


def first(kind: str) -> Row:
    """A row before the alteration, which must not refuse it."""
    return FIRST | {"n": 5} if kind == "signed" else FIRST


def created(*rows: Row) -> list[tuple[Any, ...]]:
    return [("create", None, row) for row in rows]


@pytest.mark.parametrize("kind", ALTERATIONS)
async def test_altered_while_it_is_read(kind: str, items: Database) -> None:
    alteration, row = ALTERATIONS[kind]
    before = first(kind)
    async with reading(items, "articulos") as log:
        insert(items, before)
        items.execute(f"ALTER TABLE articulos {alteration}")
        insert(items, row)
        changes = await log.drain()
        assert images(changes) == created(before, row)
        assert [list(change.after or ()) for change in changes] == [list(before), list(row)]
        assert tuple(changes[-1].key) == (await log.source.tables())["articulos"].key
    assert log.gaps == []


@pytest.mark.parametrize("kind", ALTERATIONS)
async def test_altered_once_while_nobody_reads(kind: str, items: Database) -> None:
    alteration, row = ALTERATIONS[kind]
    before = first(kind)
    async with reading(items, "articulos") as log:
        pass
    insert(items, before)
    items.execute(f"ALTER TABLE articulos {alteration}")
    insert(items, row)
    async with reading(items, "articulos", position=log.position) as again:
        changes = await again.drain()
        key = (await again.source.tables())["articulos"].key
    assert images(changes) == created(before, row)
    assert tuple(changes[-1].key) == key
    assert again.gaps == []


#: The second alteration, and a row then.
SECOND = "ADD COLUMN ultimo INT"


@pytest.mark.parametrize("kind", ALTERATIONS)
async def test_altered_twice_while_nobody_reads(kind: str, items: Database) -> None:
    alteration, row = ALTERATIONS[kind]
    before = first(kind)
    key = "codigo" if "codigo" in row else "id"
    last = row | {key: 3, "ultimo": 9}
    async with reading(items, "articulos") as log:
        insert(items, before)
        await log.drain()
    insert(items, before | {"id": 0})
    items.execute(f"ALTER TABLE articulos {alteration}")
    insert(items, row)
    items.execute(f"ALTER TABLE articulos {SECOND}")
    insert(items, last)
    async with reading(items, "articulos", position=log.position) as again:
        changes = await again.drain()
        rows = await again.source.all_rows("articulos")
    told = images(changes)
    # a TINYINT's display width is nowhere in the log, so what it was between the two cannot be known
    certain = names_in_log(items) and kind != "no boolean any more"
    if certain:
        assert told == created(before | {"id": 0}, row, last)
        assert again.gaps == []
    else:
        assert told[:2] == created(before | {"id": 0}, last)
        assert [dict(change.after or {}) for change in changes[2:]] == [dict(each) for each in rows]
        assert {change.operation for change in changes[2:]} == {Operation.READ}
        assert [gap.table for gap in again.gaps] == ["articulos"]


async def test_what_is_between_two_alterations_is_never_mislabelled(items: Database) -> None:
    """Two columns of one type swap their names: nothing but the names tells."""
    items.execute("ALTER TABLE articulos ADD COLUMN apellido VARCHAR(40)")
    async with reading(items, "articulos") as log:
        pass
    swap = "CHANGE nombre apellido VARCHAR(40), CHANGE apellido nombre VARCHAR(40)"
    items.execute(f"ALTER TABLE articulos {swap}")
    items.execute("INSERT INTO articulos (id, nombre, apellido) VALUES (1, 'Ada', 'Lovelace')")
    items.execute(f"ALTER TABLE articulos {swap}")
    items.execute("UPDATE articulos SET activo = 1")
    async with reading(items, "articulos", position=log.position) as again:
        changes = await again.drain()
    for change in changes:
        row = change.after or {}
        # what was inserted as nombre is called apellido since the second alteration
        between = change.operation is Operation.CREATE
        assert (row["nombre"], row["apellido"]) == (("Ada", "Lovelace") if between else ("Lovelace", "Ada"))
    expected = [Operation.CREATE, Operation.UPDATE] if names_in_log(items) else [Operation.UPDATE, Operation.READ]
    assert [change.operation for change in changes] == expected


async def test_statements_that_alter_no_column_leave_a_table_certain(items: Database) -> None:
    async with reading(items, "articulos") as log:
        pass
    for number in range(3):
        items.execute("ANALYZE TABLE articulos")
        items.execute("CREATE TRIGGER t AFTER INSERT ON articulos FOR EACH ROW SET @x = 1")
        insert(items, FIRST | {"id": number})
        items.execute("DROP TRIGGER t")
        items.execute("CREATE OR REPLACE VIEW v AS SELECT * FROM articulos")
        items.execute("OPTIMIZE TABLE articulos")
    async with reading(items, "articulos", position=log.position) as again:
        assert images(await again.drain()) == created(*(FIRST | {"id": number} for number in range(3)))
    assert again.gaps == []


async def test_a_series_of_alterations_while_it_is_read(items: Database) -> None:
    """The reader is right behind: whatever it missed is read again, and what comes last is certain."""
    async with reading(items, "articulos") as log:
        for number in range(1, 6):
            items.execute(f"ALTER TABLE articulos ADD COLUMN c{number} INT")
            insert(items, FIRST | {"id": number, f"c{number}": number})
        changes = await log.drain()
        insert(items, FIRST | {"id": 99, "c5": 1})
        (last,) = await log.drain()
    known = {tuple(change.key.values()): dict(change.after or {}) for change in changes}
    for number in range(1, 6):
        assert known[number,][f"c{number}"] == number
    assert last.after == FIRST | {"id": 99} | {f"c{number}": 1 if number == 5 else None for number in range(1, 6)}


async def test_a_table_that_waits_to_be_altered_holds_nothing_up(items: Database) -> None:
    """Somebody's transaction holds the table, an ALTER waits for it, another table's changes are read meanwhile; and
    the reader that waits for the second ALTER can be closed."""
    items.execute("CREATE TABLE otra (id INT PRIMARY KEY)")
    holder = items.connect()
    cursor = holder.cursor()
    async with reading(items, "articulos", "otra") as log:
        cursor.execute("SELECT * FROM articulos")
        altering = asyncio.create_task(asyncio.to_thread(_alter, items, "ADD COLUMN c1 INT"))
        await asyncio.sleep(0.3)
        items.execute("INSERT INTO otra VALUES (1)")
        assert [change.table for change in await log.drain()] == ["otra"]
        holder.commit()
        await altering
        insert(items, FIRST | {"c1": 1})
        assert images(await log.drain()) == created(FIRST | {"c1": 1})
        cursor.execute("SELECT * FROM articulos")
        altering = asyncio.create_task(asyncio.to_thread(_alter, items, "ADD COLUMN c2 INT"))
        items.execute("ALTER TABLE otra ADD COLUMN x INT")
        items.execute("INSERT INTO otra VALUES (2, 3)")
        assert images(await log.drain()) == created({"id": 2, "x": 3})
        holder.rollback()
        await altering


def _alter(database: Database, alteration: str) -> None:
    connection = database.connect(autocommit=True)
    connection.cursor().execute(f"ALTER TABLE articulos {alteration}")


async def test_a_table_that_is_being_altered_can_be_waited_for_and_left(items: Database) -> None:
    """The schema is read behind the ALTER that is running, not before it; who must go goes."""
    async with reading(items, "articulos") as log:
        await log.drain()
        locker = items.connect(autocommit=True)
        cursor = locker.cursor()
        items.execute("ALTER TABLE articulos ADD COLUMN c1 INT")
        cursor.execute("LOCK TABLES articulos WRITE")
        waiting = asyncio.create_task(log.drain())
        await asyncio.sleep(1.5)
        assert not waiting.done()
        cursor.execute("UNLOCK TABLES")
        await waiting
        items.execute("ALTER TABLE articulos ADD COLUMN c2 INT")
        cursor.execute("LOCK TABLES articulos WRITE")
        waiting = asyncio.create_task(log.drain())
        await asyncio.sleep(0.5)
        async with asyncio.timeout(HANG_SECONDS):
            await log.source.close()
        with pytest.raises((SourceError, pymysql.err.Error)):
            await waiting
        cursor.execute("UNLOCK TABLES")
