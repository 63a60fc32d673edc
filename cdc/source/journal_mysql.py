"""The journal in a MariaDB or MySQL database; see `cdc.source.journal_database.JournalDatabase` for its contract.

PyMySQL is synchronous: one connection lives in one thread, and everything that this class does to it runs there.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import pymysql
from pymysql.connections import Connection

from cdc import sqlfile
from cdc.change import Row, Value
from cdc.column import Capture, Table
from cdc.connection import ConnectionInfo
from cdc.database.mysql_connection import (
    ACCESS_DENIED,
    MISSING_TABLE,
    NO_PRIVILEGE,
    UNAVAILABLE,
    code_of,
    connect,
    errors_of,
    rows,
)
from cdc.database.mysql_journal import VERSION, Tokens, captures_from_json
from cdc.errors import JournalMissing, SourceError, SourceUnavailable
from cdc.source.journal_database import JournalRow, TransactionHead
from cdc.source.journal_mysql_lookup import MySQLLookup
from cdc.source.journal_mysql_rows import RowReader

T = TypeVar("T")
_NO_ROUTINE = frozenset({1305, 1370})
_INTERRUPTED = 1317
_LOCK_WAIT_TIMEOUT = 1205
#: Seconds of one round trip of waiting: what `disconnect` may have to wait for.
_SLICE = 0.25
#: Seconds between two looks at the journal within `_BUSY` seconds of the last rows, and after that.
_QUICK, _SLOW = 0.005, 0.025
_BUSY = 2.0
#: Deleted rows after which a system-versioned journal's history is removed (else while waiting).
_HISTORY = 5000
#: Rows deleted by one statement and transaction.
_DELETE = 2000


class MySQLJournal:
    """``captures``: what the consumer wants; secret columns are those of these and of what is installed."""

    def __init__(self, info: ConnectionInfo, captures: Sequence[Capture] = ()) -> None:
        self._info = info
        self._captures = tuple(captures)
        self._thread: ThreadPoolExecutor | None = None
        self._connection: Connection[Any] | None = None
        self._closing = asyncio.Event()
        self._reader = RowReader()
        self._lookup = MySQLLookup({})
        self._installed: tuple[Capture, ...] = ()
        self._versioned = False
        self._history = 0
        self._routine = True

    # -- connection -------------------------------------------------------------------------------------------------

    async def connect(self) -> None:
        self._closing.clear()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cdc-journal")
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._open)
        except BaseException:
            await self.disconnect()
            raise

    def _open(self) -> None:
        connection = connect(self._info, read_timeout=60)
        self._connection = connection
        with _explained(self._info):
            found = rows(connection, "SELECT `version`, `tokens`, `captures` FROM `cdc_installation` WHERE `id` = 1")
        if not found or found[0][0] != VERSION:
            there = f"has version {found[0][0]}" if found else "is not complete"
            raise JournalMissing(
                f"The journal in {self._info.describe()} {there}, this program reads version {VERSION}.",
                "Run `cdc install-triggers`.",
            )
        _, tokens, captures = found[0]
        self._installed = tuple(captures_from_json(captures))
        self._versioned = tokens == Tokens.ROW_START
        self._history = 1  # of an earlier consumer, perhaps
        self._routine = True
        self._reader = RowReader()
        self._lookup = MySQLLookup(self._secrets())

    def _secrets(self) -> dict[str, frozenset[str]]:
        secrets: dict[str, frozenset[str]] = {}
        for capture in (*self._installed, *self._captures):
            secrets[capture.table] = secrets.get(capture.table, frozenset()) | capture.secrets
        return secrets

    async def disconnect(self) -> None:
        """Ends a wait that is going on within its current round trip."""
        self._closing.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.get_running_loop().run_in_executor(thread, self._close)
            thread.shutdown(wait=False)

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and connection.open:
            connection.close()

    async def _run(self, work: Callable[[Connection[Any]], T]) -> T:
        """``work`` in the connection's thread, its errors as ours."""
        if self._thread is None:
            raise SourceUnavailable(f"Not connected to {self._info.describe()}.")
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(self._work, work))

    def _work(self, work: Callable[[Connection[Any]], T]) -> T:
        if self._connection is None:
            raise SourceUnavailable(f"Not connected to {self._info.describe()}.")
        with _explained(self._info):
            return work(self._connection)

    # -- the consumer lock ------------------------------------------------------------------------------------------

    async def try_lock(self, seconds: float) -> bool:
        rest = seconds
        while not await self._run(partial(_get_lock, seconds=min(rest, _SLICE))):
            rest -= _SLICE
            if rest <= 0 or self._closing.is_set():
                return False
        return True

    # -- reading ----------------------------------------------------------------------------------------------------

    async def _journal_rows(self, file: str, parameters: Sequence[Any], most: int = 0) -> list[JournalRow]:
        return await self._run(lambda connection: self._reader.read(connection, sqlfile.load(file), parameters, most))

    async def peek(self, limit: int) -> list[JournalRow]:
        return await self._journal_rows("mysql/journal_peek.sql", (limit,), limit)

    async def heads(self, limit: int) -> list[TransactionHead]:
        found = await self._run(lambda connection: rows(connection, sqlfile.load("mysql/journal_heads.sql"), (limit,)))
        return [TransactionHead(str(token), count) for token, count, _ in found]

    async def transaction_rows(self, tokens: Sequence[str]) -> list[JournalRow]:
        if not tokens:
            return []
        return await self._journal_rows("mysql/journal_transactions.sql", (_numbers(tokens),))

    async def rows_behind(self, token: str, ordinal: int, limit: int) -> list[JournalRow]:
        return await self._journal_rows("mysql/journal_behind.sql", (int(token), max(ordinal, 0), limit), 1)

    async def rows_at(self, token: str, ordinals: Sequence[int]) -> list[JournalRow]:
        if not ordinals:
            return []
        return await self._journal_rows("mysql/journal_at.sql", (tuple(ordinals), int(token)), 1)

    async def page(self, table: str, after: Row | None, limit: int) -> list[Row]:
        return await self._run(lambda connection: self._lookup.page(connection, table, after, limit))

    async def rows(self, table: str, column: str, values: Sequence[Value]) -> list[Row]:
        if not values:
            return []
        return await self._run(lambda connection: self._lookup.rows(connection, table, column, values))

    async def all_rows(self, table: str) -> list[Row]:
        return await self._run(lambda connection: self._lookup.all_rows(connection, table))

    async def tables(self) -> dict[str, Table]:
        found = await self._run(self._lookup.tables)
        captured = {capture.table for capture in (*self._installed, *self._captures)}
        return {name: table.as_table for name, table in found.items() if name in captured}

    # -- forgetting and waiting -------------------------------------------------------------------------------------

    async def delete(self, tokens: Sequence[str]) -> None:
        for start in range(0, len(tokens), _DELETE):
            await self._run(partial(self._delete, tokens=_numbers(tokens[start : start + _DELETE])))

    def _delete(self, connection: Connection[Any], tokens: tuple[int, ...]) -> None:
        known = self._reader.complete
        unknown = tuple(token for token in tokens if token not in known)
        ids = [number for token in tokens for number in known.pop(token, ())]
        _delete_rows(connection, ids)
        deleted = len(ids)
        while unknown and (found := rows(connection, sqlfile.load("mysql/journal_ids.sql"), (unknown, _DELETE))):
            _delete_rows(connection, [row[0] for row in found])
            deleted += len(found)
        self._history += deleted
        if self._versioned and self._history >= _HISTORY:
            self._forget_history(connection)

    def _forget_history(self, connection: Connection[Any]) -> None:
        """Remove what deleting leaves behind in a system-versioned journal; what is locked now goes another time."""
        self._history = 0
        try:
            rows(connection, "SET STATEMENT innodb_lock_wait_timeout = 0 FOR DELETE HISTORY FROM `cdc_journal`")
        except pymysql.err.OperationalError as error:
            if code_of(error) != _LOCK_WAIT_TIMEOUT:
                raise

    async def wait(self, seconds: float) -> None:
        rest = seconds
        while rest > 0 and not self._closing.is_set():
            if await self._run(partial(self._look, seconds=min(rest, _SLICE))):
                return
            rest -= _SLICE

    def _look(self, connection: Connection[Any], seconds: float) -> bool:
        """Whether the journal has rows, within about ``seconds``."""
        if self._versioned and self._history:
            self._forget_history(connection)
        pause = _QUICK if time.monotonic() - self._reader.read_at < _BUSY else _SLOW
        if self._routine:
            try:
                return bool(
                    rows(connection, "CALL `cdc_wait`(%s, %s, %s)", (self._reader.latest, seconds, pause))[0][0]
                )
            except pymysql.err.MySQLError as error:
                if code_of(error) == _INTERRUPTED:
                    return True
                if code_of(error) not in _NO_ROUTINE:
                    raise
                self._routine = False
        return bool(rows(connection, "SELECT SLEEP(%s), EXISTS (SELECT 1 FROM `cdc_journal`)", (pause,))[0][1])


