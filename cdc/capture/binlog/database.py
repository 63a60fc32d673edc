"""The database whose log is read: what is captured of it, looked up in it, and held while it is read."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from pymysql.connections import Connection

from cdc.capture.binlog.connection import LogConnection, log_end
from cdc.capture.binlog.limits import LogLimits
from cdc.capture.binlog.log_history import LogHistory
from cdc.capture.binlog.log_position import LogPosition
from cdc.capture.binlog.log_tables import LogServer, LogTables, ask_server
from cdc.capture.binlog.schema_now import SchemaNow, read_schema
from cdc.capture.consumer_turn import ConsumerTurn
from cdc.capture.journal.trigger_check import Check, TriggerCheck
from cdc.capture.mysql_lookup import MySQLLookup, table_names
from cdc.capture.mysql_session import MySQLSession
from cdc.capture.new_tables import NewTables, Patterns
from cdc.model.change import Row, Value
from cdc.model.clock import Clock
from cdc.model.column import Capture, Table
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import SourceError, SourceUnavailable


class BinlogDatabase:
    """``captures``, ``lookups``, ``check`` and ``patterns``: as of `cdc.capture.binlog.source.BinlogSource`.

    ``secrets``: the secret columns of each table that is captured.  ``log``: how the server is asked for its log.
    """

    def __init__(
        self,
        name: str,
        info: ConnectionInfo,
        captures: Sequence[Capture],
        lookups: Sequence[Capture],
        *,
        check: Check | None,
        patterns: Patterns | None,
        limits: LogLimits,
        clock: Clock,
        log: type[LogConnection],
    ) -> None:
        self.info = info
        self._history = LogHistory(info, log)
        self.secrets = {capture.table: capture.hidden for capture in captures}
        self.lookup = MySQLLookup(self.secrets | {capture.table: capture.hidden for capture in lookups})
        self.session = MySQLSession(info)
        self._turn = ConsumerTurn(name)
        self._limits = limits
        self._server: LogServer | None = None
        self._in_log: LogTables | None = None
        self._trigger_check = TriggerCheck(name, check, limits.check_pause, clock)
        self._new_tables = NewTables(name, patterns, clock)
        self._checked_at = 0.0
        self._watched: LogPosition | None = None

    @property
    def standby(self) -> bool:
        return self._turn.awaited

    @property
    def problems(self) -> Sequence[str]:
        return self._new_tables.problems

    @property
    def server(self) -> LogServer:
        assert self._server is not None, "connected"
        return self._server

    @property
    def log_tables(self) -> LogTables:
        assert self._in_log is not None, "connected"
        return self._in_log

    async def connect(self) -> dict[str, Table]:
        """As the only consumer; the captured tables.  Raises `SourceError` when there are such without a key."""
        await self.session.connect(self._prepare)
        await self._turn.take(self.session.try_lock, self._limits.standby)
        await self.meet()
        tables = await self.tables()
        self._check_keys(tables)
        return tables

    def _prepare(self, connection: Connection[Any]) -> None:
        self._server = ask_server(connection, self.info)
        self._in_log = LogTables(self.info, self._server, self.secrets)

    def _check_keys(self, tables: dict[str, Table]) -> None:
        """Without a primary key, records have no names: said at once, before anything is read."""
        keyless = sorted(name for name, table in tables.items() if not table.key)
        if keyless:
            raise SourceError(
                f"These tables of {self.info.describe()} have no primary key: {', '.join(keyless)}.",
                "Give them one, or take them out of the rules.",
            )

    def closing(self) -> None:
        """What is being asked is not waited for any more."""
        self.session.closing.set()

    async def disconnect(self) -> None:
        await self.session.disconnect()

    async def stop_checks(self) -> None:
        await self._trigger_check.close()
        await self._new_tables.close()

    async def rows(self, table: str, column: str, values: Sequence[Value]) -> list[Row]:
        if not values:
            return []
        return await self.session.run(lambda connection: self.lookup.rows(connection, table, column, values))

    async def all_rows(self, table: str) -> list[Row]:
        return await self.session.run(lambda connection: self.lookup.all_rows(connection, table))

    async def tables(self) -> dict[str, Table]:
        """Those that are captured."""
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
        """Check once a second that we are still the only consumer, and that the log was not reset while it was read: a
        MySQL whose log was reset sends nothing until it is as long as before."""
        now = asyncio.get_running_loop().time()
        if now - self._checked_at >= self._limits.idle:
            await self.session.check_lock()
            if stand == self._watched and (await self.session.run(log_end)).place() < stand.place():
                raise SourceUnavailable(f"The log of {self.info.describe()} is shorter than it was: it was reset.")
            self._watched = stand
            self._checked_at = now
            if self.server.cascades:
                self._trigger_check.mended()

    async def meet(self) -> list[str]:
        """Tables that were not captured before, and are from now on: those without a primary key have no records."""
        if not self._new_tables.due():
            self._new_tables.extended()
            return []
        names = await self.session.run(table_names)
        met = self._new_tables.look(names, names).tables
        if met:
            self.secrets = self.secrets | {capture.table: capture.hidden for capture in met}
            self.lookup.hide(self.secrets)
            found = await self.tables()
            keyless = {each.table for each in met if each.table not in found or not found[each.table].key}
            self.secrets = {table: secrets for table, secrets in self.secrets.items() if table not in keyless}
            self._in_log = LogTables(self.info, self.server, self.secrets)
        return [capture.table for capture in met if capture.table in self.secrets]
