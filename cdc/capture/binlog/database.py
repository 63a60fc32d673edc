"""The database whose log is read: what is captured of it, looked up in it, and held while it is read; which tables of
the log are captured, how the rows of each are read, and the pages of tables beside the log.

A page has a place in the log: the log's end after its snapshot includes everything that the snapshot shows; a
`VisibilityCheck` decides whether the snapshot shows everything that was emitted.  The server writes a commit to its log
first and shows it a moment later, in the same order; no statement returns the last commit that it shows.  The rows do:
a change that was emitted is shown if its row differs from the row before.  (Until then no other transaction can have
changed that row; a later change is shown later.)  Where the last change is shown, all before it are.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from pymysql.connections import Connection

from cdc.capture.base import SILENT_SECONDS, LockHolder
from cdc.capture.binlog.chunk import concerned
from cdc.capture.binlog.connection import LogConnection, LogHistory, log_end, log_owner
from cdc.capture.binlog.event import TableMap
from cdc.capture.binlog.inspector import Zone, cascades_in_log, log_findings, measure_server, read_settings
from cdc.capture.binlog.item import JournalRows, SchemaChange, journal_rows
from cdc.capture.binlog.layout import LogLayout, UnreadableTable, bare_layout
from cdc.capture.binlog.log_position import LogPosition
from cdc.capture.binlog.schema_history import SchemaHistory, SchemaNow, Version, read_schema
from cdc.capture.journal.mysql import KnownShape, journals_cascades, read_shapes
from cdc.capture.mysql_lookup import MySQLLookup, table_names
from cdc.capture.mysql_session import MySQLSession, explained
from cdc.capture.pages import PageRequest, TablePage
from cdc.database.mysql_connection import Flavour, connect, rows, server_of
from cdc.database.mysql_journal import JOURNAL
from cdc.model.change import Operation, Row, RowChange, Transaction, Value
from cdc.model.column import Capture, Table
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import JournalMissing, SchemaMismatch, SourceError, SourceUnavailable
from cdc.model.finding import Severity

#: As `LogPosition.place`.
Place = tuple[int, int]


class VisibilityCheck(NamedTuple):
    """The row of ``table`` with this key was ``before`` (None: not there) until a change that was read from the log.

    A snapshot that has another row under the key shows the change.
    """

    table: str
    key: Row
    before: Row | None


def last_visible_change(transactions: Sequence[Transaction]) -> VisibilityCheck | None:
    """Return the visibility check of the last change that made a difference; what made none cannot be seen, nor need it
    be."""
    for transaction in reversed(transactions):
        seen: set[tuple[object, ...]] = set()
        for change in reversed(transaction.changes):
            name = (change.table, *change.key.values())
            if change.operation not in (Operation.READ, Operation.TRUNCATE) and name not in seen:
                seen.add(name)
                visibility = _visibility(change, transaction.changes)
                if visibility is not None:
                    return visibility
    return None


def _visibility(last: RowChange, changes: Sequence[RowChange]) -> VisibilityCheck | None:
    """Return the visibility check of a transaction's effect on the key of its change ``last``; None when that is as
    before."""
    key = last.key
    for change in changes:
        if change.table != last.table:
            continue
        if change.before is not None and _under(change.before, key):
            return None if change.before == last.after else VisibilityCheck(last.table, key, change.before)
        if change.after is not None and _under(change.after, key):
            return None if last.after is None else VisibilityCheck(last.table, key, None)
    return None


def _under(row: Row, key: Row) -> bool:
    return all(row.get(column) == value for column, value in key.items())


class BinlogPages:
    """Reads pages with their places, and knows how far the log was read."""

    def __init__(self, session: MySQLSession, lookup: MySQLLookup) -> None:
        self._session = session
        self._lookup = lookup
        self._visibility: VisibilityCheck | None = None
        self._mark: Place = (0, 0)
        self._reached: Place = (0, 0)

    def begin(self, reached: LogPosition) -> None:
        """The log is read from there on."""
        self._reached = reached.place()

    def follow(self, transactions: Sequence[Transaction], reached: LogPosition) -> None:
        """The log has these, up to ``reached``."""
        self._reached = reached.place()
        self._visibility = last_visible_change(transactions) or self._visibility

    async def read(self, request: PageRequest) -> TablePage | None:
        """Return the page; None while it does not show everything that was emitted."""

        def read(connection: Connection[Any]) -> tuple[TablePage, tuple[Place, bool]]:
            return self._lookup.page(connection, request, lambda: self._marks(connection, request))

        page, (self._mark, shown) = await self._session.run(read)
        return page if shown else None

    def _marks(self, connection: Connection[Any], request: PageRequest) -> tuple[Place, bool]:
        """Return the place where the page can be emitted, and whether the snapshot shows all that was emitted."""
        ordered = dict(rows(connection, "SHOW GLOBAL VARIABLES LIKE 'binlog_order_commits'"))
        if request.backfill is not None and "OFF" in ordered.values():
            raise SourceError(
                "The server may show commits in another order than its log has them.",
                "SET GLOBAL binlog_order_commits = ON, then begin the backfill again.",
            )
        place, last = log_end(connection).place(), self._visibility
        if last is not None:
            if self._lookup.row(connection, last.table, last.key) == last.before:
                return place, False
            self._visibility = None  # what is shown once is shown for ever
        return place, True

    def emitted(self) -> bool:
        """Return whether everything that the last page shows was emitted."""
        return self._reached >= self._mark


@dataclass(frozen=True, slots=True)
class LogServer:
    """Properties of the server, read once.  ``name``: of the server, whose log has places of its own.  ``database``:
    the captured one.  ``folds``: names that differ in case only are the same.  ``cascades``: triggers journal what
    foreign keys do, and nothing else.  ``in_log``: the log holds what foreign keys do."""

    name: str
    flavour: Flavour
    database: str
    folds: bool
    zone: Zone
    cascades: bool
    in_log: bool


class BinlogDatabase:
    """A `cdc.capture.base.SourceDatabase`.  ``captures``, ``lookups``: as of `cdc.capture.binlog.source.BinlogSource`.

    ``secrets``: the secret columns of each table that is captured.  ``log``: how the server is asked for its log.
    ``replica``: the server may be one whose log lacks what it receives.  ``history``: what is known of the captured
    tables; it changes only while nothing is read.
    """

    def __init__(
        self,
        info: ConnectionInfo,
        captures: Sequence[Capture],
        lookups: Sequence[Capture],
        log: type[LogConnection],
        *,
        replica: bool = False,
    ) -> None:
        self.info = info
        self._replica = replica
        self._history = LogHistory(info, log)
        self.secrets = {capture.table: capture.hidden for capture in captures}
        self.lookup = MySQLLookup(self.secrets | {capture.table: capture.hidden for capture in lookups})
        self.session = MySQLSession(info)
        self._server: LogServer | None = None
        self._names: dict[str, str] = {}
        self._shapes: dict[int, KnownShape] = {}
        self.history = SchemaHistory(Version({}))
        self._watched: LogPosition | None = None

    @property
    def server(self) -> LogServer:
        assert self._server is not None, "connected"
        return self._server

    async def connect(self) -> None:
        await self.session.connect(self._prepare)

    def _prepare(self, connection: Connection[Any]) -> None:
        """Read what the server is like.  Raises `SourceError` when its log does not hold everything."""
        settings = read_settings(connection)
        for finding in log_findings(connection, self.info.database, settings, replica=self._replica):
            if finding.severity is Severity.WRONG:
                raise SourceError(f"{self.info.describe()}: {finding.detail}", f"{finding.fix}.")
        ((database, folding),) = rows(connection, "SELECT DATABASE(), @@lower_case_table_names")
        flavour, zone = server_of(connection).flavour, measure_server(connection)
        name, _ = log_owner(connection, flavour)
        cascades, in_log = journals_cascades(connection), cascades_in_log(settings)
        self._server = LogServer(name, flavour, database, bool(folding), zone, cascades, in_log)
        self._shapes = {}

    async def try_lock(self, seconds: float, silent: int = SILENT_SECONDS) -> bool:
        return await self.session.try_lock(seconds, silent)

    async def lock_holder(self) -> LockHolder | None:
        return await self.session.lock_holder()

    async def disconnect(self) -> None:
        await self.session.disconnect()

    async def table_names(self) -> list[str]:
        return await self.session.run(table_names)

    async def installed(self) -> list[str]:
        """The log has every table."""
        return await self.table_names()

    def capture(self, captures: Sequence[Capture]) -> None:
        self.secrets = self.secrets | {capture.table: capture.hidden for capture in captures}
        self.lookup.hide(self.secrets)

    def leave_out(self, tables: Collection[str]) -> None:
        self.secrets = {table: secrets for table, secrets in self.secrets.items() if table not in tables}

    def check_keys(self, tables: dict[str, Table]) -> None:
        """Raise for tables without a primary key, whose records have no names, before anything is read."""
        keyless = sorted(name for name, table in tables.items() if not table.key)
        if keyless:
            raise SourceError(
                f"These tables of {self.info.describe()} have no primary key: {', '.join(keyless)}.",
                "Give them one, or take them out of the rules.",
            )

    async def rows(self, table: str, column: str, values: Sequence[Value]) -> list[Row]:
        return await self.session.run(lambda connection: self.lookup.rows(connection, table, column, values))

    async def all_rows(self, table: str) -> list[Row]:
        return await self.session.run(lambda connection: self.lookup.all_rows(connection, table))

    async def site_url(self) -> str:
        return await self.session.run(self.lookup.site_url)

    async def tables(self) -> dict[str, Table]:
        """Return the captured tables."""
        found = await self.session.run(self.lookup.tables)
        return {name: table.as_table for name, table in found.items() if name in self.secrets}

    async def schema(self, names: frozenset[str]) -> SchemaNow:
        head, closing = self._history.head, self.session.closing.is_set
        read = partial(read_schema, flavour=self.server.flavour, names=names, head=head, closing=closing)
        return await self.session.run(read)

    async def check_history(self, position: LogPosition) -> None:
        """Raise when the server's log is not the one that was read up to ``position``: of a log that was reset, the
        server sends the beginning or the middle, without an error."""
        error = await self.session.run(partial(self._history.error, position=position))
        if error is not None:
            raise error

    async def watch(self, stand: LogPosition) -> None:
        """Check that we are still the only consumer, and that the log was not reset while it was read: a MySQL whose
        log was reset sends nothing until it is as long as before."""
        await self.session.check_lock()
        if stand == self._watched and (await self.session.run(log_end)).place() < stand.place():
            raise SourceUnavailable(f"The log of {self.info.describe()} is shorter than it was: it was reset.")
        self._watched = stand

    # -- the tables in the log ------------------------------------------------------------------------------------

    def begin(self, version: Version) -> None:
        """Begin to read where the tables are like this."""
        self._names = {name.lower() if self.server.folds else name: name for name in self.secrets}
        self.history = SchemaHistory(version)

    def concerned(self, change: SchemaChange) -> frozenset[str]:
        """Return the captured tables whose columns the statement may have changed."""
        return concerned(change.statement, change.database, self.server.database, self._names.values())

    def layout(self, table_map: TableMap) -> LogLayout | UnreadableTable | JournalRows | None:
        """Return how the rows of a table are read; None for one that is not captured.  Called in the log's thread."""
        server, database, name = self.server, table_map.database, table_map.table
        if server.folds:
            database, name = database.lower(), name.lower()
        if database != (server.database.lower() if server.folds else server.database):
            return None
        if name == JOURNAL:
            return journal_rows(table_map, server.flavour, self._shape_of, only=not server.in_log)
        table = self._names.get(name)
        if table is None:
            return None
        try:
            layout = self.history.current.layout(table_map, table, server.zone.offset)
            if layout.key:
                return layout
            reason = f"Table {table} has no primary key at this place of the log."
        except SchemaMismatch as error:
            reason = str(error)
        try:
            return UnreadableTable(table, reason, bare_layout(table_map, server.flavour))
        except SchemaMismatch:
            return UnreadableTable(table, reason, None)

    def _shape_of(self, number: int) -> KnownShape | None:
        """Return a shape, read over a connection of its own, which is seldom needed.  Shapes are remembered: the
        triggers may be uninstalled before the log is read so far."""
        if number not in self._shapes:
            with suppress(JournalMissing), closing(connect(self.info)) as connection, explained(self.info):
                self._shapes |= read_shapes(connection)
        return self._shapes.get(number)
