"""Columns of MariaDB and MySQL: their kinds, and the SQL that writes and compares their values without loss.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cdc.database.mysql_connection import Flavour, quote
from cdc.model.column import Column, ColumnKind

_KINDS: Mapping[str, ColumnKind] = {
    **dict.fromkeys(("tinyint", "smallint", "mediumint", "int", "bigint", "year", "bit"), ColumnKind.INTEGER),
    **dict.fromkeys(("char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set"), ColumnKind.TEXT),
    **dict.fromkeys(("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob", "vector"), ColumnKind.BINARY),
    **dict.fromkeys(("datetime", "timestamp"), ColumnKind.TIMESTAMP),
    "double": ColumnKind.DOUBLE,
    "float": ColumnKind.REAL,
    "decimal": ColumnKind.DECIMAL,
    "date": ColumnKind.DATE,
    "time": ColumnKind.TIME,
    "json": ColumnKind.JSON,
}
GEOMETRY = frozenset(
    {"geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon"}
    | {"geometrycollection", "geomcollection"}
)
#: Collations that tell apart every two different texts: they neither fold nor ignore trailing spaces.
_EXACT: Mapping[tuple[Flavour, str], str] = {
    (Flavour.MARIADB, "utf8mb4"): "utf8mb4_nopad_bin",
    (Flavour.MARIADB, "utf8mb3"): "utf8mb3_nopad_bin",
    (Flavour.MARIADB, "latin1"): "latin1_nopad_bin",
    (Flavour.MYSQL, "utf8mb4"): "utf8mb4_0900_bin",
}


_LONG = frozenset({"mediumtext", "longtext", "mediumblob", "longblob", "json"})
#: Characters of base64 for each byte, line ends included, and a little more.
_BASE64 = 1.36


@dataclass(frozen=True, slots=True)
class MySQLColumn:
    """One row of information_schema.COLUMNS. ``charset`` is empty for types without one; ``extra`` such as
    ``auto_increment``."""

    name: str
    data_type: str
    column_type: str
    charset: str = ""
    extra: str = ""

    @property
    def automatic(self) -> bool:
        """The server numbers the rows, so nobody changes the numbers."""
        return "auto_increment" in self.extra.lower()

    @property
    def long(self) -> bool:
        """It holds more than 64 kB."""
        return self.data_type in _LONG or self.data_type in GEOMETRY

    @property
    def unsigned(self) -> bool:
        """Of a number."""
        return " unsigned" in self.column_type

    @property
    def kind(self) -> ColumnKind:
        if self.data_type in GEOMETRY:
            return ColumnKind.BINARY
        if self.column_type.startswith("tinyint(1)"):
            return ColumnKind.BOOLEAN
        return _KINDS.get(self.data_type, ColumnKind.OTHER)

    @property
    def column(self) -> Column:
        return Column(self.name, self.kind, f"{self.column_type} {self.charset}".strip())


def value(column: MySQLColumn, source: str) -> str:
    """The expression of one element of an image: what it yields is a JSON value from which nothing is missing.

    ``source``: the column's reference, such as ``NEW.`name```.
    """
    plain = source
    if column.data_type in GEOMETRY:
        plain = f"TO_BASE64({_wkb(source)})"
    elif column.kind is ColumnKind.BINARY:
        plain = f"TO_BASE64({source})"
    elif column.data_type == "float":  # as a double: a float's own text has six digits only
        plain = f"{source} + 0e0"
    elif column.kind in (ColumnKind.DECIMAL, ColumnKind.OTHER):  # as text: a JSON number would lose digits
        plain = f"CONCAT({source})"
    elif column.data_type in ("bit", "year") or "zerofill" in column.column_type:
        plain = f"{source} + 0"
    elif column.data_type == "json":
        plain = f"CAST({source} AS CHAR CHARACTER SET utf8mb4)"
    elif column.charset not in ("", "utf8mb4"):
        plain = f"CONVERT({source} USING utf8mb4)"
    elif column.data_type == "longtext":  # MariaDB's JSON is a longtext and would be embedded as a document
        plain = f"CONCAT({source})"
    return plain


def piece(column: MySQLColumn, source: str, start: int, length: int) -> str:
    """The expression of a part of a long value: ``length`` characters (bytes, of a binary one) of what `value` is made
    of, from the one numbered ``start`` on; the first one is 1."""
    if column.data_type in GEOMETRY:
        return f"TO_BASE64(SUBSTRING({_wkb(source)}, {start}, {length}))"
    if column.data_type == "json":
        return f"SUBSTRING({value(column, source)}, {start}, {length})"
    return value(column, f"SUBSTRING({source}, {start}, {length})")


def _too_long(column: MySQLColumn, source: str) -> str:
    """The condition that the server would write null (for a JSON document: an empty text) instead of a long `value`;
    empty for columns where it never does."""
    if column.data_type in GEOMETRY:
        return f"LENGTH({_wkb(source)}) * {_BASE64} > @@max_allowed_packet"
    if column.data_type in ("mediumblob", "longblob"):
        return f"LENGTH({source}) * {_BASE64} > @@max_allowed_packet"
    if column.data_type == "json":
        return f"JSON_STORAGE_SIZE({source}) > @@max_allowed_packet DIV 8 AND {value(column, source)} = ''"
    if column.data_type == "longtext":
        return f"LENGTH({source}) > @@max_allowed_packet"
    return ""


def _wkb(source: str) -> str:
    """The WKB that is stored, behind the four bytes of the reference system.  MySQL's ST_AsWKB turns the axes of some
    systems round, and the log has the bytes as they are stored."""
    return f"SUBSTRING({source}, 5)"


def image(columns: Sequence[MySQLColumn], source: str, replaced: Mapping[str, str] | None = None) -> str:
    """The JSON array of a row's values; NULL where it, or a value, would be longer than `max_allowed_packet`.
    ``replaced``: column name → the reference to read instead (or ``NULL``)."""
    other = replaced or {}
    read = [(column, other.get(column.name) or f"{source}.{quote(column.name)}") for column in columns]
    whole = f"JSON_ARRAY({', '.join(value(column, of) for column, of in read)})"
    if not any(column.long for column in columns):
        return whole
    # MariaDB's JSON_ARRAY that was too long once says that it is null ever after; CONCAT takes what it gives
    whole = f"CONCAT({whole})"
    too_long = [condition for column, of in read if (condition := _too_long(column, of))]
    return f"IF({' OR '.join(too_long)}, NULL, {whole})" if too_long else whole


def same(column: MySQLColumn, flavour: Flavour, old: str, new: str) -> str:
    """The condition that both references hold exactly the same value; tables' collations ignore case and accents."""
    if column.data_type in GEOMETRY:
        return f"{_wkb(old)} <=> {_wkb(new)}"
    if column.data_type in ("enum", "set"):
        return f"{old} + 0 <=> {new} + 0"
    if column.charset and (collation := _EXACT.get((flavour, column.charset))):
        return f"{old} <=> {new} COLLATE {collation}"
    if column.charset or column.data_type == "json" or column.kind is ColumnKind.OTHER:
        return f"CAST({old} AS BINARY) <=> CAST({new} AS BINARY)"
    return f"{old} <=> {new}"
