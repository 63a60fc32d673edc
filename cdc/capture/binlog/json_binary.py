"""MySQL's binary JSON → the text that MySQL prints for it.  Pure.

A document is a tree of values, each with its type apart from it.  In what a server wrote no byte belongs to two
values; so the bytes that reading takes are counted, and more of them than the document has are malformed: the work
stays bounded whatever the offsets say.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any

from cdc.database import mysql_values as values
from cdc.database.mysql_types import ColumnType
from cdc.model.errors import MalformedEvent

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
        """Bytes that belong to one value only."""
        self._left -= length
        taken = self._data[start : start + length]
        if self._left < 0 or len(taken) != length:
            raise MalformedEvent("A JSON document in the log is larger inside than outside.")
        return taken

    def value(self, kind: int, start: int, depth: int) -> str:
        if kind in (_SMALL_OBJECT, _LARGE_OBJECT, _SMALL_ARRAY, _LARGE_ARRAY):
            if depth > _DEEPEST:
                raise MalformedEvent("A JSON document in the log is too deep.")
            return self._container(kind, start, depth)
        if kind in _NUMBERS:
            packed, text = _NUMBERS[kind]
            return text(packed.unpack(self._take(start, packed.size))[0])
        if kind == _STRING:
            return encode_basestring(self._with_length(start).decode("utf-8", "replace"))
        if kind == _OPAQUE:
            return _opaque(self._take(start, 1)[0], self._with_length(start + 1))
        return _literal(kind, self._take(start, 1)[0])

    def _with_length(self, start: int) -> bytes:
        """Bytes behind their length, seven bits of it in a byte, the lowest first."""
        length = 0
        for number in range(_MOST_LENGTH_BYTES):
            byte = self._take(start + number, 1)[0]
            length |= (byte & 0x7F) << 7 * number
            if not byte & 0x80:  # the highest bit says that more follow
                return self._take(start + number + 1, length)
        raise MalformedEvent("A JSON document in the log holds an invalid length.")

    def _container(self, kind: int, start: int, depth: int) -> str:
        """Number of elements, size, then for each key where it is, for each value its type and where it is."""
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

    def _values(self, start: int, at: int, count: int, code: str, depth: int) -> list[str]:
        entry = struct.Struct(f"<B{code}")
        entries = self._take(at, count * entry.size)
        return [self._element(start, kind, number, code, depth) for kind, number in entry.iter_unpack(entries)]

    def _element(self, start: int, kind: int, number: int, code: str, depth: int) -> str:
        """``number``: the value itself, where it fits, else where it is within the container."""
        if kind == _LITERAL:
            return _literal(kind, number)
        if kind in (_INT16, _UINT16) or (code == "I" and kind in (_INT32, _UINT32)):
            signed = kind in (_INT16, _INT32)
            bits = 16 if kind in (_INT16, _UINT16) else 32
            number &= (1 << bits) - 1
            return str(number - (1 << bits) if signed and number >> bits - 1 else number)
        return self.value(kind, start + number, depth + 1)


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


_NUMBERS: Mapping[int, tuple[struct.Struct, Callable[[Any], str]]] = {
    _INT16: (struct.Struct("<h"), str),
    _UINT16: (struct.Struct("<H"), str),
    _INT32: (struct.Struct("<i"), str),
    _UINT32: (struct.Struct("<I"), str),
    0x09: (struct.Struct("<q"), str),
    0x0A: (struct.Struct("<Q"), str),
    _DOUBLE: (struct.Struct("<d"), double_text),
}
