"""Comparison of columns in the log with the columns that information_schema shows.  Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from cdc.capture.binlog.charset import charset_of, width
from cdc.capture.binlog.table_map import LogColumn
from cdc.database.mysql_connection import Flavour
from cdc.database.mysql_types import ColumnType, MySQLColumn

_ARGUMENTS = re.compile(r"\((\d+)(?:,(\d+))?\)")
_MEMBER = re.compile(r"'((?:[^'\\]|''|\\.)*)'", re.DOTALL)
_ESCAPED = re.compile(r"''|\\(.)", re.DOTALL)
_ESCAPES = {"0": "\0", "n": "\n", "r": "\r"}
_OLD_FORMAT = "/* mariadb-5.3 */"
_MOST_SHORT_ENUM = 255
#: Bytes of a SET: as many as its members need up to this, else 8.
_MOST_SHORT_SET = 4

_COMPRESSED = {ColumnType.BLOB: ColumnType.BLOB_COMPRESSED, ColumnType.VARCHAR: ColumnType.VARCHAR_COMPRESSED}


def members_of(column_type: str) -> tuple[str, ...]:
    """Return the members of an ENUM or SET, from information_schema's COLUMN_TYPE."""

    def unescaped(found: re.Match[str]) -> str:
        return "'" if found[1] is None else _ESCAPES.get(found[1], found[1])

    return tuple(_ESCAPED.sub(unescaped, member) for member in _MEMBER.findall(column_type))


def expected(known: MySQLColumn, flavour: Flavour) -> tuple[int, int] | None:
    """Return (type, meta) as the log should have it; None for a type that this version does not know, or a fraction in
    an old format, of which the log does not say enough."""
    of, (first, second) = known.type, _arguments(known.column_type)
    if of.old_log is not None and _OLD_FORMAT in known.column_type:
        return None if first else (of.old_log, 0)
    if of.log is None:
        return None
    if of.log in (ColumnType.ENUM, ColumnType.SET):
        return _list(of.log, len(members_of(known.column_type)))
    if of.log is ColumnType.VECTOR and flavour is Flavour.MARIADB:
        return ColumnType.VARCHAR, 4 * first
    meta = of.meta if isinstance(of.meta, int) else of.meta(first, second, width(known.charset))
    return _compressed(known, of.log, meta)


def _arguments(column_type: str) -> tuple[int, int]:
    """The numbers in parentheses; 0 where there is none."""
    found = _ARGUMENTS.search(column_type)
    return (int(found[1]), int(found[2] or 0)) if found else (0, 0)


def _compressed(known: MySQLColumn, of_type: ColumnType, meta: int) -> tuple[int, int]:
    """A compressed string has a byte in front that says how."""
    if "COMPRESSED" not in known.column_type:
        return of_type, meta
    return _COMPRESSED[of_type], meta + (of_type == ColumnType.VARCHAR)


def _list(of_type: ColumnType, count: int) -> tuple[int, int]:
    if of_type is ColumnType.ENUM:
        return of_type, 1 if count <= _MOST_SHORT_ENUM else 2
    size = (count + 7) // 8
    return of_type, size if size <= _MOST_SHORT_SET else 8


def fits(log: LogColumn, known: MySQLColumn, flavour: Flavour) -> bool:
    """Return whether nothing in the log contradicts that this is the known column."""
    if (log.type, log.meta) != expected(known, flavour):
        return False
    if log.unsigned is not None and log.unsigned != known.unsigned:
        return False
    if log.members is not None and log.members != members_of(known.column_type):
        return False
    charset = None if log.collation is None else charset_of(log.collation)
    return charset in (None, _charset(known))


def _charset(known: MySQLColumn) -> str:
    """Return the character set as `charset_of` names it."""
    return "utf8mb3" if known.charset == "utf8" else known.charset or "binary"


def described(log: LogColumn, flavour: Flavour) -> MySQLColumn | None:
    """A column that information_schema has no more, as it must have been; None when that would be a guess.

    A TINYINT may be a boolean, an unsigned DECIMAL may be filled with zeros, a YEAR may have two digits, and sixteen
    bytes (or four) may be a UUID or an address in MariaDB.
    """
    charset = "" if log.collation is None else charset_of(log.collation)
    if log.name is None or charset is None:
        return None
    found = _described_type(log, charset, flavour)
    if found is None:
        return None
    sign = " unsigned" if log.unsigned else ""
    return MySQLColumn(log.name, found, found + sign, "" if charset == "binary" else charset)


def _described_type(log: LogColumn, charset: str, flavour: Flavour) -> str | None:
    binary = charset == "binary"
    name = _NAMES.get(log.type)
    if log.type in (ColumnType.SHORT, ColumnType.INT24, ColumnType.LONG, ColumnType.LONGLONG):
        return name if log.unsigned is not None else None
    if log.type == ColumnType.DECIMAL:
        return name if log.unsigned is False else None
    if log.type in (ColumnType.ENUM, ColumnType.SET):
        return name if log.members is not None else None
    if log.type == ColumnType.STRING:
        ambiguous = binary and flavour is Flavour.MARIADB and log.meta in (4, 16)
        return None if ambiguous or not charset else "binary" if binary else "char"
    if log.type in (ColumnType.VARCHAR, ColumnType.BLOB):
        return None if not charset else "longblob" if binary else "longtext"
    return name


_NAMES: Mapping[int, str] = {
    ColumnType.SHORT: "smallint",
    ColumnType.INT24: "mediumint",
    ColumnType.LONG: "int",
    ColumnType.LONGLONG: "bigint",
    ColumnType.FLOAT: "float",
    ColumnType.DOUBLE: "double",
    ColumnType.DECIMAL: "decimal",
    ColumnType.BIT: "bit",
    ColumnType.DATE: "date",
    ColumnType.DATETIME: "datetime",
    ColumnType.TIMESTAMP: "timestamp",
    ColumnType.TIME: "time",
    ColumnType.ENUM: "enum",
    ColumnType.SET: "set",
    ColumnType.JSON: "json",
    ColumnType.VECTOR: "vector",
    ColumnType.GEOMETRY: "geometry",
}
