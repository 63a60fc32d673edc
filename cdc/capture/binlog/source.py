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
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial

import structlog

from cdc.capture.base import LogLimits
from cdc.capture.binlog.chunk import ChunkLimits, ChunkReader, LogChunk
from cdc.capture.binlog.connection import HEARTBEAT, LogConnection
from cdc.capture.binlog.database import BinlogDatabase, BinlogPages
from cdc.capture.binlog.item import Idle, SchemaChange
from cdc.capture.binlog.log_position import FILE_START, LogPosition
from cdc.capture.binlog.schema_history import BinlogPosition, SchemaHistory, SchemaNow, Version
from cdc.capture.new_tables import Check, Patterns
from cdc.capture.pages import PageRequest, TablePage
from cdc.capture.position import Reread
from cdc.capture.source import CaptureSource
from cdc.model.change import Batch, Position, ReaderStore, Transaction
from cdc.model.clock import Clock
from cdc.model.column import Capture
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import LogPurged, SourceUnavailable

#: A statement → our tables whose columns it may have changed.
Concerned = Callable[[SchemaChange], frozenset[str]]
_Place = tuple[int, int]


class AlteredTablesAhead:
    """Reads the log over a second connection, rows skipped; what was read once is remembered, so that a series of
    alterations costs one reading."""

    def __init__(self, info: ConnectionInfo, concerned: Concerned, log: type[LogConnection] = LogConnection) -> None:
        self._info = info
        self._log = log
        self._concerned = concerned
        self._found: list[tuple[_Place, frozenset[str]]] = []
        self._read_to: LogPosition | None = None
        self._connection: LogConnection | None = None
        self._closed = False

    def altered(self, behind: LogPosition, head: LogPosition) -> frozenset[str]:
        """The tables that statements between the two concern.  Successive calls come in the order of the log."""
        start = behind
        if self._read_to is not None and self._read_to.place() > behind.place():
            start = self._read_to
        if head.place() > start.place():
            self._read(start, head)
        self._found = [(place, tables) for place, tables in self._found if place > behind.place()]
        return frozenset().union(*(tables for _, tables in self._found))

    def close(self) -> None:
        """End reading, from any thread; it fails there with an error."""
        self._closed = True
        if self._connection is not None:
            self._connection.close()

    def _read(self, start: LogPosition, head: LogPosition) -> None:
        with closing(self._log.open(self._info, start, HEARTBEAT, follow=False)) as connection:
            self._connection = connection
            if self._closed:
                connection.close()
            for item in connection.items(lambda _: None):
                if isinstance(item, SchemaChange) and (tables := self._concerned(item)):
                    self._found.append((item.reached.place(), tables))
                if isinstance(item, Idle | SchemaChange) and item.reached.place() >= head.place():
                    break
        self._connection = None
        self._read_to = head


#: An open connection → what is read over it, lazily.
Read = Callable[[LogConnection], Generator[LogChunk]]


