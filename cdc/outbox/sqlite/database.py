"""One SQLite connection in a thread of its own, so that the event loop never waits for a disk; its errors as sentences.

Times are stored as microseconds, lists travel as JSON.  Nothing in `SqliteDatabase` waits: a coroutine that awaits
nothing else is finished as soon as it is started (`finished`), within the thread of the connection.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import sqlite3
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager, suppress
from functools import cache
from heapq import heappop, heappush
from itertools import count, islice, repeat
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from cdc.model.delivery import DeliveryFilter, EventFilter
from cdc.model.errors import OutboxError, OutboxLost, OutboxRefused
from cdc.outbox.database import Database, EndpointCodec, Ledger, Row, sqlite_statements
from cdc.outbox.secret_box import PLAIN, SecretBox
from cdc.outbox.shared import SubscriberCache
from cdc.outbox.slices import LogSlice
from cdc.outbox.sqlite import search
from cdc.outbox.sqlite.rows import TIMES, stored, with_times
from cdc.outbox.sqlite.search import SqliteLogSearch, SqliteSearch

#: primary result code → the problem with the file, and how to fix it
_SENTENCES: Final[dict[int, tuple[str, str]]] = {
    sqlite3.SQLITE_FULL: ("has no room: the disk is full", "Free space on that disk; nothing was half-written."),
    sqlite3.SQLITE_BUSY: ("is locked by another process", "Find the process that holds it; then try again."),
    sqlite3.SQLITE_LOCKED: ("is locked by another connection", "Try again."),
    sqlite3.SQLITE_NOTADB: ("is not an SQLite database", "Name another file in [outbox] url, or move this one away."),
    sqlite3.SQLITE_CORRUPT: (
        "is damaged",
        "Stop the consumer and restore the file, or salvage it with `.recover` of sqlite3.",
    ),
    sqlite3.SQLITE_READONLY: ("cannot be written", "Give this user write permission on the file and its folder."),
    sqlite3.SQLITE_PERM: ("may not be used by this user", "Give this user permission on the file and its folder."),
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened", "See that its folder exists and that this user may write there."),
    sqlite3.SQLITE_IOERR: ("cannot be read or written: the disk failed", "See the system's log about that disk."),
}


#: Codes of an operation that is refused for its values or their size.
_CONTENT: Final = (sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH)


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's result code without what extends it; 0 of an error that is the module's own."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def sentence(error: sqlite3.Error, path: Path) -> OutboxError:
    """The error to raise from ``error``.  Its own text names the operation, never a value."""
    if primary_code(error) in _CONTENT:
        return OutboxRefused(f"The outbox {path} refused an operation: {error}.")
    what, hint = _SENTENCES.get(primary_code(error), (f"refused an operation: {error}", ""))
    return OutboxError(f"The outbox {path} {what}.", hint)


@contextmanager
def errors_of(path: Path) -> Iterator[None]:
    """Raise SQLite's errors about a file as `OutboxError`."""
    try:
        yield
    except sqlite3.Error as error:
        raise sentence(error, path) from error


CODEC: Final = EndpointCodec(
    (
        *("id", "url", "events", "secret", "created_at", "enabled", "description", "sources", "format", "timeout"),
        *("retry_schedule", "concurrency", "disabled_reason", "former_secret", "former_secret_until", "origin"),
        *("order", "condition", "headers", "failing_since", "settings"),
    ),
    ("events", "sources", "retry_schedule", "headers"),
    json.dumps,
)


