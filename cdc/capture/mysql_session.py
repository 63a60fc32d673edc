"""One consumer's connection to MariaDB or MySQL in a thread of its own, and the lock that lives on it.

PyMySQL is synchronous: one connection lives in one thread, and everything that is done to it runs there.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeVar

import pymysql
from pymysql.connections import Connection

from cdc.capture.base import SILENT_SECONDS, LockHolder
from cdc.capture.probe import Backlog
from cdc.database.mysql_connection import (
    ACCESS_DENIED,
    LOCK_CONFLICTS,
    MISSING_INDEX,
    MISSING_TABLE,
    NO_PRIVILEGE,
    UNAVAILABLE,
    Flavour,
    code_of,
    connect,
    errors_of,
    rows,
    server_of,
    shut_down,
)
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import CdcError, JournalMissing, SourceError, SourceUnavailable
from cdc.model.finding import Finding, Severity

T = TypeVar("T")
#: Seconds of one round trip of waiting: what `disconnect` may have to wait for.
SLICE = 0.25
#: Seconds that the server has to answer the last statement when its connection is to be closed.
_ANSWER_SECONDS = 2.0


class MySQLSession:
    """One connection in a thread of its own.  ``closing`` is set while there is no connection or it is being closed:
    work that waits in rounds checks it.  ``read_timeout``: seconds that the server may take to answer."""

    def __init__(self, info: ConnectionInfo, read_timeout: float = 60) -> None:
        self._info = info
        self._read_timeout = read_timeout
        self._thread: ThreadPoolExecutor | None = None
        self._connection: Connection[Any] | None = None
        self.closing = asyncio.Event()

    async def connect(self, prepare: Callable[[Connection[Any]], object]) -> None:
        """Connect.  ``prepare`` is what the connection is first used for; when it fails, there is no connection."""
        self.closing.clear()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cdc-source")

        def made(connection: Connection[Any]) -> None:
            self._connection = connection

        def open_and_prepare() -> None:
            connection = connect(self._info, read_timeout=self._read_timeout, made=made)
            with explained(self._info):
                prepare(connection)

        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, open_and_prepare)
        except BaseException:
            await self.disconnect()
            raise

    async def disconnect(self) -> None:
        """End a wait that is going on within its current round trip, and that for a server that does not answer."""
        self.closing.set()
        thread, self._thread = self._thread, None
        if thread is None:
            return
        closed = asyncio.get_running_loop().run_in_executor(thread, self._close)
        thread.shutdown(wait=False)
        await asyncio.wait({closed}, timeout=_ANSWER_SECONDS)
        if not closed.done() and (connection := self._connection) is not None:
            shut_down(connection)
        await closed

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and connection.open:
            connection.close()

    async def run(self, work: Callable[[Connection[Any]], T]) -> T:
        """Do ``work`` in the connection's thread, its errors as ours."""

        def run() -> T:
            if self._connection is None:
                raise SourceUnavailable(f"Not connected to {self._info.describe()}.")
            with explained(self._info):
                return work(self._connection)

        if self._thread is None:
            raise SourceUnavailable(f"Not connected to {self._info.describe()}.")
        return await asyncio.get_running_loop().run_in_executor(self._thread, run)

    async def try_lock(self, seconds: float, silent: int = SILENT_SECONDS) -> bool:
        """Try for up to ``seconds`` to become the only consumer of this database, whichever way it reads."""
        rest = seconds

        def lock(connection: Connection[Any]) -> bool:
            name = _lock_name(connection)
            return bool(rows(connection, "SELECT GET_LOCK(%s, %s)", (name, min(rest, SLICE)))[0][0])

        while not await self.run(lock):
            rest -= SLICE
            if rest <= 0 or self.closing.is_set():
                return False
        await self.run(partial(rows, sql=f"SET SESSION wait_timeout = {silent}"))
        return True

    async def lock_holder(self) -> LockHolder | None:
        """Return what holds the lock for which `try_lock` tries; None when it is free."""

        def read(connection: Connection[Any]) -> LockHolder | None:
            (number,) = rows(connection, "SELECT IS_USED_LOCK(%s)", (_lock_name(connection),))[0]
            if number is None:
                return None
            # without PROCESS an account sees its own sessions only
            accounts = [
                f"{user}@{host}" for id_, user, host, *_ in rows(connection, "SHOW PROCESSLIST") if id_ == number
            ]
            whose = f"account {accounts[0]}" if accounts else "another account, which ours lacks PROCESS to see"
            return LockHolder(str(number), f"Connection {number} ({whose})", f"KILL {number}")

        return await self.run(read)

    async def check_lock(self) -> None:
        """Raise `SourceUnavailable` when the lock is not ours any more: the connection was lost or killed."""
        sql = "SELECT IS_USED_LOCK(%s) = CONNECTION_ID()"
        if not (await self.run(lambda connection: rows(connection, sql, (_lock_name(connection),))))[0][0]:
            raise SourceUnavailable(f"The consumer lock of {self._info.describe()} was lost.")


