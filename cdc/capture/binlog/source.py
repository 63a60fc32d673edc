"""The binlog source: whole transactions out of the log of a MariaDB or MySQL server.

Invariants:

* a position is behind whole transactions only, and holds what the captured tables are like there; a huge transaction
  is read from its beginning again, and the records that are stored already are passed over;
* the schema changes between two chunks only, while nothing is being read: a chunk has one schema;
* what cannot be read for certain is a gap, said aloud, and its table is read again once the log has been read up to
  where the table is known again;
* one consumer a database: the lock lives on the connection that looks rows up and is asked for every second; who lost
  it reads no further.

The log is read in a thread of its own, because sockets and decoding are synchronous.  A second connection finds out
which tables are altered later in the log: the present definitions of the others hold for the next chunk.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import orjson
import pymysql
import structlog
from pymysql.connections import Connection

from cdc.capture.base import LogLimits, Reread
from cdc.capture.binlog.chunk import ChunkLimits, ChunkReader, LogChunk
from cdc.capture.binlog.connection import LogConnection, LogHistory, LogThread, log_head
from cdc.capture.binlog.database import BinlogDatabase, BinlogPages
from cdc.capture.binlog.inspector import log_findings, read_settings
from cdc.capture.binlog.log_position import FILE_START, LogPosition
from cdc.capture.binlog.schema_history import BinlogPosition, SchemaHistory, SchemaNow, Version, read_schema
from cdc.capture.journal.database import MOVED, JournalPosition
from cdc.capture.moving import Watermark, log_part
from cdc.capture.mysql_session import MySQLProbe, MySQLSession
from cdc.capture.pages import PageRequest, TablePage
from cdc.capture.probe import Backlog, Ends
from cdc.capture.source import CaptureSource, Check, Patterns
from cdc.database import sqlfile
from cdc.database.mysql_connection import LOCK_CONFLICTS, MISSING_TABLE, code_of, rows, server_of
from cdc.model.change import Batch, Position, ReaderStore, Transaction
from cdc.model.clock import Clock
from cdc.model.column import Capture
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import LogPurged
from cdc.model.finding import Finding

_WAY_OUT = 'With on_purged = "reread" the captured tables are read again and reading continues at the end of the log.'

log = structlog.get_logger()


class BinlogSource(CaptureSource[BinlogPosition]):
    """A `cdc.capture.base.Source`.  ``captures``: whose changes are read; ``lookups``: what else mapping looks up.

    ``reread_purged``: when the log behind the position is gone, read all captured tables and continue from the log's
    end; else that is an error.  ``replica``: the server may be one whose log lacks what it
    receives.  ``connection``: how the server is connected to and asked for its log.  ``check``:
    repairs the triggers that journal cascades, where they are installed.
    """

    _database: BinlogDatabase
    _limits: LogLimits

    def __init__(
        self,
        name: str,
        info: ConnectionInfo,
        captures: Sequence[Capture],
        lookups: Sequence[Capture] = (),
        *,
        reread_purged: bool = False,
        replica: bool = False,
        connection: type[LogConnection] = LogConnection,
        check: Check | None = None,
        patterns: Patterns | None = None,
        limits: LogLimits | None = None,
        clock: Clock | None = None,
        readers: ReaderStore | None = None,
    ) -> None:
        database = BinlogDatabase(info, captures, lookups, connection, replica=replica)
        super().__init__(name, database, limits or LogLimits(), clock, patterns=patterns, check=check, readers=readers)
        self._reread_purged = reread_purged
        self._log = connection
        self._snapshots = BinlogPages(database.session, database.lookup)
        self._reader: LogThread | None = None
        self._opened_at: Position | None = None
        self._checked_at = 0.0

    # -- its life ---------------------------------------------------------------------------------------------------

    async def open(self, position: Position | None) -> None:
        self._opened_at = position
        if position is not None:
            self._position = BinlogPosition.load(position)
        self._caught_up = False
        await self._database.connect()
        await self._become_consumer()
        await self._new_keyed_tables()
        self._tables = await self.tables()
        self._database.check_keys(self._tables)
        if position is None:
            self._begin_at_end(await self._database.schema(frozenset(self._database.secrets)))

    async def _resume(self) -> Batch | None:
        try:
            await self._open_log()
        except LogPurged as error:
            first = await self._start_over(error)
            await self._open_log()
            return first
        return None if self._position.dump() == self._opened_at else self._batch((), self._position)

    async def _stop_reading(self) -> None:
        self._database.session.closing.set()  # what is being asked is not waited for any more
        await self._close_log()

    async def _close_log(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.close()

    async def acknowledge(self, position: Position) -> None:
        """The server keeps its log whatever we say: nothing to forget."""

    # -- where reading begins ---------------------------------------------------------------------------------------

    def _begin_at_end(self, now: SchemaNow) -> None:
        """Begin at the end of the log."""
        version = Version({name: (table,) for name, table in now.tables.items()})
        self._position = BinlogPosition(now.head, "", version.dump(), tuple(sorted(self._database.secrets)))
        self._caught_up = True

    async def _open_log(self) -> None:
        """Open the log at the position, with the schema stored there; new tables' schema is read from the database."""
        stand = self._position
        version = stand.version.only(self._database.secrets)
        new = frozenset(self._database.secrets) - set(stand.captured)
        huge = stand.huge if set(stand.captured) == set(self._database.secrets) else None
        self._database.begin(version)
        server, at = self._database.server.name, stand.log
        if stand.server not in ("", server):
            # another server's log has other places, of which nothing is known before it is read by its GTIDs
            if not at.gtids:
                raise LogPurged(
                    f"{self._database.info.describe()} is another server than the one whose log was read up to "
                    f"{at.describe()}.",
                    "Positions without GTIDs are good for one server only.",
                )
            at = LogPosition("", FILE_START, at.gtids)
        stand = replace(stand, server=server, log=at)
        await self._database.check_history(stand.log)
        self._reader = reader = LogThread(self._database.info, self._database.concerned, self._log)
        await reader.open(stand.log, self._limits.heartbeat, partial(self._chunks, stand, reader))
        if new:
            version = await self._version_after(stand.log, new)
            self._database.history = SchemaHistory(version)
        captured = tuple(sorted(self._database.secrets))
        self._position = replace(stand, captured=captured, schema=version.dump(), huge=huge)
        self._pages.use()
        self._snapshots.begin(stand.log)

    def _chunks(self, stand: BinlogPosition, reader: LogThread, connection: LogConnection) -> Generator[LogChunk]:
        database, limits = self._database, ChunkLimits(self._limits.batch, self._limits.huge)
        resume = stand.huge if set(stand.captured) == set(database.secrets) else None
        chunks = ChunkReader(
            self._name,
            database.server.database,
            database.secrets,
            stand.log,
            limits,
            connection.at_end,
            lambda: reader.closed,
            resume,
        )
        return chunks.read(connection.items(self._database.layout))

    async def _start_over(self, error: LogPurged) -> Batch:
        """Read all tables again after a gap in the log."""
        if not self._reread_purged:
            hint = error.hint if "on_purged" in error.hint else f"{error.hint} {_WAY_OUT}".strip()
            raise LogPurged(error.message, hint) from error
        await self._close_log()
        behind = self._position.log.describe()
        now = await self._database.schema(frozenset(self._database.secrets))
        self._tables = await self.tables()
        self._begin_at_end(now)
        token = f"{now.head.file}/{now.head.offset}"
        return self._lost(self._position, token, error.message, behind=behind, up_to=now.head.describe())

    # -- the schema -------------------------------------------------------------------------------------------------

    async def _version_after(self, position: LogPosition, names: frozenset[str]) -> Version:
        """Return the schema version with these tables as they are now.  Those that the log alters again between
        ``position`` and now are marked uncertain."""
        assert self._reader is not None, "reading"
        now = await self._database.schema(names)
        again = names & await self._reader.altered(position, now.head)
        for table in sorted(again):
            log.warning(
                "schema uncertain", source=self._name, table=table, reason="altered again further on in the log"
            )
        self._tables = await self.tables()
        return self._database.history.current.with_tables(names, now.tables, again)

    # -- reading ----------------------------------------------------------------------------------------------------

    async def _changes(self, seconds: float) -> AsyncIterator[Batch]:
        if new := await self._new_keyed_tables():
            # the new tables too, from this position; what was written into them before is read
            await self._close_log()
            self._caught_up = False
            self._pages.soon(new)
            token = f"new/{self._position.log.file}/{self._position.log.offset}"
            yield self._batch((), self._position.with_gaps(dict.fromkeys(new, token)))
            await self._open_log()
            return
        assert self._reader is not None, "reading"
        try:
            now = asyncio.get_running_loop().time()
            if now - self._checked_at >= self._limits.idle:
                await self._database.watch(self._position.log)
                self._checked_at = now
                if self._database.server.cascades:
                    self._trigger_check.repaired()
            chunk = await self._reader.next(seconds)
        except LogPurged as error:
            yield await self._start_over(error)
            await self._open_log()
            return
        if chunk is not None:
            self._caught_up = chunk.caught_up
            batch = await self._batch_of(chunk)
            self._snapshots.follow(chunk.transactions, chunk.position)
            if batch is not None:
                yield batch

    async def _batch_of(self, chunk: LogChunk) -> Batch | None:
        """Return the batch of a chunk; None when it holds nothing to store now."""
        transactions = chunk.transactions
        if chunk.altered and chunk.reached is not None:
            # without changes of tables that do not exist at this place of the log: DROP TABLE IF EXISTS
            known = self._database.history.current.known
            some = [each._replace(changes=tuple(c for c in each.changes if c.table in known)) for each in transactions]
            transactions = tuple(each for each in some if each.changes)
            version = await self._version_after(chunk.reached, chunk.altered)
            self._database.history.change(version, chunk.reached)
        gaps = {lost.gap.table: lost.token for lost in chunk.lost}
        schema = self._database.history.text_at(chunk.position)
        moved = chunk.position != self._position.log
        position = replace(self._position.with_gaps(gaps), log=chunk.position, schema=schema, huge=chunk.huge)
        if transactions or chunk.lost or chunk.altered or (moved and self._due_progress()):
            return self._batch(transactions, position, tuple(lost.gap for lost in chunk.lost))
        return None

    # -- pages of tables --------------------------------------------------------------------------------------------

    def _rereads(self) -> Sequence[Reread]:
        """Return the pending re-reads, except those of tables with unreadable rows still ahead: they would have to
        begin again."""
        uncertain = self._database.history.current.uncertain
        return [each for each in self._position.rereads if each.table not in uncertain]

    async def _page(self, wanted: PageRequest) -> TablePage | None:
        return await self._snapshots.read(wanted)

    def _emitted(self) -> bool:
        return self._snapshots.emitted()

    # -- new tables -------------------------------------------------------------------------------------------------

    async def _new_keyed_tables(self) -> list[str]:
        """Return tables that were not captured before, and are from now on; those without a primary key have no
        records."""
        self._new_tables.extended()
        met = [capture.table for capture in (await self._find_new_tables()).tables]
        keyless = {table for table in met if table not in self._tables or not self._tables[table].key}
        self._database.leave_out(keyless)
        return [table for table in met if table not in keyless]


