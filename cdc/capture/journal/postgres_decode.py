"""PostgreSQL's JSON image of a row → the normal form.  Pure.

Most columns of FacturaScripts come out of the JSON text as they must be, read by their types (121 is 121.0).
Tables with types that JSON cannot hold exactly (numeric, json, arrays) are read piece by piece instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from cdc.database.postgres_types import ToText, Zone, local, members, plain
from cdc.model import normal
from cdc.model.change import Row, Value
from cdc.model.column import Column, ColumnKind, Table
from cdc.model.image import TYPES, Unexpected, object_reader

Decode = Callable[[str], Row]
_Convert = Callable[[Any], Value]

#: Kinds that the parsed JSON already has in the normal form.
_PLAIN = TYPES.keys() - {ColumnKind.DOUBLE}


def compile_decode(table: Table, zone: Zone, nested: Mapping[str, ToText] | None = None) -> Decode:
    """The fastest decoder that is exact for this table.  ``zone``: the database's local time, asked for when needed.
    ``nested``: column → how its arrays, composite values and the like are written."""
    kinds = {column.kind for column in table.columns}
    if kinds & {ColumnKind.DECIMAL, ColumnKind.JSON, ColumnKind.OTHER}:
        return _exact_decode(table, zone, nested or {})
    return _quick_decode(table, zone)


def decode_unknown(text: str) -> Row:
    """An image of a table that is not in the database any more."""
    return {name: _plain_or_text(raw) for name, raw in members(text)}


def _quick_decode(table: Table, zone: Zone) -> Decode:
    read = object_reader(table.columns)
    converts = {column.name: _converter(column, zone) for column in table.columns if column.kind not in _PLAIN}
    others = [(c.name, converts[c.name]) for c in table.columns if c.kind not in TYPES]

    def decode(text: str) -> Row:
        try:
            row = read(text)
        except Unexpected:  # NaN, or an image from before a column was dropped, renamed or given another type
            old: dict[str, Value] = orjson.loads(text)
            return {name: converts[name](value) if name in converts else value for name, value in old.items()}
        for name, convert in others:
            row[name] = convert(row[name])
        return row

    return decode


def _exact_decode(table: Table, zone: Zone, nested: Mapping[str, ToText]) -> Decode:
    converts = {column.name: nested.get(column.name) or _raw_converter(column, zone) for column in table.columns}

    def decode(text: str) -> Row:
        return {name: converts.get(name, _plain_or_text)(raw) for name, raw in members(text)}

    return decode


def _converter(column: Column, zone: Zone) -> _Convert:
    """From the parsed JSON value; one that does not fit (an image from before ALTER TYPE) stays."""
    if column.kind is ColumnKind.TIMESTAMP:
        return lambda value: _timestamp(value, zone)
    if column.kind is ColumnKind.BINARY:
        return _binary
    convert = normal.NORMALISERS[column.kind]

    def lenient(value: Any) -> Value:
        try:
            return convert(value)
        except ValueError:
            return value  # type: ignore[no-any-return]  # JSON gives nothing but a Value for a scalar

    return lenient


def _raw_converter(column: Column, zone: Zone) -> Callable[[str], Value]:
    """From the JSON text of the value."""
    if column.kind is ColumnKind.DECIMAL:
        return lambda raw: None if raw == "null" else raw.strip('"')
    if column.kind is ColumnKind.JSON:
        return lambda raw: None if raw == "null" else raw
    if column.kind is ColumnKind.OTHER:
        return plain
    convert = _converter(column, zone)
    return lambda raw: convert(_plain_or_text(raw))


def _timestamp(value: Any, zone: Zone) -> Value:
    """``value`` has an offset when the column has a time zone: then it is shown in the database's local time."""
    return None if value is None else local(str(value), zone)


def _binary(value: Any) -> Value:
    if isinstance(value, str) and value.startswith("\\x"):
        try:
            return normal.binary(bytes.fromhex(value[2:]))
        except ValueError:
            return value
    return normal.text(value)


def _plain_or_text(raw: str) -> Value:
    """A scalar as JSON has it; anything nested as its text."""
    return raw if raw[0] in "[{" else orjson.loads(raw)
