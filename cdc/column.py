"""What a captured table looks like, in words that every engine shares."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ColumnKind(StrEnum):
    """How a column's value is written in the normal form of a row (see `cdc.normal`)."""

    BOOLEAN = "boolean"  # true / false; MySQL and MariaDB: tinyint(1)
    INTEGER = "integer"  # JSON integer of any width
    DOUBLE = "double"  # shortest JSON number that reads back as the same 64-bit float, never an integer
    REAL = "real"  # the same for a 32-bit float
    DECIMAL = "decimal"  # text with exactly the digits of the database: a JSON number would lose some
    DATE = "date"  # YYYY-MM-DD
    TIME = "time"  # HH:MM:SS[.ffffff]
    TIMESTAMP = "timestamp"  # YYYY-MM-DDTHH:MM:SS[.ffffff], the database's local time, no zone
    TEXT = "text"
    JSON = "json"  # text: the document as the database prints it
    BINARY = "binary"  # base64 text
    OTHER = "other"  # text as the database prints it


@dataclass(frozen=True, slots=True)
class Column:
    """One column. ``database_type`` is the engine's own full type text, kept to notice that it changed."""

    name: str
    kind: ColumnKind
    database_type: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table as the database has it now: all columns in order, and the primary key's column names (may be empty)."""

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]

    def column(self, name: str) -> Column | None:
        return next((column for column in self.columns if column.name == name), None)


@dataclass(frozen=True, slots=True)
class Capture:
    """What a source must capture of one table.

    ``secrets``: columns whose values must never leave the database; that they changed may be known.
    """

    table: str
    secrets: frozenset[str] = frozenset()
