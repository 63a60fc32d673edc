"""Column types of MariaDB and MySQL, one row of `TYPES` each: their kinds, how triggers write and compare their values
without loss, and how the binlog holds them: the stored bytes of single values → normal form (see `cdc.model.normal`).
Pure.

Each function of bytes takes those of one value, all of them, and gives the value; bytes that no server writes give a
`MalformedEvent`, or a value of the right type, never anything else."""

from __future__ import annotations

import re
import zlib
from binascii import b2a_base64
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum
from typing import TypeVar

from cdc.database.mysql_connection import Flavour, quote
from cdc.model.change import Value
from cdc.model.column import Column, ColumnKind
from cdc.model.errors import MalformedEvent
from cdc.model.normal import DecimalText

K = TypeVar("K", bound=Hashable)
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the server's local time has no zone
#: Decimal digits in a group of a decimal's integer or fraction part, and bytes of a shorter group.
_GROUP = 9
_GROUP_BYTES = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)
_GEOMETRY_SRID_BYTES = 4
_ZLIB = 8
_ZLIB_RAW = 0x08


class Cache(dict[K, Value]):
    """Values of frequent bytes, converted once: dates, times, amounts.  It is emptied when it is full."""

    __slots__ = ("_make",)
    BOUND = 4096

    def __init__(self, make: Callable[[K], Value]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, key: K) -> Value:
        value = self._make(key)
        if len(self) >= self.BOUND:
            self.clear()
        self[key] = value
        return value


def _date(year: int, month: int, day: int) -> str | None:
    return f"{year:04}-{month:02}-{day:02}" if year or month or day else None


def _clock(hours: int, minutes: int, seconds: int, fraction: str) -> str:
    return f"{hours:02}:{minutes:02}:{seconds:02}{fraction}"


def _fraction(number: int, width: int) -> str:
    """``number``: stored in ``width`` bytes, two digits a byte."""
    return "." + f"{number:0{2 * width}}".rstrip("0") if number else ""


def date(data: bytes) -> Value:
    number = int.from_bytes(data, "little")
    return _date(number >> 9, number >> 5 & 15, number & 31)


def datetime_(data: bytes) -> Value:
    """Big-endian: 5 bytes of date and time, the rest is the fraction."""
    number = int.from_bytes(data[:5], "big") - 0x8000000000
    months, days = divmod(number >> 17, 32)
    day = _date(*divmod(months, 13), days)
    fraction = _fraction(int.from_bytes(data[5:], "big"), len(data) - 5)
    return day and f"{day}T{_clock(number >> 12 & 31, number >> 6 & 63, number & 63, fraction)}"


def time(data: bytes) -> Value:
    """Big-endian: 3 bytes of time, the rest is the fraction; one two's complement number with an offset."""
    bits = 8 * (len(data) - 3)
    number = int.from_bytes(data, "big") - (0x800000 << bits)
    sign = "-" if number < 0 else ""
    whole, part = divmod(abs(number), 1 << bits)
    return sign + _clock(whole >> 12, whole >> 6 & 63, whole & 63, _fraction(part, len(data) - 3))


def timestamp(offset_of: Callable[[int], int]) -> Callable[[bytes], Value]:
    """Big-endian: 4 bytes of seconds since 1970, the rest is the fraction."""

    def convert(data: bytes) -> Value:
        seconds = int.from_bytes(data[:4], "big")
        fraction = _fraction(int.from_bytes(data[4:], "big"), len(data) - 4)
        return _moment(seconds, offset_of) + fraction if seconds or fraction else None

    return convert


def _moment(seconds: int, offset_of: Callable[[int], int]) -> str:
    return (_EPOCH + timedelta(seconds=seconds + offset_of(seconds))).isoformat()


def old_timestamp(offset_of: Callable[[int], int]) -> Callable[[bytes], Value]:
    """Return the timestamp of tables that were created before MariaDB 10.1."""

    def convert(data: bytes) -> Value:
        seconds = int.from_bytes(data, "little")
        return _moment(seconds, offset_of) if seconds else None

    return convert


