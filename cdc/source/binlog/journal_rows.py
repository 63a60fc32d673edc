"""Rows that triggers write into the journal, as the log shows them: they name the transaction for both sides."""

from __future__ import annotations

from cdc.database.mysql_column import MySQLColumn
from cdc.database.mysql_connection import Flavour
from cdc.errors import SchemaMismatch
from cdc.source.binlog.layout import KnownTable, Layout, layout_of
from cdc.source.binlog.table_map import TableMap

JOURNAL = "cdc_journal"
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


class JournalRows:
    """In the place of a layout, for the journal of this product in the captured database."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._txn = layout.names.index("txn")

    def names(self, body: bytes, event_type: int) -> set[str]:
        """The tokens under which the journal holds the rows that were inserted."""
        rows = self._layout.rows(body, event_type)
        return {str(after[self._txn]) for before, after in rows if before is None and after is not None}


def journal_rows(table_map: TableMap, flavour: Flavour) -> JournalRows | None:
    """None for a table of that name that is none of ours."""
    known = KnownTable(JOURNAL, _COLUMNS, ("id",), flavour)
    try:
        return JournalRows(layout_of(table_map, known, lambda _: 0))
    except (SchemaMismatch, ValueError):
        return None
