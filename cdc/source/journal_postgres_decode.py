"""PostgreSQL's JSON image of a row → the normal form.  Pure.

Most columns of FacturaScripts come out of the JSON text as they must be; only doubles need a look (121 is 121.0).
Tables with types that JSON cannot hold exactly (numeric, json, arrays) are read piece by piece instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, tzinfo
from json import JSONDecoder
from typing import Any

import orjson

from cdc import normal
from cdc.change import Row, Value
from cdc.column import Column, ColumnKind, Table

Decode = Callable[[str], Row]
_Convert = Callable[[Any], Value]

_KINDS = {
    "bool": ColumnKind.BOOLEAN,
    "int2": ColumnKind.INTEGER,
    "int4": ColumnKind.INTEGER,
    "int8": ColumnKind.INTEGER,
    "float8": ColumnKind.DOUBLE,
    "float4": ColumnKind.REAL,
    "numeric": ColumnKind.DECIMAL,
    "date": ColumnKind.DATE,
    "time": ColumnKind.TIME,
    "timestamp": ColumnKind.TIMESTAMP,
    "timestamptz": ColumnKind.TIMESTAMP,
    "json": ColumnKind.JSON,
    "jsonb": ColumnKind.JSON,
    "bytea": ColumnKind.BINARY,
}
_STRING_CATEGORY = "S"
#: Kinds that the parsed JSON already has in the normal form.
_PLAIN = {ColumnKind.BOOLEAN, ColumnKind.INTEGER, ColumnKind.DATE, ColumnKind.TIME, ColumnKind.TEXT}
_SPACE = " \t\n\r"
_parser = JSONDecoder(parse_float=str, parse_int=str, strict=False)


def kind_of(type_name: str, category: str) -> ColumnKind:
    """``type_name``: pg_type.typname below any domain; ``category``: its typcategory."""
    kind = _KINDS.get(type_name)
    if kind is None:
        return ColumnKind.TEXT if category == _STRING_CATEGORY else ColumnKind.OTHER
    return kind


def compile_decode(table: Table, zone: Callable[[], tzinfo]) -> Decode:
    """The fastest decoder that is exact for this table.  ``zone``: the database's local time, asked for when needed."""
    kinds = {column.kind for column in table.columns}
    if kinds & {ColumnKind.DECIMAL, ColumnKind.JSON, ColumnKind.OTHER}:
        return _exact_decode(table, zone)
    return _quick_decode(table, zone)


def decode_unknown(text: str) -> Row:
    """An image of a table that is not in the database any more."""
    return {name: _plain_or_text(raw) for name, raw in pieces(text)}


def _quick_decode(table: Table, zone: Callable[[], tzinfo]) -> Decode:
    doubles = tuple(column.name for column in table.columns if column.kind is ColumnKind.DOUBLE)
    converts = {
        column.name: _converter(column, zone)
        for column in table.columns
        if column.kind not in _PLAIN and column.kind is not ColumnKind.DOUBLE
    }
    all_converts = {**converts, **dict.fromkeys(doubles, _double)}
    loads = orjson.loads

    def decode(text: str) -> Row:
        row: dict[str, Value] = loads(text)
        try:
            for name in doubles:
                value = row[name]
                if value.__class__ is int:
                    row[name] = float(value)
                elif value.__class__ is str:  # NaN, or no number at all
                    row[name] = _double(value)
            for name, convert in converts.items():
                row[name] = convert(row[name])
        except KeyError:  # written before a column was dropped or renamed
            row = loads(text)
            for name in row.keys() & all_converts.keys():
                row[name] = all_converts[name](row[name])
        return row

    return decode


def _exact_decode(table: Table, zone: Callable[[], tzinfo]) -> Decode:
    converts = {column.name: _raw_converter(column, zone) for column in table.columns}

    def decode(text: str) -> Row:
        return {name: converts.get(name, _plain_or_text)(raw) for name, raw in pieces(text)}

    return decode