def old_datetime(data: bytes) -> Value:
    """The decimal digits of YYYYMMDDhhmmss."""
    days, clock = divmod(int.from_bytes(data, "little"), 1_000_000)
    day = _date(days // 10_000, days // 100 % 100, days % 100)
    return day and f"{day}T{_clock(clock // 10_000, clock // 100 % 100, clock % 100, '')}"


def old_time(data: bytes) -> Value:
    """The decimal digits of hhmmss, with a sign."""
    number = int.from_bytes(data, "little", signed=True)
    sign, number = ("-", -number) if number < 0 else ("", number)
    return sign + _clock(number // 10_000, number // 100 % 100, number % 100, "")


def decimal_bytes(digits: int, scale: int) -> int:
    """Bytes of a DECIMAL(digits, scale)."""
    return sum(4 * (n // _GROUP) + _GROUP_BYTES[n % _GROUP] for n in (digits - scale, scale))


def decimal(digits: int, scale: int, *, zerofill: bool = False) -> Callable[[bytes], DecimalText]:
    """The bytes: groups of digits, big-endian, the shorter group outermost; the first bit is set for numbers from 0
    on, and all bits are inverted for those below."""
    whole = digits - scale
    widths = [whole % _GROUP, *[_GROUP] * (whole // _GROUP), *[_GROUP] * (scale // _GROUP), scale % _GROUP]
    groups = [(_GROUP_BYTES[width], width, 10**width) for width in widths if width]
    size = decimal_bytes(digits, scale)
    top, ones = 1 << 8 * size - 1, (1 << 8 * size) - 1

    def convert(data: bytes) -> DecimalText:
        number = int.from_bytes(data, "big") ^ top
        negative = bool(number & top)
        raw = (number ^ ones if negative else number).to_bytes(size, "big")
        position, text = 0, ""
        for count, width, limit in groups:
            group = int.from_bytes(raw[position : position + count], "big")
            if group >= limit:
                raise MalformedEvent("A decimal in the log has a digit beyond 9.")
            text += f"{group:0{width}}"
            position += count
        integer = text[:whole] if zerofill else text[:whole].lstrip("0") or "0"
        return DecimalText(("-" if negative else "") + (f"{integer}.{text[whole:]}" if scale else integer))

    return convert


def members(names: Sequence[str]) -> Callable[[int], Value]:
    """A SET's bits → the names of those that are set."""

    def convert(bits: int) -> Value:
        if bits >> len(names):
            raise MalformedEvent("A set in the log has a member that its column does not have.")
        return ",".join(name for number, name in enumerate(names) if bits >> number & 1)

    return convert


def bits(data: bytes) -> Value:
    return int.from_bytes(data, "big")


def binary(data: bytes) -> str:
    return b2a_base64(data, newline=False).decode("ascii")


def fixed_binary(width: int) -> Callable[[bytes], str]:
    """The log leaves out zero bytes at the end."""
    return lambda data: binary(data.ljust(width, b"\0"))


def geometry(data: bytes) -> str:
    """Return the WKB of a geometry, without the number of the reference system before it."""
    return binary(data[_GEOMETRY_SRID_BYTES:])


def uuid(data: bytes) -> str:
    text = data.ljust(16, b"\0").hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def inet4(data: bytes) -> str:
    return ".".join(map(str, data.ljust(4, b"\0")))


def inet6(data: bytes) -> str:
    """The longest run of zero groups, even of one, is left out, the first of several as long; IPv4 inside IPv6 is
    written as IPv4."""
    data = data.ljust(16, b"\0")
    groups = [int.from_bytes(data[start : start + 2], "big") for start in range(0, 16, 2)]
    length, start = _longest_zeros(groups)
    if start == 0 and (length == 6 or (length == 5 and groups[5] == 0xFFFF)):  # noqa: PLR2004 - of the 8 groups
        return ("::ffff:" if length == 5 else "::") + inet4(data[12:])  # noqa: PLR2004 - of the 8 groups
    texts = [f"{group:x}" for group in groups]
    return f"{':'.join(texts[:start])}::{':'.join(texts[start + length :])}" if length else ":".join(texts)


def _longest_zeros(groups: Sequence[int]) -> tuple[int, int]:
    """(length, start)."""
    best, start = (0, 0), None
    for index, group in enumerate([*groups, 1]):
        if group == 0:
            start = index if start is None else start
        elif start is not None:
            best = max(best, (index - start, -start))
            start = None
    return best[0], -best[1]


def decompressed(data: bytes, most: int) -> bytes:
    """A value of a COMPRESSED column, of ``most`` bytes at most: how it is compressed, how long it is without, and the
    compressed bytes."""
    if not data:
        return data
    method, width = data[0] >> 4, data[0] & 7
    if method == 0:
        return data[1:]
    length = int.from_bytes(data[1 : 1 + width], "big")
    if method != _ZLIB:
        raise MalformedEvent(f"A compressed value in the log has the unknown method {method}.")
    if length > most:
        raise MalformedEvent("A compressed value in the log is longer than its column.")
    stream = zlib.decompressobj(-zlib.MAX_WBITS if data[0] & _ZLIB_RAW else zlib.MAX_WBITS)
    try:
        content = stream.decompress(data[1 + width :], length + 1)
    except zlib.error as error:
        raise MalformedEvent("A compressed value in the log cannot be decompressed.") from error
    if len(content) != length:
        raise MalformedEvent("A compressed value in the log is not as long as it says.")
    return content


class ColumnType(IntEnum):
    """Type codes of columns in table maps, as in the server's protocol.  The comment says what a column's metadata is;
    0 where there is no comment."""

    OLD_DECIMAL = 0  # before MySQL 5.0
    TINY = 1
    SHORT = 2
    LONG = 3
    FLOAT = 4  # bytes of a value
    DOUBLE = 5  # bytes of a value
    NULL = 6
    OLD_TIMESTAMP = 7
    LONGLONG = 8
    INT24 = 9
    DATE = 10
    OLD_TIME = 11
    OLD_DATETIME = 12
    YEAR = 13
    NEWDATE = 14
    VARCHAR = 15  # most bytes of a value
    BIT = 16  # bits
    TIMESTAMP = 17  # digits of the fraction, as for the next two
    DATETIME = 18
    TIME = 19
    BLOB_COMPRESSED = 140  # bytes of the length; MariaDB's COMPRESSED attribute
    VARCHAR_COMPRESSED = 141  # most bytes of a value
    VECTOR = 242  # bytes of the length, as for the other blobs
    JSON = 245
    DECIMAL = 246  # 256 * digits + digits of the fraction
    ENUM = 247  # bytes of a value
    SET = 248  # bytes of a value
    BLOB = 252
    VAR_STRING = 253  # most bytes of a value
    STRING = 254  # most bytes of a value
    GEOMETRY = 255


def _first(first: int, _second: int, _width: int) -> int:
    return first


def _characters(first: int, _second: int, width: int) -> int:
    return first * width


def _digits(first: int, second: int, _width: int) -> int:
    return first << 8 | second


@dataclass(frozen=True, slots=True)
class MySQLType:
    """One type, by information_schema's DATA_TYPE.

    ``log`` and ``meta``: type and metadata in a table map; the metadata may depend on the numbers in the declaration
    and on the bytes of a character.  ``old_log``: the type in the format of before MariaDB 10.1.
    ``decoded``: its bytes in the log as the value, where the log's type alone does not say it.
    SQL, in which ``{0}`` is the column's reference and ``{1}`` its content: ``content``: the bytes or characters of the
    value; ``written``: the JSON value that triggers write, ``{0}`` being the content; ``compared``: equal only for
    exactly the same value; ``too_long``: the condition that the server would write null (for a JSON document: an empty
    text) instead of it.
    ``long``: it holds more than 64 kB.
    """

    kind: ColumnKind
    log: ColumnType | None = None
    meta: int | Callable[[int, int, int], int] = 0
    written: str = "{0}"
    compared: str = "{0}"
    content: str = "{0}"
    too_long: str = ""
    long: bool = False
    old_log: ColumnType | None = None
    decoded: Callable[[bytes], str] | None = None


GEOMETRY = (
    *("geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon"),
    *("geometrycollection", "geomcollection"),
)
#: The WKB that is stored, after the four bytes of the reference system.  MySQL's ST_AsWKB turns the axes of some
#: systems round, and the log has the bytes as they are stored.
_WKB = "SUBSTRING({0}, 5)"
_NUMBER, _TEXT, _BASE64 = "{0} + 0", "CONCAT({0})", "TO_BASE64({0})"
_BYTES = "CAST({0} AS BINARY)"
#: 1.36: characters of base64 for each byte, line ends included, and a little more.
_LONG_BASE64 = "LENGTH({1}) * 1.36 > @@max_allowed_packet"
_LONG_TEXT = "LENGTH({0}) > @@max_allowed_packet"
_LONG_JSON = "JSON_STORAGE_SIZE({0}) > @@max_allowed_packet DIV 8 AND {1} = ''"
_K, _C = ColumnKind, ColumnType
TYPES: Mapping[str, MySQLType] = {
    "tinyint": MySQLType(_K.INTEGER, _C.TINY),
    "smallint": MySQLType(_K.INTEGER, _C.SHORT),
    "mediumint": MySQLType(_K.INTEGER, _C.INT24),
    "int": MySQLType(_K.INTEGER, _C.LONG),
    "bigint": MySQLType(_K.INTEGER, _C.LONGLONG),
    "year": MySQLType(_K.INTEGER, _C.YEAR, written=_NUMBER),
    "bit": MySQLType(_K.INTEGER, _C.BIT, _first, written=_NUMBER),
    "double": MySQLType(_K.DOUBLE, _C.DOUBLE, 8),
    "float": MySQLType(_K.REAL, _C.FLOAT, 4, written="{0} + 0e0"),  # as a double: a float's own text has six digits
    "decimal": MySQLType(_K.DECIMAL, _C.DECIMAL, _digits, written=_TEXT),  # a JSON number would lose digits
    "date": MySQLType(_K.DATE, _C.DATE),
    "time": MySQLType(_K.TIME, _C.TIME, _first, old_log=_C.OLD_TIME),
    "datetime": MySQLType(_K.TIMESTAMP, _C.DATETIME, _first, old_log=_C.OLD_DATETIME),
    "timestamp": MySQLType(_K.TIMESTAMP, _C.TIMESTAMP, _first, old_log=_C.OLD_TIMESTAMP),
    "char": MySQLType(_K.TEXT, _C.STRING, _characters),
    "varchar": MySQLType(_K.TEXT, _C.VARCHAR, _characters),
    "tinytext": MySQLType(_K.TEXT, _C.BLOB, 1),
    "text": MySQLType(_K.TEXT, _C.BLOB, 2),
    "mediumtext": MySQLType(_K.TEXT, _C.BLOB, 3, long=True),
    # MariaDB's JSON is a longtext, which JSON_ARRAY would embed as a document
    "longtext": MySQLType(_K.TEXT, _C.BLOB, 4, written=_TEXT, too_long=_LONG_TEXT, long=True),
    "enum": MySQLType(_K.TEXT, _C.ENUM, compared=_NUMBER),
    "set": MySQLType(_K.TEXT, _C.SET, compared=_NUMBER),
    "json": MySQLType(
        *(_K.JSON, _C.JSON, 4),
        content="CAST({0} AS CHAR CHARACTER SET utf8mb4)",
        compared=_BYTES,
        too_long=_LONG_JSON,
        long=True,
    ),
    "binary": MySQLType(_K.BINARY, _C.STRING, _first, written=_BASE64),
    "varbinary": MySQLType(_K.BINARY, _C.VARCHAR, _first, written=_BASE64),
    "tinyblob": MySQLType(_K.BINARY, _C.BLOB, 1, written=_BASE64),
    "blob": MySQLType(_K.BINARY, _C.BLOB, 2, written=_BASE64),
    "mediumblob": MySQLType(_K.BINARY, _C.BLOB, 3, written=_BASE64, too_long=_LONG_BASE64, long=True),
    "longblob": MySQLType(_K.BINARY, _C.BLOB, 4, written=_BASE64, too_long=_LONG_BASE64, long=True),
    "vector": MySQLType(_K.BINARY, _C.VECTOR, 4, written=_BASE64),
    **dict.fromkeys(
        GEOMETRY,
        MySQLType(
            *(_K.BINARY, _C.GEOMETRY, 4, _BASE64),
            content=_WKB,
            compared=_WKB,
            too_long=_LONG_BASE64,
            long=True,
            decoded=geometry,
        ),
    ),
    "uuid": MySQLType(_K.OTHER, _C.STRING, 16, _TEXT, _BYTES, decoded=uuid),
    "inet6": MySQLType(_K.OTHER, _C.STRING, 16, _TEXT, _BYTES, decoded=inet6),
    "inet4": MySQLType(_K.OTHER, _C.STRING, 4, _TEXT, _BYTES, decoded=inet4),
}
#: Every other type: its text, which the log does not give.
_UNKNOWN = MySQLType(ColumnKind.OTHER, written=_TEXT, compared=_BYTES)
#: Collations that distinguish every two different texts: they neither fold nor ignore trailing spaces.
_EXACT: Mapping[tuple[Flavour, str], str] = {
    (Flavour.MARIADB, "utf8mb4"): "utf8mb4_nopad_bin",
    (Flavour.MARIADB, "utf8mb3"): "utf8mb3_nopad_bin",
    (Flavour.MARIADB, "latin1"): "latin1_nopad_bin",
    (Flavour.MYSQL, "utf8mb4"): "utf8mb4_0900_bin",
}
#: Kinds of amounts and flags: of most updates at least one differs.
_CHANGED_MOST = frozenset({ColumnKind.BOOLEAN, ColumnKind.DOUBLE, ColumnKind.REAL, ColumnKind.DECIMAL})
_NAME = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class MySQLColumn:
    """One row of information_schema.COLUMNS. ``charset`` and ``collation`` are empty for types without one; ``extra``
    such as ``auto_increment``.  ``collation`` is no part of how a value is written, nor recorded with a column."""

    name: str
    data_type: str
    column_type: str
    charset: str = ""
    extra: str = ""
    collation: str = field(default="", compare=False)

    @staticmethod
    def recorded(column: Column) -> MySQLColumn:
        """Return the column that a shape recorded with `column`."""
        words = column.database_type.split()
        name = _NAME.match(words[0])
        charset = words[-1] if column.kind is ColumnKind.TEXT else ""
        return MySQLColumn(column.name, name[0] if name else "", column.database_type, charset)

    @property
    def type(self) -> MySQLType:
        return TYPES.get(self.data_type, _UNKNOWN)

    @property
    def variable_type(self) -> str:
        """The type of a local variable that compares as this column does: same collation, hence same index."""
        charset = f" CHARACTER SET {self.charset}" if self.charset else ""
        return self.column_type + charset + (f" COLLATE {self.collation}" if self.collation else "")

    @property
    def automatic(self) -> bool:
        """The server numbers the rows, so nobody changes the numbers."""
        return "auto_increment" in self.extra.lower()

    @property
    def unsigned(self) -> bool:
        """Return whether a number has no sign."""
        return " unsigned" in self.column_type

    @property
    def kind(self) -> ColumnKind:
        return ColumnKind.BOOLEAN if self.boolean else self.type.kind

    @property
    def boolean(self) -> bool:
        return self.column_type.startswith("tinyint(1)")

    @property
    def binary(self) -> bool:
        return self.kind is ColumnKind.BINARY

    @property
    def often_changed(self) -> bool:
        return self.kind in _CHANGED_MOST

    @property
    def column(self) -> Column:
        return Column(self.name, self.kind, f"{self.column_type} {self.charset}".strip())


def value(column: MySQLColumn, source: str) -> str:
    """The expression of one element of an image: what it yields is a JSON value from which nothing is missing.

    ``source``: the column's reference, such as ``NEW.`name```.
    """
    return _written(column, column.type.content.format(source))


def _written(column: MySQLColumn, content: str) -> str:
    if column.kind is ColumnKind.TEXT and column.charset not in ("", "utf8mb4"):
        return f"CONVERT({content} USING utf8mb4)"
    padded = column.type.written == "{0}" and not column.charset and "zerofill" in column.column_type
    return (_NUMBER if padded else column.type.written).format(content)


def piece(column: MySQLColumn, source: str, start: int, length: int) -> str:
    """The expression of a part of a long value: ``length`` characters (bytes, of a binary one) of what `value` is made
    of, from the one numbered ``start`` on; the first one is 1."""
    return _written(column, f"SUBSTRING({column.type.content.format(source)}, {start}, {length})")


def image(columns: Sequence[MySQLColumn], source: str, replaced: Mapping[str, str] | None = None) -> str:
    """The JSON array of a row's values; NULL where it, or a value, would be longer than `max_allowed_packet`.
    ``replaced``: column name → the reference to read instead (or ``NULL``)."""
    other = replaced or {}
    read = [(column, other.get(column.name) or f"{source}.{quote(column.name)}") for column in columns]
    whole = f"JSON_ARRAY({', '.join(value(column, of) for column, of in read)})"
    if not any(column.type.long for column in columns):
        return whole
    # MariaDB's JSON_ARRAY that was too long once says that it is null ever after; CONCAT takes what it gives
    whole = f"CONCAT({whole})"
    too_long = [
        column.type.too_long.format(of, column.type.content.format(of)) for column, of in read if column.type.too_long
    ]
    return f"IF({' OR '.join(too_long)}, NULL, {whole})" if too_long else whole


def same(column: MySQLColumn, flavour: Flavour, old: str, new: str) -> str:
    """The condition that both references hold exactly the same value; tables' collations ignore case and accents."""
    compared = column.type.compared
    if column.charset and compared == "{0}":
        if collation := _EXACT.get((flavour, column.charset)):
            return f"{old} <=> {new} COLLATE {collation}"
        compared = _BYTES
    return f"{compared.format(old)} <=> {compared.format(new)}"
