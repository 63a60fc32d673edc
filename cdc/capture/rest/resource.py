"""Resources of the API: their paths, the order of their keys, and their rows in normal form.  Pure."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import blake2b
from typing import Any

import orjson

from cdc.extras import ZSTANDARD_MAGIC, zstandard
from cdc.model.change import Row, Value
from cdc.model.column import Column, ColumnKind, SecretColumns, Table
from cdc.model.errors import SourceError
from cdc.model.normal import NORMALISERS, decimal

_NUMBER, _TEXT = b"\x01", b"\x02"
_SIGNED = 1 << 63


@dataclass(frozen=True, slots=True)
class Resource:
    """A table as the API gives it.

    ``path``: its name in addresses.  ``key``: the primary key's column.  ``numbered``: the key is a number that grows
    with every new row; other keys are in an order that only the database knows.
    ``interval``: seconds between two looks for new rows (numbered ones); ``compare``: between two comparisons.
    """

    table: str
    path: str
    key: str
    numbered: bool
    secrets: SecretColumns = field(default_factory=SecretColumns)
    interval: float = 60.0
    compare: float = 300.0


def key_bytes(value: Value) -> bytes:
    """Return bytes that sort as numbers do, and as texts by code point.  Raises `SourceError` for an invalid key."""
    if isinstance(value, int) and not isinstance(value, bool):
        return _NUMBER + struct.pack(">Q", value + _SIGNED)
    if isinstance(value, str):
        return _TEXT + value.encode("utf-8", "surrogatepass")
    raise SourceError("The API gives a row whose key is neither a number nor a text.", "Check `key` of its resource.")


def key_value(key: bytes) -> int | str:
    """Return the value from `key_bytes`."""
    if key.startswith(_NUMBER):
        (number,) = struct.unpack(">Q", key[1:])
        return int(number) - _SIGNED
    return key[1:].decode("utf-8", "surrogatepass")


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


def _decimal(column: Column, value: Any) -> Value:
    """The API gives a number, and other sources the digits of the database: as many as the type says."""
    number = Decimal(str(value))
    scale = _SCALE.search(column.database_type)
    return decimal(number.quantize(Decimal(1).scaleb(-int(scale[1]))) if scale else number)


def pack(row: Row) -> tuple[bytes, bytes]:
    """The row's digest, and the row compressed."""
    text = orjson.dumps(row)
    return blake2b(text, digest_size=16).digest(), zlib.compress(text, 3)


def unpack(packed: bytes) -> Row:
    """Return the row, also of an outbox whose rows were packed by zstandard."""
    text = zstandard().decompress(packed) if packed.startswith(ZSTANDARD_MAGIC) else zlib.decompress(packed)
    row: Row = orjson.loads(text)
    return row


def differ(before: Row, after: Row) -> bool:
    """Return whether a column that both have differs: one that is new, or gone, is a change of the table, not of the
    row."""
    return any(value != after[name] for name, value in before.items() if name in after)