@contextmanager
def explained(info: ConnectionInfo) -> Iterator[None]:
    """Driver errors as errors of this package."""
    with errors_of(info):
        try:
            yield
        except pymysql.err.MySQLError as error:
            if code_of(error) in UNAVAILABLE or code_of(error) in ACCESS_DENIED:
                raise
            if code_of(error) in LOCK_CONFLICTS:
                raise SourceUnavailable(
                    f"Another session locks what is needed in {info.describe()} (error {code_of(error)}).",
                    "It is tried again. Where it stays so: SHOW ENGINE INNODB STATUS names who locks what.",
                ) from error
            if code_of(error) == MISSING_TABLE and "cdc_" in str(error.args[-1]):
                raise JournalMissing(
                    f"No journal is installed in {info.describe()}.", "Run `cdc install-triggers`."
                ) from error
            if code_of(error) == MISSING_INDEX:
                raise SourceError(
                    f"In {info.describe()} a captured table was replaced by a view, or by a table without its primary "
                    f"key: {error.args[-1]}.",
                    "Drop or rename it, then run `cdc install-triggers`.",
                ) from error
            if code_of(error) in NO_PRIVILEGE:
                raise SourceError(
                    f"The account of {info.describe()} lacks a privilege: {error.args[-1]}.",
                    "Grant what a consuming account needs: cdc grants prints it.",
                ) from error
            # without the server's words: they may quote values
            raise SourceError(
                f"{info.describe()} refuses a statement (error {code_of(error)}).",
                "The server's manual says what the number means; cdc doctor checks the rest.",
            ) from error


def _lock_name(connection: Connection[Any]) -> str:
    """64 characters at most, the same for every consumer of this database, whatever it calls the server."""
    (database,) = rows(connection, "SELECT DATABASE()")[0]
    return f"cdc_{hashlib.sha256(database.encode()).hexdigest()[:40]}"


#: Seconds that the server gets for an answer.
SECONDS = 5.0
#: Seconds between two checks of the server's settings.
_CHECK_SECONDS: Final = 30.0
TITLES: Final = {Flavour.MARIADB: "MariaDB", Flavour.MYSQL: "MySQL"}


class ProbeSession:
    """A connection that is made when it is first needed, and again after it failed.  ``server``: as of `Probe`."""

    def __init__(self, info: ConnectionInfo) -> None:
        self._session = MySQLSession(info, read_timeout=SECONDS)
        self._connected = False
        self.server = ""

    async def run(self, work: Callable[[Connection[Any]], T]) -> T:
        try:
            if not self._connected:
                await self._session.connect(lambda _connection: None)
                found = await self._session.run(server_of)
                self.server = f"{TITLES[found.flavour]} {found.version.partition('-')[0]}"
                self._connected = True
            return await self._session.run(work)
        except CdcError:
            await self.close()
            raise

    async def close(self) -> None:
        self._connected = False
        await self._session.disconnect()


class MySQLProbe(ProbeSession, ABC):
    """A `cdc.capture.probe.Probe`, without its question."""

    def __init__(self, info: ConnectionInfo, *, replica: bool = False) -> None:
        """``replica``: the server may be one of which changes are not seen."""
        super().__init__(info)
        self._info, self._replica = info, replica
        self._problems: tuple[str, ...] = ()
        self._checked_at = -math.inf

    async def _with_problems(self, backlog: Backlog) -> Backlog:
        """Add what was found when the server's settings were checked last."""
        if time.monotonic() - self._checked_at >= _CHECK_SECONDS:
            found = await self.run(lambda connection: list(self._findings(connection)))
            self._problems = tuple(f"{each.detail} {each.fix}." for each in found if each.severity is Severity.WRONG)
            self._checked_at = time.monotonic()
        return replace(backlog, problems=self._problems)

    @abstractmethod
    def _findings(self, connection: Connection[Any]) -> Iterable[Finding]:
        """Check the server's settings."""