class SqliteDatabase(Database):
    codec = CODEC

    def __init__(
        self, connection: sqlite3.Connection, subscribers: SubscriberCache | None = None, box: SecretBox = PLAIN
    ) -> None:
        self.connection = connection
        self.box = box
        self.subscribers = subscribers or SubscriberCache()

    async def rows(self, name: str, /, **parameters: Any) -> list[Row]:
        return with_times(self.connection.execute(sqlite_statements()[name], _stored_all(parameters)))

    async def rows_each(self, name: str, columns: Mapping[str, Sequence[Any]], /, **parameters: Any) -> list[Row]:
        text, names = _numbered(name)
        given = _each(names, columns, parameters)
        return [row for values in given for row in with_times(self.connection.execute(text, values))]

    async def write(self, name: str, /, **parameters: Any) -> int:
        return self.connection.execute(sqlite_statements()[name], _stored_all(parameters)).rowcount

    async def write_each(self, name: str, columns: Mapping[str, Sequence[Any]], /, **parameters: Any) -> None:
        text, names = _numbered(name)
        self.connection.executemany(text, _each(names, columns, parameters))

    async def ledger(self, ids: Sequence[str]) -> Ledger:
        db, statements = self.connection, sqlite_statements()
        known = frozenset(row[0] for row in db.execute(statements["known_events"], {"ids": stored(ids)}))
        last, version = db.execute(statements["store_begin"]).fetchone()
        subscribers = await self.subscribers.at(version, self.read_subscribers)
        return Ledger(last, 0, known, subscribers)  # SQLite numbers deliveries itself

    async def find_events(self, which: EventFilter, *, walked: bool = False) -> SqliteLogSearch:
        self.check_text(which)
        return SqliteLogSearch(self.connection, search.of_events(self.connection, which, walked=walked))

    async def find_deliveries(
        self, which: DeliveryFilter, *, newest_first: bool = False, walked: bool = False
    ) -> SqliteLogSearch:
        self.check_text(which)
        ways = search.of_deliveries(self.connection, which, newest_first=newest_first, walked=walked)
        return SqliteLogSearch(self.connection, ways)

    def one_delivery(self, number: int | None) -> SqliteLogSearch:
        one = SqliteSearch("delivery", ("delivery.id = :id",), {"id": number})
        return SqliteLogSearch(self.connection, [one])

    async def span(self, which: EventFilter, whole: LogSlice) -> LogSlice:
        return search.span(self.connection, which, whole)

    async def give_way(self) -> None:
        """The thread is not the event loop's."""

    async def aside(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return work(*args, **kwargs)

    @contextmanager
    def overwriting(self) -> Iterator[None]:
        (before,) = self.connection.execute("PRAGMA secure_delete").fetchone()
        self.connection.execute("PRAGMA secure_delete = ON")
        try:
            yield
        finally:
            self.connection.execute(f"PRAGMA secure_delete = {before}")


def finished(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    work.close()
    raise AssertionError("work on SQLite waits for nothing but SQLite")


def _stored_all(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {name: stored(value) for name, value in parameters.items()}


@cache
def _numbered(name: str) -> tuple[str, tuple[str, ...]]:
    """A statement with its parameters by number, which cost less than names for each row; and their names."""
    text = sqlite_statements()[name]
    names = tuple(dict.fromkeys(re.findall(r":(\w+)", text)))
    return re.sub(r":(\w+)", lambda match: f"?{names.index(match[1]) + 1}", text), names


def _each(names: Sequence[str], columns: Mapping[str, Sequence[Any]], parameters: Mapping[str, Any]) -> Iterator[Row]:
    lists = [
        repeat(stored(parameters[name]))
        if name in parameters
        else map(stored, columns[name])
        if name in TIMES
        else columns[name]
        for name in names
    ]
    return islice(zip(*lists, strict=False), len(next(iter(columns.values()))))


P = ParamSpec("P")
T = TypeVar("T")
Work = Callable[Concatenate[SqliteDatabase, P], Coroutine[Any, Any, T]]

_LARGEST_IDLE_LOG = 64 * 1024 * 1024  # bytes: the write-ahead log is cut to this after a burst
#: Rows that a connection changes before what it wrote is copied from the log into the file, in a thread of its own.
_COPIED_AFTER: Final = 2000
#: Pages of the log at which a commit copies the rest itself, so that the log begins again: 32 MB.
_LONGEST_LOG: Final = 8000
#: Seconds by which later stores and leases may pass what is written in bulk.
_BULK_WAITS: Final = 0.01


class SqliteThread:
    """Runs functions that use the connection, one after the other, those in bulk after others that came a little later.
    SQLite's errors come out as `OutboxError`.

    SQLite keeps working on a file that was deleted or replaced.  So each call checks first that ``path`` still names
    the open file, and each transaction checks it again after its commit: what was committed into a deleted file is
    never reported as stored.

    ``cache``: KiB of pages that it keeps at most; the system keeps those of the file anyhow.  ``bulk_seconds``: for
    which the last `write_bulk` had the connection."""

    def __init__(self, path: Path, busy_timeout: float, cache: int = 16_384, box: SecretBox = PLAIN) -> None:
        self.path = path
        self._box = box
        self._cache = cache
        self._busy_timeout = busy_timeout
        self._executor: ThreadPoolExecutor | None = None
        self._copier: ThreadPoolExecutor | None = None  # its thread starts with the first work
        self._copying: Future[None] | None = None
        self._uncopied = 0  # rows changed at the last time
        self._jobs: list[tuple[float, int, Future[Any], Callable[[], Any]]] = []  # a heap, by deadline
        self._numbers = count()
        self.bulk_seconds = 0.0
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._subscribers = SubscriberCache()

    async def open(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="outbox")
        self._copier = ThreadPoolExecutor(1, thread_name_prefix="outbox-log")
        try:
            await self._unchecked(self._connect)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close, also after a failed `open`, and twice."""
        if self._executor is not None:
            await self._unchecked(self._disconnect, math.inf)
            for executor in (self._executor, self._copier):
                if executor is not None:
                    executor.shutdown(wait=False)
            self._executor = self._copier = None

    async def read(self, work: Work[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """``work`` outside a transaction: for single statements that read."""
        return await self._call(lambda: finished(work(self._database(self._open_connection()), *args, **kwargs)))

    async def write(self, work: Work[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """``work`` in a transaction that is on the disk when this returns."""
        return await self._call(lambda: self._transaction("FULL", lambda db: work(db, *args, **kwargs)))

    async def write_relaxed(self, work: Work[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """``work`` in a transaction that survives the end of this process, but perhaps not a power failure (then it is
        undone as a whole, with all that came after it)."""
        return await self._call(lambda: self._transaction("NORMAL", lambda db: work(db, *args, **kwargs)))

    async def write_bulk(self, work: Work[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """`write_relaxed`, after what else comes within `_BULK_WAITS`."""

        def timed() -> T:
            begun = time.monotonic()
            try:
                return self._transaction("NORMAL", lambda db: work(db, *args, **kwargs))
            finally:
                self.bulk_seconds = time.monotonic() - begun

        return await self._call(timed, _BULK_WAITS)

    async def rescue(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """`read`, also from a file that was deleted or replaced."""
        return await self._unchecked(lambda: work(self._open_connection()))

    async def _call(self, function: Callable[[], T], waits: float = 0.0) -> T:
        def checked() -> T:
            self.check_file()
            return function()

        return await self._unchecked(checked, waits)

    async def _unchecked(self, function: Callable[[], T], waits: float = 0.0) -> T:
        """Run a function, after those whose deadline, ``waits`` seconds from now for this one, is earlier."""
        if self._executor is None:
            raise OutboxError(f"The outbox {self.path} is not open.")
        job = Future[T]()
        heappush(self._jobs, (time.monotonic() + waits, next(self._numbers), job, function))  # indivisible, as heappop
        self._executor.submit(self._run_next)
        with errors_of(self.path):
            return await asyncio.wrap_future(job)

    def _run_next(self) -> None:
        *_, job, function = heappop(self._jobs)
        if job.set_running_or_notify_cancel():
            try:
                result = function()
            except BaseException as error:  # noqa: BLE001 - raised where it is awaited
                job.set_exception(error)
            else:
                job.set_result(result)

    def _connect(self) -> None:
        self._connection = connection = sqlite3.connect(
            self.path, timeout=self._busy_timeout, isolation_level=None, cached_statements=256
        )
        _write_ahead(connection, self._busy_timeout)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA cache_size = -{self._cache}")
        connection.execute(f"PRAGMA journal_size_limit = {_LARGEST_IDLE_LOG}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_LONGEST_LOG}")
        self._uncopied = connection.total_changes
        self._file = _identity(self.path)

    def _disconnect(self) -> None:
        self._copied()
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

    def _database(self, connection: sqlite3.Connection) -> SqliteDatabase:
        return SqliteDatabase(connection, self._subscribers, self._box)

    def _transaction(self, synchronous: str, work: Callable[[SqliteDatabase], Coroutine[Any, Any, T]]) -> T:
        connection = self._open_connection()
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = finished(work(self._database(connection)))
            connection.execute("COMMIT")
            self._copy_log(connection)
            self.check_file()
        except BaseException:
            if connection.in_transaction:  # SQLite ends it itself on some errors, a full disk for one
                connection.execute("ROLLBACK")
            raise
        return result

    async def empty_log(self) -> bool:
        """Empty the write-ahead log, where pages are as they were before; False when another process reads just now."""

        def emptied() -> bool:
            self._copied()  # two cannot at once
            ((busy, _, _),) = self._open_connection().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            return not busy

        return await self._call(emptied)

    def _copied(self) -> None:
        if self._copying is not None:
            wait([self._copying])

    def _copy_log(self, connection: sqlite3.Connection) -> None:
        """Have what was written copied into the file, if it is much: transactions that are waited for do not."""
        idle = self._copying is None or self._copying.done()
        if self._copier is not None and idle and connection.total_changes - self._uncopied >= _COPIED_AFTER:
            self._uncopied = connection.total_changes
            self._copying = self._copier.submit(_copy, self.path)


def _copy(path: Path) -> None:
    existing = f"{path.absolute().as_uri()}?mode=rw"
    with suppress(sqlite3.Error), closing(sqlite3.connect(existing, uri=True)) as connection:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")  # if it fails, a commit does it, or says why not


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
            time.sleep(0.01)  # polled: a file sends no notice when it is free
        else:
            return