#: Seconds to wait for a transaction that is open; then others get a turn.
_WAIT_SECONDS = 1
#: Waits for transactions that wrote to the journal and have not ended: the server writes a commit to its log first, and
#: unlocks its rows a moment later.  Nobody waits for this: it locks rows that only the consumer touches, and only
#: shared.
_FENCE = "SELECT COUNT(*) FROM `cdc_journal` IGNORE INDEX FOR GROUP BY (PRIMARY) LOCK IN SHARE MODE"


class BinlogBridge:
    """A `cdc.capture.moving.Bridge`.  ``check``: raises when the triggers are not all in place."""

    def __init__(self, info: ConnectionInfo, captures: Sequence[Capture], check: Callable[[], Awaitable[None]]) -> None:
        self._tables = frozenset(capture.table for capture in captures)
        self._check = check
        self._session = MySQLSession(info)
        self._history = LogHistory(info)
        self._connected = False

    async def _session_open(self) -> MySQLSession:
        if not self._connected:
            await self._session.connect(_limit_lock_waits)
            self._connected = True
        return self._session

    async def close(self) -> None:
        self._connected = False
        await self._session.disconnect()

    async def check_journal(self) -> None:
        await self._check()

    async def mark(self) -> Watermark:
        session = await self._session_open()
        position = await session.run(self._end)
        return Watermark(position, lambda: session.run(partial(_unless_locked, sql=_FENCE)))

    def _end(self, connection: Connection[Any]) -> Position:
        flavour = server_of(connection).flavour
        now = read_schema(connection, flavour, self._tables, self._history.head, self._session.closing.is_set)
        rows(connection, f"SET SESSION lock_wait_timeout = {_WAIT_SECONDS}, innodb_lock_wait_timeout = {_WAIT_SECONDS}")
        version = Version({name: (table,) for name, table in now.tables.items()})
        return BinlogPosition(now.head, "", version.dump(), tuple(sorted(self._tables))).dump()

    def passed(self, position: Position, mark: Position) -> bool:
        stand = BinlogPosition.load(position)
        return stand.huge is None and stand.log.place() >= BinlogPosition.load(mark).log.place()

    async def waiting(self, most: int) -> list[str]:
        session = await self._session_open()
        sql = "SELECT DISTINCT `txn` FROM `cdc_journal` IGNORE INDEX FOR GROUP BY (PRIMARY) LIMIT %s"
        return [str(txn) for (txn,) in await session.run(lambda connection: rows(connection, sql, (most,)))]

    def journal_names(self, position: Position) -> tuple[str, ...]:
        return JournalPosition.load(position).done

    def log_names(self, transaction: Transaction) -> tuple[str, ...]:
        return transaction.journalled

    async def forget(self, transactions: Sequence[Transaction]) -> None:
        """Delete the transactions' rows from the journal; wait for a commit that is in the log and not quite done."""
        names = [int(name) for transaction in transactions for name in transaction.journalled]
        if not names:
            return
        session, sql = await self._session_open(), sqlfile.load("mysql/journal_forget.sql")
        for start in range(0, len(names), 1000):
            some = (orjson.dumps(names[start : start + 1000]).decode(),)
            while not await session.run(partial(_unless_locked, sql=sql, parameters=some)):
                pass  # it has waited for its turn

    def begin_log(self, mark: Position, journal: Position) -> Position:
        return replace(BinlogPosition.load(mark), rereads=JournalPosition.load(journal).rereads).dump()

    def begin_journal(self, log: Position) -> Position:
        return JournalPosition(rereads=BinlogPosition.load(log).rereads, marker=MOVED).dump()


