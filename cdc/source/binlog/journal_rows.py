"""Rows that triggers write into the journal, as the log shows them.

They name the transaction for both sides (see `cdc.source.move`).  Where only cascades are journaled, they are besides
the changes that foreign keys make and that this server's log does not hold; a row itself says which of the two it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cdc.change import Operation, Row
from cdc.database.mysql_column import MySQLColumn
from cdc.database.mysql_connection import Flavour
from cdc.database.mysql_journal import CASCADE_ONLY, JOURNAL, OPERATIONS, PROBE_SHAPE
from cdc.errors import SchemaMismatch
from cdc.image import key_in
from cdc.source.binlog.layout import KnownTable, Layout, layout_of
from cdc.source.binlog.table_map import TableMap
from cdc.source.journal_mysql_rows import KnownShape, images_of, secrets_of

#: The shape of this number; called in the log's thread.
ShapeOf = Callable[[int], KnownShape]
_COLUMNS = (
    MySQLColumn("id", "bigint", "bigint unsigned"),
    MySQLColumn("txn", "bigint", "bigint unsigned"),
    MySQLColumn("at", "datetime", "datetime(6)"),
    MySQLColumn("shape", "int", "int unsigned"),
    MySQLColumn("op", "tinyint", "tinyint unsigned"),
    MySQLColumn("gap", "tinyint", "tinyint unsigned"),
    MySQLColumn("secrets", "text", "text", "utf8mb4"),
    MySQLColumn("image_before", "longtext", "longtext", "utf8mb4"),
    MySQLColumn("image_after", "longtext", "longtext", "utf8mb4"),
)


@dataclass(frozen=True, slots=True)
class Cascade:
    """What a foreign key did to a row; ``gap``: the trigger could not record it, there are no images."""

    table: str
    operation: Operation
    key: Row
    before: Row | None
    after: Row | None
    secrets_changed: frozenset[str]
    gap: bool


class JournalRows:
    """In the place of a layout, for the journal of this product in the captured database."""

    def __init__(self, layout: Layout, shape_of: ShapeOf) -> None:
        self._layout = layout
        self._shape_of = shape_of

    def read(self, body: bytes, event_type: int) -> tuple[set[str], list[Cascade]]:
        """The tokens under which the journal holds the rows that were inserted, and what only these rows tell of."""
        names: set[str] = set()
        cascades = []
        for before, after in self._layout.rows(body, event_type):
            if before is not None or after is None:  # the consumer forgets
                continue
            row = dict(zip(self._layout.names, after, strict=True))
            if row["shape"] == PROBE_SHAPE:
                continue
            names.add(str(row["txn"]))
            if int(str(row["op"])) > CASCADE_ONLY:
                cascades.append(self._cascade(row))
        return names, cascades

    def _cascade(self, row: dict[str, Any]) -> Cascade:
        shape, reader = self._shape_of(row["shape"])
        operation = OPERATIONS[row["op"] - CASCADE_ONLY]
        old, new = images_of(reader, operation, row["image_before"], row["image_after"], gap=bool(row["gap"]))
        key = key_in(new or old, reader)
        secrets = secrets_of(shape, row["secrets"])
        before, after = (None if image is None else image.row for image in (old, new))
        return Cascade(shape.table, operation, key, before, after, secrets, before is None and after is None)


def journal_rows(table_map: TableMap, flavour: Flavour, shape_of: ShapeOf) -> JournalRows | None:
    """None for a table of that name that is none of ours."""
    known = KnownTable(JOURNAL, _COLUMNS, ("id",), flavour)
    try:
        return JournalRows(layout_of(table_map, known, lambda _: 0), shape_of)
    except SchemaMismatch:
        return None
