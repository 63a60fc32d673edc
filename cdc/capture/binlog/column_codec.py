"""The encoding of one column's value in a row image, and its conversion to a `Value`: the parts of generated readers.

A document of MySQL's binary JSON becomes the text that MySQL prints for it.  It is a tree of values, each with its type
apart from it.  No byte of a document that a server wrote belongs to two values; so the bytes that reading takes are
counted, and more of them than the document has are malformed: the work is bounded for all offsets.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Any

from cdc.capture.binlog.charset import is_utf8, text_decoder
from cdc.capture.binlog.event import LogColumn
from cdc.database import mysql_types as values
from cdc.database.mysql_connection import Flavour
from cdc.database.mysql_types import ColumnType, MySQLColumn
from cdc.model.errors import MalformedEvent, SourceError
from cdc.model.normal import real

#: `struct` codes of an unsigned little-endian number of that many bytes, and the expression of it.
_NUMBERS: Mapping[int, tuple[tuple[str, ...], str]] = {
    1: (("B",), "{0}"),
    2: (("H",), "{0}"),
    3: (("H", "B"), "({1} << 16 | {0})"),
    4: (("I",), "{0}"),
    8: (("Q",), "{0}"),
}
_SIGNED: Mapping[int, tuple[str, ...]] = {1: ("b",), 2: ("h",), 3: ("H", "b"), 4: ("i",), 8: ("q",)}
_INTEGER_BYTES: Mapping[int, int] = {
    ColumnType.TINY: 1,
    ColumnType.SHORT: 2,
    ColumnType.INT24: 3,
    ColumnType.LONG: 4,
    ColumnType.LONGLONG: 8,
}
#: Bytes of a moment without its fraction.
_MOMENT_BYTES: Mapping[int, int] = {
    ColumnType.DATE: 3,
    ColumnType.NEWDATE: 3,
    ColumnType.DATETIME: 5,
    ColumnType.TIMESTAMP: 4,
    ColumnType.TIME: 3,
    ColumnType.OLD_DATETIME: 8,
    ColumnType.OLD_TIMESTAMP: 4,
    ColumnType.OLD_TIME: 3,
}
_WITH_FRACTION = frozenset({ColumnType.DATETIME, ColumnType.TIMESTAMP, ColumnType.TIME})
_BLOBS = frozenset(
    {ColumnType.BLOB, ColumnType.BLOB_COMPRESSED, ColumnType.JSON, ColumnType.VECTOR, ColumnType.GEOMETRY}
)
_STRINGS = frozenset({ColumnType.VARCHAR, ColumnType.VARCHAR_COMPRESSED, ColumnType.VAR_STRING, ColumnType.STRING})
_COMPRESSED = frozenset({ColumnType.BLOB_COMPRESSED, ColumnType.VARCHAR_COMPRESSED})
_MOST_SHORT = 255
_BOOLEANS = (False, True)
_YEARS = (0, *range(1901, 2156))
_CALL, _LOOK_UP = "{h}({0})", "{h}[{0}]"


@dataclass(frozen=True, slots=True)
class ColumnCodec:
    """The parts of generated code that read a column.  ``codes``: `struct` codes of the fixed bytes.  ``length``:
    empty, or the expression of the length, from the codes' numbers ``{0}``, ``{1}``, of the bytes behind them.

    ``expression``: of the value, from the codes' numbers (or ``{0}``, the bytes behind) and the helper ``{h}``.
    """

    codes: tuple[str, ...]
    length: str = ""
    expression: str = "{0}"
    helper: Any = None

    def read_by(self, expression: str, helper: Any = None) -> ColumnCodec:
        return ColumnCodec(self.codes, self.length, expression, helper)


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """Options of a conversion. ``tolerant``: bytes that are no text give U+FFFD (slower) rather than an error."""

    flavour: Flavour
    offset_of: Callable[[int], int]
    tolerant: bool = False


def stored(log: LogColumn) -> ColumnCodec:
    """Return the bytes of a column's value, by what the log alone says; the expression is of no use."""
    kind, meta = log.type, log.meta
    if kind in _BLOBS or kind in _STRINGS:
        codes, length = _NUMBERS[meta if kind in _BLOBS else 1 if meta <= _MOST_SHORT else 2]
        return ColumnCodec(codes, length)
    if kind in _MOMENT_BYTES:
        fraction = (meta + 1) // 2 if kind in _WITH_FRACTION else 0
        codes = (f"{_MOMENT_BYTES[kind] + fraction}s",)
    elif kind in (ColumnType.ENUM, ColumnType.SET):
        codes = _NUMBERS[meta][0]
    elif kind == ColumnType.DECIMAL:
        codes = (f"{values.decimal_bytes(meta >> 8, meta & 0xFF)}s",)
    elif kind == ColumnType.BIT:
        codes = (f"{(meta + 7) // 8}s",)
    else:
        codes = _SIGNED[_INTEGER_BYTES[kind]] if kind in _INTEGER_BYTES else _OTHERS[kind]
    return ColumnCodec(codes)


