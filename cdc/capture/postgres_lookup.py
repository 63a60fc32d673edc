"""One consumer of a PostgreSQL database, whatever it reads changes from: its connection, the lock that lives on it, and
rows of tables as they are now."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from psycopg.errors import InsufficientPrivilege, LockNotAvailable, UndefinedColumn, UndefinedTable

from cdc.capture.base import SILENT_SECONDS
from cdc.capture.pages import PageRequest, TablePage
from cdc.capture.postgres_catalogue import (
    TableCatalogue,
    as_text,
    behind,
    build_catalogue,
    matching,
    quote,
    select,
    select_page,
)
from cdc.capture.postgres_connection import STATEMENT_SECONDS, PostgresConnection
from cdc.database.postgres_capture import LOCK_CLASS, LOCK_CONSUMER
from cdc.database.postgres_types import PgType, build_types
from cdc.database.settings import SETTINGS, site_url
from cdc.database.sqlfile import load
from cdc.model.change import Row, Value
from cdc.model.column import Capture, Table
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import JournalMissing, SourceError, SourceUnavailable

#: For so many seconds the columns of a table that is read page by page are believed to be the same.
FRESH_SECONDS: Final = 5.0
#: Between the rows, and before those that meet the condition: as `page.sql` writes them.
_SEPARATOR: Final = "\x1e"
_MEETS: Final = "+"


class PostgresLookup:
    """A `cdc.capture.base.Lookup`.  ``lookups``: tables that are read but not captured, with their secret columns.

    ``notified``: whether triggers of this server may send NOTIFY.  ``zone``: the name of the database's local time.
    """

    def __init__(self, info: ConnectionInfo, captures: Sequence[Capture], lookups: Sequence[Capture] = ()) -> None:
        self.info = info
        self.link = PostgresConnection(info)
        self.catalogue = TableCatalogue({}, 0, "{}", {})
        self.notified = True
        self.zone = ""
        self._captured = frozenset(capture.table for capture in captures)
        self._wanted = {capture.table: capture for capture in (*lookups, *captures)}
        self._schema = ""
        self._catalogue_at = 0.0

    async def connect(self) -> None:
        await self.link.connect()
        settings = await self.link.query(_sql("session"), [f"{int(STATEMENT_SECONDS * 1000)}ms"])
        self.zone, self.notified, *_ = settings[0]

    async def use_schema(self, schema: str) -> None:
        """The one that has the ERP's tables; their catalogue is read."""
        self._schema = schema
        await self.read_catalogue()

    async def try_lock(self, seconds: float, silent: int = SILENT_SECONDS) -> bool:
        """Try for up to ``seconds`` to become the only consumer of this database."""
        key = [LOCK_CLASS, LOCK_CONSUMER]
        if seconds <= 0:
            had = bool((await self.link.query("SELECT pg_try_advisory_lock(%s, %s)", key))[0][0])
            return had and await self._hold_lock(silent)
        await self.link.query("SELECT set_config('lock_timeout', %s, false)", [f"{max(1, int(seconds * 1000))}ms"])
        try:
            await self.link.query("SELECT pg_advisory_lock(%s, %s)", key, seconds=seconds + STATEMENT_SECONDS)
        except SourceUnavailable as error:
            if isinstance(error.__cause__, LockNotAvailable):
                return False
            raise
        await self.link.query("SELECT set_config('lock_timeout', '0', false)")
        return await self._hold_lock(silent)

    async def _hold_lock(self, silent: int) -> bool:
        await self.link.query(_sql("hold_lock"), {"seconds": f"{silent}s"})
        return True

    async def disconnect(self) -> None:
        await self.link.close()

    async def table_names(self) -> list[str]:
        """Return all tables that there are now and that this account may read."""
        return [name for (name,) in await self.link.query(_sql("table_names"), [self._schema])]

    def capture(self, captures: Sequence[Capture]) -> None:
        """Capture these tables too, from the next read of the catalogue on."""
        self._captured |= {capture.table for capture in captures}
        self._wanted |= {capture.table: capture for capture in captures}

    async def tables(self) -> dict[str, Table]:
        """The captured tables as the database has them now, secret columns absent."""
        await self.read_catalogue()
        layouts = self.catalogue.layouts
        return {name: layout.table for name, layout in layouts.items() if name in self._captured}

    async def page(
        self, wanted: PageRequest, marks: str, parameters: Mapping[str, Any]
    ) -> tuple[TablePage, list[tuple[str, str]]]:
        """A page of a table, and what ``marks`` (a file of ``sql/postgres``) selects with these parameters, in one
        snapshot that can write nothing."""
        if asyncio.get_running_loop().time() - self._catalogue_at > FRESH_SECONDS:
            await self.read_catalogue()
        try:
            return await self._page(wanted, marks, parameters)
        except JournalMissing:  # a column is gone
            await self.read_catalogue()
            return await self._page(wanted, marks, parameters)

    async def _page(
        self, wanted: PageRequest, marks: str, parameters: Mapping[str, Any]
    ) -> tuple[TablePage, list[tuple[str, str]]]:
        layout = self.catalogue.layout(wanted.table.name)
        condition, key = behind(layout, wanted.after)
        sql = select_page(layout, wanted.condition(quote), condition, load(f"postgres/{marks}"))
        ((texts, marked),) = await self.link.read(sql, {**key, **parameters, "limit": wanted.most}, _sql("begin_page"))
        images = texts.split(_SEPARATOR) if texts else []
        decode = layout.images.decode
        rows = [decode(image[1:]) for image in images if image[0] == _MEETS]
        last = None if not images else rows[-1] if images[-1][0] == _MEETS else decode(images[-1][1:])
        pairs = [mark.split(" ") for mark in (marked or "").split(_SEPARATOR) if mark]
        return TablePage(rows, last, len(images)), [(name, place) for name, place in pairs]

    async def rows(self, table: str, column: str, values: Sequence[Value]) -> list[Row]:
        texts = [as_text(value) for value in values if value is not None]
        if not texts:
            return []
        condition = matching(self.catalogue.layout(table), column)
        return await self._rows(table, condition, {"values": texts, "limit": None})

    async def all_rows(self, table: str) -> list[Row]:
        return await self._rows(table, "true", {"limit": None})

    async def site_url(self) -> str:
        if SETTINGS not in await self.table_names():
            return ""
        sql = f"SELECT name, properties FROM ONLY {quote(self._schema)}.{quote(SETTINGS)}"  # noqa: S608 - quoted names
        try:
            records = await self.link.read(sql, None, "BEGIN READ ONLY; SET LOCAL row_security = off")
        except (SourceUnavailable, JournalMissing, SourceError) as error:
            if isinstance(error.__cause__, InsufficientPrivilege | UndefinedTable | UndefinedColumn):
                return ""
            raise
        return site_url(records)

    async def read_catalogue(self) -> None:
        records = await self.link.query(_sql("catalogue"), [self._schema, list(self._wanted)])
        nested = sorted({oid for *_, oid, plain, _ in records if not plain})
        types: dict[int, PgType] = {}
        if nested:
            types = build_types(await self.link.query(_sql("types"), [nested]))
        self.catalogue = build_catalogue(self._schema, self._wanted, records, self.zone, types)
        self._catalogue_at = asyncio.get_running_loop().time()

    async def _rows(self, table: str, condition: str, parameters: dict[str, Any]) -> list[Row]:
        layout = self.catalogue.layout(table)
        records = await self.link.query(select(layout, condition), parameters)
        return [layout.images.decode(text) for (text,) in records]


def _sql(name: str) -> str:
    return load(f"postgres/read/{name}.sql")
