"""Rows of the API's JSON in normal form, and packed as they are kept.  Pure.

FacturaScripts renders a row by its model: booleans and numbers as JSON has them, dates as ``24-11-2026``, timestamps as
``24-11-2026 21:48:00``; what a model does not know the type of comes as the database's text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from hashlib import blake2b
from typing import Any

import orjson
import zstandard

from cdc.model.change import Row, Value
from cdc.model.column import Column, ColumnKind, Table
from cdc.model.errors import SourceError
from cdc.model.normal import NORMALISERS

_PARENTHESES = re.compile(r"\(.*\)")
_SCALE = re.compile(r"\(\d+,\s*(\d+)\)")
_DATE = re.compile(r"(\d\d)-(\d\d)-(-?\d{4,})(?=\D|$)")
_TYPES = {
    **dict.fromkeys(("int", "integer", "bigint", "smallint", "mediumint", "serial", "year"), ColumnKind.INTEGER),
    **dict.fromkeys(("tinyint", "boolean"), ColumnKind.BOOLEAN),
    **dict.fromkeys(("double", "double precision"), ColumnKind.DOUBLE),
    **dict.fromkeys(("float", "real"), ColumnKind.REAL),
    **dict.fromkeys(("decimal", "numeric"), ColumnKind.DECIMAL),
    **dict.fromkeys(("time", "time without time zone"), ColumnKind.TIME),
    **dict.fromkeys(("datetime", "timestamp", "timestamp without time zone"), ColumnKind.TIMESTAMP),
    **dict.fromkeys(("json", "jsonb"), ColumnKind.JSON),
    "date": ColumnKind.DATE,
}


def column_of(name: str, database_type: str) -> Column:
    """``database_type``: as ``/<resource>/schema`` says it, for instance ``int(11)``, ``character varying(10)``."""
    plain = " ".join(_PARENTHESES.sub("", database_type).lower().replace("unsigned", "").split())
    return Column(name, _TYPES.get(plain, ColumnKind.TEXT), database_type)


def normal_row(table: Table, raw: Mapping[str, Any]) -> Row:
    """The columns of ``table`` that ``raw`` has, in column order.  What it has beside them are a model's own values,
    not columns.  Raises `SourceError` when a value is not of its column's type; it is not in the message."""
    return {column.name: _value(table, column, raw[column.name]) for column in table.columns if column.name in raw}


def _value(table: Table, column: Column, value: Any) -> Value:
    if value is None:
        return None
    try:
        if column.kind in (ColumnKind.DATE, ColumnKind.TIMESTAMP):
            value = _iso(str(value))
        elif column.kind is ColumnKind.DECIMAL:
            return _decimal(column, value)
        elif isinstance(value, dict | list):
            value = orjson.dumps(value).decode()
        return NORMALISERS[column.kind](value)
    except (ValueError, TypeError, ArithmeticError):
        raise SourceError(
            f"The API gives a value for {table.name}.{column.name} that is no {column.kind}.",
            "The resource's /schema and its rows disagree: update FacturaScripts, or report this.",
        ) from None


def _iso(text: str) -> str | None:
    """``24-11-2026 …`` as ``2026-11-24 …``; what FacturaScripts makes of a zero date is null."""
    match = _DATE.match(text)
    if match is None:
        return text
    day, month, year = match.groups()
    return f"{year}-{month}-{day}{text[match.end() :]}" if int(year) > 0 else None


def _decimal(column: Column, value: Any) -> str:
    """The API gives a number, and other sources the digits of the database: as many as the type says."""
    number = Decimal(str(value))
    scale = _SCALE.search(column.database_type)
    return format(number.quantize(Decimal(1).scaleb(-int(scale[1]))) if scale else number, "f")


def pack(row: Row) -> tuple[bytes, bytes]:
    """The row's digest, and the row compressed."""
    text = orjson.dumps(row)
    return blake2b(text, digest_size=16).digest(), zstandard.compress(text, 3)


def unpack(packed: bytes) -> Row:
    row: Row = orjson.loads(zstandard.decompress(packed))
    return row


def differ(before: Row, after: Row) -> bool:
    """Whether a column that both have differs: one that is new, or gone, is a change of the table, not of the row."""
    return any(value != after[name] for name, value in before.items() if name in after)
