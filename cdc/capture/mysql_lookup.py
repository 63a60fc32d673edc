"""Rows of the ERP's tables as they are now, read through the same expressions that the triggers use: byte-identical.

A row whose image is longer than one value of the server may be (`max_allowed_packet`) is read column by column, long
columns in pieces, and put together to the very image that the server would have written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, TypeVar

import orjson
import pymysql
import structlog
from pymysql.connections import Connection

from cdc.capture.pages import TOO_LONG, PageRequest, TablePage
from cdc.database import sqlfile
from cdc.database.mysql_connection import (
    BAD_COLUMN,
    BASE_TABLE,
    BASE_TABLE_WHOLE,
    MISSING_INDEX,
    MISSING_TABLE,
    NO_PRIVILEGE,
    code_of,
    quote,
    rows,
)
from cdc.database.mysql_inspect import MySQLTable, read_tables, text
from cdc.database.mysql_journal import Decoder, JournalShape, decoder
from cdc.database.mysql_types import MySQLColumn, image, piece
from cdc.database.settings import site_url
from cdc.model.change import Row, Value
from cdc.model.column import SecretColumns
from cdc.model.errors import SourceError

#: A character of a text takes up to six bytes in JSON: pieces of this part of the longest value always fit.
_PART = 8


class LongRow(NamedTuple):
    """A row that is longer than one value of the server may be.  ``image``: None where the row cannot be read, or is
    gone."""

    key: Row
    image: str | None


def key_image(table: MySQLTable) -> str:
    """The expression of the image of a row's primary key."""
    return image([table.column(name) for name in table.key], "t")


