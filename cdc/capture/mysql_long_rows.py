"""Rows whose image is longer than one value of the server may be (`max_allowed_packet`): read column by column, long
columns in pieces, and put together to the very image that the server would have written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import orjson
from pymysql.connections import Connection

from cdc import sqlfile
from cdc.database.mysql_connection import quote, rows
from cdc.database.mysql_journal import Decoder, Shape, decoder
from cdc.database.mysql_tables import MySQLTable
from cdc.database.mysql_types import MySQLColumn, image, piece
from cdc.model.change import Row

#: A character of a text takes up to six bytes in JSON: pieces of this part of the longest value always fit.
_PART = 8


class LongRow(NamedTuple):
    """``image``: None where the row cannot be read, or is gone."""

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
    length = _piece_length(connection)
    found = {}
    for place in missing:
        key = decode(keys[place])
        found[place] = LongRow(key, _image(connection, table, key, length))
    return found


def _key_decoder(table: MySQLTable) -> Decoder:
    return decoder(Shape(table.name, tuple(table.column(name).column for name in table.key), table.key))


def _piece_length(connection: Connection[Any]) -> int:
    """In characters or bytes; a multiple of three, so that pieces of base64 can be put together."""
    ((most,),) = rows(connection, "SELECT @@SESSION.max_allowed_packet")
    return max(int(most) // _PART // 3 * 3, 3)


def _image(connection: Connection[Any], table: MySQLTable, key: Row, length: int) -> str | None:
    found = _select(connection, table, key, ", ".join(image([column], "t") for column in table.columns))
    if found is None:
        return None
    elements = []
    for column, text in zip(table.columns, found, strict=True):
        element = _long_value(connection, table, key, column, length) if text is None else text[1:-1]
        if element is None:
            return None
        elements.append(element)
    return f"[{','.join(elements)}]"


def _long_value(
    connection: Connection[Any], table: MySQLTable, key: Row, column: MySQLColumn, length: int
) -> str | None:
    pieces: list[str] = []
    while True:
        expression = piece(column, _of(column), len(pieces) * length + 1, length)
        found = _select(connection, table, key, f"JSON_ARRAY({expression})")
        if found is None or found[0] is None:
            return None
        (text,) = orjson.loads(found[0])
        if not text:
            return orjson.dumps("".join(pieces)).decode() if pieces else None  # a long value is not empty
        pieces.append(text)


def _of(column: MySQLColumn) -> str:
    return f"t.{quote(column.name)}"


def _select(connection: Connection[Any], table: MySQLTable, key: Row, expressions: str) -> tuple[Any, ...] | None:
    sql = sqlfile.render(
        "mysql/table_rows.sql",
        image=expressions.replace("%", "%%"),
        table=quote(table.name).replace("%", "%%"),
        where=" AND ".join(f"{quote(name).replace('%', '%%')} = %s" for name in key),
        order="NULL",
    )
    found = rows(connection, sql, (*key.values(), 1))
    return found[0] if found else None
