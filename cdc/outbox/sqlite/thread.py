"""One SQLite connection in a thread of its own, so that the event loop never waits for a disk."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from cdc.model.errors import OutboxError, OutboxLost
from cdc.outbox.sqlite.database import SqliteDatabase, finished
from cdc.outbox.sqlite.errors import primary_code, sentence

P = ParamSpec("P")
T = TypeVar("T")
Work = Callable[Concatenate[SqliteDatabase, P], Coroutine[Any, Any, T]]

_LARGEST_IDLE_LOG = 64 * 1024 * 1024  # bytes: the write-ahead log is cut to this after a burst


class SqliteThread:
    """Runs functions that use the connection, one after the other.  SQLite's errors come out as `OutboxError`.

    SQLite keeps working on a file that was deleted or replaced.  So each call checks first that ``path`` still names
    the open file, and each transaction checks it again after its commit: what was committed into a deleted file is
    never reported as stored.

    ``cache``: KiB of pages that it keeps at most; the system keeps those of the file anyhow."""

    def __init__(self, path: Path, busy_timeout: float, cache: int = 16_384) -> None:
        self.path = path
        self._cache = cache
        self._busy_timeout = busy_timeout
        self._executor: ThreadPoolExecutor | None = None
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None

    async def open(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="outbox")
        try:
            await self._unchecked(self._connect)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Also after a failed `open`, and twice."""
        if self._executor is not None:
            await self._unchecked(self._disconnect)
            self._executor.shutdown(wait=False)
            self._executor = None

    async def read(self, work: Work[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """``work`` outside a transaction: for single statements that read."""
        return await self._call(lambda: finished(work(SqliteDatabase(self._open_connection()), *args, **kwargs)))

    async def write(self, work: Work[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """``work`` in a transaction that is on the disk when this returns."""
        return await self._call(lambda: self._transaction("FULL", lambda db: work(db, *args, **kwargs)))

    async def write_relaxed(self, work: Work[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """``work`` in a transaction that survives the end of this process, but perhaps not a power failure (then it is
        undone as a whole, with all that came after it)."""
        return await self._call(lambda: self._transaction("NORMAL", lambda db: work(db, *args, **kwargs)))

    async def rescue(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """`read`, also from a file that was deleted or replaced."""
        return await self._unchecked(lambda: work(self._open_connection()))

    async def _call(self, function: Callable[[], T]) -> T:
        def checked() -> T:
            self.check_file()
            return function()

        return await self._unchecked(checked)

    async def _unchecked(self, function: Callable[[], T]) -> T:
        if self._executor is None:
            raise OutboxError(f"The outbox {self.path} is not open.")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, function)
        except sqlite3.Error as error:
            raise sentence(error, self.path) from error

    def _connect(self) -> None:
        self._connection = connection = sqlite3.connect(
            self.path, timeout=self._busy_timeout, isolation_level=None, cached_statements=256
        )
        _write_ahead(connection, self._busy_timeout)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA cache_size = -{self._cache}")
        connection.execute(f"PRAGMA journal_size_limit = {_LARGEST_IDLE_LOG}")
        self._file = _identity(self.path)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            self._file = None

    def check_file(self) -> None:
        """Raise `OutboxLost` when the path does not name the open file any more."""
        if self._file is not None and _identity(self.path) != self._file:
            raise OutboxLost(
                f"The outbox {self.path} was deleted or replaced while this process had it open.",
                "Stop every cdc run before an outbox is moved or restored.",
            )

    def _open_connection(self) -> sqlite3.Connection:
        if self._connection is None:
            raise OutboxError(f"The outbox {self.path} is not open.")
        return self._connection

    def _transaction(self, synchronous: str, work: Callable[[SqliteDatabase], Coroutine[Any, Any, T]]) -> T:
        connection = self._open_connection()
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = finished(work(SqliteDatabase(connection)))
            connection.execute("COMMIT")
            self.check_file()
        except BaseException:
            if connection.in_transaction:  # SQLite ends it itself on some errors, a full disk for one
                connection.execute("ROLLBACK")
            raise
        return result


def _identity(path: Path) -> tuple[int, int] | None:
    """Return the device and inode of a file, None when it is gone.  Raises `OutboxError`."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise OutboxError(f"The outbox {path} cannot be found: {error.strerror}.", "Check its disk.") from error
    return found.st_dev, found.st_ino


def _write_ahead(connection: sqlite3.Connection, budget: float) -> None:
    """Have the file written ahead for good.  SQLite does not wait for another connection that is about to do the same,
    so this does, for ``budget`` seconds."""
    end = time.monotonic() + budget
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() >= end:
                raise
            time.sleep(0.01)  # a file tells nobody that it is free
        else:
            return