def long_rows(
    connection: Connection[Any], table: MySQLTable, images: Sequence[str | None], read_keys: Callable[[], list[str]]
) -> dict[int, LongRow]:
    """Return, by its place among ``images``, each row that has none.  ``read_keys``: the images of all their keys, in
    the same order and the same snapshot."""
    missing = [place for place, each in enumerate(images) if each is None]
    if not missing:
        return {}
    keys, decode = read_keys(), _key_decoder(table)
    # in characters or bytes; a multiple of three, so that pieces of base64 can be put together
    ((most,),) = rows(connection, "SELECT @@SESSION.max_allowed_packet")
    length = max(int(most) // _PART // 3 * 3, 3)
    found = {}
    for place in missing:
        key = decode(keys[place])
        found[place] = LongRow(key, _image(connection, table, key, length))
    return found


def _key_decoder(table: MySQLTable) -> Decoder:
    return decoder(JournalShape(table.name, tuple(table.column(name).column for name in table.key), table.key))


def _image(connection: Connection[Any], table: MySQLTable, key: Row, length: int) -> str | None:
    found = _select(connection, table, key, ", ".join(image([column], "t") for column in table.columns))
    if found is None:
        return None
    elements = []
    for column, value in zip(table.columns, found, strict=True):
        element = _long_value(connection, table, key, column, length) if value is None else value[1:-1]
        if element is None:
            return None
        elements.append(element)
    return f"[{','.join(elements)}]"


def _long_value(
    connection: Connection[Any], table: MySQLTable, key: Row, column: MySQLColumn, length: int
) -> str | None:
    pieces: list[str] = []
    while True:
        expression = piece(column, f"t.{quote(column.name)}", len(pieces) * length + 1, length)
        found = _select(connection, table, key, f"JSON_ARRAY({expression})")
        if found is None or found[0] is None:
            return None
        (text,) = orjson.loads(found[0])
        if not text:
            return orjson.dumps("".join(pieces)).decode() if pieces else None  # a long value is not empty
        pieces.append(text)


def _select(connection: Connection[Any], table: MySQLTable, key: Row, expressions: str) -> tuple[Any, ...] | None:
    sql = sqlfile.render(
        "mysql/table_rows.sql",
        image=expressions.replace("%", "%%"),
        table=quote(table.name).replace("%", "%%"),
        where=" AND ".join(f"{quote(name).replace('%', '%%')} = %s" for name in key),
        order="NULL",
        base=BASE_TABLE,
    )
    found = rows(connection, sql, (*key.values(), 1))
    return found[0] if found else None


T = TypeVar("T")

log = structlog.get_logger()

#: Seconds for which a table's columns are believed without asking again.
_FRESH = 5.0
#: Rows that one statement gives at most.
_ALL = 2**63
#: Values asked for by one statement.
_CHUNK = 1000
#: No such column, table or primary key (a view, perhaps), table definition has changed.
_ALTERED = frozenset({BAD_COLUMN, MISSING_TABLE, MISSING_INDEX, 1412})


_NONE = SecretColumns()


class _Known(NamedTuple):
    table: MySQLTable
    read_at: float


class MySQLLookup:
    """Reads rows of the ERP's tables as they are now.  ``secrets``: table → columns that are never read."""

    def __init__(self, secrets: Mapping[str, SecretColumns]) -> None:
        self._secrets = secrets
        self._known: dict[str, _Known] = {}

    def hide(self, secrets: Mapping[str, SecretColumns]) -> None:
        """Columns of more tables that are never read."""
        self._secrets = {**self._secrets, **secrets}
        self._known.clear()

    def tables(self, connection: Connection[Any]) -> dict[str, MySQLTable]:
        """Return the tables as they are now."""
        return self._read(connection, None)

    def _read(self, connection: Connection[Any], name: str | None) -> dict[str, MySQLTable]:
        found = read_tables(connection, name)
        tables = {name: table.without(self._secrets.get(name, _NONE)) for name, table in found.items()}
        now = time.monotonic()
        self._known |= {name: _Known(table, now) for name, table in tables.items()}
        return tables

    def _table(self, connection: Connection[Any], name: str) -> MySQLTable:
        """Read only this table: reading all columns of a database costs the server time, and its writers wait."""
        known = self._known.get(name)
        if known is not None and time.monotonic() - known.read_at < _FRESH:
            return known.table
        tables = self._read(connection, name)
        if name not in tables:
            raise SourceError(
                f"Table {name} is not in the database, or this account may not read it.", "Grant SELECT on it."
            )
        return tables[name]

    def _of_table(self, connection: Connection[Any], name: str, read: Callable[[MySQLTable], T]) -> T:
        """``read``, once more with the columns of now when the table was altered since they were read."""
        try:
            return read(self._table(connection, name))
        except pymysql.err.MySQLError as error:
            if code_of(error) not in _ALTERED:
                raise
        self._known.pop(name, None)
        return read(self._table(connection, name))

    def all_rows(self, connection: Connection[Any], table: str) -> list[Row]:
        return self._of_table(connection, table, lambda found: self._select(connection, found, "TRUE", ()))

    def rows(self, connection: Connection[Any], table: str, column: str, values: Sequence[Value]) -> list[Row]:
        wanted = set(values)
        chunks = [list(wanted)[start : start + _CHUNK] for start in range(0, len(wanted), _CHUNK)]
        where = f"{quote(column).replace('%', '%%')} IN %s"

        def read(found: MySQLTable) -> list[Row]:
            answer = [row for chunk in chunks for row in self._select(connection, found, where, (tuple(chunk),))]
            if len(chunks) > 1:
                answer.sort(key=lambda row: [(value is None, value) for value in map(row.__getitem__, found.key)])
            # once more: the column's collation takes different values for equal
            return [row for row in answer if row[column] in wanted]

        return self._of_table(connection, table, read)

    def site_url(self, connection: Connection[Any]) -> str:
        """Return the address in FacturaScripts' own settings; empty where this account may not read them."""
        try:
            with _snapshot(connection):
                return site_url(rows(connection, sqlfile.load("mysql/queries.sql#settings")))
        except pymysql.err.MySQLError as error:
            if code_of(error) not in (*NO_PRIVILEGE, *_ALTERED):
                raise
            return ""

    def row(self, connection: Connection[Any], table: str, key: Row) -> Row | None:
        """The one with this primary key, compared byte by byte, if it is there."""

        def read(found: MySQLTable) -> Row | None:
            where = " AND ".join(f"{quote(column)} = %s" for column in key).replace("%", "%%").replace("%%s", "%s")
            rows = self._select(connection, found, where, list(key.values()))
            return next((row for row in rows if all(row[column] == value for column, value in key.items())), None)

        return self._of_table(connection, table, read)

    def page(self, connection: Connection[Any], wanted: PageRequest, marks: Callable[[], T]) -> tuple[TablePage, T]:
        """A page of a table, and what ``marks`` reads, in one snapshot that can write nothing."""

        def read(found: MySQLTable) -> tuple[TablePage, T]:
            with _snapshot(connection):
                marked = marks()
                return self._page(connection, found, wanted), marked

        return self._of_table(connection, wanted.table.name, read)

    def _page(self, connection: Connection[Any], found: MySQLTable, wanted: PageRequest) -> TablePage:
        """With a condition two statements: where the page ends, then the rows that meet it.  In one, each of the others
        would be sent as well."""
        where, parameters = "TRUE", list[Any]()
        if wanted.after is not None:
            where, parameters = _compared(found.key, wanted.after, ">", ">")
        condition = wanted.condition(quote).replace("%", "%%")
        read_key, last = _key_decoder(found), None
        if condition:
            names = _names(found, key_image(found))
            sql = sqlfile.render("mysql/page_end.sql", **names, where=where)
            for (end,) in rows(connection, sql, (*parameters, wanted.most - 1)):
                last = read_key(end)
                until, more = _compared(found.key, last, "<", "<=")
                where, parameters = f"{where} AND {until}", [*parameters, *more]
            where = f"{where} AND ({condition})"
        images = _images(connection, found, where, parameters, most=wanted.most)
        keys = partial(_images, connection, found, where, parameters, key_image(found), most=wanted.most)
        long = long_rows(connection, found, images, keys)
        images = [long[place].image if place in long else image for place, image in enumerate(images)]
        decode = _decoder(found)
        met = [decode(image) for image in images if image is not None]
        unread = [each.key for each in long.values() if each.image is None]
        if condition:
            return TablePage(met, last, wanted.most if last else wanted.most - 1, unread)
        if images:
            last = long[len(images) - 1].key if images[-1] is None else met[-1]
        return TablePage(met, last, len(images), unread)

    def _select(
        self, connection: Connection[Any], table: MySQLTable, where: str, parameters: Sequence[Any]
    ) -> list[Row]:
        """Rows with long images once more, in a snapshot, since they take several statements."""
        images = _images(connection, table, where, parameters)
        if None in images:
            with _snapshot(connection):
                images = _images(connection, table, where, parameters)
                keys = partial(_images, connection, table, where, parameters, key_image(table))
                for place, each in long_rows(connection, table, images, keys).items():
                    images[place] = each.image
                    if each.image is None:
                        log.error("row not read", table=table.name, key=dict(each.key), reason=TOO_LONG)
        decode = _decoder(table)
        return [decode(text) for text in images if text is not None]


@contextmanager
def _snapshot(connection: Connection[Any]) -> Iterator[None]:
    """A transaction that sees one moment and can write nothing."""
    rows(connection, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    rows(connection, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
    try:
        yield
    finally:
        if connection.open:
            rows(connection, "ROLLBACK")


def _images(
    connection: Connection[Any],
    table: MySQLTable,
    where: str,
    parameters: Sequence[Any],
    of: str = "",
    *,
    most: int = _ALL,
) -> list[Any]:
    """``of``: the expression of what is read instead of the rows' images."""
    sql = sqlfile.render("mysql/table_rows.sql", **_names(table, of), where=where)
    return [text for (text,) in rows(connection, sql, (*parameters, most))]


def _names(table: MySQLTable, of: str = "") -> dict[str, str]:
    """Return the parts of statements about a table.  ``of``: the expression that is read instead of images."""
    return {
        "image": (of or image(table.columns, "t")).replace("%", "%%"),
        "table": quote(table.name).replace("%", "%%"),
        "order": ", ".join(map(quote, table.key)).replace("%", "%%") or "NULL",
        "base": BASE_TABLE if table.key else BASE_TABLE_WHOLE,
    }


def table_names(connection: Connection[Any]) -> list[str]:
    """Return all tables that there are now and that this account may see."""
    return [text(name) for (name,) in rows(connection, sqlfile.load("mysql/table_names.sql"))]


def _decoder(table: MySQLTable) -> Decoder:
    return decoder(JournalShape(table.name, table.as_table.columns, table.key))


def _compared(key: Sequence[str], row: Row, before: str, at_last: str) -> tuple[str, list[Any]]:
    """Return the condition that a row comes after (or not after) a key, written so that the primary key's index serves
    it.  ``before``, ``at_last``: the operators for the key's columns but the last, and for that."""
    parts, parameters = [], []
    for number, column in enumerate(key):
        equal = "".join(f"{quote(name)} = %s AND " for name in key[:number])
        operator = at_last if number == len(key) - 1 else before
        parts.append(f"({equal}{quote(column)} {operator} %s)")
        parameters += [row[name] for name in key[: number + 1]]
    return f"({' OR '.join(parts)})", parameters