class LogThread:
    """Used once: opened, read, closed."""

    def __init__(self, info: ConnectionInfo, concerned: Concerned, log: type[LogConnection] = LogConnection) -> None:
        self._info = info
        self._log = log
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cdc-log")
        self._ahead = AlteredTablesAhead(info, concerned, log)
        self._connection: LogConnection | None = None
        self._chunks: Generator[LogChunk] | None = None
        self._fetch: asyncio.Future[LogChunk | None] | None = None
        self._closed = self._finished = False

    async def open(self, start: LogPosition, heartbeat: float, read: Read) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._open, start, heartbeat, read)

    def _open(self, start: LogPosition, heartbeat: float, read: Read) -> None:
        self._connection = connection = self._log.open(self._info, start, heartbeat)
        if self._closed:
            connection.close()
        self._chunks = read(connection)

    async def next(self, seconds: float) -> LogChunk | None:
        """The next chunk, or None when there is none within ``seconds``.

        The one behind it begins to be read at once, unless the schema may change in between.
        """
        fetch = self._fetch or self._next()
        self._fetch = fetch
        done, _ = await asyncio.wait({fetch}, timeout=seconds)
        if not done:
            return None
        self._fetch = None
        chunk = fetch.result()
        if chunk is None:
            raise SourceUnavailable(f"The log of {self._info.describe()} ended.", "Was the server shut down?")
        if not chunk.altered:
            self._fetch = self._next()
        return chunk

    def _next(self) -> asyncio.Future[LogChunk | None]:
        assert self._chunks is not None, "opened"
        return asyncio.get_running_loop().run_in_executor(self._thread, next, self._chunks, None)

    async def altered(self, behind: LogPosition, head: LogPosition) -> frozenset[str]:
        """`AlteredTablesAhead.altered`; not while a chunk is being read."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._ahead.altered, behind, head)

    @property
    def closed(self) -> bool:
        return self._closed

    async def close(self) -> None:
        """End the reading.  It may be called more than once."""
        self._closed = True
        self._ahead.close()
        if self._connection is not None:
            self._connection.close()
        fetch, self._fetch = self._fetch, None
        if fetch is not None:
            await asyncio.gather(fetch, return_exceptions=True)  # how it ended matters to nobody
        if not self._finished:
            self._finished = True
            await asyncio.get_running_loop().run_in_executor(self._thread, self._finish)
            self._thread.shutdown(wait=False)

    def _finish(self) -> None:
        """Close the resources of an interrupted read, in the thread that created them."""
        if self._chunks is not None:
            self._chunks.close()
        if self._connection is not None:
            self._connection.close()


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
        self._given: Position | None = None
        self._checked_at = 0.0

    # -- its life ---------------------------------------------------------------------------------------------------

    async def open(self, position: Position | None) -> None:
        self._given = position
        if position is not None:
            self._position = BinlogPosition.load(position)
        self._caught_up = False
        await self._database.connect()
        await self._become_consumer()
        await self._meet_keyed()
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
        return None if self._position.dump() == self._given else self._batch((), self._position)

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
        self._database.log_tables.begin(self._database.secrets, version)
        stand = replace(stand, server=self._database.server.name, log=self._log_at(stand))
        await self._database.check_history(stand.log)
        self._reader = reader = LogThread(self._database.info, self._database.log_tables.concerned, self._log)
        await reader.open(stand.log, self._limits.heartbeat, partial(self._chunks, stand, reader))
        if new:
            version = await self._version_behind(stand.log, new)
            self._database.log_tables.history = SchemaHistory(version)
        captured = tuple(sorted(self._database.secrets))
        self._position = replace(stand, captured=captured, schema=version.dump(), huge=huge)
        self._pages.use()
        self._snapshots.begin(stand.log)

    def _log_at(self, stand: BinlogPosition) -> LogPosition:
        """The position in the log of this server: another one's log has other places, of which nothing is known before
        it is read by its GTIDs."""
        if stand.server in ("", self._database.server.name):
            return stand.log
        if not stand.log.gtids:
            place = stand.log.describe()
            raise LogPurged(
                f"{self._database.info.describe()} is another server than the one whose log was read up to {place}.",
                "Positions without GTIDs are good for one server only.",
            )
        return LogPosition("", FILE_START, stand.log.gtids)

    def _chunks(self, stand: BinlogPosition, reader: LogThread, connection: LogConnection) -> Generator[LogChunk]:
        chunks = ChunkReader(
            self._name,
            self._database.server.database,
            self._database.secrets,
            stand.log,
            ChunkLimits(self._limits.batch, self._limits.huge),
            connection.at_end,
            lambda: reader.closed,
            stand.huge if set(stand.captured) == set(self._database.secrets) else None,
        )
        return chunks.read(connection.items(self._database.log_tables.layout))

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

    async def _version_behind(self, behind: LogPosition, names: frozenset[str]) -> Version:
        """Return the schema version with these tables as they are now.  Those that the log alters again between
        ``behind`` and now are marked uncertain."""
        assert self._reader is not None, "reading"
        now = await self._database.schema(names)
        again = names & await self._reader.altered(behind, now.head)
        for table in sorted(again):
            log.warning(
                "schema uncertain", source=self._name, table=table, reason="altered again further on in the log"
            )
        self._tables = await self.tables()
        return self._database.log_tables.history.current.with_tables(names, now.tables, again)

    # -- reading ----------------------------------------------------------------------------------------------------

    async def _changes(self, seconds: float) -> AsyncIterator[Batch]:
        if new := await self._meet_keyed():
            yield await self._from_here(new)
            await self._open_log()
            return
        try:
            chunk = await self._next(seconds)
        except LogPurged as error:
            yield await self._start_over(error)
            await self._open_log()
            return
        if chunk is not None:
            batch = await self._batch_of(chunk)
            self._snapshots.follow(chunk.transactions, chunk.position)
            if batch is not None:
                yield batch

    async def _next(self, seconds: float) -> LogChunk | None:
        """Return the next chunk; None when nothing happened for ``seconds``."""
        assert self._reader is not None, "reading"
        now = asyncio.get_running_loop().time()
        if now - self._checked_at >= self._limits.idle:
            await self._database.watch(self._position.log)
            self._checked_at = now
            if self._database.server.cascades:
                self._trigger_check.repaired()
        chunk = await self._reader.next(seconds)
        if chunk is not None:
            self._caught_up = chunk.caught_up
        return chunk

    async def _batch_of(self, chunk: LogChunk) -> Batch | None:
        """Return the batch of a chunk; None when it holds nothing to store now."""
        assert self._reader is not None, "reading"
        transactions = chunk.transactions
        if chunk.altered and chunk.reached is not None:
            transactions = self._of_known(transactions)
            version = await self._version_behind(chunk.reached, chunk.altered)
            self._database.log_tables.history.change(version, chunk.reached)
        gaps = {lost.gap.table: lost.token for lost in chunk.lost}
        schema = self._database.log_tables.history.text_at(chunk.position)
        moved = chunk.position != self._position.log
        position = replace(self._position.with_gaps(gaps), log=chunk.position, schema=schema, huge=chunk.huge)
        if transactions or chunk.lost or chunk.altered or (moved and self._due_progress()):
            return self._batch(transactions, position, tuple(lost.gap for lost in chunk.lost))
        return None

    def _of_known(self, transactions: Sequence[Transaction]) -> tuple[Transaction, ...]:
        """Leave out changes of tables that do not exist at this place of the log: DROP TABLE IF EXISTS."""
        known = self._database.log_tables.history.current.known
        kept = [each._replace(changes=tuple(c for c in each.changes if c.table in known)) for each in transactions]
        return tuple(each for each in kept if each.changes)

    # -- pages of tables --------------------------------------------------------------------------------------------

    def _rereads(self) -> Sequence[Reread]:
        """Return the pending re-reads, except those of tables with unreadable rows still ahead: they would have to
        begin again."""
        uncertain = self._database.log_tables.history.current.uncertain
        return [each for each in self._position.rereads if each.table not in uncertain]

    async def _page(self, wanted: PageRequest) -> TablePage | None:
        return await self._snapshots.read(wanted)

    def _emitted(self) -> bool:
        return self._snapshots.emitted()

    # -- new tables -------------------------------------------------------------------------------------------------

    async def _meet_keyed(self) -> list[str]:
        """Tables that were not captured before, and are from now on: those without a primary key have no records."""
        self._new_tables.extended()
        met = [capture.table for capture in (await self._meet()).tables]
        keyless = {table for table in met if table not in self._tables or not self._tables[table].key}
        self._database.leave_out(keyless)
        return [table for table in met if table not in keyless]

    async def _from_here(self, tables: Sequence[str]) -> Batch:
        """New tables too, from where we are; what was written into them before is read."""
        await self._close_log()
        self._caught_up = False
        self._pages.soon(tables)
        token = f"new/{self._position.log.file}/{self._position.log.offset}"
        return self._batch((), self._position.with_gaps(dict.fromkeys(tables, token)))
