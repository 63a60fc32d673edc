"""Captured tables and their columns, in words that every engine shares."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache

from cdc.model.event import matches


class ColumnKind(StrEnum):
    """The notation of a column's value in the normal form of a row (see `cdc.model.normal`)."""

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
class SecretPatterns:
    """Names of columns that are secret wherever a table has them: ``*token*``; ``!*tokens*`` excepts what another
    pattern means.  Case does not count.  ``shown``: columns that are not secret whatever the patterns say."""

    patterns: tuple[str, ...] = ()
    shown: frozenset[str] = frozenset()

    def hides(self, column: str) -> str:
        """Return the first pattern that makes this column secret; empty when none does."""
        return "" if column in self.shown else _hiding(self.patterns, column.casefold())


@lru_cache(maxsize=8192)
def _hiding(patterns: tuple[str, ...], name: str) -> str:
    """Cached: one list of all event types asks ten thousand times about a thousand names."""
    if any(matches(name, [each[1:]]) for each in patterns if each.startswith("!")):
        return ""
    return next((each for each in patterns if matches(name, [each])), "")


@dataclass(frozen=True, slots=True)
class SecretColumns:
    """Columns whose values must never leave the database: by name, and by pattern."""

    names: frozenset[str] = frozenset()
    patterns: SecretPatterns = SecretPatterns()

    def of(self, columns: Iterable[str], key: Collection[str] = ()) -> frozenset[str]:
        """Return all names, and those of these columns that a pattern means.  The primary key is none of the latter: it
        names the row in every event."""
        if not self.patterns.patterns:
            return self.names
        return self.names | {name for name in columns if name not in key and self.patterns.hides(name)}

    def __or__(self, other: SecretColumns) -> SecretColumns:
        patterns = SecretPatterns(
            tuple(dict.fromkeys((*self.patterns.patterns, *other.patterns.patterns))),
            self.patterns.shown | other.patterns.shown,
        )
        return SecretColumns(self.names | other.names, patterns)


@dataclass(frozen=True, slots=True)
class Capture:
    """The part of one table that a source captures.

    ``secrets``: columns whose values must never leave the database; that they changed may be known.  ``patterns``: what
    makes more columns secret, until they are known (`within`).
    """

    table: str
    secrets: frozenset[str] = frozenset()
    patterns: SecretPatterns = field(default=SecretPatterns(), compare=False)

    @property
    def hidden(self) -> SecretColumns:
        return SecretColumns(self.secrets, self.patterns)

    def within(self, columns: Iterable[str], key: Collection[str]) -> Capture:
        """Return the capture of a table with these columns: what patterns mean is named."""
        return replace(self, secrets=self.hidden.of(columns, key))