def _limit_lock_waits(connection: Connection[Any]) -> None:
    rows(connection, f"SET SESSION innodb_lock_wait_timeout = {_WAIT_SECONDS}")


def _unless_locked(connection: Connection[Any], sql: str, parameters: Any = None) -> bool:
    """Return whether the statement could be run by now; a journal that is not there holds nothing."""
    try:
        rows(connection, sql, parameters)
    except pymysql.err.MySQLError as error:
        if code_of(error) == MISSING_TABLE:
            return True
        if code_of(error) not in LOCK_CONFLICTS:
            raise
        return False
    return True


class BinlogProbe(MySQLProbe):
    """A `cdc.capture.probe.Probe` of a server whose log is read."""

    def __init__(self, info: ConnectionInfo, *, replica: bool = False) -> None:
        super().__init__(info, replica=replica)
        self._ends: Ends[LogPosition] = Ends(holds)

    async def ask(self, position: Position | None) -> Backlog | None:
        end = await self.run(log_head)
        stored = log_part(position)
        if stored is None:
            return None
        return await self._with_problems(self._ends.ahead(end, BinlogPosition.load(stored).log))

    def _findings(self, connection: Connection[Any]) -> Iterable[Finding]:
        return log_findings(connection, self._info.database, read_settings(connection), replica=self._replica)


def holds(stored: LogPosition, end: LogPosition) -> bool:
    """Return whether everything before ``end`` is stored.  A new file of the log moves its end, and holds nothing."""
    if stored.gtids and _members(stored) == _members(end):
        return True
    return stored.place() >= end.place()


def _members(position: LogPosition) -> frozenset[str]:
    return frozenset(member.strip() for member in position.gtids.lower().split(","))
