"""Rows whose date has come, read beside any consumer: to show what a day brings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from cdc.capture.mysql_lookup import MySQLLookup
from cdc.capture.mysql_session import MySQLSession
from cdc.capture.pages import PageRequest, TablePage
from cdc.capture.postgres_lookup import PostgresLookup
from cdc.database.sqlfile import load
from cdc.model.backfill import Backfill
from cdc.model.change import DueDay, Row
from cdc.model.column import Capture, Table
from cdc.model.connection import ConnectionInfo, Engine
from cdc.model.errors import SourceError

#: Rows of a page that is searched.
_PAGE = 5000


async def due_rows(info: ConnectionInfo, capture: Capture, due: DueDay) -> tuple[Table, list[Row]]:
    """Return the table and its rows.  Raises `SourceError`."""
    read = _postgres if info.engine is Engine.POSTGRESQL else _mysql
    return await read(info, capture, due)


async def _postgres(info: ConnectionInfo, capture: Capture, due: DueDay) -> tuple[Table, list[Row]]:
    lookup = PostgresLookup(info, [capture])
    try:
        await lookup.connect()
        found = await lookup.link.query(load("postgres/read/find_table.sql"), [capture.table])
        if not found:
            raise _missing(capture)
        await lookup.use_schema(found[0][0])
        table = (await lookup.tables())[capture.table]

        async def page(wanted: PageRequest) -> TablePage:
            return (await lookup.page(wanted, "slot/page_marks.sql", {}))[0]

        return table, await _all(table, due, page)
    finally:
        await lookup.disconnect()


async def _mysql(info: ConnectionInfo, capture: Capture, due: DueDay) -> tuple[Table, list[Row]]:
    lookup, session = MySQLLookup({capture.table: capture.hidden}), MySQLSession(info)
    try:
        await session.connect(lambda _: None)
        found = (await session.run(lookup.tables)).get(capture.table)
        if found is None:
            raise _missing(capture)

        async def page(wanted: PageRequest) -> TablePage:
            return await session.run(lambda connection: lookup.page(connection, wanted, lambda: None)[0])

        return found.as_table, await _all(found.as_table, due, page)
    finally:
        await session.disconnect()


def _missing(capture: Capture) -> SourceError:
    return SourceError(f"The database has no table {capture.table} that its account may read.")


async def _all(table: Table, due: DueDay, page: Callable[[PageRequest], Awaitable[TablePage]]) -> list[Row]:
    rows: list[Row] = []
    after: Row | None = None
    job = Backfill("", "", table.name, "", datetime.min.replace(tzinfo=UTC), due=due)
    while True:
        found = await page(PageRequest(table, after, _PAGE, backfill=job))
        rows += found.rows
        if found.looked < _PAGE or found.last is None or not table.key:
            return rows
        after = {column: found.last[column] for column in table.key}