#: Codes of the remaining types.
_OTHERS: Mapping[int, tuple[str, ...]] = {
    ColumnType.FLOAT: ("f",),
    ColumnType.DOUBLE: ("d",),
    ColumnType.YEAR: ("B",),
    ColumnType.NULL: (),
}


def form_of(log: LogColumn, known: MySQLColumn, options: DecodeOptions) -> ColumnCodec:
    """The form of a column that the log and information_schema describe alike (see `cdc.capture.binlog.layout`)."""
    form = stored(log)
    if log.type in _INTEGER_BYTES:
        width = _INTEGER_BYTES[log.type]
        unsigned, expression = _NUMBERS[width]
        if known.boolean:
            others = range(2, 256) if known.unsigned else (*range(2, 128), *range(-128, 0))
            return ColumnCodec(unsigned, expression=_LOOK_UP, helper=(*_BOOLEANS, *others))
        return ColumnCodec(unsigned if known.unsigned else _SIGNED[width], expression=expression)
    if log.type in _MOMENT_BYTES:
        moments = _MOMENTS.get(log.type)
        if moments is None:
            moments = _timestamps(options.offset_of, old=log.type == ColumnType.OLD_TIMESTAMP)
        return form.read_by(_LOOK_UP, moments)
    if form.length:
        return _bytes(form, log, known, options)
    if log.type in (ColumnType.ENUM, ColumnType.SET):
        names = log.members or ()
        if log.type == ColumnType.ENUM:  # 0 is what is no member
            return form.read_by(_LOOK_UP, ("", *names))
        number = _NUMBERS[log.meta][1]
        return form.read_by(f"{{h}}[{number}]", values.Cache(values.members(names)))
    if log.type == ColumnType.DECIMAL:
        zerofill = "zerofill" in known.column_type
        return form.read_by(_LOOK_UP, _decimals(log.meta >> 8, log.meta & 0xFF, zerofill))
    if log.type == ColumnType.FLOAT:
        return form.read_by(_LOOK_UP, _REALS)
    if log.type == ColumnType.DOUBLE:
        scale = re.search(r"\(\d+,(\d+)\)", known.column_type)
        if scale and options.flavour is Flavour.MARIADB:
            digits = int(scale[1])  # MariaDB may store 1.36 as 1.3599999999999999, and prints 1.360
            return form.read_by(_CALL, lambda number: round(number, digits) or 0.0)
        return form.read_by("({0} or 0.0)")  # zero without a sign, as in `cdc.model.normal`
    if log.type == ColumnType.YEAR:
        two_digits = "(2)" in known.column_type
        return form.read_by(_LOOK_UP, tuple(year % 100 for year in _YEARS) if two_digits else _YEARS)
    if log.type == ColumnType.BIT:
        return form.read_by(_CALL, values.bits)
    return form


#: One for the columns of all tables: the same moments come in many.
_MOMENTS: Mapping[int, values.Cache[bytes]] = {
    ColumnType.DATE: values.Cache(values.date),
    ColumnType.NEWDATE: values.Cache(values.date),
    ColumnType.DATETIME: values.Cache(values.datetime_),
    ColumnType.TIME: values.Cache(values.time),
    ColumnType.OLD_DATETIME: values.Cache(values.old_datetime),
    ColumnType.OLD_TIME: values.Cache(values.old_time),
}
_REALS = values.Cache[float](lambda number: real(number or 0.0))


@lru_cache(8)
def _timestamps(offset_of: Callable[[int], int], *, old: bool) -> values.Cache[bytes]:
    return values.Cache(values.old_timestamp(offset_of) if old else values.timestamp(offset_of))


@lru_cache(256)
def _decimals(digits: int, scale: int, zerofill: bool) -> values.Cache[bytes]:
    return values.Cache(values.decimal(digits, scale, zerofill=zerofill))


