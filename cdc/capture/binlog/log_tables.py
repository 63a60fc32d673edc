"""Which tables of the log are ours, and how the rows of each are read at the place where reading stands."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

from pymysql.connections import Connection

from cdc.capture.binlog.connection import log_owner
from cdc.capture.binlog.item import SchemaChange
from cdc.capture.binlog.journal_rows import JournalRows, journal_rows
from cdc.capture.binlog.layout import LogLayout, bare_layout
from cdc.capture.binlog.schema_history import SchemaHistory, Version
from cdc.capture.binlog.settings import cascades_in_log, read_settings, refused
from cdc.capture.binlog.statement import concerned
from cdc.capture.binlog.table_map import TableMap
from cdc.capture.binlog.unreadable import UnreadableTable
from cdc.capture.binlog.zone import Zone, measure_server
from cdc.capture.journal.mysql_rows import KnownShape, journals_cascades, read_shapes
from cdc.capture.mysql_session import explained
from cdc.database.mysql_connection import Flavour, connect, rows, server_of
from cdc.database.mysql_journal import JOURNAL
from cdc.model.column import SecretColumns
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import JournalMissing, SchemaMismatch, SourceError


@dataclass(frozen=True, slots=True)
class LogServer:
    """What is asked of the server once.  ``name``: of the server, whose log has places of its own.  ``database``: the
    captured one.  ``folds``: names that differ in case only are the same.  ``cascades``: triggers journal what foreign
    keys do, and nothing else.  ``in_log``: the log holds what foreign keys do."""

    name: str
    flavour: Flavour
    database: str
    folds: bool
    zone: Zone
    cascades: bool
    in_log: bool


def ask_server(connection: Connection[Any], info: ConnectionInfo) -> LogServer:
    """Raises `SourceError` when this server's log does not tell all."""
    settings = read_settings(connection)
    for wrong in refused(settings):
        raise SourceError(f"{info.describe()}: {wrong.detail}", f"{wrong.mend}.")
    ((database, folding),) = rows(connection, "SELECT DATABASE(), @@lower_case_table_names")
    flavour, zone = server_of(connection).flavour, measure_server(connection)
    name, _ = log_owner(connection, flavour)
    return LogServer(
        name, flavour, database, bool(folding), zone, journals_cascades(connection), cascades_in_log(settings)
    )


class LogTables:
    """``secrets``: of each captured table.  ``history``: what is known of them; replaced where reading begins.

    ``layout`` is called in the log's thread, the rest by the source: it changes the history only while nothing is read.
    """

    def __init__(self, info: ConnectionInfo, server: LogServer, secrets: Mapping[str, SecretColumns]) -> None:
        self._info = info
        self._server = server
        self._database = server.database.lower() if server.folds else server.database
        self._names = {name.lower() if server.folds else name: name for name in secrets}
        self._shapes: dict[int, KnownShape] = {}
        self.history = SchemaHistory(Version({}))

    def concerned(self, change: SchemaChange) -> frozenset[str]:
        """The captured tables whose columns the statement may have changed."""
        return concerned(change.statement, change.database, self._server.database, self._names.values())

    def layout(self, table_map: TableMap) -> LogLayout | UnreadableTable | JournalRows | None:
        database, name = table_map.database, table_map.table
        if self._server.folds:
            database, name = database.lower(), name.lower()
        if database != self._database:
            return None
        if name == JOURNAL:
            return journal_rows(table_map, self._server.flavour, self._shape_of, only=not self._server.in_log)
        table = self._names.get(name)
        return None if table is None else self._layout_of(table_map, table)

    def _layout_of(self, table_map: TableMap, table: str) -> LogLayout | UnreadableTable:
        try:
            layout = self.history.current.layout(table_map, table, self._server.zone.offset)
        except SchemaMismatch as error:
            return self._unreadable(table_map, table, str(error))
        if not layout.key:
            return self._unreadable(table_map, table, f"Table {table} has no primary key at this place of the log.")
        return layout

    def _unreadable(self, table_map: TableMap, table: str, reason: str) -> UnreadableTable:
        try:
            bare = bare_layout(table_map, self._server.flavour)
        except SchemaMismatch:
            return UnreadableTable(table, reason, None)
        return UnreadableTable(table, reason, bare)

    def _shape_of(self, number: int) -> KnownShape | None:
        """Over a connection of its own: it is seldom asked for a new one.  Those that were read are kept: the triggers
        may be uninstalled before the log is read so far."""
        if number not in self._shapes:
            with suppress(JournalMissing), closing(connect(self._info)) as connection, explained(self._info):
                self._shapes |= read_shapes(connection)
        return self._shapes.get(number)