def _double(value: Any) -> Value:
    """A value that is no number was written before the column became a double: it stays."""
    try:
        return normal.double(value)
    except ValueError:
        return value  # type: ignore[no-any-return]  # JSON gives nothing but a Value for a scalar


def _converter(column: Column, zone: Callable[[], tzinfo]) -> _Convert:
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
            return value  # type: ignore[no-any-return]  # as above

    return lenient


def _raw_converter(column: Column, zone: Callable[[], tzinfo]) -> Callable[[str], Value]:
    """From the JSON text of the value."""
    if column.kind is ColumnKind.DECIMAL:
        return lambda raw: None if raw == "null" else raw.strip('"')
    if column.kind is ColumnKind.JSON:
        return lambda raw: None if raw == "null" else raw
    if column.kind is ColumnKind.OTHER:
        timestamps = column.database_type.startswith("timestamp")
        return lambda raw: _other(raw, timestamps=timestamps)
    convert = _double if column.kind is ColumnKind.DOUBLE else _converter(column, zone)
    return lambda raw: convert(_plain_or_text(raw))


def _timestamp(value: Any, zone: Callable[[], tzinfo]) -> Value:
    """``value`` has an offset when the column has a time zone: then it is shown in the database's local time."""
    text = str(value)
    if value is None or len(text) <= len("2026-11-24") or not (text.endswith("Z") or text[10:].strip("T:.0123456789")):
        return normal.timestamp(value)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:  # before Christ or behind the year 9999
        return text
    return normal.timestamp(moment.astimezone(zone()).replace(tzinfo=None))


def _binary(value: Any) -> Value:
    if isinstance(value, str) and value.startswith("\\x"):
        try:
            return normal.binary(bytes.fromhex(value[2:]))
        except ValueError:
            return value
    return normal.text(value)


def pieces(text: str) -> Iterator[tuple[str, str]]:
    """Name and JSON text of each value of an object, in order."""
    position = _skip(text, 0, "{")
    while position < len(text) and text[position] != "}":
        name, position = _parser.raw_decode(text, position)
        start = _skip(text, position, ":")
        _, position = _parser.raw_decode(text, start)
        yield name, text[start:position]
        position = _skip(text, position, ",")


def _skip(text: str, position: int, mark: str) -> int:
    """Behind white space, ``mark`` (if it is there) and white space."""
    while text[position] in _SPACE:
        position += 1
    if text[position] == mark:
        position += 1
    while text[position] in _SPACE:
        position += 1
    return position


def _plain_or_text(raw: str) -> Value:
    """A scalar as JSON has it; anything nested as its text."""
    return raw if raw[0] in "[{" else orjson.loads(raw)


def _other(raw: str, *, timestamps: bool) -> Value:
    """As PostgreSQL itself prints the value: arrays and composite values in its own notation."""
    if raw == "null":
        return None
    value = _parser.raw_decode(raw)[0]
    return value if isinstance(value, str) else _element(value, timestamps=timestamps, quoted=False)


def _element(value: Any, *, timestamps: bool, quoted: bool = True) -> str:
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "{" + ",".join(_element(each, timestamps=timestamps) for each in value) + "}"
    if value is None:
        return "NULL"
    if isinstance(value, Mapping):
        text = "(" + ",".join(_field(each, timestamps=timestamps) for each in value.values()) + ")"
    else:
        text = str(value).replace("T", " ", 1) if timestamps else str(value)
    if quoted and (not text or text.upper() == "NULL" or any(each in '{}",\\' or each.isspace() for each in text)):
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return text


def _field(value: Any, *, timestamps: bool) -> str:
    """One field of a composite value."""
    if value is None:
        return ""
    text = _element(value, timestamps=timestamps, quoted=False)
    if not text or any(each in '(),"\\' or each.isspace() for each in text):
        return '"' + text.replace("\\", "\\\\").replace('"', '""') + '"'
    return text
