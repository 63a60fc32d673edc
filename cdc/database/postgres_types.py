"""Column types of PostgreSQL, one row of `TYPES` each: their kinds, and how their values come out of the log's text and
of the JSON that triggers write.  Pure.

The text of a value is what the log holds and what people see, so it is the normal form of all that is no plain number,
text or moment.  The texts are those of a session that prints ISO dates, intervals in PostgreSQL's own style, bytes in
hexadecimal, floats without loss, and moments in UTC (session.sql).  JSON says less than the text: how parts of arrays,
composite values and hstore must be written is known from their types.  What JSON does not say at all is lost: the lower
bounds of an array that does not begin at 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from json import JSONDecoder
from typing import Any

from cdc.model import normal
from cdc.model.change import Value
from cdc.model.column import ColumnKind
from cdc.model.normal import DecimalText

#: The database's local time; asked for only when a value needs it.
Zone = Callable[[], tzinfo]
#: From the log's text of a value to its normal form.
Convert = Callable[[str], Value]
#: From the JSON text of a value to PostgreSQL's text of it; None is NULL.
ToText = Callable[[str], str | None]

_SPACE = " \t\n\r"
_SPECIAL_IN_ARRAY = re.compile(r'[{}"\\ \t\n\r\v\f]')
_SPECIAL_IN_COMPOSITE = re.compile(r'[(),"\\ \t\n\r\v\f]')
_VECTORS = ("int2vector", "oidvector")
_DOCUMENTS = ("json", "jsonb")
_STRINGS, _ARRAYS = "S", "A"  # categories
#: Lower bounds of an array that does not begin at 1: JSON, and so the triggers, do not have them.
_BOUNDS = re.compile(r"(?:\[-?\d+:-?\d+\])+=")
#: Date and time as PostgreSQL and its JSON write them, with an offset, and an era when it is not ours.
_MOMENT = re.compile(r"(\d+)(-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?)([+-]\d\d(?::\d\d){0,2}|Z)( BC)?")
#: The calendar repeats after so many years.
_CYCLE = 400
_LAST = 9999
_parser = JSONDecoder(parse_float=str, parse_int=str, strict=False)


def local(text: str, zone: Zone) -> Value:
    """A text with an offset in the database's local time; any other (no zone, infinity) as `without_zone` has it."""
    found = _MOMENT.fullmatch(text)
    if found is None:
        return without_zone(text)
    year = 1 - int(found[1]) if found[4] else int(found[1])
    # a whole number of cycles, so that a day more or less is still within Python's years
    shift = (2 - year + _CYCLE - 1) // _CYCLE * _CYCLE if year <= 1 else 0
    if year >= _LAST:
        shift = -((year - _LAST + _CYCLE) // _CYCLE * _CYCLE)
    moment = datetime.fromisoformat(f"{year + shift:04}{found[2]}{found[3]}").astimezone(zone()).replace(tzinfo=None)
    year = moment.year - shift
    written = normal.timestamp(f"{year if year > 0 else 1 - year:04}{moment.isoformat()[4:]}")
    return written if year > 0 else f"{written} BC"


def without_zone(text: str) -> Value:
    return f"{normal.timestamp(text[:-3])} BC" if text.endswith(" BC") else normal.timestamp(text)


def _logged_boolean(text: str) -> Value:
    return {"t": True, "f": False}.get(text, text)


def _logged_json(text: str) -> Value:
    """Return the JSON without white space around it, as within a larger document; JSON's null is null."""
    text = text.strip(_SPACE)
    return None if text == "null" else text


def _logged_binary(text: str) -> Value:
    return normal.binary(bytes.fromhex(text[2:]))


def _logged_array(text: str) -> Value:
    found = _BOUNDS.match(text)
    return text[found.end() :] if found else text


def plain(raw: str) -> str | None:
    """A value that JSON shows as its text, or as a number with the same digits."""
    if raw == "null":
        return None
    return str(_parser.raw_decode(raw)[0]) if raw[0] == '"' else raw


def _boolean(raw: str) -> str | None:
    return {"true": "t", "false": "f"}.get(raw) or plain(raw)


def _timestamp(raw: str) -> str | None:
    """Return the timestamp without the T."""
    text = plain(raw)
    return text if text is None else text.replace("T", " ", 1)


def _moment(raw: str) -> str | None:
    """Return the moment without the T, and its offset without minutes where they are zero."""
    text = _timestamp(raw)
    return text if text is None else re.sub(r"([+-]\d\d):00\b", r"\1", text)


def _json(raw: str) -> str | None:
    return None if raw == "null" else raw


def _hstore(raw: str) -> str | None:
    if raw[0] != "{":
        return plain(raw)
    pairs = ((_quoted(name), plain(value)) for name, value in members(raw))
    return ", ".join(f"{name}=>{'NULL' if value is None else _quoted(value)}" for name, value in pairs)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@dataclass(frozen=True, slots=True)
class PostgresType:
    """One type, by pg_type.typname.  ``logged``: from the log's text; None: the text is the value.  ``zoned``: the text
    has an offset, the value is local time.  ``nested``: from JSON, as a part of an array or composite value.

    The JSON of a column's own value is read by its kind (`cdc.capture.postgres_catalogue`)."""

    kind: ColumnKind
    logged: Convert | None = None
    nested: ToText = plain
    zoned: bool = False


TYPES: Mapping[str, PostgresType] = {
    "bool": PostgresType(ColumnKind.BOOLEAN, _logged_boolean, _boolean),
    "int2": PostgresType(ColumnKind.INTEGER, int),
    "int4": PostgresType(ColumnKind.INTEGER, int),
    "int8": PostgresType(ColumnKind.INTEGER, int),
    "float8": PostgresType(ColumnKind.DOUBLE, normal.double),
    "float4": PostgresType(ColumnKind.REAL, normal.real),
    "numeric": PostgresType(ColumnKind.DECIMAL, DecimalText),
    "date": PostgresType(ColumnKind.DATE),
    "time": PostgresType(ColumnKind.TIME),
    "timestamp": PostgresType(ColumnKind.TIMESTAMP, without_zone, _timestamp),
    "timestamptz": PostgresType(ColumnKind.TIMESTAMP, without_zone, _moment, zoned=True),
    "json": PostgresType(ColumnKind.JSON, _logged_json, _json),
    "jsonb": PostgresType(ColumnKind.JSON, _logged_json, _json),
    "bytea": PostgresType(ColumnKind.BINARY, _logged_binary),
    "hstore": PostgresType(ColumnKind.OTHER, None, _hstore),
}
#: Every other type, by its category: text.
_OTHER = PostgresType(ColumnKind.OTHER)
_BY_CATEGORY = {_STRINGS: PostgresType(ColumnKind.TEXT), _ARRAYS: PostgresType(ColumnKind.OTHER, _logged_array)}


def type_of(name: str, category: str) -> PostgresType:
    """``name`` and ``category`` as pg_type has them, below any domain."""
    return TYPES.get(name) or _BY_CATEGORY.get(category, _OTHER)


def converter(known: PostgresType | None, zone: Zone) -> Convert | None:
    """Return the conversion of a type's text; None when the text is the value already, also for a type that no longer
    exists."""
    if known is None:
        return None
    return (lambda text: local(text, zone)) if known.zoned else known.logged


@dataclass(frozen=True, slots=True)
class PgType:
    """One row of types.sql.  ``base``: below a domain (0: it is none); ``element``: of an array (0: it is none);
    ``delimiter``: between those elements; ``fields``: types of a composite value's fields."""

    oid: int
    name: str
    kind: str
    base: int
    element: int
    delimiter: str
    fields: tuple[int, ...]


def build_types(records: Iterable[Sequence[Any]]) -> dict[int, PgType]:
    return {
        oid: PgType(oid, name, kind, base, element, delimiter, tuple(fields))
        for oid, name, kind, base, element, delimiter, fields in records
    }


def to_text(oid: int, types: Mapping[int, PgType]) -> ToText:
    """Return the conversion of a type's values to text."""
    known = _below_domains(oid, types)
    if known is None:
        return plain
    if known.kind == "c":
        return _composite([to_text(field, types) for field in known.fields])
    if known.element:
        element = _below_domains(known.element, types)
        opaque = element is not None and (element.element > 0 or element.name in _DOCUMENTS)
        return _array(known, to_text(known.element, types), opaque=opaque)
    return TYPES.get(known.name, _OTHER).nested


def _below_domains(oid: int, types: Mapping[int, PgType]) -> PgType | None:
    known = types.get(oid)
    while known is not None and known.kind == "d":
        known = types.get(known.base)
    return known


def _array(known: PgType, element: ToText, *, opaque: bool) -> ToText:
    """``opaque``: an element may be a JSON array itself, so that none is taken for a further dimension."""
    delimiter = known.delimiter

    def convert(raw: str) -> str | None:
        if raw[0] != "[":
            text = plain(raw)
            return None if text is None else str(_logged_array(text))
        if known.name in _VECTORS:
            return " ".join(items(raw))
        return "{" + delimiter.join(_element(each) for each in items(raw)) + "}"

    def _element(raw: str) -> str:
        if raw[0] == "[" and not opaque:
            return "{" + delimiter.join(_element(each) for each in items(raw)) + "}"
        text = element(raw)
        if text is None:
            return "NULL"
        special = _SPECIAL_IN_ARRAY.search(text) or delimiter in text
        return _quoted(text) if not text or special or text.upper() == "NULL" else text

    return convert


def _composite(fields: list[ToText]) -> ToText:
    def convert(raw: str) -> str | None:
        if raw[0] != "{":
            return plain(raw)
        values = [value for _, value in members(raw)]
        known = fields if len(fields) == len(values) else [plain] * len(values)  # the type was altered since
        return "(" + ",".join(_field(to(value)) for to, value in zip(known, values, strict=True)) + ")"

    return convert


def _field(text: str | None) -> str:
    if text is None:
        return ""
    if not text or _SPECIAL_IN_COMPOSITE.search(text):
        return '"' + text.replace("\\", "\\\\").replace('"', '""') + '"'
    return text


def members(text: str) -> Iterator[tuple[str, str]]:
    """Name and JSON text of each value of an object, in order."""
    position = _skip(text, 0, "{")
    while position < len(text) and text[position] != "}":
        name, position = _parser.raw_decode(text, position)
        start = _skip(text, position, ":")
        _, position = _parser.raw_decode(text, start)
        yield name, text[start:position]
        position = _skip(text, position, ",")


def items(text: str) -> Iterator[str]:
    """JSON text of each element of an array."""
    position = _skip(text, 0, "[")
    while position < len(text) and text[position] != "]":
        start = position
        _, position = _parser.raw_decode(text, start)
        yield text[start:position]
        position = _skip(text, position, ",")


def _skip(text: str, position: int, mark: str) -> int:
    """Return the place after white space, ``mark`` (if it is there) and white space."""
    while text[position] in _SPACE:
        position += 1
    if text[position] == mark:
        position += 1
    while text[position] in _SPACE:
        position += 1
    return position
