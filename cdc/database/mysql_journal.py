"""What installer and consumer share about the journal in a MariaDB or MySQL database: names, codes, shapes.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

from cdc.change import Operation, Row
from cdc.column import Capture, Column, ColumnKind, Table
from cdc.errors import SourceError
from cdc.normal import NORMALISERS

#: Raised with every change of tables, triggers or images that an older consumer would misread.
VERSION = 1
PREFIX = "cdc_"
JOURNAL = "cdc_journal"
SHAPES = "cdc_shape"
INSTALLATION = "cdc_installation"
WAIT = "cdc_wait"
TABLES = (JOURNAL, SHAPES, INSTALLATION)

CODES: dict[Operation, int] = {Operation.CREATE: 1, Operation.UPDATE: 2, Operation.DELETE: 3}
OPERATIONS = {code: operation for operation, code in CODES.items()}
#: Added to the code of an operation where only cascades are journaled, for who reads the rest in the binlog.
CASCADE_ONLY = 10
#: Row of the installation that says so; 1 is the installation itself.
CASCADES_ROW = 2


class Tokens(StrEnum):
    """How the triggers learn which transaction they run in."""

    GTID = "gtid"  # MariaDB with a binlog: @@last_gtid moves with every commit
    ROW_START = "row-start"  # MariaDB without one: InnoDB's transaction id, in a system-versioned journal
    PERFORMANCE_SCHEMA = "performance-schema"  # MySQL: the event of the transaction


@dataclass(frozen=True, slots=True)
class Shape:
    """A table as compiled into its triggers: images are arrays of these columns' values, in this order.

    ``secrets``: secret columns that the table has; a journal row names those that changed by their index here.
    """

    table: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    secrets: tuple[str, ...] = ()

    def to_json(self) -> str:
        columns = [[column.name, column.kind.value, column.database_type] for column in self.columns]
        return orjson.dumps({"columns": columns, "key": self.key, "secrets": self.secrets}).decode()

    @staticmethod
    def from_json(table: str, text: str) -> Shape:
        found = orjson.loads(text)
        columns = tuple(Column(name, ColumnKind(kind), of) for name, kind, of in found["columns"])
        return Shape(table, columns, tuple(found["key"]), tuple(found["secrets"]))

    @property
    def as_table(self) -> Table:
        return Table(self.table, self.columns, self.key)


_ZERO_DATE = "0000-00-00"
_BOOLEANS = {0: False, 1: True}
#: Kinds whose JSON values need a function to become normal.
_CALLED = frozenset({ColumnKind.REAL, ColumnKind.TIME, ColumnKind.TIMESTAMP, ColumnKind.BINARY})
Decoder = Callable[[str | bytes | None], Row | None]


def decoder(shape: Shape) -> Decoder:
    """A function from an image to a row in normal form.

    Reading a backlog spends most of its time here, so that values which JSON gives in normal form are not touched, and
    the frequent kinds cost a look, not a call.
    """
    names = tuple(column.name for column in shape.columns)
    doubles = _indexes(shape, ColumnKind.DOUBLE)
    booleans = _indexes(shape, ColumnKind.BOOLEAN)
    dates = _indexes(shape, ColumnKind.DATE)
    others = tuple((i, NORMALISERS[c.kind]) for i, c in enumerate(shape.columns) if c.kind in _CALLED)
    count = len(names)

    def decode(image: str | bytes | None) -> Row | None:
        if image is None:
            return None
        values: list[Any] = orjson.loads(image)
        if len(values) != count:
            raise SourceError(
                f"An image of table {shape.table} in the journal has {len(values)} values instead of {count}.",
                "Was the journal written by hand?  Delete that row.",
            )
        for index in doubles:
            value = values[index]
            if value.__class__ is int or value == 0:  # without a sign, which MySQL writes and the others do not
                values[index] = float(value) + 0.0
        for index in booleans:
            values[index] = _BOOLEANS.get(values[index], values[index])
        for index in dates:
            if values[index] == _ZERO_DATE:
                values[index] = None
        for index, normal in others:
            values[index] = normal(values[index])
        return dict(zip(names, values, strict=True))

    return decode


def _indexes(shape: Shape, kind: ColumnKind) -> tuple[int, ...]:
    return tuple(index for index, column in enumerate(shape.columns) if column.kind is kind)


def captures_to_json(captures: Sequence[Capture]) -> str:
    return orjson.dumps({c.table: sorted(c.secrets) for c in sorted(captures, key=lambda c: c.table)}).decode()


def captures_from_json(text: str) -> list[Capture]:
    return [Capture(table, frozenset(secrets)) for table, secrets in orjson.loads(text).items()]
