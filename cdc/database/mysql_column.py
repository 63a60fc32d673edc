"""Columns of MariaDB and MySQL: their kinds, and the SQL that writes and compares their values without loss.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cdc.column import Column, ColumnKind
from cdc.database.mysql_connection import Flavour, quote

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


def _wkb(source: str) -> str:
    """The WKB that is stored, behind the four bytes of the reference system.  MySQL's ST_AsWKB turns the axes of some
    systems round, and the log has the bytes as they are stored."""
    return f"SUBSTRING({source}, 5)"


def image(columns: Sequence[MySQLColumn], source: str, replaced: Mapping[str, str] | None = None) -> str:
    """The JSON array of a row's values. ``replaced``: column name → the reference to read instead (or ``NULL``)."""
    other = replaced or {}
    return f"JSON_ARRAY({', '.join(value(c, other.get(c.name) or f'{source}.{quote(c.name)}') for c in columns)})"


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
