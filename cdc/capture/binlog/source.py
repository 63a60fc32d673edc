"""The binlog source: whole transactions out of the log of a MariaDB or MySQL server.

Invariants:

* a position is behind whole transactions only, and holds what the captured tables are like there; a huge transaction
  is read from its beginning again, and the records that are stored already are passed over;
* the schema changes between two chunks only, while nothing is being read: a chunk has one schema;
* what cannot be read for certain is a gap, said aloud, and its table is read again once the log has been read up to
  where the table is known again;
* one consumer a database: the lock lives on the connection that looks rows up and is asked for every second; who lost
  it reads no further.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator, Sequence
from dataclasses import replace
from functools import partial

import structlog

from cdc.capture.base import NO_BACKFILLS, Backfills
from cdc.capture.binlog.chunk import ChunkLimits, ChunkReader, LogChunk
from cdc.capture.binlog.connection import LogConnection
from cdc.capture.binlog.database import BinlogDatabase
from cdc.capture.binlog.dump_command import FILE_START
from cdc.capture.binlog.limits import LogLimits
from cdc.capture.binlog.log_position import LogPosition
from cdc.capture.binlog.log_thread import LogThread
from cdc.capture.binlog.pages import BinlogPages
from cdc.capture.binlog.position import BinlogPosition
from cdc.capture.binlog.schema_history import SchemaHistory, Version
from cdc.capture.binlog.schema_now import SchemaNow
from cdc.capture.journal.trigger_check import Check
from cdc.capture.new_tables import Patterns
from cdc.capture.pages import PageReader, PageRequest
from cdc.capture.reread import with_gaps
from cdc.model.change import Batch, Gap, Operation, Row, Transaction, Value
from cdc.model.clock import Clock, SystemClock
from cdc.model.column import Capture, Table
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import LogIncomplete, LogPurged, SourceError
from cdc.model.position import Position

_WAY_OUT = 'With on_purged = "reread" the captured tables are read again and reading goes on at the end of the log.'

log = structlog.get_logger()


class BinlogSource:
    """A `cdc.capture.base.Source`.  ``captures``: whose changes are read; ``lookups``: what else mapping looks up.

    ``reread_purged``: when the log behind the position is gone, read all captured tables and go on from the log's end;
    else that is an error.  ``connection``: how the server is connected to and asked for its log.
    ``check``: mends the triggers that journal cascades, where they are installed.
    """

    def __init__(
        self,
        name: str,
        info: ConnectionInfo,
        captures: Sequence[Capture],
        lookups: Sequence[Capture] = (),
        *,
        reread_purged: bool = False,
        connection: type[LogConnection] = LogConnection,
        check: Check | None = None,
        patterns: Patterns | None = None,
        limits: LogLimits | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._name = name
        self._reread_purged = reread_purged
        self._log = connection
        self._limits = limits or LogLimits()
        self._clock = clock or SystemClock()
        self._database = BinlogDatabase(
            name,
            info,
            captures,
            lookups,
            check=check,
            patterns=patterns,
            limits=self._limits,
            clock=self._clock,
            log=connection,
        )
        pages = PageReader(name, self._limits.batch, self._limits.reread_pause, self._clock)
        self._pages = BinlogPages(pages, self._database.session, self._database.lookup)
        self._reader: LogThread | None = None
        self._given: Position | None = None
        self._stand: BinlogPosition | None = None
        self._tables: dict[str, Table] = {}
        self._caught_up = False
        self._stored_at = 0.0

    @property
    def name(self) -> str:
        return self._name

    @property
    def standby(self) -> bool:
        return self._database.standby

    @property
    def problems(self) -> Sequence[str]:
        return self._database.problems

    # -- its life ---------------------------------------------------------------------------------------------------

    async def open(self, position: Position | None) -> None:
        self._given = position
        self._stand = None if position is None else BinlogPosition.load(position)
        self._caught_up = False
        self._tables = await self._database.connect()
        if self._stand is None:
            self._begin(await self._database.schema(frozenset(self._database.secrets)))

    async def close(self) -> None:
        await self._pages.drop()
        self._database.closing()
        await self._database.stop_checks()
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.close()
        await self._database.disconnect()

    async def acknowledge(self, position: Position) -> None:
        """The server keeps its log whatever we say: nothing to forget."""

    async def rows(self, table: str, column: str, values: Sequence[Value]) -> list[Row]:
        return await self._database.rows(table, column, values)

    async def all_rows(self, table: str) -> list[Row]:
        return await self._database.all_rows(table)

    async def tables(self) -> dict[str, Table]:
        return await self._database.tables()

    async def _follow(self, tables: Sequence[str]) -> Batch:
        """New tables too, from where we are; what was written into them before is read."""
        assert self._reader is not None, "reading"
        assert self._stand is not None, "reading"
        await self._reader.close()
        self._caught_up = False
        self._pages.soon(tables)
        token = f"new/{self._stand.log.file}/{self._stand.log.offset}"
        return self._batch_at(
            replace(self._stand, rereads=with_gaps(self._stand.rereads, dict.fromkeys(tables, token)))
        )

    # -- where reading begins ---------------------------------------------------------------------------------------

    def _begin(self, now: SchemaNow) -> None:
        """At the end of the log."""
        version = Version({name: (table,) for name, table in now.tables.items()})
        self._database.log_tables.history = SchemaHistory(version)
        self._stand = BinlogPosition(now.head, "", version.dump(), tuple(sorted(self._database.secrets)))
        self._caught_up = True

    async def _open_log(self) -> None:
        """At the position, with what is known there; tables that are captured now and were not then are looked at."""
        stand = self._stand
        assert stand is not None, "opened"
        version = stand.version.only(self._database.secrets)
        new = frozenset(self._database.secrets) - set(stand.captured)
        huge = stand.huge if set(stand.captured) == set(self._database.secrets) else None
        self._database.log_tables.history = SchemaHistory(version)
        stand = replace(stand, server=self._database.server.name, log=self._log_at(stand))
        await self._database.check_history(stand.log)
        self._reader = reader = LogThread(self._database.info, self._database.log_tables.concerned, self._log)
        await reader.open(stand.log, self._limits.heartbeat, partial(self._chunks, stand, reader))
        if new:
            version = await self._version_behind(stand.log, new)
            self._database.log_tables.history = SchemaHistory(version)
        captured = tuple(sorted(self._database.secrets))
        self._stand = replace(stand, captured=captured, schema=version.dump(), huge=huge)

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

    async def _start_over(self, error: SourceError) -> Batch:
        """Behind a gap in the log: all tables are read again."""
        if not self._reread_purged:
            hint = error.hint if "on_purged" in error.hint else f"{error.hint} {_WAY_OUT}".strip()
            raise type(error)(error.message, hint) from error
        if self._reader is not None:
            await self._reader.close()
            self._reader = None
        stand = self._stand
        now = await self._database.schema(frozenset(self._database.secrets))
        self._begin(now)
        assert self._stand is not None, "begun"
        log.error(
            "lost",
            source=self._name,
            behind=None if stand is None else stand.log.describe(),
            up_to=now.head.describe(),
            reason=error.message,
            action="reading all captured tables again; deleted records are not told of",
        )
        token = f"{now.head.file}/{now.head.offset}"
        rereads = with_gaps((), dict.fromkeys(sorted(now.tables), token))
        time = self._clock.now()
        gaps = tuple(Gap(table, Operation.READ, time) for table in sorted(now.tables))
        return self._batch_at(replace(self._stand, rereads=rereads), gaps=gaps)

    # -- the schema -------------------------------------------------------------------------------------------------

    async def _version_behind(self, behind: LogPosition, names: frozenset[str]) -> Version:
        """These tables as they are now, unless they are altered once more between a statement and now."""
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

    async def begin(self) -> Batch | None:
        if self._reader is not None:
            return None
        try:
            await self._open_log()
        except (LogPurged, LogIncomplete) as error:
            first = await self._start_over(error)
            await self._open_log()
            return first
        assert self._stand is not None, "opened"
        return None if self._stand.dump() == self._given else self._batch_at(self._stand)

    async def batches(self, backfills: Backfills = NO_BACKFILLS) -> AsyncIterator[Batch]:
        if (first := await self.begin()) is not None:
            yield first
        assert self._stand is not None, "opened"
        self._pages.use(backfills, self._stand.log)
        while True:
            if new := await self._database.meet():
                yield await self._follow(new)
                await self._open_log()
                self._pages.use(backfills, self._stand.log)
            wanted = await self._wanted()
            try:
                chunk = await self._next(self._patience(wanted))
            except (LogPurged, LogIncomplete) as error:
                yield await self._start_over(error)
                await self._open_log()
                self._pages.use(backfills, self._stand.log)
                continue
            if chunk is not None:
                batch = await self._batch(chunk)
                self._pages.follow(chunk.transactions, chunk.position)
                if batch is not None:
                    yield batch
            if wanted is not None and self._caught_up:
                await self._pages.read(wanted)
            if self._pages.ready:
                told = self._told()
                self._pages.ahead(told.step, self._read_next)
                yield told
                await self._pages.settled()

    def _patience(self, wanted: PageRequest | None) -> float:
        """Seconds to wait for changes.  Before the log's end they are sure to come, and no page is asked for."""
        if self._caught_up or self._pages.ready:
            return self._pages.rest(wanted, self._limits.idle)
        return self._limits.idle

    async def _read_next(self) -> None:
        wanted = await self._wanted()
        if wanted is not None:
            await self._pages.read(wanted)

    async def _next(self, seconds: float) -> LogChunk | None:
        """None when nothing happened for so long."""
        assert self._reader is not None, "reading"
        assert self._stand is not None, "reading"
        await self._database.watch(self._stand.log)
        chunk = await self._reader.next(seconds)
        if chunk is not None:
            self._caught_up = chunk.caught_up
        return chunk

    async def _batch(self, chunk: LogChunk) -> Batch | None:
        """None when there is nothing that should be stored now."""
        assert self._stand is not None, "reading"
        assert self._reader is not None, "reading"
        transactions = chunk.transactions
        if chunk.altered and chunk.reached is not None:
            transactions = self._of_known(transactions)
            version = await self._version_behind(chunk.reached, chunk.altered)
            self._database.log_tables.history.change(version, chunk.reached)
        stand = replace(
            self._stand,
            log=chunk.position,
            schema=self._database.log_tables.history.text_at(chunk.position),
            rereads=with_gaps(self._stand.rereads, {lost.gap.table: lost.token for lost in chunk.lost}),
            huge=chunk.huge,
        )
        waited = asyncio.get_running_loop().time() - self._stored_at >= self._limits.progress
        progress = stand.log != self._stand.log and waited
        if transactions or chunk.lost or chunk.altered or progress:
            return self._batch_at(stand, transactions, tuple(lost.gap for lost in chunk.lost))
        return None

    def _of_known(self, transactions: Sequence[Transaction]) -> tuple[Transaction, ...]:
        """Without changes of tables that are not there at this place of the log: DROP TABLE IF EXISTS."""
        known = self._database.log_tables.history.current.known
        kept = [each._replace(changes=tuple(c for c in each.changes if c.table in known)) for each in transactions]
        return tuple(each for each in kept if each.changes)

    def _batch_at(
        self, stand: BinlogPosition, transactions: tuple[Transaction, ...] = (), gaps: tuple[Gap, ...] = ()
    ) -> Batch:
        self._stand = stand
        self._stored_at = asyncio.get_running_loop().time()
        return Batch(transactions, stand.dump(), gaps)

    # -- pages of tables --------------------------------------------------------------------------------------------

    async def _wanted(self) -> PageRequest | None:
        """Not while rows of a table are still to come that cannot be read: it would have to begin again."""
        assert self._stand is not None, "reading"
        uncertain = self._database.log_tables.history.current.uncertain
        rereads = [each for each in self._stand.rereads if each.table not in uncertain]
        return await self._pages.wanted(rereads, self._tables) if self._caught_up else None

    def _told(self) -> Batch:
        assert self._stand is not None, "reading"
        told = self._pages.told(self._stand.rereads)
        batch = self._batch_at(replace(self._stand, rereads=told.rereads), told.transactions, told.gaps)
        return replace(batch, step=told.step)