@contextmanager
def _explained(info: ConnectionInfo) -> Iterator[None]:
    """Driver errors as errors of this package."""
    with errors_of(info):
        try:
            yield
        except pymysql.err.MySQLError as error:
            if code_of(error) in UNAVAILABLE or code_of(error) in ACCESS_DENIED:
                raise
            if code_of(error) == MISSING_TABLE and "cdc_" in str(error.args[-1]):
                raise JournalMissing(
                    f"No journal is installed in {info.describe()}.", "Run `cdc install-triggers`."
                ) from error
            if code_of(error) in NO_PRIVILEGE:
                raise SourceError(
                    f"The account of {info.describe()} lacks a privilege: {error.args[-1]}.",
                    "Grant what a consuming account needs.",
                ) from error
            # without the server's words: they may quote values
            raise SourceError(
                f"{info.describe()} refuses a statement (error {code_of(error)}).",
                "The server's manual says what the number means; cdc doctor checks the rest.",
            ) from error


def _numbers(tokens: Sequence[str]) -> tuple[int, ...]:
    return tuple(int(token) for token in tokens)


def _get_lock(connection: Connection[Any], seconds: float) -> bool:
    """A name of 64 characters at most, the same for every consumer of this database, whatever it calls the server."""
    (database,) = rows(connection, "SELECT DATABASE()")[0]
    name = f"cdc_{hashlib.sha256(database.encode()).hexdigest()[:40]}"
    return bool(rows(connection, "SELECT GET_LOCK(%s, %s)", (name, seconds))[0][0])


def _delete_rows(connection: Connection[Any], ids: Sequence[int]) -> None:
    for start in range(0, len(ids), _DELETE):
        rows(connection, sqlfile.load("mysql/journal_delete.sql"), (tuple(ids[start : start + _DELETE]),))
