"""Definitions of the journal that installer and consumer share on MariaDB and MySQL: names, codes, shapes.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import orjson

from cdc.model.change import Operation, Row, Value
from cdc.model.column import Capture, Column, ColumnKind, Table
from cdc.model.errors import RowUnreadable
from cdc.model.image import TYPES, ImageReader, Unexpected, array_key_reader, array_reader
from cdc.model.normal import NORMALISERS

#: Raised with every change of tables, triggers or images that an older consumer would misread.
VERSION = 1
PREFIX = "cdc_"
JOURNAL = "cdc_journal"
SHAPES = "cdc_shape"
INSTALLATION = "cdc_installation"
MARKER = "cdc_marker"
#: The procedure of earlier versions, which the ERP's account could replace: nothing of ours calls it.
WAIT = "cdc_wait"
PROBE = "cdc_probe"
TABLES = (JOURNAL, SHAPES, INSTALLATION, PROBE, MARKER)
#: Of the probe's rows in the journal; those of captured tables have greater numbers.
PROBE_SHAPE = 0

CODES: dict[Operation, int] = {Operation.CREATE: 1, Operation.UPDATE: 2, Operation.DELETE: 3}
OPERATIONS = {code: operation for operation, code in CODES.items()}
#: Added to the code of an operation where only cascades are journaled, for who reads the rest in the binlog.
CASCADE_ONLY = 10
#: Row of the installation that says so; 1 is the installation itself.
CASCADES_ROW = 2
#: Row that names the tables whose triggers are being replaced: each must be read again afterwards.
REREAD_ROW = 3
#: Rows that say when each trigger was created: one that somebody else created again, with a restored dump for example,
#: has seen nothing of what happened to its table before.  They begin with this one; each is written as a whole when a
#: trigger of its share is created, so that a single one would grow with the square of the tables.
MADE_ROW = 4
MADE_ROWS = 128


class Tokens(StrEnum):
    """The ways in which triggers learn which transaction they run in."""

    GTID = "gtid"  # MariaDB with a binlog: @@last_gtid moves with every commit
    ROW_START = "row-start"  # MariaDB without one: InnoDB's transaction id, in a system-versioned journal
    PERFORMANCE_SCHEMA = "performance-schema"  # MySQL: the event of the transaction
    ROW = "row"  # MySQL, where the DBA accepts it: each row counts as a transaction of its own


@dataclass(frozen=True, slots=True)
class JournalShape:
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
    def from_json(table: str, text: str) -> JournalShape:
        found = orjson.loads(text)
        columns = tuple(Column(name, ColumnKind(kind), of) for name, kind, of in found["columns"])
        return JournalShape(table, columns, tuple(found["key"]), tuple(found["secrets"]))

    @property
    def as_table(self) -> Table:
        return Table(self.table, self.columns, self.key)


#: A tinyint(1) is a number here.
_TYPES = {**TYPES, ColumnKind.BOOLEAN: int | None}
_BOOLEANS: dict[Value, Value] = {0: False, 1: True}
#: Values that need careful reading: a zero with a sign, which MySQL writes and the others do not, and a zero date.
_SIGNED_ZERO, _ZERO_DATE = "-0.0", "0000-00-00"
#: Kinds whose JSON values need a function to become normal, and those that need it only of what is not read quickly.
_CALLED = frozenset({ColumnKind.DECIMAL, ColumnKind.REAL, ColumnKind.TIME, ColumnKind.TIMESTAMP, ColumnKind.BINARY})
_CAREFUL = frozenset({ColumnKind.BOOLEAN, ColumnKind.DOUBLE, ColumnKind.DATE})
Decoder = Callable[[str], Row]


def image_reader(shape: JournalShape) -> ImageReader:
    return ImageReader(decoder(shape), shape.key, array_key_reader(shape.columns, shape.key))


def decoder(shape: JournalShape) -> Decoder:
    """A function from an image to a row in normal form."""
    read, careful = array_reader(shape.columns, _TYPES), _careful(shape)
    booleans = [column.name for column in shape.columns if column.kind is ColumnKind.BOOLEAN]
    called = [(column.name, NORMALISERS[column.kind]) for column in shape.columns if column.kind in _CALLED]

    def decode(text: str) -> Row:
        if _ZERO_DATE in text or _SIGNED_ZERO in text:
            return careful(text)
        try:
            row = read(text)
        except Unexpected:
            return careful(text)
        for name in booleans:
            value = row[name]
            row[name] = _BOOLEANS.get(value, value)
        for name, normal in called:
            row[name] = normal(row[name])
        return row

    return decode


def _careful(shape: JournalShape) -> Callable[[str], Row]:
    """Return a decoder that converts each value by its kind's own function."""
    names = [column.name for column in shape.columns]
    normals = [(i, NORMALISERS[c.kind]) for i, c in enumerate(shape.columns) if c.kind in _CALLED | _CAREFUL]

    def decode(text: str) -> Row:
        values: list[Value] = orjson.loads(text)
        if len(values) != len(names):
            raise RowUnreadable(
                f"An image of table {shape.table} in the journal has {len(values)} values instead of {len(names)}.",
                "Was the journal written by hand?  Delete that row.",
            )
        for index, normal in normals:
            values[index] = normal(values[index])
        return dict(zip(names, values, strict=True))

    return decode


def captures_to_json(captures: Sequence[Capture]) -> str:
    return orjson.dumps({c.table: sorted(c.secrets) for c in sorted(captures, key=lambda c: c.table)}).decode()


def captures_from_json(text: str) -> list[Capture]:
    return [Capture(table, frozenset(secrets)) for table, secrets in orjson.loads(text).items()]