def _bytes(form: ColumnCodec, log: LogColumn, known: MySQLColumn, options: DecodeOptions) -> ColumnCodec:
    if log.type == ColumnType.JSON:
        return form.read_by(_CALL, json_text)
    if known.type.decoded is not None:
        return form.read_by(_CALL, known.type.decoded)
    if known.binary and log.type == ColumnType.STRING:
        return form.read_by(_CALL, values.fixed_binary(log.meta))
    if known.binary:
        return _perhaps_compressed(form, log, values.binary)
    if is_utf8(known.charset) and log.type not in _COMPRESSED and not options.tolerant:
        return form.read_by("{0}.decode()")
    decode = text_decoder(known.charset)
    if decode is None:
        raise SourceError(
            f"Column {known.name} is of type {known.column_type} {known.charset}, which is not read from the log.",
            'Convert the column to utf8mb4, or use capture = "triggers".',
        )
    return _perhaps_compressed(form, log, decode)


def _perhaps_compressed(form: ColumnCodec, log: LogColumn, convert: Callable[[bytes], str]) -> ColumnCodec:
    if log.type not in _COMPRESSED:
        return form.read_by(_CALL, convert)
    most = log.meta if log.type == ColumnType.VARCHAR_COMPRESSED else 1 << 8 * log.meta
    return form.read_by(_CALL, lambda data: convert(values.decompressed(data, most)))


_SMALL_OBJECT, _LARGE_OBJECT, _SMALL_ARRAY, _LARGE_ARRAY, _LITERAL = range(5)
_INT16, _UINT16, _INT32, _UINT32 = range(5, 9)
_DOUBLE, _STRING, _OPAQUE = 0x0B, 0x0C, 0x0F
_LITERALS: Mapping[int, str] = {0: "null", 1: "true", 2: "false"}
#: Deeper than MySQL lets documents be.
_DEEPEST = 100
_BASE64_LINE = 57  # bytes, which are 76 characters
_MOST_LENGTH_BYTES = 5
_MOST_DIGITS = 65
#: Digits in front of the point (below zero: zeros behind it) that are written without an exponent.
_LEAST_POINT, _MOST_POINT = -14, 15


def json_text(data: bytes) -> str:
    """The document as ``CAST(… AS CHAR)`` gives it; no bytes at all are what a row had before the column was added."""
    if not data:
        return "null"
    try:
        return _Document(data).value(data[0], 1, 1)
    except (struct.error, IndexError) as error:  # what bytes that are too short give
        raise MalformedEvent("A JSON document in the log ends before its content does.") from error


class _Document:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = len(data)

    def _take(self, start: int, length: int) -> bytes:
        """Return bytes that belong to one value only."""
        self._left -= length
        taken = self._data[start : start + length]
        if self._left < 0 or len(taken) != length:
            raise MalformedEvent("A JSON document in the log is larger inside than outside.")
        return taken

    def value(self, kind: int, start: int, depth: int) -> str:
        if kind in (_SMALL_OBJECT, _LARGE_OBJECT, _SMALL_ARRAY, _LARGE_ARRAY):
            if depth > _DEEPEST:
                raise MalformedEvent("A JSON document in the log is too deep.")
            # Number of elements, size, then for each key where it is, for each value its type and where
            # it is.
            width, code = (2, "H") if kind in (_SMALL_OBJECT, _SMALL_ARRAY) else (4, "I")
            count = int.from_bytes(self._take(start, 2 * width)[:width], "little")
            at = start + 2 * width
            if kind in (_SMALL_ARRAY, _LARGE_ARRAY):
                return f"[{', '.join(self._values(start, at, count, code, depth))}]"
            entries = self._take(at, count * (width + 2))
            keys = [
                encode_basestring(self._take(start + offset, length).decode("utf-8", "replace"))
                for offset, length in struct.iter_unpack(f"<{code}H", entries)
            ]
            elements = self._values(start, at + len(entries), count, code, depth)
            return f"{{{', '.join(f'{key}: {value}' for key, value in zip(keys, elements, strict=True))}}}"
        if kind in _JSON_NUMBERS:
            packed, text = _JSON_NUMBERS[kind]
            return text(packed.unpack(self._take(start, packed.size))[0])
        if kind == _STRING:
            return encode_basestring(self._with_length(start).decode("utf-8", "replace"))
        if kind == _OPAQUE:
            return _opaque(self._take(start, 1)[0], self._with_length(start + 1))
        return _literal(kind, self._take(start, 1)[0])

    def _with_length(self, start: int) -> bytes:
        """Return the bytes after their length, seven bits of it in a byte, the lowest first."""
        length = 0
        for number in range(_MOST_LENGTH_BYTES):
            byte = self._take(start + number, 1)[0]
            length |= (byte & 0x7F) << 7 * number
            if not byte & 0x80:  # the highest bit says that more follow
                return self._take(start + number + 1, length)
        raise MalformedEvent("A JSON document in the log holds an invalid length.")

    def _values(self, start: int, at: int, count: int, code: str, depth: int) -> list[str]:
        entry = struct.Struct(f"<B{code}")
        elements = []
        for kind, number in entry.iter_unpack(self._take(at, count * entry.size)):
            # the number is the value itself, where it fits, else where it is within the container
            if kind == _LITERAL:
                elements.append(_literal(kind, number))
            elif kind in (_INT16, _UINT16) or (code == "I" and kind in (_INT32, _UINT32)):
                bits = 16 if kind in (_INT16, _UINT16) else 32
                value = number & (1 << bits) - 1
                negative = kind in (_INT16, _INT32) and value >> bits - 1
                elements.append(str(value - (1 << bits) if negative else value))
            else:
                elements.append(self.value(kind, start + number, depth + 1))
        return elements


