"""How one table's row images are read: with what names, in what normal form.  Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cdc.change import Value
from cdc.database.mysql_column import MySQLColumn
from cdc.database.mysql_connection import Flavour
from cdc.source.binlog.table_map import TableMap

#: A row's values in normal form, in the order of the layout's names.
Image = tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class KnownTable:
    """What information_schema said of a table: its columns in order, and the primary key's columns (may be none).

    ``hidden``: columns that information_schema does not show and that stand behind the others in MariaDB's log, one
    for each UNIQUE key with hashes (INDEX_TYPE is HASH) of an engine other than MEMORY.
    """

    name: str
    columns: tuple[MySQLColumn, ...]
    key: tuple[str, ...]
    flavour: Flavour
    hidden: int = 0


class Layout:
    """``names``: of all columns, secret ones included.  ``key``: the primary key's columns, empty without one.

    Generated columns of MariaDB are not among the names: its log has them in inserts only.
    """

    __slots__ = ("key", "names", "table")

    def __init__(self, table: str, names: tuple[str, ...], key: tuple[str, ...]) -> None:
        self.table, self.names, self.key = table, names, key

    def rows(self, body: bytes, event_type: int) -> list[tuple[Image | None, Image | None]]:
        """(before, after) of each row of a WRITE, UPDATE or DELETE_ROWS event, version 1 or 2 (compressed ones
        decompressed, with the event type of the plain one).

        ``body``: the event without its header and checksum.  Raises `MalformedEvent`.
        """
        raise NotImplementedError


def layout_of(table_map: TableMap, known: KnownTable, offset_of: Callable[[int], int]) -> Layout:
    """``offset_of``: seconds since 1970 → seconds that the server's zone is ahead of UTC then.

    Raises `SchemaMismatch` when the log's columns are not those that are known.
    """
    raise NotImplementedError
