"""One consumer of a PostgreSQL database, whatever it reads changes from: its connection, the lock that lives on it, and
rows of tables as they are now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any, Final

from psycopg.errors import LockNotAvailable

from cdc.capture.base import SILENT_SECONDS, LockHolder
from cdc.capture.pages import PageRequest, TablePage
from cdc.capture.postgres_catalogue import (
    JournalLayout,
    TableCatalogue,
    after_key,
    as_text,
    at_once,
    begin,
    build_catalogue,
    matching,
    prepare,
    quote,
    select,
    select_page,
)
from cdc.capture.postgres_connection import STATEMENT_SECONDS, PostgresConnection
from cdc.database.postgres_capture import LOCK_CLASS, LOCK_CONSUMER
from cdc.database.postgres_types import PgType, build_types
from cdc.database.settings import SETTINGS, site_url
from cdc.database.sqlfile import load, render
from cdc.model.change import Row, Value
from cdc.model.column import Capture, Table
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import JournalMissing, SourceError, SourceUnavailable

#: For so many seconds the columns of a table that is read page by page are believed to be the same.
FRESH_SECONDS: Final = 5.0
#: For pages, which are read along the index of the primary key, also of a table that was never analyzed: a plan that
#: sorts makes images of all rows after the page, and drops most of them.
_ALONG_THE_KEY: Final = "SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off;"
#: Look-ups that a session has prepared.
_PREPARED: Final = 100
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
        self._prepared: dict[str, str] = {}  # statement → its name in this session
        self._numbers = count()
        self._selects: dict[tuple[str, str], tuple[JournalLayout, str]] = {}  # table, column → statement for a layout

    async def connect(self) -> None:
        await self.link.connect()
        self._prepared = {}
        await self.link.query(render("postgres/read/check.sql", exposed=_sql("exposed")))
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

    async def lock_holder(self) -> LockHolder | None:
        """Return what holds the lock for which `try_lock` tries; None when it is free."""
        found = await self.link.query(_sql("lock_holder"), {"class": LOCK_CLASS, "consumer": LOCK_CONSUMER})
        return LockHolder(*found[0]) if found else None

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

    async def read_page(
        self, wanted: PageRequest, marks: str, parameters: Mapping[str, Any]
    ) -> tuple[TablePage, list[tuple[str, str]]]:
        """Return a page of a table, and what ``marks`` (a file of ``sql/postgres``) selects with these parameters, in
        one snapshot that can write nothing."""
        if asyncio.get_running_loop().time() - self._catalogue_at > FRESH_SECONDS:
            await self.read_catalogue()

        def statement(layout: JournalLayout) -> tuple[str, dict[str, Any]]:
            condition, key = after_key(layout, wanted.after)
            sql = select_page(layout, wanted.condition(quote), condition, load(f"postgres/{marks}"))
            return sql, {**key, **parameters, "limit": wanted.most}

        layout, ((texts, marked),) = await self._read(wanted.table.name, statement, _ALONG_THE_KEY)
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
        return await self._rows(table, column, texts)

    async def all_rows(self, table: str) -> list[Row]:
        return await self._rows(table, "", None)

    async def site_url(self) -> str:
        if SETTINGS not in await self.table_names():
            return ""
        try:
            rows = await self.open_rows(self._schema, SETTINGS, ("name", "properties"))
        except SourceUnavailable:
            raise
        except SourceError:  # it may not be read: events have no links
            return ""
        return site_url((row.get("name"), row.get("properties")) for row in rows)

    async def open_rows(
        self, schema: str, table: str, columns: Collection[str], column: str = "", value: str = ""
    ) -> list[Row]:
        """Return rows of a table with those of these columns that it has, whether they are secret or not."""
        layout = await self.layout_of(schema, table)
        layout = replace(layout, readable=tuple(c.name for c in layout.table.columns if c.name in columns))
        sql = select(layout, matching(layout, column) if column else "true")
        records = await self.read(layout, sql, {"values": [value], "limit": None})
        return [layout.images.decode(text) for (text,) in records]

    async def layout_of(self, schema: str, table: str) -> JournalLayout:
        """The layout of a table as it is now, captured or not, with all columns."""
        return (await self._catalogue(schema, {table: Capture(table)})).layout(table)

    async def read(
        self, layout: JournalLayout, sql: str, parameters: dict[str, Any], settings: str = "", prepare: str = ""
    ) -> list[Any]:
        """Run a statement that reads the ERP's table.  Raises `JournalMissing` if the table is not as in ``layout``.

        No code of the ERP's account, in types, views, policies or what the server plans with, runs with the rights of
        this one."""
        return await self.link.read(begin(layout, settings), partial(_check, layout), sql, parameters, prepare)

    async def _rows(self, table: str, column: str, values: list[str | None] | None) -> list[Row]:
        """Return the rows with one of these ``values`` in ``column``; all if it is empty."""

        def statement(layout: JournalLayout) -> tuple[str, dict[str, Any]]:
            of, sql = self._selects.get((table, column), (None, ""))
            if of is not layout:
                sql = select(layout, matching(layout, column) if column else "true")
                self._selects[table, column] = layout, sql
            return sql, {"values": values, "limit": None}

        layout, records = await self._read(table, statement, repeated=True)
        return [layout.images.decode(text) for (text,) in records]

    async def _read(
        self,
        table: str,
        statement: Callable[[JournalLayout], tuple[str, dict[str, Any]]],
        settings: str = "",
        *,
        repeated: bool = False,
    ) -> tuple[JournalLayout, list[Any]]:
        """Read a table of the catalogue, again if it was altered since the catalogue was.  ``repeated``: the statement
        is one of `select`, which comes again; it is then one message, whose failure the slower way explains."""
        for again in (True, False):
            layout = self.catalogue.layout(table)
            sql, parameters = statement(layout)
            repeated = repeated and not layout.exposed
            if repeated and (name := self._prepared.pop(sql, None)) is not None:
                self._prepared[sql] = name  # as the last one that was used
                found = await self.link.read_prepared(*at_once(layout, name, parameters))
                if found is not None:
                    return layout, found
            try:
                if not repeated or sql in self._prepared:
                    return layout, await self.read(layout, sql, parameters, settings)
                name, unused = f"cdc_read_{next(self._numbers)}", ""
                if len(self._prepared) == _PREPARED:
                    unused = self._prepared.pop(next(iter(self._prepared)))
                records = await self.read(layout, sql, parameters, prepare=prepare(sql, name, unused))
                self._prepared[sql] = name
            except JournalMissing:  # the table or a column is gone, or another one
                if not again:
                    raise
                await self.read_catalogue()
            else:
                return layout, records
        raise AssertionError

    async def read_catalogue(self) -> None:
        self.catalogue = await self._catalogue(self._schema, self._wanted)
        self._catalogue_at = asyncio.get_running_loop().time()

    async def _catalogue(self, schema: str, captures: Mapping[str, Capture]) -> TableCatalogue:
        sql = render("postgres/read/catalogue.sql", exposed=_sql("exposed"))
        records = await self.link.query(sql, [schema, list(captures)])
        nested = sorted({record[10] for record in records if not record[11]})
        types: dict[int, PgType] = {}
        if nested:
            types = build_types(await self.link.query(_sql("types"), [nested]))
        return build_catalogue(schema, captures, records, self.zone, types)


def _check(layout: JournalLayout, found: Sequence[Sequence[Any]]) -> None:
    """``found``: of begin.sql.  Raises `SourceError`, `JournalMissing` if the table is another one than in memory."""
    table = layout.table.name
    *same, kind, version, exposed, foreign = found[0] if found else ("", "", "", "", False, None)
    known = ([layout.schema, table], layout.version, layout.exposed)
    if (same, version, exposed) != known or kind not in "rp":
        raise JournalMissing(f"Table {table} was altered or replaced while it was read.", "Try again.")
    if foreign is not None:
        raise SourceError(
            f"Table {table} cannot be read: {foreign}, which would run with the rights of this account.",
            "Drop it, or let a superuser own that function.",
        )


def _sql(name: str) -> str:
    return load(f"postgres/read/{name}.sql")