def _literal(kind: int, number: int) -> str:
    if kind != _LITERAL or number not in _LITERALS:
        raise MalformedEvent("A JSON document in the log holds a value of an unknown type.")
    return _LITERALS[number]


def double_text(number: float) -> str:
    """The shortest digits that read back as the same number, with the point or the exponent where MySQL writes them."""
    if not math.isfinite(number):
        raise MalformedEvent("A JSON document in the log holds a number that JSON does not have.")
    sign, found, exponent = Decimal(repr(number)).as_tuple()
    digits = "".join(map(str, found)).rstrip("0") or "0"
    point = len(found) + int(exponent) if number else 1  # digits in front of the point
    minus = "-" if sign else ""
    if point < _LEAST_POINT or (point > _MOST_POINT and len(digits) <= point):
        fraction = f".{digits[1:]}" if digits[1:] else ""
        return f"{minus}{digits[0]}{fraction}e{point - 1}"
    if point <= 0:
        return f"{minus}0.{'0' * -point}{digits}"
    return f"{minus}{digits[:point].ljust(point, '0')}.{digits[point:] or '0'}"


def _opaque(kind: int, data: bytes) -> str:
    """A value of one of the types of columns."""
    if kind == ColumnType.DECIMAL:
        digits, scale = data[0], data[1]
        if not 0 < digits <= _MOST_DIGITS or scale > digits or len(data) != 2 + values.decimal_bytes(digits, scale):
            raise MalformedEvent("A JSON document in the log holds an invalid decimal.")
        return values.decimal(digits, scale)(data[2:])
    if kind in (ColumnType.DATE, ColumnType.OLD_DATETIME, ColumnType.OLD_TIMESTAMP, ColumnType.OLD_TIME):
        return f'"{_moment(kind, struct.unpack("<q", data)[0])}"'
    lines = [values.binary(data[start : start + _BASE64_LINE]) for start in range(0, len(data), _BASE64_LINE)]
    return encode_basestring(f"base64:type{kind}:" + "\n".join(lines))


def _moment(kind: int, packed: int) -> str:
    """The number holds microseconds in its lowest 24 bits, above them the bits of a TIME or DATETIME column."""
    sign, packed = ("-", -packed) if packed < 0 else ("", packed)
    whole, micros = divmod(packed, 1 << 24)
    minutes = f"{whole >> 6 & 63:02}:{whole & 63:02}.{micros:06}"
    if kind == ColumnType.OLD_TIME:
        return f"{sign}{whole >> 12 & 0x3FF:02}:{minutes}"
    months, day = divmod(whole >> 17, 32)
    year, month = divmod(months, 13)
    date = f"{sign}{year:04}-{month:02}-{day:02}"
    return date if kind == ColumnType.DATE else f"{date} {whole >> 12 & 31:02}:{minutes}"


_JSON_NUMBERS: Mapping[int, tuple[struct.Struct, Callable[[Any], str]]] = {
    _INT16: (struct.Struct("<h"), str),
    _UINT16: (struct.Struct("<H"), str),
    _INT32: (struct.Struct("<i"), str),
    _UINT32: (struct.Struct("<I"), str),
    0x09: (struct.Struct("<q"), str),
    0x0A: (struct.Struct("<Q"), str),
    _DOUBLE: (struct.Struct("<d"), double_text),
}
